"""Schedule-aware weights of the positions, which take the place of their linear rank.

Under a decayed learning rate the last examples leave little trace, because the last updates are
small; the trace of each is what is left of it after all later updates. A statistic that expects
this shape needs fewer queries than one that expects a straight line.

Validity. The statistic is sum_i w(position_i) a(rank of score_i), with w a fixed function. Under
the null hypothesis the scores are independent of the order, and given the scores all orders
(within strata) are equally likely; permuting the positions then permutes the numbers
w(position_i), and the statistic of the true order is exchangeable with the permuted ones. This
holds for *every* w that was fixed without the order under test; a bad w costs power, never
validity. It fails if w was fitted to the suspect's scores along the order under test, or to
anything else that follows this order: such weights are refused as tainted.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.interpolate import make_smoothing_spline

from provenance.errors import BadScores, TaintedReference, TooFewExamples
from provenance.lineage import Lineage, Ordered
from provenance.transcript import Transcript

Array = NDArray[np.float64]

FORGETTING = 8.0
"""Default of c times the sum of all learning rates, for owners who have no twin to fit it on."""

_MIN_TWIN = 200  # fewer examples show no curve
_BINS, _PER_BIN = 128, 20
_GRID = np.geomspace(0.25, 256, 41)  # candidates for c times the sum of all learning rates
_HEADER = b"position-weights:1\n"


@dataclass(frozen=True, eq=False)
class PositionWeights:
    """A fixed function of the position in training: how much of an example is expected to be left.

    Linear between the points, constant beyond the first and the last.

    Attributes:
        points: positions, increasing, shape (k,).
        values: weight at each, shape (k,).
        source: where they come from, in words.
        lineage: transcripts whose order they depend on.
    """

    points: Array
    values: Array
    source: str
    lineage: Lineage = field(default_factory=Lineage)

    def __post_init__(self) -> None:
        """Raise BadScores unless points increase and each has a finite weight."""
        fits = self.points.ndim == 1 and self.points.shape == self.values.shape
        if not fits or len(self.points) == 0:
            raise BadScores(
                f"{self.points.shape} points but values of shape {self.values.shape}: one each"
            )
        if not (np.isfinite(self.points).all() and np.isfinite(self.values).all()):
            raise BadScores("points or values of the weights are NaN or infinite")
        if (np.diff(self.points) <= 0).any():
            raise BadScores("the points of the weights must increase")

    @classmethod
    def from_schedule(
        cls,
        learning_rates: ArrayLike,
        *,
        examples_per_step: int = 1,
        forgetting: float | None = None,
    ) -> "PositionWeights":
        """Derive weights from the learning-rate schedule alone: w(s) = lr_s exp(-c sum_{t>s} lr_t).

        A step of an adaptive optimizer moves the parameters by about its learning rate, whatever
        the gradient's size, so that an example's trace begins in proportion to lr_s; each later
        step overwrites a share of it in proportion to its own size, c lr_t.

        Args:
            learning_rates: of each step, shape (steps,), in order.
            examples_per_step: how many positions a step has; 1 if positions count steps.
            forgetting: c, in units of 1 / learning rate; None takes 8 / sum of all rates. Fit it
                on a twin with ``fit_forgetting``.

        Raises:
            BadScores: a rate or a forgetting that is negative or not finite, no positive rate, or
                no position in a step.
        """
        rates = _rates(learning_rates, examples_per_step)
        if forgetting is not None and not 0 <= forgetting < np.inf:
            raise BadScores(f"forgetting must be finite and not negative, got {forgetting}")
        c = FORGETTING / rates.sum() if forgetting is None else forgetting
        middle = (
            np.arange(len(rates), dtype=float) * examples_per_step + (examples_per_step - 1) / 2
        )
        source = f"learning-rate schedule of {len(rates)} steps, forgetting {c:.6g}"
        return cls(middle, _left(rates, c), source)

    @classmethod
    def from_twin(
        cls, twin: Transcript | ArrayLike, scores: ArrayLike, lineage: Lineage | None = None
    ) -> "PositionWeights":
        """Measure the memory curve of a twin run on its own order.

        The curve is the mean score of up to 128 bins of consecutive positions, smoothed by a cubic
        spline whose penalty minimizes the generalized cross-validation score (Wahba 1990).

        Args:
            twin: transcript of the twin's own run, an order drawn independently of the one under
                test and on the same scale of positions; or its bare positions, shape (n,).
            scores: the twin's log-likelihoods of these examples, shape (n,), best after
                subtraction of a reference's.
            lineage: what twin and reference have seen besides.

        Raises:
            TooFewExamples: fewer than 200 examples.
            BadScores: NaN or infinite scores or positions, or of another length.
        """
        whole = twin if isinstance(twin, Transcript) else None
        positions = np.asarray(twin.positions if isinstance(twin, Transcript) else twin, float)
        values = _twin_scores(positions, scores)
        seen = lineage or Lineage()
        if whole is not None:
            seen |= Lineage(whole.digests)
        points, curve = _curve(positions, values)
        name = f"twin run {whole.digest[:12]}" if whole else "twin run"
        return cls(points, curve, f"{name}, {len(values)} examples", seen)

    def at(self, positions: ArrayLike) -> Array:
        """Return the weight of each position, shape (n,)."""
        where = np.asarray(positions, dtype=float)
        return np.asarray(np.interp(where, self.points, self.values), dtype=float)

    @property
    def digest(self) -> str:
        """Hex sha256 of points, values and source, to be committed to before the test."""
        h = hashlib.sha256(_HEADER + self.source.encode() + b"\0")
        h.update(self.points.astype("<f8").tobytes())
        h.update(self.values.astype("<f8").tobytes())
        return h.hexdigest()

    def require_untainted(self, transcript: Ordered) -> None:
        """Raise TaintedReference if the weights depend on the order under test."""
        if self.lineage.has_seen(transcript):
            raise TaintedReference(
                f"the weights ({self.source}) were fitted along transcript"
                f" {transcript.digest[:12]}, the order under test: take the schedule, or a twin"
                " run in an order of its own"
            )


def fit_forgetting(
    learning_rates: ArrayLike,
    positions: ArrayLike,
    scores: ArrayLike,
    *,
    examples_per_step: int = 1,
) -> float:
    """Return the c of ``PositionWeights.from_schedule`` that fits a twin's scores best.

    The best of 41 values by correlation of the weights with the scores. The twin's order must be
    independent of the one under test.

    Args:
        learning_rates: of each step, shape (steps,).
        positions: of the twin's examples in its own order, shape (n,).
        scores: the twin's, shape (n,).
        examples_per_step: how many positions a step has.

    Raises:
        TooFewExamples: fewer than 200 examples.
        BadScores: scores, positions or rates that are not finite, of another length, or constant
            scores.
    """
    rates = _rates(learning_rates, examples_per_step)
    where = np.asarray(positions, dtype=float)
    values = _twin_scores(where, scores)
    if np.ptp(values) == 0:
        raise BadScores("the twin's scores are constant: they show no forgetting")
    steps = np.clip(where // examples_per_step, 0, len(rates) - 1).astype(np.int64)
    fits = []
    for c in _GRID / rates.sum():
        weights = _left(rates, c)[steps]
        spread = float(np.std(weights))
        fits.append(float(np.corrcoef(weights, values)[0, 1]) if spread > 0 else -1.0)
    return float(_GRID[int(np.argmax(fits))] / rates.sum())


def _left(rates: Array, c: float) -> Array:
    later = np.cumsum(rates[::-1])[::-1] - rates
    left: Array = rates / rates.max() * np.exp(-c * later)
    return left


def _rates(learning_rates: ArrayLike, examples_per_step: int) -> Array:
    rates = np.asarray(learning_rates, dtype=float)
    if rates.ndim != 1 or not np.isfinite(rates).all() or (rates < 0).any() or rates.sum() <= 0:
        raise BadScores("learning rates must be finite, not negative, one a step, not all zero")
    if examples_per_step < 1:
        raise BadScores(f"examples_per_step must be at least 1, got {examples_per_step}")
    return rates


def _twin_scores(positions: Array, scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=float)
    if values.shape != positions.shape or values.ndim != 1:
        raise BadScores(f"{positions.shape} positions but scores of shape {values.shape}")
    if not (np.isfinite(values).all() and np.isfinite(positions).all()):
        raise BadScores("the twin's scores or positions hold NaN or infinite values")
    if len(values) < _MIN_TWIN:
        raise TooFewExamples(f"a memory curve needs {_MIN_TWIN} examples, got {len(values)}")
    return values


def _curve(positions: Array, scores: Array) -> tuple[Array, Array]:
    order = np.lexsort((scores, positions))  # sums in one order of rows, equal to the bit
    where, values = positions[order], scores[order]
    count = min(_BINS, len(order) // _PER_BIN)
    # Equal positions share a rank and so a bin: none may gather the best scores of a step.
    bins = ((stats.rankdata(where) - 0.5) / len(where) * count).astype(np.int64)
    sizes = np.bincount(bins, minlength=count)
    full = sizes > 0
    points, means = (np.bincount(bins, part, count)[full] / sizes[full] for part in (where, values))
    span = points[-1] - points[0]
    if len(points) < 5:  # the spline needs five points
        raise TooFewExamples("a memory curve needs at least five different positions")
    # On the unit interval: the search for the penalty is not scale-free in floating point.
    unit = (points - points[0]) / span
    return points, np.asarray(make_smoothing_spline(unit, means)(unit), dtype=float)
