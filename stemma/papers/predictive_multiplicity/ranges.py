"""Exact viable prediction ranges, with a certificate that does not trust the solver."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.task import Task
from stemma.stats import Array

SCORE_CAP = 12.0
"""A score this large is a risk within 6.2e-6 of 0 or 1: larger ones are not distinguished."""

PROBABILITY_TOLERANCE = 1e-6
"""A risk counts as moved by delta if it moves by delta less this."""

RADIUS = 200.0
"""Certificates hold against every competing model this near to the one found, in coefficients."""

_STEP = 1e-7  # of the score, at which the root of V(t) = L0 + eps counts as found


@dataclass(frozen=True)
class Ranges:
    """Viable ranges of k distinct rows over {w : L(w) <= tau}; side 0 is lowest, 1 highest.

    Attributes:
        picked: the rows' indices in the task, shape (k,).
        weights: coefficients of the extreme models, shape (k, 2, d + 1).
        scores: their scores w.x_i, shape (k, 2).
        multipliers: dV/dt there, shape (k, 2).
        capped: scores stopped at the cap, where the risk is 0 or 1 to 6.2e-6, shape (k, 2).
        tau: the bound L0 + eps on the mean loss.
    """

    picked: np.ndarray
    weights: Array
    scores: Array
    multipliers: Array
    capped: np.ndarray
    tau: float

    @property
    def risks(self) -> Array:
        """Lowest and highest viable risk, shape (k, 2)."""
        risks: Array = expit(self.scores)
        return risks

    @property
    def widths(self) -> Array:
        """Width of the range of risks, shape (k,)."""
        widths: Array = self.risks[:, 1] - self.risks[:, 0]
        return widths


def viable_ranges(solver: Solver, picked: np.ndarray, tau: float) -> Ranges:
    """Lowest and highest risk of the rows ``picked`` over all models with L(w) <= ``tau``.

    Finds the roots of V_i(t) = tau by Newton's method on sqrt(V_i(t) - V_min), which is nearly
    linear in t, inside a bracket that bisection falls back on.

    Raises:
        ValueError: if ``tau`` is not above the minimum of the loss (no model competes).
    """
    if tau <= solver.optimal_loss:
        raise ValueError(f"no model has a loss below {tau:g}; the minimum is {solver.optimal_loss}")
    x = solver.z[torch.as_tensor(picked, device=solver.device)].repeat_interleave(2, dim=0)
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64, device=solver.device).repeat(len(picked))
    u, score, multiplier, capped = _roots(solver, x, sign, tau)
    shape = (len(picked), 2)
    return Ranges(
        picked=picked,
        weights=solver.coefficients(u).reshape(*shape, -1),
        scores=score.cpu().numpy().reshape(shape),
        multipliers=multiplier.cpu().numpy().reshape(shape),
        capped=capped.cpu().numpy().reshape(shape),
        tau=tau,
    )


def _roots(
    solver: Solver, x: Tensor, sign: Tensor, tau: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients, scores, multipliers and cap flags of the extremes in direction ``sign``.

    Everything is measured outwards: ``out = sign * score`` grows from the optimum's.
    """
    goal = (tau - solver.optimal_loss) ** 0.5
    u = solver.optimum.expand(len(x), -1).clone()
    low = sign * (u * x).sum(1)
    cap = torch.clamp(low + 1, min=SCORE_CAP)
    high = cap.clone()
    curvature = _curvature(solver, x)
    out = torch.minimum(low + goal * (2 / curvature).sqrt(), cap)
    multiplier = torch.zeros_like(out)
    capped = torch.zeros_like(out, dtype=torch.bool)
    active = torch.arange(len(x), device=x.device)
    for _ in range(100):
        found = solver.constrained(x[active][:, None], (sign * out)[active][:, None], u[active])
        u[active], multiplier[active] = found.u, found.multiplier[:, 0]
        slope = (sign[active] * found.multiplier[:, 0]).clamp(min=1e-300)
        excess = found.loss - tau
        inside = excess <= 0
        low[active] = torch.where(inside, out[active], low[active])
        high[active] = torch.where(inside, high[active], out[active])
        capped[active] = inside & (out[active] >= cap[active])
        root = (found.loss - solver.optimal_loss).clamp(min=0).sqrt()
        step = (goal - root) * 2 * root / slope
        done = capped[active] | ((excess / slope).abs() < _STEP)
        new = out[active] + step
        beyond = (new >= high[active]) & (high[active] < cap[active]) | (new <= low[active])
        new = torch.where(beyond, (low[active] + high[active]) / 2, new)
        new = torch.minimum(new, cap[active])
        out[active] = torch.where(done, out[active], new)
        active = active[~done]
        if not len(active):
            break
    return u, sign * out, multiplier, capped


def _curvature(solver: Solver, x: Tensor) -> Tensor:
    """Second derivative of V_i at the optimum, 1 / (x' H^-1 x), shape (B,)."""
    _, hessian = solver.derivatives(solver.optimum[None])
    ridge = 1e-12 * torch.eye(hessian.shape[1], dtype=hessian.dtype, device=hessian.device)
    curvature: Tensor = 1 / (x * torch.linalg.solve(hessian[0] + ridge, x.T).T).sum(1)
    return curvature


def certificate(task: Task, ranges: Ranges, radius: float = RADIUS) -> Array:
    """Upper bound on how far each score lies inside the true extreme, in logits, shape (k, 2).

    Recomputed from the stored coefficients alone. By convexity every w' with L(w') <= tau has
    tau >= L(w) + lambda (x.w' - x.w) + r.(w' - w), where r is the gradient of the loss at w less
    lambda x. So x.w' exceeds x.w by at most (tau - L(w) + |r| radius) / lambda: the dual value
    less the primal one. Capped scores have risk 0 or 1 and are certified as such (gap 0).
    """
    rows = task.rows[ranges.picked][:, None, :]
    residual = task.gradient(ranges.weights) - ranges.multipliers[..., None] * rows
    slack = ranges.tau - task.loss(ranges.weights) + np.linalg.norm(residual, axis=2) * radius
    with np.errstate(divide="ignore"):
        gap = np.maximum(slack, 0) / np.abs(ranges.multipliers)
    certified: Array = np.where(ranges.capped, 0.0, gap)
    return certified


def shifts(ranges: Ranges, baseline_risk: Array) -> Array:
    """Largest |p_w - p_w0| over competing models, shape (k,); ``baseline_risk`` has shape (m,)."""
    shifts: Array = np.abs(ranges.risks - baseline_risk[ranges.picked, None]).max(axis=1)
    return shifts


def ambiguity(shift: Array, people: Array, delta: float) -> float:
    """Share of people whose risk can move by ``delta``; ``shift`` and ``people`` (k,)."""
    return float(people[shift >= delta - PROBABILITY_TOLERANCE].sum() / people.sum())
