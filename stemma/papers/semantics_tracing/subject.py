"""The model under study: its blocks, its words as tokens, its states at chosen positions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stemma.errors import StemmaError
from stemma.models import pretrained
from stemma.models.device import choose_device
from stemma.papers.semantics_tracing.items import all_texts, read_nouns
from stemma.papers.semantics_tracing.patching import captured

_BATCH = 32


class Reading(NamedTuple):
    """What a model made of n prompts.

    Attributes:
        states: states after each block, shape (n, layers, spans, width): mean over each span.
        log_probs: of the next token, shape (n, vocabulary).
    """

    states: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Subject:
    """A causal language model of transformers, with eager attention."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @cached_property
    def blocks(self) -> list[nn.Module]:
        """The decoder blocks, in order."""
        base: Any = self.model.base_model
        return list(base.layers if hasattr(base, "layers") else base.h)

    @property
    def layers(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @cached_property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the unembedding."""
        base: Any = self.model.base_model
        norm: nn.Module = base.norm if hasattr(base, "norm") else base.ln_f
        return norm

    @cached_property
    def unembedding(self) -> Tensor:
        """U, shape (vocabulary, width)."""
        model: Any = self.model
        weight: Tensor = model.get_output_embeddings().weight.detach()
        return weight

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a prompt."""
        return list(self.tokenizer(text)["input_ids"])

    def word_tokens(self, word: str) -> list[int]:
        """Return the token ids of a word after a space."""
        return list(self.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])

    def is_one_token(self, word: str) -> bool:
        """Whether a word, after a space, is one token."""
        return len(self.word_tokens(word)) == 1

    def token(self, word: str) -> int:
        """Return the first token of a word after a space."""
        return self.word_tokens(word)[0]

    def word_vector(self, word: str) -> Tensor:
        """Return the mean of U over a word's tokens, shape (width,)."""
        return self.unembedding[self.word_tokens(word)].mean(dim=0)

    def word_vectors(self, words: Sequence[str]) -> Tensor:
        """Return a row for each word, shape (words, width)."""
        return torch.stack([self.word_vector(word) for word in words])

    def span(self, text: str, word: str, *, last: bool = False) -> list[int]:
        """Return the positions of the tokens that overlap a word of a prompt.

        Raises:
            ValueError: the word is not in the text.
        """
        found = list(re.finditer(rf"\b{re.escape(word)}\b", text))
        if not found:
            raise ValueError(f"`{word}` is not in the prompt `{text}`")
        start, stop = found[-1 if last else 0].span()
        return self.overlapping(text, start, stop)

    def overlapping(self, text: str, start: int, stop: int) -> list[int]:
        """Return the positions of the tokens that overlap characters ``start`` to ``stop``."""
        offsets = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        return [i for i, (a, b) in enumerate(offsets) if a < stop and b > start]

    @torch.inference_mode()
    def read(self, texts: Sequence[str], spans: Sequence[Sequence[Sequence[int]]]) -> Reading:
        """Run prompts and keep their states at some spans of positions.

        Args:
            texts: n prompts.
            spans: for each prompt the same number of spans, each a list of positions.
        """
        rows = [self.encode(text) for text in texts]
        states: list[Tensor] = [torch.empty(0)] * len(rows)
        probs: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch in batches(rows):
            inputs = torch.tensor([rows[i] for i in batch], device=self.model.device)
            with captured(self.blocks) as outputs:
                logits = self.logits(inputs)
            stacked = torch.stack(outputs, dim=1).cpu()
            for place, i in enumerate(batch):
                means = [stacked[place, :, list(span)].mean(dim=1) for span in spans[i]]
                states[i] = torch.stack(means, dim=1)
                probs[i] = logits[place].log_softmax(dim=-1)
        return Reading(torch.stack(states), torch.stack(probs))

    def answers(self, texts: Sequence[str]) -> Reading:
        """Run prompts and keep the states at the answer position alone: (n, layers, 1, width)."""
        return self.read(texts, [[[len(self.encode(text)) - 1]] for text in texts])

    @torch.inference_mode()
    def next_logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the next token's logits after each row of token ids, shape (n, vocabulary)."""
        logits: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch in batches(rows):
            inputs = torch.tensor([rows[i] for i in batch], device=self.model.device)
            for i, row in zip(batch, self.logits(inputs), strict=True):
                logits[i] = row
        return torch.stack(logits)

    def logits(self, inputs: Tensor, **options: Any) -> Tensor:
        """Return logits after the last position of ``inputs`` (n, length), on the CPU."""
        output = self.model(input_ids=inputs, use_cache=False, logits_to_keep=1, **options)
        logits: Tensor = output.logits[:, -1].float().cpu()
        return logits


def batches(rows: Sequence[Sequence[int]], size: int = _BATCH) -> Iterator[list[int]]:
    """Yield the indices of rows in batches of one length, so that nothing is padded."""
    by_length: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(i)
    for _, group in sorted(by_length.items()):
        yield from (group[start : start + size] for start in range(0, len(group), size))


def open_subject(name: str, device: str = "cpu", seed: int = 0) -> Subject:
    """Open a model.

    Args:
        name: ``smollm2`` (SmolLM2-135M-Instruct, 4-bit weights), ``toy`` (a small one of random
            weights that knows nothing), an id of the hub or a local folder.
        device: cpu, cuda or auto.
        seed: decides the toy's weights.

    Raises:
        DataUnavailable: the model cannot be had.
        StemmaError: its tokenizer cannot tell where words are.
    """
    if name == "toy":
        loaded = pretrained.stand_in(list(all_texts(read_nouns())) * 2, seed)
    else:
        loaded = pretrained.smollm2() if name == "smollm2" else pretrained.load(name)
    if not loaded.tokenizer.is_fast:
        raise StemmaError(f"{name}: needs a model with a fast tokenizer, which maps text to tokens")
    model: Any = loaded.model.to(choose_device(device))  # type: ignore[arg-type]
    model.set_attn_implementation("eager")  # gives attention weights, and takes any mask
    model.requires_grad_(False)
    return Subject(name, model, loaded.tokenizer)
