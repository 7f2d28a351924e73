"""One mixed-integer linear program as arrays, and its way into SCIP."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscipopt import Model, quicksum
from scipy import sparse

from stemma.stats import Array


@dataclass(frozen=True)
class Milp:
    """min c.x subject to lhs <= A x <= rhs, lower <= x <= upper, some x integer.

    Attributes:
        objective: (variables,) costs c.
        matrix: (constraints, variables) A, in rows.
        lhs: (constraints,) lower sides, -inf where there is none.
        rhs: (constraints,) upper sides, inf where there is none.
        lower: (variables,) lower bounds.
        upper: (variables,) upper bounds.
        integer: (variables,) true where the variable must be integer.
    """

    objective: Array
    matrix: "sparse.csr_array[np.float64, tuple[int, int]]"
    lhs: Array
    rhs: Array
    lower: Array
    upper: Array
    integer: "np.ndarray[Any, np.dtype[np.bool_]]"

    @property
    def digest(self) -> str:
        """Sha256 of the program: equal for equal programs, whatever seed made them."""
        found = hashlib.sha256()
        parts = (self.matrix.indptr, self.matrix.indices, self.matrix.data, self.objective)
        for part in (*parts, self.lhs, self.rhs, self.lower, self.upper, self.integer):
            found.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
        return found.hexdigest()


def binary_program(objective: Array, matrix: Any, lhs: Array, rhs: Array) -> Milp:
    """Return a program whose variables are all binary; shapes as in :class:`Milp`."""
    n = len(objective)
    whole = np.ones(n, dtype=bool)
    return Milp(objective, sparse.csr_array(matrix), lhs, rhs, np.zeros(n), np.ones(n), whole)


def build(milp: Milp) -> Model:
    """Return the program as a SCIP model that prints nothing."""
    model = Model()
    model.hideOutput()
    kinds = np.where(milp.integer, "I", "C")
    kinds[milp.integer & (milp.lower == 0) & (milp.upper == 1)] = "B"
    x = [
        model.addVar(f"x{i}", vtype=str(kind), lb=lower, ub=upper, obj=cost)
        for i, (kind, lower, upper, cost) in enumerate(
            zip(kinds, milp.lower, milp.upper, milp.objective, strict=True)
        )
    ]
    for start, end, lhs, rhs in zip(
        milp.matrix.indptr[:-1], milp.matrix.indptr[1:], milp.lhs, milp.rhs, strict=True
    ):
        terms = zip(milp.matrix.indices[start:end], milp.matrix.data[start:end], strict=True)
        row = quicksum(float(a) * x[j] for j, a in terms)
        if lhs == rhs:
            model.addCons(row == rhs)
        elif np.isinf(lhs):
            model.addCons(row <= rhs)
        else:
            model.addCons(lhs <= (row if np.isinf(rhs) else (row <= rhs)))
    return model
