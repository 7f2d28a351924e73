"""Anytime-valid query test: ask one example at a time and stop when the evidence is enough.

Against a paid end point the number of queries is money. A permutation p-value must fix n before
the first query; the e-process here may be looked at after each one.

Validity. Examples are asked in an order that depends on their positions alone. Under the null
hypothesis the scores s_1, s_2, ... that come back are exchangeable, also though they are drawn
without replacement from a finite transcript. Let R_t be the rank of s_t among s_1..s_t, ties broken
by independent uniform keys. For exchangeable scores R_1, R_2, ... are independent and R_t is
uniform on 1..t (Renyi 1962): nothing more is used, so that neither the size of the transcript nor
the law of the scores matters. Let Z be standard normal and c(r, t) the mean of Z given that
Phi(Z) lies in ((r - 1)/t, r/t]. By Jensen's inequality E exp(d a c(R_t, t)) <= E exp(d a Z) =
exp(d^2 a^2 / 2) for any number d and any a that was known before s_t. Hence, with a_t a function of
the positions asked so far,

    M_t(d) = exp(d A_t - d^2 B_t / 2),  A_t = sum a_s c(R_s, s),  B_t = sum a_s^2,

is a non-negative supermartingale in the filtration of the ranks, starting at 1, and so is its
mixture E_t over any prior of d. Ville's inequality gives P(sup_t E_t >= 1/alpha) <= alpha: the test
may stop at any time, for any reason, and 1 / max_t E_t is a p-value at all times. Strata have ranks
of their own; given the positions they are independent, and their evidence multiplies within each
M_t(d).

Power. a_t = (w_t - mean of the w before) sqrt((t - 1)/t) / spread is the recursive residual of a
regression of scores on weights, so that B_n = sum (w_t - mean)^2 / spread^2 exactly: sequential
ranks lose almost nothing against full ranks (Lombard 1983). Up to that the bet is the likelihood
ratio of a normal shift of d standard deviations of the score for one of the weight; the prior of d
is a mixture of half-normals (normals, for two sides) with scales from 0.05 to 0.8, which costs a
few queries for not knowing d.
"""

import bisect
import math
import sys
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from provenance.errors import BadScores, ProvenanceError
from provenance.lineage import Ordered
from provenance.ranks import Alternative
from provenance.weights import PositionWeights

Array = NDArray[np.float64]

SCALES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Scales of the prior of the effect, equally likely."""


def rank_means(rank: ArrayLike, t: ArrayLike) -> Array:
    """Return c(r, t), the mean of a standard normal within the r-th of its t equal slices.

    Args:
        rank: r, from 1 to t, any shape.
        t: number of slices, of a shape that fits.
    """
    upper = np.asarray(rank, dtype=float)
    slices = np.asarray(t, dtype=float)
    density = _density_at(upper / slices)
    return np.asarray(slices * (_density_at((upper - 1) / slices) - density))


def log_e_value(a: ArrayLike, b: ArrayLike, *, two_sided: bool = False) -> Array:
    """Return the log of the mixture of exp(d A - d^2 B / 2) over the prior of d.

    Args:
        a: A, any shape.
        b: B, of a shape that fits.
        two_sided: normal instead of half-normal priors.
    """
    total, information = np.asarray(a, float)[..., None], np.asarray(b, float)[..., None]
    variance = np.square(np.array(SCALES))
    shrunk = 1.0 + variance * information
    logs = variance * total**2 / (2.0 * shrunk) - 0.5 * np.log(shrunk)
    if not two_sided:
        logs = logs + math.log(2.0) + special.log_ndtr(total * np.sqrt(variance / shrunk))
    return np.asarray(special.logsumexp(logs, axis=-1) - math.log(len(SCALES)))


def bets(weights: ArrayLike, spread: float) -> Array:
    """Return a_t of weights in the order of asking, shape (n,); the first is 0.

    Args:
        weights: of the positions asked, one stratum, shape (n,).
        spread: standard deviation of the weights, fixed before the first query.
    """
    w = np.asarray(weights, dtype=float)
    t = np.arange(1, len(w) + 1)
    before = (np.cumsum(w) - w) / np.maximum(t - 1, 1)
    return np.asarray(np.where(t > 1, (w - before) * np.sqrt((t - 1) / t), 0.0) / spread)


@dataclass
class _Stratum:
    """What is known of one stratum: its scores with their keys, sorted, and its weights' sum."""

    scores: list[tuple[float, float]] = field(default_factory=list)
    total: float = 0.0


