"""The paper's method: candidate models that force one person's risk past each threshold."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, logit

from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.ranges import PROBABILITY_TOLERANCE
from stemma.papers.predictive_multiplicity.task import Task
from stemma.stats import Array

STEPS = 20


def thresholds(steps: int = STEPS) -> Array:
    """The grid of risks: 0 to 1 in ``steps`` steps, the ends replaced by 0.01 and 0.99."""
    grid: Array = np.linspace(0, 1, steps + 1)
    grid[0], grid[-1] = 0.01, 0.99
    return grid


@dataclass(frozen=True)
class Pool:
    """Candidate models; one pool serves every eps and delta.

    Attributes:
        weights: coefficients, shape (c, d + 1).
        losses: unpenalised mean losses, shape (c,).
        risks: risks of all distinct rows, shape (c, m).
    """

    weights: Array
    losses: Array
    risks: Array

    def competing(self, tau: float) -> "Pool":
        """Return the candidates with loss at most ``tau``."""
        keep = self.losses <= tau
        return Pool(self.weights[keep], self.losses[keep], self.risks[keep])

    def ranges(self, baseline_risk: Array) -> Array:
        """Lowest and highest risk of each row over the pool and the baseline, shape (m, 2)."""
        risks = np.vstack([self.risks, baseline_risk])
        return np.column_stack([risks.min(axis=0), risks.max(axis=0)])


def make_pool(task: Task, weights: Array) -> Pool:
    """Evaluate candidate coefficients (c, d + 1) from scratch."""
    return Pool(weights, task.loss(weights), task.risk(weights))


def candidate_path(solver: Solver, picked: np.ndarray, grid: Array) -> Array:
    """Coefficients of the candidates of each picked row and threshold, shape (k, g, d + 1).

    Each minimises the loss subject to the row's risk being at most the threshold (thresholds up
    to the baseline's risk) or at least (above it). The constraint binds, since the loss is convex
    and the threshold lies beyond the unconstrained optimum, so it is solved as an equality.
    """
    x = solver.z[torch.as_tensor(picked, device=solver.device)].repeat_interleave(len(grid), 0)
    t = solver.tensor(np.tile(logit(grid), len(picked)))
    start = solver.optimum.expand(len(x), -1)
    u = solver.constrained(x[:, None], t[:, None], start).u
    return solver.coefficients(u).reshape(len(picked), len(grid), -1)


def path_values(solver: Solver, picked: np.ndarray, grid: Array) -> Array:
    """Least loss at which each picked row has each risk of ``grid``, shape (k, g)."""
    values: Array = solver.task.loss(candidate_path(solver, picked, grid))
    return values


def pool_discrepancy(pool: Pool, baseline_risk: Array, people: Array, delta: float) -> float:
    """Largest share of people that one model of the pool moves by ``delta``: a lower bound.

    ``baseline_risk`` and ``people`` have shape (m,).
    """
    moved = np.abs(pool.risks - baseline_risk) >= delta - PROBABILITY_TOLERANCE
    return float((moved @ people).max(initial=0.0) / people.sum())


def zero_one_multiplicity(
    task: Task, pool: Pool, baseline: Array, eps: float
) -> tuple[float, float]:
    """Ambiguity and discrepancy of decisions (Marx, Calmon, Ustun 2020), within a pool.

    A model competes if its 0/1 training error is at most the baseline's plus ``eps``; a person
    counts if their decision at 0.5 flips. Over a pool both are lower bounds.
    """
    decisions, ours = pool.risks >= 0.5, expit(task.rows @ baseline) >= 0.5
    error = np.where(decisions, task.negatives, task.positives).sum(axis=1) / task.people
    limit = np.where(ours, task.negatives, task.positives).sum() / task.people + eps
    flips = decisions[error <= limit + 1e-12] != ours
    counts = task.counts
    return (
        float(counts[flips.any(axis=0)].sum() / task.people),
        float((flips @ counts).max(initial=0.0) / task.people),
    )
