"""From solutions and accuracies to tables and to the samples of the claims' rules."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stemma.papers.distributional_miplib.study import HOMOGENEOUS, MIXED, Arm, Fitted, Solution
from stemma.stats import Array

KEYS = ["domain", "seed", "use", "size", "program"]


def solutions_table(solutions: Sequence[Solution]) -> pd.DataFrame:
    """Return a row per solution, without its curve."""
    rows = []
    for solution in solutions:
        costs = {k: v for k, v in vars(solution.outcome).items() if k != "curve"}
        rows.append(solution._asdict() | {"use": solution.use.name.lower()} | costs)
    return pd.DataFrame(rows).drop(columns="outcome")


def accuracies_table(fitted: Sequence[Fitted]) -> pd.DataFrame:
    """Return a row per policy and test domain."""
    rows = [
        f.arm._asdict()
        | {"seed": f.seed, "samples": f.samples, "best_step": f.best_step, "test": domain}
        | accuracy._asdict()
        for f in fitted
        for domain, accuracy in f.accuracies.items()
    ]
    return pd.DataFrame(rows)


def own_accuracy(table: pd.DataFrame, kind: str, column: str = "top1") -> pd.DataFrame:
    """Return seeds x programs: accuracy on each training domain, averaged over domains.

    A homogeneous policy is tested on its own domain, a mixed one on all that it was trained on.
    """
    mine = table[table.kind == kind]
    if kind == HOMOGENEOUS:
        mine = mine[mine.test == mine.domain]
    else:
        mine = mine[mine.test.isin(table.domain[table.kind == HOMOGENEOUS].unique())]
    return mine.pivot_table(index="seed", columns="programs", values=column)


def paired(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return programs x rules: one column of the solutions, a row per program."""
    return table.pivot_table(index=KEYS, columns="rule", values=column)


def shifted_mean(values: "pd.Series[float]") -> float:
    """Return the 1-shifted geometric mean, exp(mean(log(x + 1))) - 1."""
    return float(np.expm1(np.log1p(values).mean()))


def nodes_of_replicates(table: pd.DataFrame, rule: str) -> Array:
    """Return (seeds,) 1-shifted geometric means of nodes, every domain with the same weight."""
    logs = np.log1p(table[table.rule == rule].set_index(["seed", "domain"]).nodes)
    by_domain = logs.groupby(level=["seed", "domain"]).mean()
    means: Array = np.exp(by_domain.groupby(level="seed").mean().to_numpy())
    return means


def differing_objectives(table: pd.DataFrame) -> float:
    """Return the largest relative difference of optimal values between two rules' solutions."""
    solved = table[table.solved].pivot_table(index=KEYS, columns="rule", values="objective")
    spread = (solved.max(axis=1) - solved.min(axis=1)) / solved.abs().max(axis=1).clip(lower=1.0)
    return float(spread.max())


def policy_name(arm: Arm) -> str:
    """Return the name of an arm's policy among the rules, e.g. "mixed 5"."""
    return f"{MIXED if arm.kind == MIXED else 'own'} {arm.programs}"
