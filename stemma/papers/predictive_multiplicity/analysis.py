"""One task from end to end: baseline, exact ranges at every eps, fold-wise uncertainty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.ranges import (
    Ranges,
    ambiguity,
    certificate,
    shifts,
    viable_ranges,
)
from stemma.papers.predictive_multiplicity.task import (
    Task,
    fit_baseline,
    make_task,
    people_features,
    separating_share,
)
from stemma.stats import Array


class Level(NamedTuple):
    """A tolerance: a share of the baseline's loss (relative) or a loss (absolute)."""

    kind: Literal["relative", "absolute"]
    value: float

    def eps(self, loss: float) -> float:
        """Return eps as a loss, given the baseline's loss."""
        return self.value * loss if self.kind == "relative" else self.value

    def __str__(self) -> str:
        """Say whether eps is relative or absolute, for labels."""
        return f"{self.value:.0%} of L0" if self.kind == "relative" else f"{self.value:g} nats"


@dataclass(frozen=True)
class Analysis:
    """Baseline and exact ranges of one task.

    Attributes:
        solver: the solver, which holds the task.
        baseline: coefficients of the baseline, shape (d + 1,).
        loss: its unpenalised mean loss L0.
        risk: its risk for each distinct row, shape (m,).
        separated: share of people that can be separated at no cost (1: separable data).
        picked: the distinct rows whose ranges were computed, shape (k,).
        ranges: exact ranges of those rows by level.
    """

    solver: Solver
    baseline: Array
    loss: float
    risk: Array
    separated: float
    picked: np.ndarray
    ranges: dict[Level, Ranges]

    @property
    def task(self) -> Task:
        """The task."""
        return self.solver.task

    @property
    def people(self) -> Array:
        """People of each picked row, shape (k,)."""
        people: Array = self.task.counts[self.picked]
        return people

    @property
    def separable(self) -> bool:
        """Whether nobody need be misclassified: then L0 is near 0 and relative eps means little."""
        return self.separated == 1.0

    def tau(self, level: Level) -> float:
        """The bound L0 + eps on the mean loss."""
        return self.loss + level.eps(self.loss)

    def mean_width(self, level: Level) -> float:
        """Mean width of the ranges over people."""
        return float(np.average(self.ranges[level].widths, weights=self.people))

    def ambiguity(self, level: Level, delta: float) -> float:
        """Share of people whose risk can move by ``delta``."""
        return ambiguity(shifts(self.ranges[level], self.risk), self.people, delta)

    def excess_losses(self, level: Level) -> Array:
        """How far each extreme breaks L <= tau, recomputed from its coefficients, shape (2k,)."""
        ranges = self.ranges[level]
        excess: Array = np.maximum(self.task.loss(ranges.weights) - ranges.tau, 0).ravel()
        return excess

    def worst_certificate(self, level: Level) -> float:
        """Largest distance, in logits, of an extreme from its dual bound."""
        return float(certificate(self.task, self.ranges[level]).max())


def analyse(
    task: Task, levels: Sequence[Level], rows: int = 0, seed: int = 0, device: str = "cpu"
) -> Analysis:
    """Fit the baseline and compute exact ranges of ``rows`` random distinct rows (0: of all)."""
    solver = Solver(task, device)
    baseline = fit_baseline(task)
    loss = float(task.loss(baseline))
    picked = np.arange(len(task.rows))
    if 0 < rows < len(picked):
        picked = np.sort(np.random.default_rng(seed).choice(picked, rows, replace=False))
    return Analysis(
        solver=solver,
        baseline=baseline,
        loss=loss,
        risk=task.risk(baseline),
        separated=separating_share(task),
        picked=picked,
        ranges={lv: viable_ranges(solver, picked, loss + lv.eps(loss)) for lv in levels},
    )


class Quality(NamedTuple):
    """Out-of-fold quality of the baseline."""

    auc: float
    calibration_error: float


def people_labels(task: Task) -> tuple[Array, Array]:
    """Features (n, d) and labels (n,), people of one row in an arbitrary order."""
    order = np.argsort(task.index, kind="stable")
    ends = np.cumsum(task.counts).astype(int)
    starts = ends - task.counts.astype(int)
    y = -np.ones(task.people)
    for start, positive in zip(starts, task.positives.astype(int), strict=True):
        y[start : start + positive] = 1.0
    return people_features(task)[order], y


def fold_tasks(task: Task, folds: int, seed: int) -> list[tuple[Task, Array, Array]]:
    """Training part of each stratified fold, with the features and labels held out."""
    x, y = people_labels(task)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y)
    names = task.columns[1:]
    return [(make_task(task.name, x[a], y[a], names), x[b], y[b]) for a, b in splits]


def held_out_quality(task: Task, folds: int, seed: int) -> Quality:
    """AUC and calibration error (10 bins of equal width) of risks predicted out of fold."""
    risks, labels = [], []
    for train, x, y in fold_tasks(task, folds, seed):
        w = fit_baseline(train)
        risks.append(1 / (1 + np.exp(-(w[0] + x @ w[1:]))))
        labels.append(y > 0)
    risk, label = np.concatenate(risks), np.concatenate(labels)
    bins = np.minimum((risk * 10).astype(int), 9)
    gaps = [abs((risk[bins == b] - label[bins == b]).sum()) for b in range(10)]
    return Quality(float(roc_auc_score(label, risk)), float(sum(gaps) / len(risk)))


def jackknife(task: Task, statistic: Callable[[Task], Array], folds: int, seed: int) -> Array:
    """Grouped-jackknife pseudo-values, shape (folds, q), of a statistic with q components.

    The replicates are the training parts of the folds, each without one group of people; the mean
    of the pseudo-values with a t interval over groups is Tukey's interval for the statistic.
    """
    whole = statistic(task)
    parts = np.array([statistic(train) for train, _, _ in fold_tasks(task, folds, seed)])
    pseudo: Array = folds * whole - (folds - 1) * parts
    return pseudo
