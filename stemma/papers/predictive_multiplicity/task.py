"""A binary classification task in its distinct feature rows, its logistic loss and baseline."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize
from scipy.special import expit

from stemma.stats import Array

RIDGE = 1e-6
"""The authors' 1/C with C = 1e6: the baseline is almost unregularised."""


@dataclass(frozen=True)
class Task:
    """Training data, with equal feature rows merged (they share their risk under every model).

    Attributes:
        name: what to call the data set in figures.
        rows: distinct feature rows, the constant 1 first, shape (m, d + 1).
        positives: people labelled +1 of each row, shape (m,).
        negatives: people labelled -1 of each row, shape (m,).
        index: the distinct row of each person, shape (n,).
        columns: names of the d + 1 columns.
    """

    name: str
    rows: Array
    positives: Array
    negatives: Array
    index: np.ndarray
    columns: tuple[str, ...]

    @property
    def people(self) -> int:
        """The number n of people."""
        return self.index.size

    @cached_property
    def counts(self) -> Array:
        """People of each distinct row, shape (m,)."""
        total: Array = self.positives + self.negatives
        return total

    @cached_property
    def whitening(self) -> Array:
        """Matrix (d + 1, r) that maps whitened coefficients to those of the columns.

        One-hot columns are often collinear. Over the r whitened coordinates the design has full
        rank and unit second moments; ``rows @ whitening`` spans the same scores as ``rows``.
        """
        weighted = self.rows * np.sqrt(self.counts / self.people)[:, None]
        _, singular, vt = np.linalg.svd(weighted, full_matrices=False)
        kept = singular > 1e-9 * singular[0]
        basis: Array = vt[kept].T / singular[kept]
        return basis

    @cached_property
    def design(self) -> Array:
        """The whitened design, shape (m, r)."""
        design: Array = self.rows @ self.whitening
        return design

    def loss(self, weights: Array) -> Array:
        """Mean logistic loss of coefficients (..., d + 1), without any penalty; shape (...)."""
        scores = weights @ self.rows.T
        total = np.logaddexp(0, -scores) @ self.positives + np.logaddexp(0, scores) @ self.negatives
        mean: Array = total / self.people
        return mean

    def gradient(self, weights: Array) -> Array:
        """Gradient of the mean loss at coefficients (..., d + 1), same shape."""
        pull = self.counts * expit(weights @ self.rows.T) - self.positives
        gradient: Array = pull @ self.rows / self.people
        return gradient

    def risk(self, weights: Array) -> Array:
        """Risk of each distinct row under coefficients (..., d + 1), shape (..., m)."""
        risk: Array = expit(weights @ self.rows.T)
        return risk


def make_task(name: str, x: Array, y: Array, columns: tuple[str, ...]) -> Task:
    """Merge equal rows of features ``x`` (n, d) with labels ``y`` (n,) in {-1, +1}."""
    rows, index = np.unique(x, axis=0, return_inverse=True)
    index = index.ravel()
    m = len(rows)
    return Task(
        name=name,
        rows=np.column_stack([np.ones(m), rows]),
        positives=np.bincount(index, weights=y > 0, minlength=m).astype(np.float64),
        negatives=np.bincount(index, weights=y < 0, minlength=m).astype(np.float64),
        index=index,
        columns=("intercept", *columns),
    )


def people_features(task: Task) -> Array:
    """Features of every person, without the constant, shape (n, d)."""
    features: Array = task.rows[task.index, 1:]
    return features


def fit_baseline(task: Task, ridge: float = RIDGE) -> Array:
    """Coefficients (d + 1,) minimising L(w) + ridge ||w without intercept||^2, by Newton.

    The step is halved until the penalised loss falls; stops at a gradient of 1e-13.
    """
    penalty = np.full(task.rows.shape[1], ridge)
    penalty[0] = 0.0
    # A null direction of the intercept (one-hot columns that sum to one) is tied down here.
    floor = np.diag(2 * penalty + 1e-12)

    def objective(w: Array) -> float:
        return float(task.loss(w) + (penalty * w * w).sum())

    w = np.zeros(task.rows.shape[1])
    for _ in range(200):
        gradient = task.gradient(w) + 2 * penalty * w
        if np.abs(gradient).max() < 1e-13:
            break
        risk = task.risk(w)
        hessian = (task.rows.T * (task.counts * risk * (1 - risk) / task.people)) @ task.rows
        step = np.linalg.solve(hessian + floor, gradient)
        size = 1.0
        while objective(w - size * step) > objective(w) and size > 1e-6:
            size /= 2
        if size <= 1e-6:
            break
        w = w - size * step
    return w


def separating_share(task: Task) -> float:
    """Share of people whom some w classifies with a margin while it misclassifies nobody.

    1 means separable data (the loss has no minimum, L0 tends to 0), 0 that no direction exists
    along which the loss falls for ever; in between the data are quasi-separable and some risks
    can be driven to 0 or 1 at no cost. A linear program (Konis 2007): maximise sum z with
    0 <= z_i <= 1 and y_i w.x_i >= z_i.
    """
    pure_positive, pure_negative = task.negatives == 0, task.positives == 0
    pure = pure_positive | pure_negative
    mixed = task.rows[~pure]
    signed = np.where(pure_positive, 1.0, -1.0)[pure, None] * task.rows[pure]
    d, k = task.rows.shape[1], int(pure.sum())
    if k == 0:
        return 0.0
    result = optimize.linprog(
        np.concatenate([np.zeros(d), -np.ones(k)]),
        A_ub=np.hstack([-signed, np.eye(k)]),
        b_ub=np.zeros(k),
        A_eq=np.hstack([mixed, np.zeros((len(mixed), k))]) if len(mixed) else None,
        b_eq=np.zeros(len(mixed)) if len(mixed) else None,
        bounds=[(None, None)] * d + [(0, 1)] * k,
        method="highs",
    )
    separated = np.asarray(result.x)[d:] > 1e-6
    return float(task.counts[pure][separated].sum() / task.people)
