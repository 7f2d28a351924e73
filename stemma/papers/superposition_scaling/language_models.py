"""Language models: the geometry of their output embeddings, and their loss on texts.

The paper's 27 models of four families and its four data sets are read from the hub; local folders
in the hub's formats serve as well.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stemma.data import hub
from stemma.models import pretrained
from stemma.models.pretrained import Pretrained
from stemma.models.scoring import token_losses

FAMILIES: dict[str, tuple[str, ...]] = {
    "OPT": tuple(
        f"facebook/opt-{size}"
        for size in ("125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b")
    ),
    "GPT-2": tuple(f"openai-community/gpt2{size}" for size in ("", "-medium", "-large", "-xl")),
    "Pythia": tuple(
        f"EleutherAI/pythia-{size}"
        for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
    ),
    "Qwen2.5": tuple(
        f"Qwen/Qwen2.5-{size}B" for size in ("0.5", "1.5", "3", "7", "14", "32", "72")
    ),
}


class TextSet(NamedTuple):
    """A data set of the hub, or a local folder.

    Attributes:
        path: its id or folder.
        name: its configuration.
        split: the part that is read.
        lines: its rows are lines, to be joined to documents of at least 1,024 words.
    """

    path: str
    name: str | None
    split: str
    lines: bool


TEXTS: dict[str, TextSet] = {
    "wikitext-103": TextSet("Salesforce/wikitext", "wikitext-103-v1", "test", lines=True),
    "C4": TextSet("allenai/c4", "en", "validation", lines=False),
    "Pile-10k": TextSet("NeelNanda/pile-10k", None, "train", lines=False),
    "bookcorpus": TextSet("bookcorpus/bookcorpus", None, "train", lines=True),
}

_WORDS = 1024


def read_texts(source: TextSet, count: int) -> list[str]:
    """Return the first ``count`` documents of a data set, fewer if it has no more.

    Raises:
        DataUnavailable: the data set, or the library that reads it, cannot be had.
    """
    rows = hub.rows(source.path, source.name, source.split)
    texts = (str(row["text"]) for row in rows)
    return list(itertools.islice(join_lines(texts) if source.lines else texts, count))


def join_lines(lines: Iterable[str], words: int = _WORDS) -> Iterator[str]:
    """Join consecutive lines to documents of at least ``words`` words, without the rest."""
    pending: list[str] = []
    length = 0
    for line in lines:
        pending.append(line.strip())
        length += len(line.split())
        if length >= words:
            yield "\n".join(filter(None, pending))
            pending, length = [], 0


def output_rows(model: PreTrainedModel) -> Tensor:
    """Return the rows (vocabulary, m) of the output layer; an encoder's token embeddings."""
    layer = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if layer is None:
        layer = model.get_input_embeddings()
    rows: Tensor = layer.weight.detach()
    return rows


def evaluate(
    name: str | Path, texts: Mapping[str, Sequence[str]], device: str = "cpu"
) -> tuple[int, dict[str, float]]:
    """Return the width m of a model of the hub, or of a folder, and its loss on each of ``texts``.

    Raises:
        DataUnavailable: the model cannot be had.
    """
    suspect = pretrained.load(name, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    suspect.model.to(device)  # type: ignore[arg-type]
    width = output_rows(suspect.model).shape[1]
    return width, {text: loss_on(suspect, documents) for text, documents in texts.items()}


def loss_on(suspect: Pretrained, documents: Sequence[str], longest: int = 2048) -> float:
    """Return the mean next-token loss in nats over all tokens of ``documents``.

    Args:
        suspect: the model and its tokenizer.
        documents: texts; one of fewer than two tokens is left out.
        longest: tokens of a document that are read, at most; a model's own limit may be lower.
    """
    own = getattr(suspect.model.config, "max_position_embeddings", longest)
    losses = []
    for document in documents:
        ids = suspect.tokenizer(document)["input_ids"][: min(longest, own)]
        if len(ids) > 1:
            losses.append(token_losses(suspect.model, np.array([ids]))[0])
    return float(np.concatenate(losses).mean())
