"""What a branching policy sees of a node: its linear program as a bipartite graph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscipopt import Model

from stemma.stats import Array

Indices = np.ndarray[Any, np.dtype[np.int64]]

CONSTRAINT_FEATURES, VARIABLE_FEATURES = 5, 19
_INFINITE = 1e20
# Columns of PySCIPOpt's 19 features of a variable, and what they are divided by.
_COST, _REDUCED_COST, _AGE = 4, 11, 18


@dataclass(frozen=True)
class State:
    """One node of the tree, float32 (Gasse et al. 2019, table 4).

    Attributes:
        constraints: (c, 5) cosine with the objective, side, tight, dual value, age; a row with two
            sides stands twice, the lower one negated.
        edges: (2, e) constraint and variable of each non-zero.
        weights: (e,) coefficients, each constraint of norm 1.
        variables: (v, 19) type (4), cost, has bounds (2), at bounds (2), value, fractionality,
            reduced cost, basis (4), value in the incumbent, mean over incumbents, age.
        candidates: (k,) the fractional variables, the choices of the policy.
    """

    constraints: Array
    edges: Indices
    weights: Array
    variables: Array
    candidates: Indices


def observe(model: Model) -> State:
    """Read the state of the focus node, whose linear program must have been solved.

    PySCIPOpt's own graph gives the variables, edges and cosines. The sides are read from the rows:
    its feature "bias" is 0 for a row without a left side.
    """
    columns, entries, rows, _ = model.getBipartiteGraphRepresentation()
    variables = np.nan_to_num(np.array(columns, dtype=np.float64))
    cost_norm = float(np.linalg.norm(variables[:, _COST])) or 1.0
    age = float(model.getNLPs()) + 10.0
    variables[:, [_COST, _REDUCED_COST]] /= cost_norm
    variables[:, _AGE] /= age
    constraints, kept, signs, norms = _sides(model, rows, cost_norm, age)
    edges, weights = _edges(np.array(entries), kept, signs, norms, len(rows))
    candidates = [v.getCol().getLPPos() for v in model.getLPBranchCands()[0]]
    return State(
        constraints.astype(np.float32),
        edges,
        weights.astype(np.float32),
        variables.astype(np.float32),
        np.array(candidates, dtype=np.int64),
    )


def _sides(
    model: Model, features: list[list[float]], cost_norm: float, age: float
) -> tuple[Array, Indices, Array, Array]:
    """Return features, row, sign and norm of each one-sided constraint: lower sides first."""
    rows = model.getLPRowsData()
    table = np.array([(row.getLhs(), row.getRhs(), row.getConstant()) for row in rows])
    lengths = np.array([row.getNorm() for row in rows])
    norms = np.where(lengths > 0, lengths, 1.0)
    known = np.array(features, dtype=np.float64)
    cosine, dual, ages = known[:, 3], known[:, 8] / (norms * cost_norm), known[:, 9] / age
    blocks, kept, signs = [], [], []
    for sign, side, tight in ((-1.0, table[:, 0], known[:, 6]), (1.0, table[:, 1], known[:, 7])):
        there = np.flatnonzero(np.abs(side) < _INFINITE)
        bias = sign * (side - table[:, 2]) / norms
        block = np.stack([sign * cosine, bias, tight, sign * dual, ages], axis=1)
        blocks.append(block[there])
        kept.append(there)
        signs.append(np.full(len(there), sign))
    return np.concatenate(blocks), np.concatenate(kept), np.concatenate(signs), norms


def _edges(
    entries: Array, kept: Indices, signs: Array, norms: Array, rows: int
) -> tuple[Indices, Array]:
    """Return (2, e) edges and (e,) weights of the one-sided constraints."""
    column, row = entries[:, 0].astype(np.int64), entries[:, 1].astype(np.int64)
    found, weights = [], []
    for sign in (-1.0, 1.0):
        number = np.full(rows, -1, dtype=np.int64)
        mine = signs == sign
        number[kept[mine]] = np.flatnonzero(mine)
        there = number[row] >= 0
        found.append(np.stack([number[row[there]], column[there]]))
        weights.append(sign * entries[there, 2] / norms[row[there]])
    return np.concatenate(found, axis=1), np.concatenate(weights)
