"""Branching rules: strong branching as expert, sampling from it, and a learned policy."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscipopt import SCIP_RESULT, Branchrule, Model  # type: ignore[attr-defined]

from stemma.papers.distributional_miplib.state import State, observe
from stemma.stats import Array

TOP_PRIORITY = 10_000_000
_ITERATIONS = 2**31 - 1
_LEAST_GAIN = 1e-6

Scorer = Callable[[State], Array]
"""Takes a state with k candidates and returns (k,) scores; the highest is branched on."""


@dataclass
class Costs:
    """What a rule of ours did in one solution."""

    decisions: int = 0
    feature_seconds: float = 0.0
    forward_seconds: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One decision of the expert: the state and (k,) strong branching scores of its candidates."""

    state: State
    scores: Array


class Branching(Branchrule):
    """A rule that SCIP asks before its own."""

    def __init__(self) -> None:
        self.costs = Costs()

    def include(self, model: Model) -> None:
        """Put the rule before all others, at every depth."""
        name = type(self).__name__
        model.includeBranchrule(self, name, name, TOP_PRIORITY + 1, -1, 1.0)

    def branch_on(self, candidate: int) -> dict[str, Any]:
        """Branch on one of the fractional variables, by its place among them."""
        self.model.branchVar(self.model.getLPBranchCands()[0][candidate])
        self.costs.decisions += 1
        return {"result": SCIP_RESULT.BRANCHED}


class PolicyBranching(Branching):
    """Branches where a scorer says."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self._scorer = scorer

    def branchexeclp(self, allowaddcons: bool) -> dict[str, Any]:
        """SCIP's callback at a node whose linear program has a fractional solution."""
        start = time.perf_counter()
        state = observe(self.model)
        seen = time.perf_counter()
        choice = int(np.argmax(self._scorer(state)))
        self.costs.feature_seconds += seen - start
        self.costs.forward_seconds += time.perf_counter() - seen
        return self.branch_on(choice)


class StrongBranching(Branching):
    """Branches on the best strong branching score, at every node."""

    def branchexeclp(self, allowaddcons: bool) -> dict[str, Any]:
        """SCIP's callback at a node whose linear program has a fractional solution."""
        return self.branch_on(int(np.argmax(strong_scores(self.model))))


class Sampling(Branching):
    """Asks the expert at some nodes, keeps what it said, and leaves the others to pseudocosts.

    Args:
        rng: decides where the expert is asked.
        probability: of asking at a node.
        most: samples after which the solution is stopped.
    """

    def __init__(self, rng: np.random.Generator, probability: float, most: int) -> None:
        super().__init__()
        self.samples: list[Sample] = []
        self._rng, self._probability, self._most = rng, probability, most

    def include(self, model: Model) -> None:
        """Put the rule first, and SCIP's pseudocost rule second."""
        super().include(model)
        model.setParam("branching/pscost/priority", TOP_PRIORITY)

    def branchexeclp(self, allowaddcons: bool) -> dict[str, Any]:
        """SCIP's callback at a node whose linear program has a fractional solution."""
        if self._rng.random() >= self._probability:
            return {"result": SCIP_RESULT.DIDNOTRUN}
        state, scores = observe(self.model), strong_scores(self.model)
        if scores.min() >= 0 and len(scores) > 1:
            self.samples.append(Sample(state, scores))
        if len(self.samples) >= self._most:
            self.model.interruptSolve()
        return self.branch_on(int(np.argmax(scores)))


def strong_scores(model: Model) -> Array:
    """Return (k,) full strong branching scores of the fractional variables.

    The score is SCIP's product of both children's gains (each at least 1e-6). Every candidate is
    tried, SCIP's state stays as it is, and a child without solutions gains the distance to the
    cutoff bound (or, before an incumbent, a million).
    """
    candidates = model.getLPBranchCands()[0]
    value = model.getLPObjVal()
    most = model.getCutoffbound() - value
    if most > 1e6:
        most = 1e6
    model.startStrongbranch()
    scores = []
    for variable in candidates:
        down, up, _, _, down_empty, up_empty, _, _, failed = model.getVarStrongbranch(
            variable, _ITERATIONS, idempotent=True
        )
        gains = [
            most if empty else min(max(bound - value, _LEAST_GAIN), most)
            for bound, empty in ((down, down_empty), (up, up_empty))
        ]
        scores.append(-1.0 if failed else model.getBranchScoreMultiple(variable, gains))
    model.endStrongbranch()
    return np.array(scores)
