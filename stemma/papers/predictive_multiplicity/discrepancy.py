"""Discrepancy by mixed-integer programming: one competing model that moves the most people."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from stemma.papers.predictive_multiplicity.climb import climb
from stemma.papers.predictive_multiplicity.conflicts import Moves, conflicting_pairs
from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.path import Pool
from stemma.papers.predictive_multiplicity.ranges import (
    PROBABILITY_TOLERANCE,
    SCORE_CAP,
    Ranges,
)
from stemma.papers.predictive_multiplicity.task import Task
from stemma.stats import Array

_LOSS_TOLERANCE = 1e-7
_SLACK = 1e-4  # what the ranges are certified to, in logits
_TANGENTS = 15


@dataclass(frozen=True)
class Limits:
    """Where the search stops: SCIP's gap, nodes, and seconds as a safety net.

    Nodes are the limit to rely on: unlike seconds they do not depend on the machine.
    """

    gap: float = 0.10
    nodes: int = 2_000
    seconds: float = 600.0


@dataclass(frozen=True)
class Discrepancy:
    """Result of one program; shares are of the people of the rows that were looked at.

    Attributes:
        share: share of people moved by ``weights``, recounted from the coefficients.
        bound: SCIP's upper bound on that share.
        weights: the incumbent, a model with L(w) <= tau, shape (d + 1,).
        status: why SCIP stopped.
        nodes: branch-and-bound nodes.
        cuts: cuts of the loss added at solutions.
    """

    share: float
    bound: float
    weights: Array
    status: str
    nodes: int
    cuts: int

    @property
    def gap(self) -> float:
        """Relative optimality gap (bound - share) / share; 0 if both are 0."""
        if self.bound <= self.share:
            return 0.0
        return (self.bound - self.share) / self.share if self.share > 0 else float("inf")


class Movement:
    """Counts whom a model moves, and pulls a model back into the set of competing ones."""

    def __init__(self, task: Task, ranges: Ranges, baseline: Array, delta: float) -> None:
        self.task, self.tau, self.baseline, self.delta = task, ranges.tau, baseline, delta
        self.people = task.counts[ranges.picked]
        self._picked = ranges.picked
        self._risk = task.risk(baseline)

    def share(self, weights: Array) -> float:
        """Share of the picked rows' people whom ``weights`` (d + 1,) move by delta."""
        shift = np.abs(self.task.risk(weights) - self._risk)[self._picked]
        moved = shift >= self.delta - PROBABILITY_TOLERANCE
        return float(self.people[moved].sum() / self.people.sum())

    def pull_back(self, weights: Array) -> Array:
        """Shrink ``weights`` towards the baseline until the loss is at most tau (bisection)."""
        if self.task.loss(weights) <= self.tau:
            return weights
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            inside = self.task.loss(self._between(weights, middle)) <= self.tau
            low, high = (middle, high) if inside else (low, middle)
        return self._between(weights, low)

    def _between(self, weights: Array, share: float) -> Array:
        point: Array = self.baseline + share * (weights - self.baseline)
        return point


def solve_discrepancy(
    solver: Solver,
    ranges: Ranges,
    baseline: Array,
    delta: float,
    pool: Pool,
    limits: Limits,
    w_max: float = 25.0,
) -> Discrepancy:
    """Maximise the share of people whose risk one competing model moves by ``delta``.

    The program of the authors' code (disc_mip.py), on distinct rows: a binary for each row and
    direction says that the row moves, its score then lies beyond logit(p0_i +- delta),
    |w_j| <= ``w_max``, and L(w) <= tau is an outer approximation with lazy gradient cuts. Three
    things make it tighter: exact ranges as the big-M constants, tangents to the loss of each row
    instead of the loss as a whole, and pairs of moves that no competing model makes.

    Args:
        solver: the solver of the task.
        ranges: exact ranges of the rows to look at; their ``tau`` bounds the loss.
        baseline: the baseline's coefficients, shape (d + 1,).
        delta: the least move of a risk that counts.
        pool: competing models, for the first incumbent.
        limits: where to stop.
        w_max: box of the coefficients.
    """
    movement = Movement(solver.task, ranges, baseline, delta)
    fits = (np.abs(pool.weights).max(axis=1, initial=0) <= w_max) & (pool.losses <= ranges.tau)
    best = max([baseline, *pool.weights[fits]], key=movement.share)
    moves = possible_moves(ranges, solver.task.risk(baseline)[ranges.picked], delta)
    if not len(moves.row):
        return Discrepancy(0.0, 0.0, baseline, "optimal", 0, 0)
    climbed = climb(solver, moves, ranges.tau, best)
    if np.abs(climbed).max() <= w_max:
        best = max([best, climbed], key=movement.share)
    program = _Program(solver.task, ranges, moves, w_max)
    program.forbid(conflicting_pairs(solver, moves, ranges.tau))
    handler = program.attach(movement, best)
    program.offer(best)
    for name, value in (
        ("limits/gap", limits.gap * 0.99),
        ("limits/totalnodes", limits.nodes),
        ("limits/time", limits.seconds),
    ):
        program.model.setParam(name, value)
    program.model.optimize()
    bound = min(program.model.getDualbound() / movement.people.sum(), 1.0)
    return Discrepancy(
        share=handler.share,
        bound=bound,
        weights=handler.best,
        status=str(program.model.getStatus()),
        nodes=int(program.model.getNTotalNodes()),
        cuts=handler.cuts,
    )


