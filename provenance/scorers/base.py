"""What every scorer has in common: the protocol, the checks, and the score of an example."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from provenance.errors import BadScores, ProvenanceError

Row = NDArray[np.int64]
"""Token ids of one example, shape (length,), without padding."""

LogProbs = NDArray[np.float64]
"""Log-probabilities of the tokens of one example in nats."""

Progress = Callable[[int, int], None]
"""Called with the number of units done and the number of all."""


class ScorerError(ProvenanceError):
    """A model or rows that cannot be scored."""


class EndpointError(ScorerError):
    """An end point that gave no answer, or none that means what a score needs."""


class Scorer(Protocol):
    """Says how likely a suspect finds each token of an example, given those before it."""

    @property
    def name(self) -> str:
        """What is scored: a model's name or an end point's address."""

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return log p(token j | tokens before j) in nats for each row.

        Args:
            rows: token ids without padding, each at least two.

        Returns:
            For a row of L tokens the L - 1 values of the tokens 1 ... L - 1; a scorer that was
            made for a window, or for chosen positions, returns only those.
        """


class Window(NamedTuple):
    """Which tokens of an example count: ``next`` tokens after the first ``prefix``.

    The paper's first experiments count the 64 tokens after a prefix of 32.

    Attributes:
        prefix: tokens that are only context, at least 1 as the first has no prediction.
        next: tokens that count, or None for all that follow.
    """

    prefix: int = 1
    next: int | None = None

    def bounds(self, length: int) -> tuple[int, int]:
        """Return first and one past the last token that count in a row of ``length`` tokens.

        Raises:
            ScorerError: the row has no token inside the window.
        """
        if self.prefix < 1 or (self.next is not None and self.next < 1):
            raise ScorerError(f"a window needs a prefix and a next of at least 1, got {self}")
        stop = length if self.next is None else min(length, self.prefix + self.next)
        if stop <= self.prefix:
            raise ScorerError(
                f"a row of {length} tokens has none after its first {self.prefix};"
                " leave short rows out or take a shorter prefix"
            )
        return self.prefix, stop


def checked_rows(rows: Sequence[Row], vocabulary: int | None = None) -> list[Row]:
    """Return the rows as int64 arrays.

    Raises:
        ScorerError: a row that is not one-dimensional or has fewer than two tokens; an id that is
            negative (padding left in) or outside the vocabulary (another tokenizer).
    """
    checked = [np.asarray(row) for row in rows]
    for number, row in enumerate(checked):
        if row.ndim != 1 or len(row) < 2 or not np.issubdtype(row.dtype, np.integer):
            raise ScorerError(f"row {number} must be at least two integer token ids")
        if row.min() < 0:
            raise ScorerError(f"row {number} holds a negative id: cut the padding off first")
        if vocabulary is not None and row.max() >= vocabulary:
            raise ScorerError(
                f"row {number} holds token id {row.max()}, but the model knows {vocabulary}:"
                " the rows belong to another tokenizer; use TextScorer"
            )
    return [row.astype(np.int64) for row in checked]


def sequence_scores(
    log_probs: Sequence[LogProbs], reduce: Literal["sum", "mean"] = "sum"
) -> NDArray[np.float64]:
    """Return one score an example from the log-probabilities of its tokens, shape (n,).

    Args:
        log_probs: one array an example, in nats.
        reduce: ``sum`` is the log-likelihood of the example; ``mean`` that per token.

    Raises:
        BadScores: an example without values, or with NaN or infinite ones.
    """
    for number, values in enumerate(log_probs):
        if len(values) == 0:
            raise BadScores(f"example {number} has no log-probabilities")
        if not np.isfinite(values).all():
            raise BadScores(f"example {number} has log-probabilities that are NaN or infinite")
    combine = np.sum if reduce == "sum" else np.mean
    return np.array([combine(values) for values in log_probs], dtype=np.float64)
