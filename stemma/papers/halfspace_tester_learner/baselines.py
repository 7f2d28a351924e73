"""Learners without a certificate: averaging, least squares, logistic regression."""

import numpy as np

from stemma.papers.halfspace_tester_learner.targets import Array

BASELINES: tuple[str, ...] = ("averaging", "least squares", "logistic")


def fit_baseline(name: str, x: Array, y: Array) -> Array:
    """Fit a homogeneous halfspace.

    Args:
        name: ``averaging`` (mean of y x), ``least squares`` or ``logistic`` (barely regularised).
        x: points, shape (n, d).
        y: labels +1 or -1, shape (n,).

    Returns:
        A unit vector, shape (d,).

    Raises:
        ValueError: no such baseline.
    """
    w: Array
    if name == "averaging":
        w = x.T @ y
    elif name == "least squares":
        w = np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=float)
    elif name == "logistic":
        from sklearn.linear_model import LogisticRegression

        w = LogisticRegression(C=1e3, fit_intercept=False).fit(x, y).coef_[0]
    else:
        raise ValueError(f"`{name}` is no baseline; use one of {', '.join(BASELINES)}")
    return np.asarray(w / np.linalg.norm(w))
