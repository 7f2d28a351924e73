"""Pairs of moves that no competing model makes together: cuts that tighten the discrepancy MIP."""

from typing import NamedTuple

import numpy as np
import torch

from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.stats import Array

MARGIN = 1e-6
"""A pair conflicts if its least loss exceeds the bound by more than this."""


class Moves(NamedTuple):
    """Demands ``sign * w.x_row >= sign * score``, one per binary of the program; shapes (q,)."""

    row: np.ndarray
    sign: Array
    score: Array


def conflicting_pairs(solver: Solver, moves: Moves, tau: float) -> np.ndarray:
    """Pairs (i, j), shape (p, 2), of moves that together cost a loss above ``tau``.

    The least loss of a pair is one of three: that of the dearer move alone, if it implies the
    other; else that with both scores held at their thresholds.
    """
    rows = torch.as_tensor(moves.row, device=solver.device)
    x, t, sign = solver.z[rows], solver.tensor(moves.score), solver.tensor(moves.sign)
    alone = solver.constrained(x[:, None], t[:, None], solver.optimum.expand(len(x), -1))
    # implied[i, j]: the cheapest model that makes move i makes move j as well.
    implied = (sign * (alone.u @ x.T - t)) >= 0
    first, second = np.triu_indices(len(x), 1)
    i, j = (torch.as_tensor(k, device=solver.device) for k in (first, second))
    open_ = ~(implied[i, j] | implied[j, i]) & (rows[i] != rows[j])
    i, j = i[open_], j[open_]
    pair = torch.stack([x[i], x[j]], 1)
    start = torch.where((alone.loss[i] > alone.loss[j])[:, None], alone.u[i], alone.u[j])
    cost = solver.constrained(pair, torch.stack([t[i], t[j]], 1), start).loss
    dear = cost > tau + MARGIN
    found: np.ndarray = torch.stack([i[dear], j[dear]], 1).cpu().numpy()
    return found
