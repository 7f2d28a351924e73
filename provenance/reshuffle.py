"""The reshuffle test: does a text prefer the model of the true order to re-runs in other orders?

The last phase of training is run again m times on reshuffled data from the same checkpoint and
optimizer state, and once in the true order; under the null hypothesis the m + 1 scores of the
suspect's text are exchangeable.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from provenance.errors import BadScores, TooFewExamples
from provenance.tails import log10_t_sf


@dataclass(frozen=True)
class ReshuffleResult:
    """Outcome of a reshuffle test.

    Attributes:
        p: exact one-sided rank p-value; never under ``floor`` = 1 / (m + 1).
        rank: rank of the true order among the m + 1 scores, 1 = likeliest.
        m: number of reshuffled re-runs.
        t: t statistic of the true score as a new draw from the reshuffled ones.
        p_t: its one-sided p-value, Student's t with m - 1 degrees of freedom; it assumes normal
            scores, which ``p`` does not.
        log10_p_t: its logarithm, also where ``p_t`` underflows.
    """

    p: float
    rank: int
    m: int
    t: float
    p_t: float
    log10_p_t: float

    @property
    def floor(self) -> float:
        """Smallest exact p-value that m re-runs can give."""
        return 1.0 / (self.m + 1)

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        return (
            f"exact rank p = {self.p:.3g} (rank {self.rank} of {self.m + 1}, floor"
            f" {self.floor:.3g}); t = {self.t:.2f} on {self.m - 1} df, p_t = {self.p_t:.2g}"
        )


def reshuffle_test(true_score: float, reshuffled_scores: ArrayLike) -> ReshuffleResult:
    """Test whether the true-order model scores a text higher than its reshuffled re-runs.

    Args:
        true_score: score (log-likelihood) of the text under the re-run in the true order.
        reshuffled_scores: scores under the m re-runs in fresh random orders, shape (m,).

    Raises:
        TooFewExamples: fewer than two re-runs.
        BadScores: scores that are not finite, or all equal.
    """
    scores = _checked(true_score, reshuffled_scores)
    m = len(scores)
    at_least = int(np.count_nonzero(scores >= true_score))
    sd = float(scores.std(ddof=1))
    gap = true_score - float(scores.mean())
    # A new draw differs from the mean of m draws with variance sigma^2 (1 + 1/m).
    t = gap / (sd * math.sqrt(1 + 1 / m)) if sd > 0 else math.copysign(math.inf, gap)
    return ReshuffleResult(
        p=(1 + at_least) / (m + 1),
        rank=1 + at_least,
        m=m,
        t=t,
        p_t=float(stats.t.sf(t, m - 1)),
        log10_p_t=log10_t_sf(t, m - 1),
    )


def gaussian_tail_diagnostic(true_score: float, reshuffled_scores: ArrayLike) -> float:
    """Return the normal tail that the released code of the paper reports; NOT a valid p-value.

    It takes the standard deviation of a handful of re-runs (ddof 0, plus 1e-6) for known. Only
    for figures that show how far it overstates the evidence.

    Raises:
        TooFewExamples: fewer than two re-runs.
        BadScores: scores that are not finite, or all equal.
    """
    scores = _checked(true_score, reshuffled_scores)
    return float(stats.norm.sf((true_score - scores.mean()) / (scores.std() + 1e-6)))


def _checked(true_score: float, reshuffled_scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(reshuffled_scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise TooFewExamples(f"at least 2 reshuffled re-runs are needed, got {scores.shape}")
    if not (np.isfinite(scores).all() and math.isfinite(true_score)):
        raise BadScores("scores hold NaN or infinite values")
    if np.ptp(scores) == 0 and true_score == scores[0]:
        raise BadScores("all scores are equal: the text cannot tell the re-runs apart")
    return scores
