"""Statistics over groups of items: correlations, their permutation null, pseudo-values."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as sps
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]


def group_means(values: Array, codes: NDArray[np.int64]) -> Array:
    """Return the mean of values (n, ...) over each group 0, 1, ... of ``codes`` (n,)."""
    counts = np.bincount(codes)
    totals = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(totals, codes, values)
    return np.asarray(totals / counts.reshape(-1, *[1] * (values.ndim - 1)))


def rank_correlations(scores: Array, outcome: Array) -> Array:
    """Return Spearman's correlation of each column of scores (n, m) with ``outcome`` (n,).

    Zero where a column, or the outcome, is constant.
    """
    x = sps.rankdata(scores, axis=0)
    x = x - x.mean(axis=0)
    y = sps.rankdata(outcome)
    y = y - y.mean()
    spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum())
    return np.asarray(np.divide(y @ x, spread, out=np.zeros(x.shape[1]), where=spread > 0))


def permutation_p(observed: float, permuted: Array) -> float:
    """Return the one-sided p-value that the statistic is as low as observed (Phipson, Smyth 2010).

    (1 + number of permuted values at most the observed one) / (1 + number of permutations).
    """
    return float((1 + np.sum(permuted <= observed + 1e-12)) / (1 + permuted.size))


def pseudo_values(
    table: pd.DataFrame, statistic: Callable[[pd.DataFrame], float], group: str = "noun"
) -> Array:
    """Return Tukey's pseudo-values of a statistic, one a group left out, shape (groups,).

    G theta - (G - 1) theta without g. Their mean estimates the statistic and their t interval is
    the jackknife's, with whole groups as units (items of one noun are not independent).
    """
    groups = table[group].unique()
    whole = statistic(table)
    parts = np.array([statistic(table[table[group] != g]) for g in groups])
    return np.asarray(len(groups) * whole - (len(groups) - 1) * parts)


def auc(score: Array, error: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of a score that should be high for errors."""
    return float(roc_auc_score(error, score))


def partial_rank_correlation(x: Array, y: Array, z: Array) -> float:
    """Return Spearman's correlation of x and y given z, all of shape (n,)."""
    table = np.corrcoef([sps.rankdata(v) for v in (x, y, z)])
    xy, xz, yz = table[0, 1], table[0, 2], table[1, 2]
    return float((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def logistic_coefficient(table: pd.DataFrame, predictor: str, control: str) -> float:
    """Return the coefficient of a predictor of ``error``, per standard deviation.

    Logistic regression with one control variable and a weak ridge penalty (C = 10), so that
    samples that can be separated have a finite coefficient.
    """
    x = StandardScaler().fit_transform(table[[predictor, control]].to_numpy())
    model = LogisticRegression(C=10.0).fit(x, table["error"].to_numpy())
    return float(model.coef_[0, 0])
