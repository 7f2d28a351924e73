"""Batched convex problems: min L(w) subject to w.x_i = t, for many pairs (i, t) at once.

The value V_i(t) of that problem is convex in t, its derivative is the multiplier of the
constraint, and everything in the paper that concerns one person is read off V_i: a threshold of
the candidate path is one t, the viable range is the pair of roots of V_i(t) = L0 + eps.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.papers.predictive_multiplicity.task import Task
from stemma.stats import Array

_TOLERANCE = 1e-13
_LEVENBERG = 1e-13
_ELEMENTS = 4_000_000  # of a batch's score matrix: 32 MB in double precision


class Minimum(NamedTuple):
    """Solutions: coefficients u (B, r), loss (B,), multipliers dV/dt (B, k) of k constraints."""

    u: Tensor
    loss: Tensor
    multiplier: Tensor


class Solver:
    """Newton's method for one task, in whitened coordinates and double precision.

    Attributes:
        task: the task.
        batch: problems that fit into memory at once.
        optimum: whitened coefficients (r,) of the unpenalised minimum of the loss.
        optimal_loss: the loss there.
    """

    def __init__(self, task: Task, device: str = "cpu") -> None:
        self.task = task
        self.device = device
        self.z = self.tensor(task.design)
        self._counts = self.tensor(task.counts / task.people)
        self._positives = self.tensor(task.positives / task.people)
        m, self._rank = self.z.shape
        self._rows, self._cols = torch.triu_indices(self._rank, self._rank, device=device)
        self._outer = self.z[:, self._rows] * self.z[:, self._cols]
        self.batch = max(1, _ELEMENTS // max(m, self._rank**2))
        self.optimum = self._unconstrained()
        self.optimal_loss = float(self.loss(self.optimum[None])[0])

    def tensor(self, values: Array) -> Tensor:
        """Return ``values`` as a double tensor on the solver's device."""
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64).to(self.device)

    def coefficients(self, u: Tensor) -> Array:
        """Map whitened coefficients (B, r) to those of the columns (B, d + 1), of least norm."""
        mapped: Array = u.cpu().numpy() @ self.task.whitening.T
        return mapped

    def loss(self, u: Tensor) -> Tensor:
        """Mean loss of (B, r) whitened coefficients, shape (B,)."""
        scores = u @ self.z.T
        # log(1 + e^s) - s is log(1 + e^-s): one softplus serves both labels.
        return torch.nn.functional.softplus(scores) @ self._counts - scores @ self._positives

    def derivatives(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (B, r) and Hessian (B, r, r) of the mean loss."""
        risk = torch.sigmoid(u @ self.z.T)
        gradient = (risk * self._counts - self._positives) @ self.z
        packed = (risk * (1 - risk) * self._counts) @ self._outer
        hessian = packed.new_empty(len(u), self._rank, self._rank)
        hessian[:, self._rows, self._cols] = packed
        hessian[:, self._cols, self._rows] = packed
        return gradient, hessian

    def _solve(self, hessian: Tensor, right: Tensor) -> Tensor:
        """Solve with right sides (B, r, q); a tiny ridge keeps saturated Hessians regular."""
        trace = hessian.diagonal(dim1=1, dim2=2).mean(1)
        ridge = (_LEVENBERG + 1e-12 * trace)[:, None].expand(-1, self._rank)
        solution: Tensor = torch.linalg.solve(hessian + torch.diag_embed(ridge), right)
        return solution

    def _unconstrained(self) -> Tensor:
        u = self.z.new_zeros(1, self._rank)
        for _ in range(100):
            gradient, hessian = self.derivatives(u)
            if float(gradient.norm()) < _TOLERANCE:
                break
            step = self._solve(hessian, gradient[:, :, None])[:, :, 0]
            u = self._descend(u, -step, (gradient * step).sum(1))
        return u[0]

    def _descend(self, u: Tensor, step: Tensor, decrement: Tensor) -> Tensor:
        """Move along ``step``, halved until the loss falls by a share of what Newton expects."""
        size = u.new_ones(len(u))
        before = self.loss(u)
        # Below rounding error the loss cannot judge a step; full Newton steps are safe there.
        open_ = torch.nonzero(decrement > 1e-12).ravel()
        for _ in range(40):
            trial = u[open_] + size[open_, None] * step[open_]
            wanted = before[open_] - 1e-4 * size[open_] * decrement[open_]
            open_ = open_[~(self.loss(trial) <= wanted)]
            if not len(open_):
                break
            size[open_] /= 2
        return u + size[:, None] * step

    def constrained(self, x: Tensor, t: Tensor, start: Tensor) -> Minimum:
        """Minimise L(u) subject to k equations u.x_j = t_j, for B problems at once.

        Args:
            x: whitened rows, shape (B, k, r), linearly independent within a problem.
            t: their scores, shape (B, k).
            start: coefficients near the solutions, shape (B, r).
        """
        size = self.batch
        parts = [
            self._constrained(x[i : i + size], t[i : i + size], start[i : i + size])
            for i in range(0, len(x), size)
        ]
        return Minimum(*(torch.cat(field) for field in zip(*parts, strict=True)))

    def _constrained(self, x: Tensor, t: Tensor, start: Tensor) -> Minimum:
        u = _onto(start, self._solve(self.derivatives(start)[1], x.mT), x, t)
        u = _onto(u, x.mT, x, t)
        multiplier = torch.zeros_like(t)
        active = torch.arange(len(t), device=self.device)
        for _ in range(80):
            rows = x[active]
            gradient, hessian = self.derivatives(u[active])
            solved = self._solve(hessian, torch.cat([gradient[:, :, None], rows.mT], 2))
            newton, spread = solved[:, :, :1], solved[:, :, 1:]
            lam = torch.linalg.solve(rows @ spread, rows @ newton)
            multiplier[active] = lam[:, :, 0]
            step = (spread @ lam - newton)[:, :, 0]
            residual = (gradient - (rows.mT @ lam)[:, :, 0]).norm(dim=1)
            going = residual > _TOLERANCE
            if not going.any():
                break
            active, step, gradient = active[going], step[going], gradient[going]
            u[active] = self._descend(u[active], step, -(gradient * step).sum(1))
        return Minimum(u, self.loss(u), multiplier)


def _onto(u: Tensor, directions: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Move (B, r) points along ``directions`` (B, r, k) until u.x_j = t_j for all k rows."""
    missing = (t - (x @ u[:, :, None])[:, :, 0])[:, :, None]
    moved: Tensor = u + (directions @ torch.linalg.solve(x @ directions, missing))[:, :, 0]
    return moved
