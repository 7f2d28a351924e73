"""Ad-hoc ways to explore near-optimal models, and a closed-form approximation of the ranges."""

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.path import Pool, make_pool
from stemma.papers.predictive_multiplicity.task import RIDGE, Task
from stemma.stats import Array


def bootstrap_refits(task: Task, refits: int, seed: int) -> Pool:
    """Models refitted to ``refits`` bootstrap resamples of the people, with the tiny ridge."""
    cells = np.concatenate([task.positives, task.negatives])
    drawn = np.random.default_rng(seed).multinomial(task.people, cells / task.people, size=refits)
    positives, negatives = np.split(drawn.astype(float), 2, axis=1)
    return make_pool(task, fit_many(task, positives, negatives, np.full(refits, RIDGE)))


def regularised_refits(task: Task, refits: int) -> Pool:
    """Models refitted with L2 penalties from 1e-8 to 1, evenly spaced in the logarithm."""
    positives, negatives = _repeated(task, refits)
    return make_pool(task, fit_many(task, positives, negatives, np.logspace(-8, 0, refits)))


def seed_refits(task: Task, refits: int, seed: int) -> Pool:
    """Models refitted from random starts: the problem is convex, so all of them coincide."""
    positives, negatives = _repeated(task, refits)
    start = np.random.default_rng(seed).normal(size=(refits, task.rows.shape[1]))
    return make_pool(task, fit_many(task, positives, negatives, np.full(refits, RIDGE), start))


def _repeated(task: Task, refits: int) -> tuple[Array, Array]:
    return np.tile(task.positives, (refits, 1)), np.tile(task.negatives, (refits, 1))


def fit_many(
    task: Task, positives: Array, negatives: Array, ridge: Array, start: Array | None = None
) -> Array:
    """Minimise L(w) + ridge ||w without intercept||^2 under B weightings of the distinct rows.

    Args:
        task: gives the rows (m, d + 1) and the number of people that losses are divided by.
        positives: people labelled +1 of each row, shape (B, m).
        negatives: the same for -1.
        ridge: penalties, shape (B,).
        start: where Newton's method starts, shape (B, d + 1); zeros by default.

    Returns:
        Coefficients, shape (B, d + 1).
    """
    x, width = task.rows, task.rows.shape[1]
    upper = np.triu_indices(width)
    outer = x[:, upper[0]] * x[:, upper[1]]
    counts = positives + negatives
    penalty = np.tile(ridge[:, None], (1, width))
    penalty[:, 0] = 0.0

    def objective(w: Array) -> Array:
        scores = w @ x.T
        total = (np.logaddexp(0, scores) * counts - scores * positives).sum(axis=1)
        value: Array = total / task.people + (penalty * w * w).sum(axis=1)
        return value

    w = np.zeros((len(ridge), width)) if start is None else start.copy()
    diagonal = np.arange(width)
    for _ in range(100):
        risk = expit(w @ x.T)
        gradient = (risk * counts - positives) @ x / task.people + 2 * penalty * w
        if np.abs(gradient).max() < 1e-11:
            break
        hessian = np.empty((len(w), width, width))
        packed = (risk * (1 - risk) * counts) @ outer / task.people
        hessian[:, upper[0], upper[1]] = hessian[:, upper[1], upper[0]] = packed
        hessian[:, diagonal, diagonal] += 2 * penalty + 1e-12
        step: Array = np.asarray(np.linalg.solve(hessian, gradient[..., None])[..., 0], dtype=float)
        w = w - _step_sizes(objective, w, step)[:, None] * step
    return w


def _step_sizes(objective: Callable[[Array], Array], w: Array, step: Array) -> Array:
    """Halve each step until its objective no longer grows."""
    size, before = np.ones(len(w)), objective(w)
    for _ in range(30):
        worse = objective(w - size[:, None] * step) > before + 1e-15
        if not worse.any():
            break
        size[worse] /= 2
    return size


def quadratic_ranges(solver: Solver, baseline: Array, eps: float) -> Array:
    """Ranges of the risk if the loss were quadratic around the baseline, shape (m, 2).

    Scores then range over w0.x_i +- sqrt(2 eps x_i' H^-1 x_i): one Hessian, no search. The models
    behind these ranges may break the bound on the loss.
    """
    task = solver.task
    risk = task.risk(baseline)
    z = task.design
    hessian = (z.T * (task.counts * risk * (1 - risk) / task.people)) @ z
    spread = (z * np.linalg.solve(hessian + 1e-12 * np.eye(z.shape[1]), z.T).T).sum(axis=1)
    half = np.sqrt(2 * eps * spread)
    ranges: Array = expit((task.rows @ baseline)[:, None] + half[:, None] * np.array([-1.0, 1.0]))
    return ranges
