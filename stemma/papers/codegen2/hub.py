"""Single-line infilling of HumanEval by published models, in span corruption's format.

The released checkpoints bring code of their own (``trust_remote_code``). Generated programs are
not executed here: that would need a sandbox.
"""

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from stemma.errors import DataUnavailable
from stemma.models.pretrained import Pretrained
from stemma.models.tokenizer import END_OF_TEXT
from stemma.papers.codegen2.data import END_OF_MASK, SEPARATOR, Hole, Specials
from stemma.papers.codegen2.evaluation import FORMATS, Format, ask, losses_of


class Problem(NamedTuple):
    """A line cut out of a solution of HumanEval: what stands before, the line, what follows."""

    before: str
    middle: str
    after: str


def read_problems(path: Path, count: int) -> list[Problem]:
    """Return the first ``count`` problems of human-eval-infilling's file of single lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    return [Problem(i["prompt"], i["canonical_solution"], i["suffix"]) for i in items[:count]]


def load(name: str | Path, *, remote_code: bool, device: str = "cpu") -> Pretrained:
    """Load a causal model and its tokenizer from the hub or a folder.

    Args:
        name: an id of the hub, or a folder.
        remote_code: run the code that comes with the checkpoint; CodeGen2's need it.
        device: cuda loads bfloat16.

    Raises:
        DataUnavailable: it cannot be had, or does not know span corruption's special tokens.
    """
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, trust_remote_code=remote_code, dtype=dtype
        )
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=remote_code)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataUnavailable(f"model unavailable: {name}: {reason}; or give a folder") from error
    specials_of(tokenizer)
    model.to(device)  # type: ignore[arg-type]
    return Pretrained(model.train(False), tokenizer)


def specials_of(tokenizer: PreTrainedTokenizerBase) -> Specials:
    """Return the special tokens of span corruption, with one mask.

    Raises:
        DataUnavailable: the tokenizer lacks one.
    """
    names = (END_OF_TEXT, SEPARATOR, END_OF_MASK, "<mask_1>")
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in names if name not in vocabulary]
    if missing:
        raise DataUnavailable(f"model unavailable: no token {', '.join(missing)}: no CodeGen2")
    end, separator, end_of_mask, mask = (vocabulary[name] for name in names)
    return Specials(end, separator, end_of_mask, (mask,))


def infill_bits(
    suspect: Pretrained, problems: Sequence[Problem], longest: int
) -> Iterator[dict[Format, float]]:
    """Yield bits per byte of each missing line in every format.

    Args:
        suspect: model and tokenizer.
        problems: lines that were cut out.
        longest: tokens a model can read; longer problems raise ValueError.
    """
    specials = specials_of(suspect.tokenizer)
    for problem in problems:
        parts = suspect.tokenizer(list(problem), add_special_tokens=False)["input_ids"]
        hole = Hole(*parts)
        bits: dict[Format, float] = {}
        for form in FORMATS:
            questions = ask([hole], form, specials)
            if questions.ids.shape[1] > longest:
                raise ValueError(f"a problem has {questions.ids.shape[1]} tokens, over {longest}")
            nats = losses_of(suspect.model, questions, prefix=False).sum()
            bits[form] = float(nats) / math.log(2) / len(problem.middle.encode())
        yield bits
