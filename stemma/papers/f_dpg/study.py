"""From runs to choices and evidence: the learning rate, C2's contests, the theorem's errors."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemma import stats
from stemma.papers.f_dpg import exact
from stemma.papers.f_dpg.divergences import DIVERGENCES
from stemma.papers.f_dpg.toy import Tuned, World

Array = NDArray[np.float64]

OBJECTIVES = ("KL", "RKL", "TV", "JS")
"""The objectives that are compared."""

CONTESTS = ("alignment", "entropy")
"""What an objective can be best at: alignment and diversity."""


class Contest(NamedTuple):
    """A place where one objective may lose: a target, a metric, and the rival who wins."""

    kind: str
    metric: str
    rival: str


def theorem_errors(worlds: Sequence[World]) -> dict[str, list[float]]:
    """Return the relative errors of the theorem, by comparison and kind of target, one a world.

    The policy of a world is the base model of the next one: far from both a and p. Reverse KL is
    left out where the target has no full support.
    """
    found: dict[str, list[float]] = {}
    for world, other in zip(worlds, [*worlds[1:], worlds[0]], strict=True):
        policy = {name: value.double() for name, value in other.base.items()}
        for kind, target in world.targets.items():
            log_p = target.log_p(world.log_a)[None]
            full = bool(log_p.isfinite().all())
            for name in DIVERGENCES:
                if full or name != "RKL":
                    error = exact.theorem_error(policy, world.length, log_p, name)
                    found.setdefault(f"{name}, {kind}", []).append(error)
            dpg = exact.dpg_error(policy, world.length, log_p)
            found.setdefault(f"KL is DPG, {kind}", []).append(dpg)
            if full:
                penalty = exact.penalty_error(policy, world.length, world.log_a, target)
                found.setdefault(f"RKL is RL with KL penalty, {kind}", []).append(penalty)
    return found


def best_learning_rate(by_rate: Mapping[float, Sequence[Tuned]]) -> float:
    """Return the rate with the lowest mean log KL(p || pi) of KL-DPG over targets and worlds."""

    def mean_log(runs: Sequence[Tuned]) -> float:
        return float(np.mean([np.log(run.final("KL", "KL(p, pi)")) for run in runs]))

    return min(by_rate, key=lambda rate: mean_log(by_rate[rate]))


def pick_contests(pilot: Mapping[str, Tuned]) -> dict[str, Contest]:
    """Return, for each objective, where it loses most clearly on the pilot worlds (paired t)."""
    picked = {}
    for own in OBJECTIVES:
        contests = [
            Contest(kind, metric, rival)
            for kind in pilot
            for metric in CONTESTS
            for rival in OBJECTIVES
            if rival != own
        ]
        picked[own] = max(contests, key=lambda c: _paired_t(advantage(pilot, c, own)))
    return picked


def advantage(tuned: Mapping[str, Tuned], contest: Contest, own: str) -> Array:
    """Return the rival's value minus the objective's own in a contest, shape (worlds,)."""
    run = tuned[contest.kind]
    return run.final(contest.rival, contest.metric) - run.final(own, contest.metric)


def _paired_t(x: Array) -> float:
    spread = float(x.std(ddof=1))
    return float(x.mean()) / spread * x.size**0.5 if spread > 0 else -np.inf


def interval_text(x: Array, digits: int = 3) -> str:
    """Return mean and 95 % t interval as text."""
    mean, low, high = stats.mean_interval(x, 0.95)
    return f"{mean:.{digits}f} ({low:.{digits}f}, {high:.{digits}f})"


def target_values(worlds: Sequence[World], kind: str, metric: str) -> tuple[Array, Array]:
    """Return a metric of the base models and of the targets themselves, each of shape (worlds,)."""
    base, goal = [], []
    for world in worlds:
        target = world.targets[kind]
        log_p = target.log_p(world.log_a)
        base.append(exact.metrics(world.log_a[None], world.log_a, target)[metric].item())
        if metric == "entropy":
            inside = log_p[log_p.isfinite()]
            goal.append(-(inside.exp() @ inside).item())
        else:
            goal.append(target.alignment(log_p.exp()).item())
    return np.array(base), np.array(goal)