class SequentialQueryTest:
    """Collect evidence query by query; see the module for the validity of stopping at any time.

    Fix the order of asking, the weights, the spread and the seed before the first query, and let
    none of them depend on scores. One stream is one test: several suspects, or several orders of
    asking, need Holm over their p-values or the mean of their e-values.

    Example:
        >>> import numpy as np
        >>> test = SequentialQueryTest.of(np.arange(1000))
        >>> for position in np.random.default_rng(0).permutation(1000):
        ...     log_e = test.update(position, score=0.01 * position)
        ...     if test.reached(1e-6):
        ...         break
        >>> test.n < 100
        True

    Attributes:
        spread: as given.
        weights: as given.
        alternative: as given.
        seed: as given.
        n: examples asked so far.
        log_e: log of the e-value now.
        largest: log of the largest e-value so far.
    """

    def __init__(
        self,
        spread: float,
        weights: PositionWeights | None = None,
        *,
        alternative: Alternative = "later-is-likelier",
        seed: int = 0,
    ) -> None:
        """Start a test; ``of`` finds the spread.

        Args:
            spread: typical deviation of the weights (or, without, of the positions) asked from
                their mean; decides power only.
            weights: function of the position; None bets on the position itself.
            alternative: direction.
            seed: of the keys that break ties of scores; unused without ties.

        Raises:
            ProvenanceError: a spread that is not positive, or an unknown alternative.
        """
        if alternative not in get_args(Alternative):
            raise ProvenanceError(
                f"alternative is one of {get_args(Alternative)}, not {alternative!r}"
            )
        if not (math.isfinite(spread) and spread > 0):
            raise ProvenanceError(
                "the spread must be positive: positions of one weight tell nothing"
            )
        self.n, self.log_e, self.largest = 0, 0.0, 0.0
        self.spread, self.weights = spread, weights
        self.alternative, self.seed = alternative, seed
        self._sign = -1.0 if alternative == "earlier-is-likelier" else 1.0
        self._sum, self._information = 0.0, 0.0
        self._strata: dict[int, _Stratum] = {}
        self._keys = np.random.default_rng(seed)

    @classmethod
    def of(
        cls,
        positions: ArrayLike,
        weights: PositionWeights | None = None,
        *,
        transcript: Ordered | None = None,
        alternative: Alternative = "later-is-likelier",
        seed: int = 0,
    ) -> "SequentialQueryTest":
        """Start a test of the positions that may be asked.

        Args:
            positions: all that may be asked, shape (n,); their spread is known beforehand.
            weights: function of the position.
            transcript: the order under test, to refuse weights that depend on it.
            alternative: direction.
            seed: breaks ties of scores.

        Raises:
            TaintedReference: the weights were fitted along this very order.
            ProvenanceError: all positions have the same weight.
        """
        if weights is not None and transcript is not None:
            weights.require_untainted(transcript)
        where = np.asarray(positions, dtype=float)
        spread = float(np.std(weights.at(where) if weights else where))
        return cls(spread, weights, alternative=alternative, seed=seed)

    def update(
        self, position: float, score: float, reference: float = 0.0, *, stratum: int = 0
    ) -> float:
        """Take in one answer and return the log of the e-value.

        Args:
            position: training position of the example asked.
            score: the suspect's log-likelihood of it.
            reference: the score of a reference that is independent of the order; subtracted.
            stratum: of the example.

        Raises:
            BadScores: NaN or infinite numbers. The test stays as it was: leave the example out
                for a reason that does not depend on its position.
        """
        value = float(score) - float(reference)
        if not (math.isfinite(value) and math.isfinite(position)):
            raise BadScores("the score, reference or position is NaN or infinite")
        seen = self._strata.setdefault(stratum, _Stratum())
        entry = (value, float(self._keys.random()))
        rank = bisect.bisect_left(seen.scores, entry) + 1
        seen.scores.insert(rank - 1, entry)
        t = len(seen.scores)
        weight = float(self.weights.at([position])[0]) if self.weights else float(position)
        if t > 1:
            bet = (weight - seen.total / (t - 1)) * math.sqrt((t - 1) / t) / self.spread
            self._sum += bet * float(rank_means(rank, t))
            self._information += bet * bet
        seen.total += weight
        self.n += 1
        two_sided = self.alternative == "two-sided"
        self.log_e = float(
            log_e_value(self._sign * self._sum, self._information, two_sided=two_sided)
        )
        self.largest = max(self.largest, self.log_e)
        return self.log_e

    @property
    def p(self) -> float:
        """Anytime-valid p-value: 1 / the largest e-value so far, at most 1, never 0."""
        return max(math.exp(-self.largest), sys.float_info.min)

    def reached(self, alpha: float) -> bool:
        """Say whether the evidence suffices at level ``alpha``; the test may then stop.

        Raises:
            ProvenanceError: a level that is not above 0 and at most 1.
        """
        if not 0 < alpha <= 1:
            raise ProvenanceError(f"alpha must be above 0 and at most 1, got {alpha}")
        return self.largest >= -math.log(alpha)

    def summary(self) -> str:
        """Return one line."""
        return (
            f"anytime-valid p = {self.p:.3g} after {self.n} queries;"
            f" log10 e-value now {self.log_e / math.log(10):.2f},"
            f" largest {self.largest / math.log(10):.2f}"
        )


def _density_at(quantile: Array) -> Array:
    """Standard normal density at the given quantile, 0 at 0 and 1."""
    return np.asarray(np.exp(-0.5 * np.square(special.ndtri(quantile))) / math.sqrt(2 * math.pi))
