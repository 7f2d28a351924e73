"""Input laws, most of which the tester should refuse; all have unit scale.

A law may depend on the hidden directions: ``w`` (the planted halfspace) and ``v``, orthogonal to
it. Only the generator and the evaluator know them.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from stemma.papers.halfspace_tester_learner.targets import Array, make_target

Law = Callable[[np.random.Generator, int, Array, Array], Array]
"""(generator, n, w, v) -> points of shape (n, d)."""

BAND = 0.25
"""Half width of the band in which the band laws differ from the Gaussian."""

JITTER = 0.05
"""Standard deviation of the Gaussian around each hidden node."""

ZOO: tuple[str, ...] = (
    "gaussian",
    "correlated",
    "laplace",
    "t5",
    "cube",
    "mixture",
    "band-empty",
    "band-double",
    "band-collapse",
    "hidden-2",
    "hidden-3",
    "hidden-4",
    "hidden-5",
    "hidden-3-diluted",
)


def directions(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    """Draw two orthonormal directions w, v, uniformly, each of shape (d,)."""
    q, _ = np.linalg.qr(rng.standard_normal((d, 2)))
    return q[:, 0], q[:, 1]


def make_law(name: str) -> Law:
    """Return an input law by its name: one of ``ZOO``, or a target such as ``quartic-0.1``.

    Raises:
        ValueError: no such law.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    if name.startswith("hidden-"):
        q, _, diluted = name.removeprefix("hidden-").partition("-")
        return _along_w(lambda rng, n: _hidden(rng, n, int(q), 0.02 if diluted else 1.0))
    target = make_target(name)
    return lambda rng, n, w, v: target.sample(rng, n, len(w))


def _along_w(draw: Callable[[np.random.Generator, int], Array]) -> Law:
    """Return a Gaussian whose coordinate along w is replaced by ``draw``."""

    def law(rng: np.random.Generator, n: int, w: Array, v: Array) -> Array:
        g = rng.standard_normal((n, len(w)))
        return np.asarray(g + (draw(rng, n) - g @ w)[:, None] * w)

    return law


def _hidden(rng: np.random.Generator, n: int, q: int, share: float) -> Array:
    """Gauss-Hermite nodes with jitter: the moments of N(0,1) up to degree 2q - 1, exactly.

    Nodes shrunk by sqrt(1 - JITTER^2) keep the moments exact: a quadrature rule of the same degree
    for N(0, 1 - JITTER^2), convolved with N(0, JITTER^2). ``share`` of the points are hidden ones,
    the others Gaussian.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(q)
    drawn = rng.choice(nodes, n, p=weights / weights.sum())
    g = rng.standard_normal(n)
    hidden = np.sqrt(1 - JITTER**2) * drawn + JITTER * g
    return np.where(rng.random(n) < share, hidden, g)


def _band(rng: np.random.Generator, n: int, factor: float) -> Array:
    """Standard normal whose mass in |u| <= BAND is multiplied by ``factor``."""
    inside = float(stats.norm.cdf(BAND) - stats.norm.cdf(-BAND))
    level = rng.random(n)
    near = stats.norm.ppf(0.5 + inside * (level - 0.5))
    far = np.sign(level - 0.5) * stats.norm.isf((1 - inside) * np.abs(level - 0.5))
    return np.where(rng.random(n) < factor * inside, near, far)


def _collapse(rng: np.random.Generator, n: int, w: Array, v: Array) -> Array:
    """Gaussian; inside the band the part orthogonal to w keeps its component along v only."""
    g = rng.standard_normal((n, len(w)))
    u = g @ w
    squeezed = u[:, None] * w + (g @ v)[:, None] * v
    return np.where(np.abs(u)[:, None] <= BAND, squeezed, g)


def _mixture(rng: np.random.Generator, n: int) -> Array:
    side = rng.choice([-1.0, 1.0], n)
    return np.asarray(0.9 * side + np.sqrt(1 - 0.81) * rng.standard_normal(n))


def _correlated(rng: np.random.Generator, n: int, w: Array, v: Array) -> Array:
    g = rng.standard_normal((n, len(w) + 1))
    return np.asarray(np.sqrt(0.5) * (g[:, 1:] + g[:, :1]))


_PLAIN: dict[str, Law] = {
    "correlated": _correlated,
    "laplace": lambda rng, n, w, v: rng.laplace(0, np.sqrt(0.5), (n, len(w))),
    "t5": lambda rng, n, w, v: rng.standard_t(5, (n, len(w))) * np.sqrt(3 / 5),
    "cube": lambda rng, n, w, v: rng.uniform(-np.sqrt(3), np.sqrt(3), (n, len(w))),
    "mixture": _along_w(_mixture),
    "band-empty": _along_w(lambda rng, n: _band(rng, n, 0.0)),
    "band-double": _along_w(lambda rng, n: _band(rng, n, 2.0)),
    "band-collapse": _collapse,
}
