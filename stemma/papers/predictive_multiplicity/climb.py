"""Local search for a competing model that moves many people: the program's first incumbent."""

import numpy as np
from scipy import optimize

from stemma.papers.predictive_multiplicity.conflicts import Moves
from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.stats import Array

_TRIES = 10
_MARGIN = 1e-7  # of a score, kept from thresholds and taken off the loss bound


def climb(solver: Solver, moves: Moves, tau: float, start: Array) -> Array:
    """Add moves one by one, the nearest first, while some model with L <= ``tau`` makes them all.

    Args:
        solver: the solver of the task.
        moves: the moves that count.
        tau: bound on the mean loss.
        start: a competing model's coefficients, shape (d + 1,).

    Returns:
        Coefficients (d + 1,) of a competing model that makes at least the moves of ``start``.
    """
    task = solver.task
    a = moves.sign[:, None] * task.design[moves.row]
    b = moves.sign * moves.score + _MARGIN
    u = np.asarray(np.linalg.lstsq(task.whitening, start, rcond=None)[0], dtype=np.float64)
    best, made = start, a @ u >= b - 2 * _MARGIN
    inverse = np.linalg.inv(_hessian(solver) + 1e-12 * np.eye(len(u)))
    scale = np.sqrt((a @ inverse * a).sum(axis=1))
    failed = np.zeros(len(b), dtype=bool)
    while True:
        distance = np.where(made | failed, np.inf, (b - a @ u) / scale)
        nearest = np.argsort(distance, kind="stable")[:_TRIES]
        for k in nearest[np.isfinite(distance[nearest])]:
            wanted = made.copy()
            wanted[k] = True
            trial, loss = _cheapest(solver, a[wanted], b[wanted], u)
            if loss <= tau - 1e-9:
                u, made = trial, wanted | (a @ trial >= b)
                best = task.whitening @ u
                break
            # A dearer superset never becomes cheaper: what fails once is not tried again.
            failed[k] = True
        else:
            return best


def _hessian(solver: Solver) -> Array:
    hessian: Array = solver.derivatives(solver.optimum[None])[1][0].cpu().numpy()
    return hessian


def _cheapest(solver: Solver, a: Array, b: Array, start: Array) -> tuple[Array, float]:
    """Minimise the loss subject to a u >= b; infinite if the search ends infeasible."""
    task, z = solver.task, solver.task.design

    def value(u: Array) -> tuple[float, Array]:
        scores = z @ u
        risk = np.exp(-np.logaddexp(0, -scores))
        loss = (task.counts @ np.logaddexp(0, scores) - task.positives @ scores) / task.people
        return float(loss), (task.counts * risk - task.positives) @ z / task.people

    found = optimize.minimize(
        value,
        start,
        jac=True,
        method="SLSQP",
        constraints=optimize.LinearConstraint(a, b, np.inf),
        options={"maxiter": 100, "ftol": 1e-12},
    )
    feasible = (a @ found.x >= b - 0.5 * _MARGIN).all()
    return found.x, float(found.fun) if feasible else np.inf
