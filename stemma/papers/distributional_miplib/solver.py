"""SCIP at the settings of the paper's code, and what one solution cost."""

import time
from dataclasses import dataclass, field
from typing import Any

from pyscipopt import SCIP_EVENTTYPE, Eventhdlr, Model  # type: ignore[attr-defined]

from stemma.papers.distributional_miplib.milp import Milp, build
from stemma.papers.distributional_miplib.rules import TOP_PRIORITY, Branching

BUILT_IN = ("pscost", "relpscost", "random", "vanillafullstrong")
"""SCIP's own branching rules that serve as baselines and expert."""


@dataclass(frozen=True)
class Limits:
    """What every solver gets alike.

    Attributes:
        nodes: nodes after which it stops.
        seconds: a safety net.
        root_cuts: cutting planes at the root, as in the paper's code. Programs small enough for
            two cores are often solved by them before anything is branched on.
    """

    nodes: int
    seconds: float
    root_cuts: bool = True


@dataclass(frozen=True)
class Outcome:
    """What solving one program took.

    Attributes:
        nodes: nodes of the tree.
        lp_iterations: simplex iterations of all linear programs, strong branching left out.
        seconds: wall time of SCIP, callbacks included.
        solved: optimality was proved within the limits.
        objective: best primal value.
        gap: relative gap between best primal and dual value.
        integral: primal-dual integral, percent times seconds.
        decisions: branchings of a rule of ours (0 for SCIP's own).
        feature_seconds: of them, time spent on reading the state.
        forward_seconds: and time spent in the network.
        curve: (seconds, primal, dual) after each node.
    """

    nodes: int
    lp_iterations: int
    seconds: float
    solved: bool
    objective: float
    gap: float
    integral: float
    decisions: int = 0
    feature_seconds: float = 0.0
    forward_seconds: float = 0.0
    curve: list[tuple[float, float, float]] = field(default_factory=list)


class _Curve(Eventhdlr):
    """Notes primal and dual value after each node."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float, float]] = []

    def eventinit(self) -> None:
        self.model.catchEvent(SCIP_EVENTTYPE.NODESOLVED, self)

    def eventexit(self) -> None:
        self.model.dropEvent(SCIP_EVENTTYPE.NODESOLVED, self)

    def eventexec(self, event: Any) -> None:
        model = self.model
        self.points.append((model.getSolvingTime(), model.getPrimalbound(), model.getDualbound()))


def prepare(milp: Milp, seed: int, limits: Limits) -> Model:
    """Return a model at the settings of learn2branch: cuts at the root only, no restarts.

    ``seed`` permutes variables and constraints; one thread.
    """
    model = build(milp)
    model.setParams(
        {
            "randomization/permutevars": True,
            "randomization/permutationseed": seed,
            "randomization/randomseedshift": seed,
            "separating/maxrounds": 0,
            "presolving/maxrestarts": 0,
            "separating/maxroundsroot": -1 if limits.root_cuts else 0,
            "limits/nodes": limits.nodes,
            "limits/time": limits.seconds,
        }
    )
    return model


def solve(milp: Milp, branching: str | Branching, seed: int, limits: Limits) -> Outcome:
    """Solve a program with one of SCIP's own rules (a name) or one of ours.

    Raises:
        ValueError: SCIP has no rule of that name, or it is no baseline here.
    """
    model = prepare(milp, seed, limits)
    if isinstance(branching, str):
        if branching not in BUILT_IN:
            raise ValueError(f"no baseline {branching}; there are {', '.join(BUILT_IN)}")
        model.setParam(f"branching/{branching}/priority", TOP_PRIORITY)
    else:
        branching.include(model)
    curve = _Curve()
    model.includeEventhdlr(curve, "curve", "primal and dual value after each node")
    start = time.perf_counter()
    model.optimize()
    seconds = time.perf_counter() - start
    costs = None if isinstance(branching, str) else branching.costs
    outcome = Outcome(
        nodes=int(model.getNTotalNodes()),
        lp_iterations=int(model.getNLPIterations()),
        seconds=seconds,
        solved=model.getStatus() == "optimal",
        objective=float(model.getObjVal()) if model.getNSols() else float("inf"),
        gap=float(model.getGap()),
        integral=float(model.getPrimalDualIntegral()),
        decisions=costs.decisions if costs else 0,
        feature_seconds=costs.feature_seconds if costs else 0.0,
        forward_seconds=costs.forward_seconds if costs else 0.0,
        curve=curve.points,
    )
    model.freeProb()
    return outcome


def run_with(milp: Milp, branching: Branching, seed: int, limits: Limits) -> None:
    """Solve a program for what a rule of ours sees on the way."""
    model = prepare(milp, seed, limits)
    branching.include(model)
    model.optimize()
    model.freeProb()
