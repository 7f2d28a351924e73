"""The studies behind the claims: many small tasks or refits, one number or array out of each."""

from collections.abc import Sequence

import numpy as np
from scipy import stats as scipy_stats
from scipy.special import expit

from stemma.papers.predictive_multiplicity import ensembles, synthetic
from stemma.papers.predictive_multiplicity.analysis import Analysis, Level, analyse
from stemma.papers.predictive_multiplicity.path import Pool
from stemma.papers.predictive_multiplicity.task import Task
from stemma.stats import Array

OUTLIER_SCORES = ("distance to class centre", "leverage", "mislabelled")


def pool_width(analysis: Analysis, pool: Pool, level: Level) -> float:
    """Mean width over people of the ranges within a pool's competing models."""
    ranges = pool.competing(analysis.tau(level)).ranges(analysis.risk)[analysis.picked]
    return float(np.average(np.ptp(ranges, axis=1), weights=analysis.people))


def bootstrap_ranges(analysis: Analysis, level: Level, refits: int, seed: int) -> Array:
    """Ranges of the picked rows within one filtered bootstrap ensemble, shape (k, 2)."""
    pool = ensembles.bootstrap_refits(analysis.task, refits, seed)
    ranges: Array = pool.competing(analysis.tau(level)).ranges(analysis.risk)[analysis.picked]
    return ranges


def ensemble_widths(
    analysis: Analysis, level: Level, refits: int, seeds: Sequence[int]
) -> list[float]:
    """Mean width within each of several bootstrap ensembles, filtered to competing models."""
    return [
        pool_width(analysis, ensembles.bootstrap_refits(analysis.task, refits, seed), level)
        for seed in seeds
    ]


def mean_widths(task: Task, levels: Sequence[Level]) -> list[float]:
    """Exact mean width of a task at each level."""
    found = analyse(task, levels)
    return [found.mean_width(level) for level in levels]


def group_means(analysis: Analysis, level: Level, member: np.ndarray) -> tuple[float, float]:
    """Mean width of a group and of everybody else; ``member`` marks distinct rows (m,)."""
    inside = member[analysis.picked]
    widths, people = analysis.ranges[level].widths, analysis.people
    return (
        float(np.average(widths[inside], weights=people[inside])),
        float(np.average(widths[~inside], weights=people[~inside])),
    )


def people_statistics(
    task: Task, level: Level, delta: float, columns: Sequence[str], device: str = "cpu"
) -> Array:
    """Ambiguity, then for each binary column the mean width at 1 less that at 0; shape (1 + q,)."""
    found = analyse(task, [level], device=device)
    members = [task.rows[:, task.columns.index(name)] == 1 for name in columns]
    means = [group_means(found, level, member) for member in members]
    return np.array([found.ambiguity(level, delta), *(a - b for a, b in means)])


def minority_widths(
    share: float, people: int, level: Level, seed: int, interaction: bool
) -> tuple[float, float]:
    """Mean widths of the minority and of the majority in one synthetic data set."""
    task = synthetic.minority(share, people, seed, interaction)
    return group_means(analyse(task, [level]), level, synthetic.in_group(task))


def outlier_widths(
    share: float, flipped: bool, people: int, level: Level, seed: int
) -> tuple[float, float]:
    """Mean width in probability and in logit of one data set with outliers."""
    found = analyse(synthetic.outliers(share, flipped, people, seed), [level])
    ranges = found.ranges[level]
    return found.mean_width(level), float(np.average(np.ptp(ranges.scores, axis=1)))


def outlier_correlations(people: int, level: Level, seed: int) -> Array:
    """Spearman correlation over people of range width with each outlier score, shape (3, 2).

    Rows follow ``OUTLIER_SCORES``; columns are width in probability and in logit. The first two
    come from a data set with 2 % outliers of consistent label, the last from one in which 5 % of
    the labels are flipped.
    """
    plain = analyse(synthetic.outliers(0.02, False, people, seed), [level])
    noisy = analyse(synthetic.gaussians(2.0, people, seed, mislabelled=0.05), [level])
    flipped = np.zeros(people)
    flipped[noisy.task.index[synthetic.flipped_people(people, 0.05)]] = 1
    pairs = (
        (plain, centre_distance(plain.task)),
        (plain, leverage(plain)),
        (noisy, flipped),
    )
    return np.array([[_spearman(a, level, s, unit) for unit in (0, 1)] for a, s in pairs])


def _spearman(analysis: Analysis, level: Level, score: Array, logit: int) -> float:
    ranges = analysis.ranges[level]
    width = np.ptp(ranges.scores, axis=1) if logit else ranges.widths
    return float(scipy_stats.spearmanr(score, width).statistic)


def centre_distance(task: Task) -> Array:
    """Distance of each distinct row to the mean of its (majority) class, shape (m,)."""
    x, positive = task.rows[:, 1:], task.positives >= task.negatives
    centres = np.array([x[~positive].mean(axis=0), x[positive].mean(axis=0)])
    distance: Array = np.linalg.norm(x - centres[positive.astype(int)], axis=1)
    return distance


def leverage(analysis: Analysis) -> Array:
    """Leverage of one person of each distinct row in the baseline's weighted fit, shape (m,)."""
    z = analysis.task.design
    risk = expit(analysis.task.rows @ analysis.baseline)
    weight = risk * (1 - risk)
    hessian = (z.T * (weight * analysis.task.counts)) @ z
    values: Array = weight * (z * np.linalg.solve(hessian, z.T).T).sum(axis=1)
    return values


def monotonicity_violations(analysis: Analysis, levels: Sequence[Level], deltas: Array) -> int:
    """Breaches of "ranges widen with eps" (each row and side) and "ambiguity falls with delta"."""
    ordered = sorted(levels, key=lambda level: level.eps(analysis.loss))
    scores = np.array([analysis.ranges[level].scores for level in ordered])
    tolerance = 1e-6
    wider = (np.diff(scores[:, :, 1], axis=0) < -tolerance).sum()
    wider += (np.diff(scores[:, :, 0], axis=0) > tolerance).sum()
    curves = np.array([[analysis.ambiguity(lv, d) for d in np.sort(deltas)] for lv in ordered])
    return int(wider + (np.diff(curves, axis=1) > 0).sum() + (np.diff(curves, axis=0) < 0).sum())