def possible_moves(ranges: Ranges, risk: Array, delta: float) -> Moves:
    """Moves by ``delta`` that some competing model makes; ``risk`` (k,) is the baseline's."""
    with np.errstate(invalid="ignore", divide="ignore"):
        down, up = logit(risk - delta), logit(risk + delta)
    # Comparisons with NaN are false: thresholds outside (0, 1) drop out. Margin: certificates.
    falls = np.flatnonzero((ranges.scores[:, 0] - _SLACK <= down) & np.isfinite(down))
    rises = np.flatnonzero((ranges.scores[:, 1] + _SLACK >= up) & np.isfinite(up))
    return Moves(
        row=ranges.picked[np.concatenate([falls, rises])],
        sign=np.repeat([-1.0, 1.0], [len(falls), len(rises)]),
        score=np.concatenate([down[falls], up[rises]]),
    )


class _Program:
    """The SCIP model: coefficients, scores, losses of rows, indicators."""

    def __init__(self, task: Task, ranges: Ranges, moves: Moves, w_max: float) -> None:
        from pyscipopt import Model

        self.task, self.tau, self.moves = task, ranges.tau, moves
        self.model: Any = Model("discrepancy")
        self.model.hideOutput()
        self.w: list[Any] = [
            self.model.addVar(f"w{j}", lb=-w_max, ub=w_max) for j in range(task.rows.shape[1])
        ]
        # Beyond the cap of the ranges only the box limits a score.
        reach = np.abs(task.rows).sum(axis=1) * w_max
        self._low, self._high = -reach, reach.copy()
        self._low[ranges.picked] = np.where(
            ranges.capped[:, 0], self._low[ranges.picked], ranges.scores[:, 0] - _SLACK
        )
        self._high[ranges.picked] = np.where(
            ranges.capped[:, 1], self._high[ranges.picked], ranges.scores[:, 1] + _SLACK
        )
        self.scores = [self._score(row) for row in range(len(task.rows))]
        self.losses = [self._loss(row) for row in range(len(task.rows))]
        self.model.addCons(_sum(self.losses) <= self.tau * task.people)
        self.indicators = [self._indicator(k) for k in range(len(moves.row))]
        gain = [
            float(task.counts[row]) * v for row, v in zip(moves.row, self.indicators, strict=True)
        ]
        self.model.setObjective(_sum(gain), "maximize")

    def _score(self, row: int) -> Any:
        variable = self.model.addVar(f"s{row}", lb=self._low[row], ub=self._high[row])
        self.model.addCons(_dot(self.task.rows[row], self.w) == variable)
        return variable

    def _loss(self, row: int) -> Any:
        variable = self.model.addVar(f"l{row}", lb=0.0)
        low, high = max(self._low[row], -SCORE_CAP), min(self._high[row], SCORE_CAP)
        for score in np.linspace(low, high, _TANGENTS):
            slope, right = self.tangent(row, float(score))
            self.model.addCons(slope * self.scores[row] - variable <= right)
        return variable

    def tangent(self, row: int, score: float) -> tuple[float, float]:
        """Slope a and right side b of the cut a s - l <= b: the row's loss above its tangent."""
        positive, negative = float(self.task.positives[row]), float(self.task.negatives[row])
        slope = (positive + negative) * float(expit(score)) - positive
        value = positive * float(np.logaddexp(0, -score)) + negative * float(np.logaddexp(0, score))
        return slope, slope * score - value

    def _indicator(self, k: int) -> Any:
        row, score = int(self.moves.row[k]), float(self.moves.score[k])
        variable = self.model.addVar(f"m{k}", vtype="B")
        low, high = self._low[row], self._high[row]
        if self.moves.sign[k] > 0:
            self.model.addCons(self.scores[row] >= low + (score - low) * variable)
        else:
            self.model.addCons(self.scores[row] <= high - (high - score) * variable)
        return variable

    def forbid(self, pairs: np.ndarray) -> None:
        """Forbid pairs (p, 2) of moves, and moving one row both ways."""
        q = len(self.moves.row)
        both = [(i, j) for i, j in _pairs(q) if self.moves.row[i] == self.moves.row[j]]
        for i, j in [*map(tuple, pairs), *both]:
            self.model.addCons(self.indicators[i] + self.indicators[j] <= 1)

    def offer(self, weights: Array) -> None:
        """Give SCIP a competing model as its first solution."""
        solution = self.model.createSol()
        scores = self.task.rows @ weights
        for variable, value in zip(self.w, weights, strict=True):
            self.model.setSolVal(solution, variable, float(value))
        for row, score in enumerate(scores):
            slope, right = self.tangent(row, float(score))
            self.model.setSolVal(solution, self.scores[row], float(score))
            self.model.setSolVal(solution, self.losses[row], slope * float(score) - right)
        made = self.moves.sign * (scores[self.moves.row] - self.moves.score) >= 0
        for variable, on in zip(self.indicators, made, strict=True):
            self.model.setSolVal(solution, variable, float(on))
        self.model.addSol(solution)

    def attach(self, movement: Movement, best: Array) -> Any:
        """Include the constraint handler that enforces the loss, and return it."""
        handler = _make_handler(self, movement, best)
        self.model.includeConshdlr(
            handler,
            "loss",
            "mean logistic loss at most tau",
            sepapriority=0,
            enfopriority=-10,
            chckpriority=-10,
            sepafreq=-1,
            propfreq=-1,
            eagerfreq=-1,
            needscons=False,
        )
        return handler


