"""Cheap rivals that look at the points, not at f: boosting, greedy removal, Fekete points.

Boosting keeps the best conditioned of several samples; removal drops points while the Gram matrix
stays well conditioned (Haberstich, Nouy and Perrin, Boosted optimal weighted least-squares).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from stemma.papers.dpp_least_squares.sampling import Nodes
from stemma.papers.dpp_least_squares.spaces import Array, Space


def best_of(draws: int, lambda_min: Array, *others: Array) -> tuple[Array, ...]:
    """Keep, in every group of ``draws`` replicates, the one with the largest lambda_min.

    Args:
        draws: samples drawn for each one that is kept.
        lambda_min: shape (R,); a last incomplete group is left out.
        others: arrays (R, ...) that are selected alike.

    Returns:
        The selected ``lambda_min`` and ``others``, first axis R // draws.
    """
    groups = len(lambda_min) // draws
    chosen = lambda_min[: groups * draws].reshape(groups, draws).argmax(axis=1)
    index = np.arange(groups) * draws + chosen
    return tuple(a[index] for a in (lambda_min, *others))


def remove_greedily(space: Space, weight: Array, nodes: Nodes, floor: float) -> NDArray[np.bool_]:
    """Drop points one by one while the Gram matrix of the rest keeps lambda_min >= ``floor``.

    With k points left after a removal, M = (sum of all rows' outer products) - floor k I must stay
    positive definite without the removed row a, that is a.M^-1 a < 1. Among the points that allow
    this, the one that raises trace(M^-1) least goes; a replicate stops when no point allows it, or
    at m points.

    Args:
        space: the measure and features.
        weight: w at each node, shape (N,).
        nodes: samples, shape (R, n).
        floor: required smallest eigenvalue.

    Returns:
        Which points stay, shape (R, n). A sample below the floor at the start keeps every point.
    """
    rows = (np.sqrt(weight)[:, None] * space.phi)[nodes]
    kept = np.ones(nodes.shape, dtype=bool)
    total = rows.transpose(0, 2, 1) @ rows
    stable = np.linalg.eigvalsh(total)[:, 0] / nodes.shape[1] >= floor
    active = np.flatnonzero(stable)
    for left in range(nodes.shape[1] - 1, space.m - 1, -1):
        inverse = np.linalg.inv(total[active] - floor * left * np.eye(space.m))
        images = rows[active] @ inverse
        leverage = (images * rows[active]).sum(axis=2)
        allowed = kept[active] & (leverage < 1)
        cost = np.full(leverage.shape, np.inf)
        cost[allowed] = (images**2).sum(axis=2)[allowed] / (1 - leverage[allowed])
        chosen = cost.argmin(axis=1)
        possible = allowed.any(axis=1)
        active, chosen = active[possible], chosen[possible]
        if not active.size:
            break
        kept[active, chosen] = False
        row = rows[active, chosen]
        total[active] -= row[:, :, None] * row[:, None, :]
    return kept


def fekete_nodes(space: Space) -> Nodes:
    """The m nodes of a greedy determinant maximization (pivoted QR), shape (m,): no randomness."""
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    pivots = linalg.qr(vectors.T, pivoting=True, mode="r")[1]
    return np.asarray(pivots[: space.m], dtype=np.int64)
