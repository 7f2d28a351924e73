"""The functions that are approximated, and the best errors that any approximation can reach."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from stemma.papers.dpp_least_squares.spaces import Array, Space

RESOLVABLE = 1e-8
"""Functions with a smaller best error, relative to their norm, are lost in rounding: left out."""

FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "runge": lambda x: 1 / (1 + 5 * (x**2).sum(axis=1)),
    "exp": lambda x: np.exp(-x.sum(axis=1)),
    "abs": lambda x: np.abs(x.mean(axis=1)),
    "cube": lambda x: np.abs(x.mean(axis=1)) ** 3,
    "cos10": lambda x: np.cos(10 * x.mean(axis=1)),
    "sign": lambda x: np.sign(x[:, 0] - 0.2),
    "bell": lambda x: np.exp(-(x**2).sum(axis=1) / 4),
    "sine": lambda x: np.sin(x.sum(axis=1)),
    "sawtooth": lambda x: x[:, 0] % 1 - 0.5,
}
"""Name -> function of nodes (N, d) with values (N,)."""

_NAMES = {
    "hermite": ("bell", "sine"),
    "trig": ("sawtooth", "runge"),
}
_POLYNOMIAL_NAMES = ("runge", "exp", "abs", "cube", "cos10", "sign")


@dataclass(frozen=True)
class Targets:
    """F functions on a space, split into their projection on V_m and the rest.

    Attributes:
        names: the functions, length F.
        values: shape (N, F).
        coefficients: of the L2(mu) projection, shape (m, F).
        residuals: function minus projection, shape (N, F).
        best: L2(mu) norm of the residual, the best error, shape (F,).
    """

    names: tuple[str, ...]
    values: Array
    coefficients: Array
    residuals: Array
    best: Array


def project(space: Space, names: tuple[str, ...], values: Array) -> Targets:
    """Split functions (``values``: shape (N, F)) into projection and residual."""
    weighted = space.mu[:, None] * values
    coefficients = space.phi.T @ weighted
    residuals = values - space.phi @ coefficients
    # Once more, so that the residual is orthogonal to V_m to the last digits.
    residuals = residuals - space.phi @ (space.phi.T @ (space.mu[:, None] * residuals))
    best = np.sqrt((space.mu[:, None] * residuals**2).sum(axis=0))
    return Targets(names, values, coefficients, residuals, best)


def make_targets(space: Space, seed: int) -> Targets:
    """Return the test functions of a space: named ones (or the real label) and a random one.

    The random function has independent normal values at the nodes: no structure to exploit.
    Functions that V_m represents to within ``RESOLVABLE`` are left out.
    """
    noise = np.random.default_rng(seed).standard_normal(len(space.mu))
    if space.label is not None:
        named = {"label": space.label}
    else:
        named = {name: FUNCTIONS[name](space.nodes) for name in _names(space)}
    values = {**named, "random": noise}
    all_targets = project(space, tuple(values), np.stack(list(values.values()), axis=1))
    norms = np.sqrt((space.mu[:, None] * all_targets.values**2).sum(axis=0))
    keep = all_targets.best > RESOLVABLE * norms
    names = tuple(name for name, kept in zip(values, keep, strict=True) if kept)
    return project(space, names, all_targets.values[:, keep])


def best_uniform_error(space: Space, values: Array) -> float:
    """Best sup-norm error of approximating ``values`` (N,) in V_m, by linear programming.

    The value is computed from the polynomial that was found, so it is reached, never too small.

    Raises:
        RuntimeError: the linear program was not solved.
    """
    n, m = space.phi.shape
    scale = float(np.abs(values).max())
    ones = np.ones((n, 1))
    rows = np.block([[space.phi, -ones], [-space.phi, -ones]])
    sides = np.concatenate([values, -values]) / scale
    cost = np.append(np.zeros(m), 1.0)
    bounds = [(None, None)] * m + [(0, None)]
    solution = optimize.linprog(cost, A_ub=rows, b_ub=sides, bounds=bounds, method="highs")
    if solution.x is None:
        raise RuntimeError(f"{space.name}: no best uniform approximation: {solution.message}")
    return float(np.abs(values - scale * (space.phi @ solution.x[:m])).max())


def _names(space: Space) -> tuple[str, ...]:
    family = space.name.split("-")[0]
    return _NAMES.get(family, _POLYNOMIAL_NAMES)
