"""A frozen language model with one new word per row, whose embedding is all that can learn.

The embedding is tied to the output layer, as in the paper's models: the new word is a competitor at
every position, with logit h . e beside those of the vocabulary. Every row of a batch has its own
new word. What stands before the new word never depends on it and is computed once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from stemma.models.sampling import cache_argument
from stemma.models.scoring import sequence_losses
from stemma.papers.cross_dative.stimuli import VERB

Array = NDArray[np.float64]
_NONE = -1  # no token: padding on the right


@dataclass(frozen=True)
class Learner:
    """A frozen model.

    Attributes:
        model: causal language model with tied embeddings, in eval mode, without gradients.
        tokenizer: its tokenizer.
        bos: the token that begins a text; it is never scored.
        spaced: whether its training text has spaces before punctuation.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bos: int
    spaced: bool = False

    @property
    def embeddings(self) -> torch.Tensor:
        """The tied embeddings, shape (vocabulary, width)."""
        table: Any = self.model.get_input_embeddings()
        weight: torch.Tensor = table.weight
        return weight


class Sentence(NamedTuple):
    """Token ids before the new word (from ``bos`` on) and after it."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """Sentences whose parts before the new word are equally long, with these parts computed.

    Attributes:
        keys: keys and values of each layer, each (rows, heads, positions, width of a head).
        hidden: last hidden states, shape (rows, positions, width).
        norm: log sum exp of the logits of the vocabulary, shape (rows, positions).
        known: logits of the tokens that stand there, shape (rows, positions - 1).
        after: ids after the new word, padded with -1, shape (rows, longest).
    """

    keys: list[tuple[torch.Tensor, torch.Tensor]]
    hidden: torch.Tensor
    norm: torch.Tensor
    known: torch.Tensor
    after: torch.Tensor

    @property
    def lengths(self) -> torch.Tensor:
        """Scored tokens of each row, the new word included."""
        return self.known.shape[1] + 1 + (self.after != _NONE).sum(dim=1)


def freeze(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bos: int, *, spaced: bool = False
) -> Learner:
    """Take all gradients from a model and make it a learner.

    Raises:
        ValueError: its input and output embeddings are not the same matrix.
    """
    model.requires_grad_(False)
    model.train(False)
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if output is None or output.weight is not model.get_input_embeddings().weight:
        raise ValueError("the new word needs a model with tied embeddings")
    return Learner(model, tokenizer, bos, spaced)


def encode(learner: Learner, text: str) -> Sentence:
    """Split a text at its one ``[verb]`` and encode both sides; the verb brings its own space.

    Raises:
        ValueError: ``[verb]`` does not stand there exactly once.
    """
    if text.count(VERB) != 1:
        raise ValueError(f"{VERB} must stand once in {text!r}")
    left, right = _styled(learner, text).split(VERB)
    return Sentence((learner.bos, *_ids(learner, left.rstrip())), _ids(learner, right))


def plain_scores(learner: Learner, texts: Sequence[str], how: str = "mean") -> Array:
    """Return the log-probability (mean per token, or sum) of texts without a new word."""
    rows = [(learner.bos, *_ids(learner, _styled(learner, text))) for text in texts]
    scores = np.empty(len(rows))
    for length in sorted({len(row) for row in rows}):
        of_length = [i for i, row in enumerate(rows) if len(row) == length]
        batch = np.array([rows[i] for i in of_length], dtype=np.int64)
        factor = 1 if how == "mean" else length - 1
        scores[of_length] = -sequence_losses(learner.model, batch) * factor
    return scores


@torch.no_grad()
def prepare(learner: Learner, sentences: Sequence[Sentence]) -> Frame:
    """Compute what stands before the new word, for sentences in which it is equally long."""
    device = learner.model.device
    before = torch.tensor([s.before for s in sentences], device=device)
    cache: Any = DynamicCache()
    hidden = _hidden(learner, cache, input_ids=before)
    logits = hidden @ learner.embeddings.T
    longest = max(len(s.after) for s in sentences)
    after = [[*s.after, *[_NONE] * (longest - len(s.after))] for s in sentences]
    return Frame(
        keys=[(layer.keys, layer.values) for layer in cache.layers],
        hidden=hidden,
        norm=logits.logsumexp(dim=-1),
        known=logits[:, :-1].gather(2, before[:, 1:, None]).squeeze(2),
        after=torch.tensor(after, dtype=torch.int64, device=device).view(len(sentences), longest),
    )


def log_probabilities(learner: Learner, frame: Frame, vectors: torch.Tensor) -> torch.Tensor:
    """Return the summed log-probability of each row's sentence with that row's new word.

    Args:
        learner: the frozen model.
        frame: sentences: as many as vectors, or one for all.
        vectors: embeddings of the new words, shape (rows, width).

    Returns:
        Shape (rows,), differentiable in ``vectors``.
    """
    own = torch.einsum("rpd,rd->rp", frame.hidden.expand(len(vectors), -1, -1), vectors)
    norm = torch.logaddexp(frame.norm, own)
    total = (frame.known - norm[:, :-1]).sum(dim=1) + own[:, -1] - norm[:, -1]
    if frame.after.shape[1] == 0:
        return total
    return total + _after(learner, frame, vectors)


def _after(learner: Learner, frame: Frame, vectors: torch.Tensor) -> torch.Tensor:
    rows = len(vectors)
    ids = frame.after.clamp(min=0)
    tokens = learner.embeddings[ids[:, :-1]].expand(rows, -1, -1)
    past = DynamicCache()
    for number, (keys, values) in enumerate(frame.keys):
        past.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    hidden = _hidden(learner, past, inputs_embeds=torch.cat([vectors[:, None], tokens], dim=1))
    logits = hidden @ learner.embeddings.T
    own = torch.einsum("rsd,rd->rs", hidden, vectors)
    norm = torch.logaddexp(logits.logsumexp(dim=-1), own)
    known = logits.gather(2, ids.expand(rows, -1)[:, :, None]).squeeze(2)
    return ((known - norm) * (frame.after != _NONE)).sum(dim=1)


def _hidden(learner: Learner, cache: DynamicCache, **inputs: torch.Tensor) -> torch.Tensor:
    body: Any = learner.model.base_model
    options = {cache_argument(body): cache, "use_cache": True}
    hidden: torch.Tensor = body(**inputs, **options).last_hidden_state
    return hidden


@torch.no_grad()
def scores(
    learner: Learner,
    frames: Sequence[Frame],
    vectors: torch.Tensor,
    *,
    how: str = "mean",
    batch_size: int = 64,
) -> Array:
    """Score each sentence (a frame of one row) with each new word.

    Args:
        learner: the frozen model.
        frames: one a sentence.
        vectors: embeddings of the new words, shape (words, width).
        how: ``mean`` log-probability per token, the paper's score, or ``sum``.
        batch_size: words at once.

    Returns:
        Shape (words, sentences).
    """
    result = np.empty((len(vectors), len(frames)))
    for column, frame in enumerate(frames):
        parts = [log_probabilities(learner, frame, v) for v in torch.split(vectors, batch_size)]
        total = torch.cat(parts).double().cpu().numpy()
        result[:, column] = total / float(frame.lengths[0]) if how == "mean" else total
    return result


def frames_of(learner: Learner, texts: Sequence[str]) -> list[Frame]:
    """Prepare each text alone, for ``scores``."""
    return [prepare(learner, [encode(learner, text)]) for text in texts]


def equal_before(sentences: Sequence[Sentence], batch_size: int) -> Iterator[list[int]]:
    """Yield indices of sentences that one frame can hold, shorter ones first."""
    for length in sorted({len(s.before) for s in sentences}):
        group = [i for i, s in enumerate(sentences) if len(s.before) == length]
        group.sort(key=lambda i: len(sentences[i].after))
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _styled(learner: Learner, text: str) -> str:
    if not learner.spaced:
        return text
    for mark in ".?!,":
        text = text.replace(mark, f" {mark}")
    return " ".join(text.split())


def _ids(learner: Learner, text: str) -> tuple[int, ...]:
    return tuple(learner.tokenizer(text, add_special_tokens=False)["input_ids"])
