"""From rows (one a model) to the samples that claims read, and to tables."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.power import TTestPower

from stemma import stats
from stemma.papers.codegen2.data import CODE, TEXT
from stemma.papers.codegen2.study import CAUSAL, CODE_AND_TEXT, TEXT_ONLY

Array = NDArray[np.float64]

SPECIALISTS = {CODE: CAUSAL, TEXT: TEXT_ONLY}
"""The run that was trained on each domain alone."""


def values(rows: pd.DataFrame, run: str, column: str) -> Array:
    """Return a measurement of every replicate of a kind of run, shape (seeds,)."""
    own = rows[rows["run"] == run].sort_values("seed")
    return np.asarray(own[column], dtype=float)


def regret_and_gap(rows: pd.DataFrame, domain: str) -> tuple[Array, Array]:
    """Return what the mix, and what the other specialist, lose to a domain's own specialist.

    Both in bits per byte of that domain, shape (seeds,).
    """
    own = values(rows, SPECIALISTS[domain], domain)
    (other,) = (run for d, run in SPECIALISTS.items() if d != domain)
    return values(rows, CODE_AND_TEXT, domain) - own, values(rows, other, domain) - own


def domain_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean bits per byte: domain by what the model was trained on."""
    runs = {"code": CAUSAL, "text": TEXT_ONLY, "code and text": CODE_AND_TEXT}
    table = {
        name: [values(rows, run, d).mean() for d in (CODE, TEXT)] for name, run in runs.items()
    }
    return pd.DataFrame(table, index=[CODE, TEXT])


def detectable(differences: Array, power: float = 0.8) -> float:
    """Return the least mean of paired differences that a t test at 5 % finds with ``power``.

    Their spread is taken from the sample itself, shape (n,).
    """
    effect = TTestPower().solve_power(nobs=len(differences), alpha=0.05, power=power)
    return float(effect * np.std(differences, ddof=1))


def compare(rows: pd.DataFrame, pairs: dict[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Return paired differences of runs with their 95 % intervals and what could be detected.

    Args:
        rows: one a model.
        pairs: by name: run, run to compare with, measurement.
    """
    table = []
    for name, (ours, other, column) in pairs.items():
        difference = values(rows, ours, column) - values(rows, other, column)
        found = stats.mean_interval(difference, 0.95)
        table.append(
            {
                "comparison": name,
                "difference": found.estimate,
                "low": found.low,
                "high": found.high,
                "detectable": detectable(difference),
                "tokens": f"{values(rows, ours, 'tokens').mean():.0f} / "
                f"{values(rows, other, 'tokens').mean():.0f}",
                "supervised": f"{values(rows, ours, 'supervised').mean():.0f} / "
                f"{values(rows, other, 'supervised').mean():.0f}",
            }
        )
    return pd.DataFrame(table)
