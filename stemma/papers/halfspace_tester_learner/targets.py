"""Target distributions: products of one standardised, strongly log-concave law."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, special

Array = NDArray[np.float64]

_MOMENTS = 24  # degree 6 tests need twice the degree, for variances
_GRID = np.linspace(-9.0, 9.0, 36_001)


@dataclass(frozen=True)
class Target:
    """The law of one coordinate; coordinates are independent, with mean 0 and variance 1.

    Attributes:
        name: ``gaussian`` or ``quartic-a``.
        moments: E x^j for j = 0, 1, ..., 24.
        quantiles: values of x at equally likely levels of ``levels`` (empty for the Gaussian).
        levels: the distribution function on ``quantiles``.
    """

    name: str
    moments: tuple[float, ...]
    quantiles: Array
    levels: Array

    def sample(self, rng: np.random.Generator, n: int, d: int) -> Array:
        """Draw n points, shape (n, d)."""
        if self.name == "gaussian":
            return rng.standard_normal((n, d))
        return np.interp(rng.random((n, d)), self.levels, self.quantiles)


@cache
def make_target(name: str) -> Target:
    """Return ``gaussian``, or ``quartic-a``: density proportional to exp(-x^2/2 - a x^4).

    The quartic law is scaled to variance 1; it is strongly log-concave and not rotation invariant.

    Raises:
        ValueError: no such target.
    """
    if name == "gaussian":
        even = [float(special.factorial2(j - 1)) if j else 1.0 for j in range(0, _MOMENTS + 1, 2)]
        moments = tuple(0.0 if j % 2 else even[j // 2] for j in range(_MOMENTS + 1))
        return Target(name, moments, np.empty(0), np.empty(0))
    kind, _, strength = name.partition("-")
    if kind != "quartic" or not strength:
        raise ValueError(f"`{name}` is no target; use gaussian or quartic-0.1")
    density = np.exp(-(_GRID**2) / 2 - float(strength) * _GRID**4)
    density /= integrate.simpson(density, x=_GRID)
    scale = float(np.sqrt(integrate.simpson(density * _GRID**2, x=_GRID)))
    moments = tuple(
        0.0 if j % 2 else float(integrate.simpson(density * (_GRID / scale) ** j, x=_GRID))
        for j in range(_MOMENTS + 1)
    )
    levels: Array = np.append(0.0, integrate.cumulative_trapezoid(density, _GRID))
    return Target(name, moments, _GRID / scale, levels / levels[-1])
