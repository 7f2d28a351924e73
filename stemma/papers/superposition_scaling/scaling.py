"""Scaling laws: fits on log-log axes, and the joint fit over families of language models."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from stemma.stats import power_law

Array = NDArray[np.float64]


def leave_one_out_slopes(x: ArrayLike, y: ArrayLike) -> Array:
    """Return (points,) the slopes of ``power_law`` without each point in turn."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return np.array([power_law(np.delete(x, i), np.delete(y, i)).slope for i in range(len(x))])


class JointFit(NamedTuple):
    """loss = amplitude / m^exponent + offset(group) (figure 8 of the paper).

    Attributes:
        amplitude: A.
        exponent: a.
        offsets: B by group, a family on a data set.
    """

    amplitude: float
    exponent: float
    offsets: dict[str, float]


def joint_fit(widths: ArrayLike, losses: ArrayLike, groups: ArrayLike) -> JointFit:
    """Fit one power law with an offset per group, by least squares.

    The fit is linear but for the exponent, so that only this is searched for (variable
    projection); the paper runs Adam on all of them.

    Args:
        widths: (points,) m of each model.
        losses: (points,) its loss.
        groups: (points,) names; a group of one point says nothing about A and a.
    """
    m, loss = np.asarray(widths, dtype=float), np.asarray(losses, dtype=float)
    names, group = np.unique(groups, return_inverse=True)
    scale = m.min()

    def design(a: float) -> Array:
        return np.column_stack([(m / scale) ** -a, group[:, None] == np.arange(len(names))])

    def residual(a: float) -> float:
        x = design(a)
        return float(np.sum((x @ np.linalg.lstsq(x, loss)[0] - loss) ** 2))

    a = float(optimize.minimize_scalar(residual, bounds=(0.01, 5.0), method="bounded").x)
    amplitude, *offsets = np.linalg.lstsq(design(a), loss)[0]
    named = dict(zip(names.tolist(), map(float, offsets), strict=True))
    return JointFit(float(amplitude * scale**a), a, named)


def jackknife(estimates_without: ArrayLike, estimate: float) -> Array:
    """Return (units,) pseudo-values, whose mean is the bias-corrected estimate (Tukey 1958).

    Args:
        estimates_without: (units,) estimates without each unit.
        estimate: from all units.
    """
    without = np.asarray(estimates_without, dtype=float)
    return np.asarray(len(without) * estimate - (len(without) - 1) * without)
