"""From rows (one a data set and size) to the samples that the claims read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from stemma.papers.halfspace_tester_learner.labels import ADVERSARIES
from stemma.papers.halfspace_tester_learner.study import OURS
from stemma.papers.halfspace_tester_learner.targets import Array


def largest(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the largest size, the only ones that were tested."""
    last: pd.DataFrame = rows[rows["n"] == rows["n"].max()]
    return last


def accepted_excess(rows: pd.DataFrame) -> Array:
    """Return err - err(w*) of the accepted data sets at the largest size, shape (k,).

    With Massart noise below 1/2, w* is optimal for every input law.
    """
    last = largest(rows)
    kept = last[last["accepted"].astype(bool)]
    return np.asarray(kept[OURS] - kept["planted"])


def excess_curves(rows: pd.DataFrame, floor: float = 1e-5) -> tuple[Array, Array]:
    """Return log n (levels,) and log excess (k, levels) of data sets accepted at the largest size.

    Args:
        rows: data sets of one setting.
        floor: least excess; below it the fresh points cannot resolve a difference.
    """
    excess = rows.assign(excess=(rows[OURS] - rows["planted"]).clip(lower=floor))
    curves = excess.pivot_table(index="set", columns="n", values="excess")
    last = largest(rows)
    kept = curves.loc[last.loc[last["accepted"].astype(bool), "set"]]
    return np.log(curves.columns.to_numpy(float)), np.log(kept.to_numpy())


def ratio_to_opt(rows: pd.DataFrame, learner: str, eps: float) -> pd.Series:
    """Return (err - eps) / opt of each row."""
    ratio: pd.Series = (rows[learner] - eps) / rows["opt"]
    return ratio


def ratio_curves(rows: pd.DataFrame, eps: float) -> tuple[Array, Array]:
    """Return 1/level (levels,) and (err - eps)/opt (k, levels) of data sets accepted at all levels.

    Args:
        rows: of one adversary and dimension, at several shares of flips.
        eps: additive slack.
    """
    kept = rows[rows["accepted"].astype(bool)]
    table = kept.assign(ratio=ratio_to_opt(kept, OURS, eps))
    curves = table.pivot_table(index="set", columns="level", values="ratio").dropna()
    return 1 / curves.columns.to_numpy(float), curves.to_numpy()


def is_bad(rows: pd.DataFrame, eps: float, factor: float) -> pd.Series:
    """Tell which outputs break the promise: opt + eps (Massart), factor * opt + eps (adversary)."""
    adversarial = rows["noise"].isin(ADVERSARIES)
    allowed = rows["opt"] * np.where(adversarial, factor, 1.0) + eps
    bad: pd.Series = rows[OURS] > allowed
    return bad


def mcnemar_p(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact two-sided McNemar p-value of paired rejections, each of shape (k,)."""
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    only_ours, only_theirs = int((a & ~b).sum()), int((b & ~a).sum())
    if only_ours + only_theirs == 0:
        return 1.0
    return float(stats.binomtest(only_ours, only_ours + only_theirs).pvalue)


def confusion(rows: pd.DataFrame, bad: pd.Series, testers: Sequence[str]) -> pd.DataFrame:
    """Count accepted or rejected, good or bad, for each tester (a column of rejections).

    Args:
        rows: tested data sets.
        bad: which outputs break the promise.
        testers: columns of ``rows`` that are true where a tester rejects; ``none`` never does.
    """
    table = []
    for name in testers:
        rejected = rows[name].astype(bool) if name != "none" else pd.Series(False, index=rows.index)
        table.append(
            {
                "tests": name,
                "accepted, good": int((~rejected & ~bad).sum()),
                "accepted, bad": int((~rejected & bad).sum()),
                "rejected, good": int((rejected & ~bad).sum()),
                "rejected, bad": int((rejected & bad).sum()),
            }
        )
    return pd.DataFrame(table)
