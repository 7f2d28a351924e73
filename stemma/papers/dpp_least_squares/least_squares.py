"""Weighted least squares, batched over replicates, by orthogonal factorizations only."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from stemma.papers.dpp_least_squares.functions import Targets
from stemma.papers.dpp_least_squares.sampling import Nodes
from stemma.papers.dpp_least_squares.spaces import Array, Space


class Fit(NamedTuple):
    """The fits of R replicates to F functions from the first n points of each sample.

    Attributes:
        n: number of points.
        lambda_min: smallest eigenvalue of the empirical Gram matrix, shape (R,).
        shift: fitted minus projected coefficients, shape (R, m, F).
        ratio: squared L2 error over the squared best error, shape (R, F); at least 1.
        factor: triangular R with G = R^T R / n, shape (R, m, m).
    """

    n: int
    lambda_min: Array
    shift: Array
    ratio: Array
    factor: Array


def fit_path(
    space: Space,
    targets: Targets,
    weight: Array,
    nodes: Nodes,
    sizes: Sequence[int],
    device: str = "cpu",
) -> Iterator[Fit]:
    """Fit from growing prefixes of each sample; the triangular factor is updated, not redone.

    The right-hand side is the residual f - Pf, so that the solution is directly the coefficients'
    shift, without cancellation. Where the Gram matrix is singular to rounding, the solution of
    least norm in f is taken, as numpy's lstsq would.

    Args:
        space: the measure and features.
        targets: the functions.
        weight: w at each node, shape (N,).
        nodes: samples, shape (R, n_max).
        sizes: increasing prefix lengths, the first at least m.
        device: torch device.

    Raises:
        ValueError: sizes not increasing, below m, or beyond the sample.
    """
    m = space.m
    if list(sizes) != sorted(set(sizes)) or sizes[0] < m or sizes[-1] > nodes.shape[1]:
        raise ValueError(f"sizes {list(sizes)} must increase from m = {m} to {nodes.shape[1]}")
    table = np.sqrt(weight)[:, None] * np.concatenate([space.phi, targets.residuals], axis=1)
    rows = torch.as_tensor(table, dtype=torch.float64, device=device)
    index = torch.as_tensor(nodes, device=device)
    projection = torch.as_tensor(targets.coefficients, dtype=torch.float64, device=device)
    upper = torch.empty(len(nodes), 0, rows.shape[1], dtype=torch.float64, device=device)
    start = 0
    for n in sizes:
        stacked = torch.cat([upper, rows[index[:, start:n]]], dim=1)
        # Rows below the m-th are zero in the features: they never matter again.
        upper = torch.linalg.qr(stacked, mode="r").R[:, :m]
        start = n
        factor = upper[:, :, :m]
        values = torch.linalg.svdvals(factor)
        shift = _solve(factor, upper[:, :, m:], values, projection, n)
        lambda_min = (values[:, -1] ** 2 / n).cpu().numpy()
        added = (shift**2).sum(dim=1).cpu().numpy()
        ratio = 1 + added / targets.best**2
        yield Fit(n, lambda_min, shift.cpu().numpy(), ratio, factor.cpu().numpy())


def _solve(
    factor: torch.Tensor,
    right: torch.Tensor,
    values: torch.Tensor,
    projection: torch.Tensor,
    n: int,
) -> torch.Tensor:
    """Solve factor (R, m, m) @ shift = right (R, m, F); least norm where it is singular."""
    tolerance = n * torch.finfo(torch.float64).eps
    singular = values[:, -1] <= tolerance * values[:, 0]
    identity = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
    regular = torch.where(singular[:, None, None], identity, factor)
    shift: torch.Tensor = torch.linalg.solve_triangular(regular, right, upper=True)
    if singular.any():
        u, s, vt = torch.linalg.svd(factor[singular])
        kept = s > tolerance * s[:, :1]
        inverse = torch.where(kept, 1 / s, 0.0)
        solution = vt.mT @ (inverse[:, :, None] * (u.mT @ right[singular]))
        missed = vt.mT @ (~kept[:, :, None] * (vt @ projection))
        shift[singular] = solution - missed
    return shift
