"""Before the queries: which positions to ask, and how many.

Validity of asking chosen positions. Let S be a set of positions chosen by position alone (weights,
seed, number), and let the examples trained on there be asked. Under the null hypothesis the scores
are independent of the order. Given *which* examples stand at the positions of S, each assignment
of these examples to S is equally likely, since the order is uniform; so permuting the scores among
S (within strata) is exact, whatever S is. A choice that looks at tokens or scores has no such
guarantee unless it is made before, and without, the order.

Validity of planning. The number of queries follows from a pilot's scores. Draw the pilot's examples
first and leave them out of the test (``choose_positions`` with ``leave_out``); a test that also
counts the pilot, or that goes on until p is small enough, must be the anytime-valid one.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from provenance.errors import BadScores, ProvenanceError, TooFewExamples
from provenance.ranks import MIN_EXAMPLES
from provenance.weights import PositionWeights

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Design = Literal["random", "extreme"]


def choose_positions(
    positions: ArrayLike,
    n: int,
    weights: PositionWeights | None = None,
    *,
    design: Design = "random",
    strata: ArrayLike | None = None,
    leave_out: ArrayLike = (),
    seed: int = 0,
) -> Ints:
    """Return the rows to ask, shape (n,), increasing; looks at positions alone.

    ``extreme`` takes the positions of the largest and the smallest weights, as many of each as
    make the sum of squared deviations of the weights largest: that sum is what the test's expected
    z grows with. It trusts the shape of the curve, so that it needs weights: with the linear rank
    it would ask the very first and the very last examples, which are what real memory curves are
    least linear at; it serves strata in proportion to their sizes, as permutations stay within.
    ``random`` trusts nothing: every choice of n rows is equally likely.

    Args:
        positions: of all rows, shape (N,).
        n: how many to ask.
        weights: function of the position; None takes the position itself.
        design: see above.
        strata: of all rows, shape (N,).
        leave_out: rows not to ask, for instance the pilot's.
        seed: of ``random``, and of the choice among positions of equal weight.

    Raises:
        TooFewExamples: n < 20, or fewer than n rows to choose from.
        BadScores: positions that are not finite, or strata of another length.
        ProvenanceError: an unknown design, ``extreme`` without weights, or rows to leave out that
            are not there.
    """
    _check_design(design, weights)
    where = np.asarray(positions)
    stages = np.zeros(len(where), np.int64) if strata is None else np.asarray(strata)
    if stages.shape != where.shape:
        raise BadScores(f"positions of shape {where.shape} but strata of shape {stages.shape}")
    without = np.asarray(leave_out, dtype=np.int64)
    if ((without < 0) | (without >= len(where))).any():
        raise ProvenanceError(f"leave_out names rows outside 0..{len(where) - 1}")
    rows = np.setdiff1d(np.arange(len(where)), without)
    if not MIN_EXAMPLES <= n <= len(rows):
        raise TooFewExamples(f"cannot ask {n} of {len(rows)} examples; at least {MIN_EXAMPLES}")
    if not np.isfinite(where).all():
        raise BadScores("positions hold NaN or infinite values")
    rng = np.random.default_rng(seed)
    # In the order of positions, so that neither the rows' order nor their content decides.
    rows = rows[np.lexsort((rng.random(len(rows)), where[rows], stages[rows]))]
    if design == "random":
        return np.sort(rng.choice(rows, n, replace=False))
    rows = rows[np.lexsort((rng.random(len(rows)), _values(where[rows], weights)))]
    labels, sizes = np.unique(stages[rows], return_counts=True)
    chosen = []
    for label, share in zip(labels, _shares(sizes, n), strict=True):
        here = rows[stages[rows] == label]
        late = _split(_values(where[here], weights), share)[0]
        chosen += [here[: share - late], here[len(here) - late :]]
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True)
class Plan:
    """How many queries a test needs, by a pilot.

    Attributes:
        n: queries for the wanted power.
        low: the same if the effect is at the upper end of its 90 % interval.
        high: the same if it is at the lower end; None if even all positions would not do.
        effect: standard deviations of the score for one of the weight, over all positions.
        effect_low: lower end of its 90 % interval.
        effect_high: upper end.
        alpha: level.
        power: probability of p <= alpha that was asked for.
        design: of the positions.
        permutations: least number for the exact p-value to reach alpha.
    """

    n: int
    low: int
    high: int | None
    effect: float
    effect_low: float
    effect_high: float
    alpha: float
    power: float
    design: Design
    permutations: int

    def summary(self) -> str:
        """Return one line."""
        high = "more than there are" if self.high is None else str(self.high)
        return (
            f"{self.n} queries ({self.low} to {high}) for p <= {self.alpha:.3g} with probability"
            f" {self.power:g}, {self.design} design, at least {self.permutations} permutations"
        )


def plan_queries(
    pilot_positions: ArrayLike,
    pilot_scores: ArrayLike,
    positions: ArrayLike,
    weights: PositionWeights | None = None,
    *,
    alpha: float = 1e-3,
    power: float = 0.9,
    design: Design = "random",
) -> Plan:
    """Return how many positions to ask for p <= alpha with the wanted power.

    The pilot's normal scores are regressed on the weights; the slope over the residual deviation is
    the effect d. A design with weights w_i has expected z of d sqrt(sum (w_i - mean)^2) under the
    model of a normal shift, and p <= alpha needs z of about Phi^-1(1 - alpha): n is the smallest
    number whose design reaches Phi^-1(1 - alpha) + Phi^-1(power). With power 0.5 that is the number
    for a median p of alpha. One-sided; the interval is that of the slope, nothing else.

    Args:
        pilot_positions: asked in the pilot, shape (n,), at random or by design.
        pilot_scores: the suspect's, best with the reference's taken out, shape (n,).
        positions: all that could be asked, shape (N,).
        weights: function of the position; None takes the position itself.
        alpha: level.
        power: wanted probability of p <= alpha.
        design: of the positions to ask.

    Raises:
        TooFewExamples: a pilot of fewer than 20.
        BadScores: scores or positions that are not finite, constant scores or weights.
        ProvenanceError: no positive effect in the pilot, too few positions for it, or a design as
            ``choose_positions`` refuses it.
    """
    _check_design(design, weights)
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ProvenanceError("alpha and power lie between 0 and 1")
    every, pilot = _values(positions, weights), _values(pilot_positions, weights)
    if not (np.isfinite(every).all() and np.isfinite(pilot).all()):
        raise BadScores("positions hold NaN or infinite values")
    center, spread = every.mean(), every.std()
    if spread == 0:
        raise BadScores("constant weights tell no position from another")
    every, pilot = np.sort((every - center) / spread), (pilot - center) / spread
    low, effect, high = _effect(pilot, np.asarray(pilot_scores, dtype=float))
    wanted = float(stats.norm.isf(alpha) + stats.norm.ppf(power))
    n, fewest, most = (_smallest(every, design, wanted, d) for d in (effect, high, low))
    if n is None or fewest is None:
        raise ProvenanceError(
            f"the pilot's effect of {effect:.3f} is too small for {len(every)} positions; use a"
            " closer reference, longer examples, or more of them"
        )
    return Plan(
        n=n,
        low=fewest,
        high=most,
        effect=effect,
        effect_low=low,
        effect_high=high,
        alpha=alpha,
        power=power,
        design=design,
        permutations=math.ceil(1 / alpha) - 1,
    )


def _check_design(design: Design, weights: PositionWeights | None) -> None:
    if design not in get_args(Design):
        raise ProvenanceError(f"design is one of {get_args(Design)}, not {design!r}")
    if design == "extreme" and weights is None:
        raise ProvenanceError(
            "the extreme design trusts the shape of the memory curve: give weights, from the"
            " schedule or from a twin run, or ask random positions"
        )


def _values(positions: ArrayLike, weights: PositionWeights | None) -> Array:
    where = np.asarray(positions, dtype=float)
    return weights.at(where) if weights else where


def _shares(sizes: Ints, n: int) -> Ints:
    """Return n shared out in proportion to sizes, by largest remainder; shape (strata,)."""
    exact = n * sizes / sizes.sum()
    shares: Ints = np.floor(exact).astype(np.int64)
    most = np.argsort(shares - exact, kind="stable")[: n - shares.sum()]
    shares[most] += 1
    return shares


def _split(values: Array, n: int) -> tuple[int, float]:
    """Return how many of the n come from the top of sorted values, and their sum of squares.

    The number that makes the sum of squared deviations from the mean of those chosen largest.
    """
    values = values - values.mean()
    sums, squares = (np.append(0.0, np.cumsum(v)) for v in (values, values**2))
    top = np.arange(n + 1)
    bottom, above = n - top, len(values) - top
    total = sums[bottom] + sums[-1] - sums[above]
    spread = squares[bottom] + squares[-1] - squares[above] - total**2 / max(n, 1)
    best = int(np.argmax(spread))
    return best, float(spread[best])


def _effect(weights: Array, scores: Array) -> tuple[float, float, float]:
    """Return lower end, estimate and upper end of the effect; interval at 90 %."""
    if len(weights) != len(scores) or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        raise BadScores("the pilot needs one finite score a position, not all equal")
    if len(scores) < MIN_EXAMPLES:
        raise TooFewExamples(f"a pilot of {len(scores)} examples; at least {MIN_EXAMPLES}")
    if np.ptp(weights) == 0:
        raise BadScores("constant weights tell no position from another")
    normal = stats.norm.ppf(stats.rankdata(scores) / (len(scores) + 1))
    fit = stats.linregress(weights, normal)
    noise = float(np.std(normal - fit.slope * weights, ddof=2))
    half = float(stats.t.ppf(0.95, len(scores) - 2) * fit.stderr)
    return (fit.slope - half) / noise, fit.slope / noise, (fit.slope + half) / noise


def _smallest(values: Array, design: Design, wanted: float, effect: float) -> int | None:
    """Return the smallest n whose design reaches the wanted z; None if all positions do not."""

    def z(n: int) -> float:
        information = float(n - 1) if design == "random" else _split(values, n)[1]
        return effect * math.sqrt(max(information, 0.0))

    low, high = MIN_EXAMPLES, len(values)
    if high < low or z(high) < wanted:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if z(middle) >= wanted else (middle + 1, high)
    return low
