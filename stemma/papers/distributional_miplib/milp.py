"""One mixed-integer linear program as arrays, and its way into and out of SCIP."""

import ast
import csv
import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyscipopt import Model, quicksum
from scipy import sparse

from stemma.errors import DataCorrupt
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
    matrix: sparse.csr_array
    lhs: Array
    rhs: Array
    lower: Array
    upper: Array
    integer: Array

    @property
    def digest(self) -> str:
        """Sha256 of the program: equal for equal programs, whatever seed made them."""
        found = hashlib.sha256()
        parts = (self.matrix.indptr, self.matrix.indices, self.matrix.data, self.objective)
        for part in (*parts, self.lhs, self.rhs, self.lower, self.upper, self.integer):
            found.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
        return found.hexdigest()


def binary_program(objective: Array, matrix: sparse.sparray, lhs: Array, rhs: Array) -> Milp:
    """Return a program whose variables are all binary; shapes as in :class:`Milp`."""
    n = len(objective)
    bounds = np.zeros(n), np.ones(n), np.ones(n, dtype=bool)
    return Milp(objective, sparse.csr_array(matrix), lhs, rhs, *bounds)


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


def from_model(model: Model) -> Milp:
    """Return the linear program that a SCIP model holds; a maximization is turned round.

    Raises:
        DataCorrupt: a constraint is not linear.
    """
    variables = model.getVars()
    column = {v.name: i for i, v in enumerate(variables)}
    rows, columns, values, lhs, rhs = [], [], [], [], []
    for number, constraint in enumerate(model.getConss()):
        if constraint.getConshdlrName() != "linear":
            raise DataCorrupt(f"the constraint {constraint.name} is not linear")
        for name, value in model.getValsLinear(constraint).items():
            rows.append(number)
            columns.append(column[str(name)])
            values.append(value)
        lhs.append(_unbounded(model.getLhs(constraint)))
        rhs.append(_unbounded(model.getRhs(constraint)))
    sign = 1.0 if model.getObjectiveSense() == "minimize" else -1.0
    shape = (len(lhs), len(variables))
    return Milp(
        sign * np.array([v.getObj() for v in variables]),
        sparse.csr_array((values, (rows, columns)), shape=shape),
        np.array(lhs),
        np.array(rhs),
        np.array([_unbounded(v.getLbOriginal()) for v in variables]),
        np.array([_unbounded(v.getUbOriginal()) for v in variables]),
        np.array([v.vtype() != "CONTINUOUS" for v in variables]),
    )


def _unbounded(value: float) -> float:
    return float(np.copysign(np.inf, value)) if abs(value) >= 1e20 else value


def read_library(table: Path, limit: int | None = None) -> Iterator[Milp]:
    """Yield the programs of one CSV file of Distributional MIPLIB.

    Its column MILP holds each program's LP or MPS text as the repr of Python bytes.

    Raises:
        DataCorrupt: the column is missing, or a program cannot be read.
    """
    csv.field_size_limit(2**31 - 1)
    with table.open(newline="") as stream:
        reader = csv.DictReader(stream)
        if "MILP" not in (reader.fieldnames or ()):
            raise DataCorrupt(f"{table} has no column MILP: is it a file of D-MIPLIB?")
        for number, row in enumerate(itertools.islice(reader, limit)):
            try:
                yield _parse(ast.literal_eval(row["MILP"]))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataCorrupt(f"{table}, program {number}: {error}") from error


def _parse(content: bytes) -> Milp:
    ending = ".mps" if content.lstrip()[:4].upper() in (b"NAME", b"ROWS") else ".lp"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"program{ending}"
        path.write_bytes(content)
        model = Model()
        model.hideOutput()
        model.readProblem(str(path))
    return from_model(model)
