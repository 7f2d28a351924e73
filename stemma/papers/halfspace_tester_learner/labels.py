"""Label noise as a flip probability at each point, and the exact error it implies.

With y = sign(<w*, x>) flipped with probability f(x), a halfspace w errs with probability
E[f + (1 - 2 f) 1{h_w != h_w*}]: errors are computed from f, not from drawn labels.
"""

from collections.abc import Sequence

import numpy as np

from stemma.papers.halfspace_tester_learner.targets import Array

MASSART: tuple[str, ...] = ("massart-uniform", "massart-quadrant")
ADVERSARIES: tuple[str, ...] = ("random", "margin", "band", "wedge")


def flip_probability(noise: str, level: float, u: Array, v: Array) -> Array:
    """Return the probability that each label is flipped.

    Massart noise has f <= level: everywhere, or only where u v > 0 (which tilts averages).
    An adversary flips a share ``level`` of the sample for certain. ``margin``: the points of one
    quadrant with the largest margins. ``band``: on one side of v, the points nearest to the
    boundary. ``wedge``: the points of one quadrant nearest to the boundary in angle, where labels
    then are those of a second halfspace at angle 2 pi level, which errs equally often. ``random``
    flips at random.

    Args:
        noise: one of ``MASSART`` or ``ADVERSARIES``.
        level: bound or share of the flips.
        u: <w*, x>, shape (n,).
        v: <v, x>, shape (n,), v orthogonal to w*.

    Raises:
        ValueError: no such noise.
    """
    if noise in ("massart-uniform", "random"):
        return np.full(len(u), level)
    quadrant = (u > 0) & (v > 0)
    match noise:
        case "massart-quadrant":
            return np.where(u * v > 0, level, 0.0)
        case "margin":
            return _flip_first(-u, quadrant, level)
        case "band":
            return _flip_first(np.abs(u), v > 0, level)
        case "wedge":
            return _flip_first(np.arctan2(u, v), quadrant, level)
    raise ValueError(f"`{noise}` is no label noise; use one of {', '.join(MASSART + ADVERSARIES)}")


def _flip_first(score: Array, allowed: np.ndarray, share: float) -> Array:
    count = min(round(share * len(score)), int(allowed.sum()))
    order = np.argsort(np.where(allowed, score, np.inf), kind="stable")
    flips = np.zeros(len(score))
    flips[order[:count]] = 1.0
    return flips


def draw_labels(rng: np.random.Generator, u: Array, flips: Array) -> Array:
    """Return labels +1 or -1, shape (n,)."""
    clean = np.where(u >= 0, 1.0, -1.0)
    return np.where(rng.random(len(u)) < flips, -clean, clean)


class Evaluator:
    """Fresh points with known flip probabilities; the only place where w* is used after drawing."""

    def __init__(self, x: Array, w_star: Array, v: Array, noise: str, level: float) -> None:
        """Take points of shape (N, d), the planted directions and the noise."""
        self.x, self.u, self.v = x, x @ w_star, x @ v
        self.flips = flip_probability(noise, level, self.u, self.v)

    def error(self, w: Array) -> float:
        """Return P[y != h_w] on these points; w has shape (d,)."""
        return self._error(self.x @ w)

    def planted_error(self) -> float:
        """Return the error of w*."""
        return float(self.flips.mean())

    def searched_optimum(self, angles: Sequence[float], others: Sequence[float]) -> float:
        """Return the least error of w*, of w* turned by each angle towards v, and of ``others``.

        An upper bound of opt = min over all halfspaces, which flips can place away from w*.
        """
        turned = (self._error(np.cos(a) * self.u + np.sin(a) * self.v) for a in angles)
        return min(self.planted_error(), *turned, *others)

    def _error(self, margin: Array) -> float:
        differs = (margin >= 0) != (self.u >= 0)
        return float((self.flips + (1 - 2 * self.flips) * differs).mean())