def _pairs(q: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(q), 2))


def _dot(row: Array, variables: list[Any]) -> Any:
    return _sum([float(a) * v for a, v in zip(row, variables, strict=True) if a != 0])


def _sum(terms: list[Any]) -> Any:
    from pyscipopt import quicksum

    return quicksum(terms)


def _make_handler(program: _Program, movement: Movement, best: Array) -> Any:
    """Build SCIP's constraint handler (its base class exists only where SCIP is installed)."""
    from pyscipopt import Conshdlr
    from pyscipopt.scip import PY_SCIP_RESULT as SCIP_RESULT

    class LossHandler(Conshdlr):
        """Cuts off points that break the loss bound and keeps the best model seen."""

        def __init__(self) -> None:
            self.best, self.share, self.cuts = best, movement.share(best), 0

        def _violation(self, solution: Any) -> tuple[Array, float]:
            point = np.array([self.model.getSolVal(solution, v) for v in program.w])
            inside = movement.pull_back(point)
            share = movement.share(inside)
            if share > self.share:
                self.best, self.share = inside, share
            return point, float(program.task.loss(point) - program.tau)

        def _cut_off(self) -> dict[str, Any]:
            point, violation = self._violation(None)
            if violation <= _LOSS_TOLERANCE:
                return {"result": SCIP_RESULT.FEASIBLE}
            for row, score in enumerate(program.task.rows @ point):
                slope, right = program.tangent(row, float(score))
                loss = self.model.getSolVal(None, program.losses[row])
                if slope * score - loss > right + 1e-7:
                    self.model.addCons(slope * program.scores[row] - program.losses[row] <= right)
                    self.cuts += 1
            return {"result": SCIP_RESULT.CONSADDED}

        def consenfolp(self, constraints: Any, n_useful: int, infeasible: bool) -> dict[str, Any]:
            return self._cut_off()

        def consenfops(
            self, constraints: Any, n_useful: int, infeasible: bool, objinfeasible: bool
        ) -> dict[str, Any]:
            return self._cut_off()

        def conscheck(
            self,
            constraints: Any,
            solution: Any,
            check_integrality: bool,
            check_lp_rows: bool,
            print_reason: bool,
            completely: bool,
        ) -> dict[str, Any]:
            _, violation = self._violation(solution)
            feasible = violation <= _LOSS_TOLERANCE
            return {"result": SCIP_RESULT.FEASIBLE if feasible else SCIP_RESULT.INFEASIBLE}

        def conslock(self, constraint: Any, locktype: Any, nlockspos: int, nlocksneg: int) -> None:
            for variable in program.w:
                self.model.addVarLocks(variable, nlockspos + nlocksneg, nlockspos + nlocksneg)

    return LossHandler()
