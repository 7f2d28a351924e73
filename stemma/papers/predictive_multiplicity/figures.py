"""The paper's figures, redrawn from analyses; every axis says whether eps is relative."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stemma.papers.predictive_multiplicity.analysis import Analysis, Level
from stemma.stats import Array

Bounds = Mapping[tuple[str, Level, float], tuple[float, float]]
"""(data set, level, delta) -> lower and upper bound of the discrepancy."""


def _panels(names: Sequence[str], height: float = 3.2) -> tuple[Figure, list[Axes]]:
    columns = 2 if len(names) == 4 else min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, height * rows), squeeze=False, layout="constrained"
    )
    for spare in axes.ravel()[len(names) :]:
        spare.set_axis_off()
    for axis, name in zip(axes.ravel(), names, strict=False):
        axis.set_title(name)
    return figure, list(axes.ravel()[: len(names)])


def multiplicity_curves(
    analyses: Mapping[str, Analysis],
    levels: Sequence[Level],
    deltas: Sequence[float],
    bounds: Bounds,
) -> Figure:
    """Ambiguity (lines) and discrepancy (tick: incumbent, bar: up to the bound) against delta."""
    figure, axes = _panels(list(analyses))
    for axis, (name, found) in zip(axes, analyses.items(), strict=True):
        for k, level in enumerate(levels):
            curve = [found.ambiguity(level, delta) for delta in deltas]
            axis.plot(deltas, curve, color=f"C{k}", marker=".", label=f"eps = {level}")
            for delta in deltas:
                if (name, level, delta) in bounds:
                    low, high = bounds[name, level, delta]
                    # A little sideways, so that the bars of several eps do not hide each other.
                    x = delta + 0.004 * (k - 1)
                    if high < found.ambiguity(level, delta):
                        axis.vlines(x, low, high, color=f"C{k}", alpha=0.5, linewidth=4)
                    axis.plot(x, low, color=f"C{k}", marker="_", markersize=9)
        axis.set(xlabel="delta", ylim=(-0.03, 1.05))
    axes[0].set_ylabel("share of people")
    axes[0].legend(fontsize=8)
    return figure


def range_bars(analyses: Mapping[str, Analysis], level: Level) -> Figure:
    """Viable range of every distinct row, sorted by its baseline risk."""
    figure, axes = _panels(list(analyses))
    for axis, found in zip(axes, analyses.values(), strict=True):
        risk, risks = found.risk[found.picked], found.ranges[level].risks
        order = np.argsort(risk, kind="stable")
        place = np.arange(len(order))
        axis.vlines(place, *risks[order].T, color="C0", alpha=0.6, linewidth=1)
        axis.plot(place, risk[order], "k.", markersize=3)
        axis.set(xlabel=f"distinct rows, eps = {level}", ylim=(0, 1))
    axes[0].set_ylabel("risk: viable range, baseline")
    return figure


def width_histograms(
    found: Analysis, level: Level, groups: Mapping[str, tuple[str, float]]
) -> Figure:
    """Widths of people's ranges by group; ``groups``: label -> (column, its value)."""
    figure, (axis,) = _panels([found.task.name], height=3.6)
    for label, (column, value) in groups.items():
        member = (found.task.rows[:, found.task.columns.index(column)] == value)[found.picked]
        axis.hist(
            found.ranges[level].widths[member],
            weights=found.people[member] / found.people[member].sum(),
            bins=list(np.linspace(0, 1, 26)),
            histtype="step",
            label=f"{label} (n = {found.people[member].sum():.0f})",
        )
    axis.set(xlabel=f"width of the viable range, eps = {level}", ylabel="share of the group")
    axis.legend(fontsize=8)
    return figure


def width_scatter(
    analyses: Mapping[str, Analysis], level: Level, widths: Mapping[str, Mapping[str, Array]]
) -> Figure:
    """Widths by other methods (name -> label -> widths of picked rows) against exact ones."""
    figure, axes = _panels(list(widths))
    for axis, name in zip(axes, widths, strict=True):
        exact = analyses[name].ranges[level].widths
        for label, values in widths[name].items():
            axis.plot(exact, values, ".", markersize=4, alpha=0.6, label=label)
        axis.plot([0, 1], [0, 1], "k-", linewidth=0.7)
        axis.set(xlabel=f"exact width, eps = {level}")
    axes[0].set_ylabel("width by another method")
    axes[0].legend(fontsize=8)
    return figure


def path_curves(found: Analysis, grid: Array, values: Array, picked: Array, level: Level) -> Figure:
    """Least loss (k, g) at which each of k rows has each risk of the grid."""
    figure, (axis,) = _panels([found.task.name], height=3.6)
    for row, curve in zip(picked, values, strict=True):
        axis.plot(grid, curve, marker=".", label=f"baseline {found.risk[row]:.2f}")
    axis.axhline(found.tau(level), color="k", linestyle="--", linewidth=0.8)
    axis.text(
        0.99,
        found.tau(level),
        f"L0 + {level}",
        ha="right",
        va="bottom",
        fontsize=8,
        backgroundcolor="white",
    )
    axis.set(xlabel="risk the candidate gives this person", ylabel="loss of the candidate")
    axis.set_ylim(found.loss * 0.97, found.loss + 6 * level.eps(found.loss))
    axis.legend(fontsize=7)
    return figure


def drivers(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, Array]]],
) -> Figure:
    """Mean width against a property of the data; series of shape (replicates, levels)."""
    figure, axes = _panels(list(panels))
    for axis, (levels, series) in zip(axes, panels.values(), strict=True):
        for k, (label, values) in enumerate(series.items()):
            x = np.asarray(levels, dtype=float)
            axis.plot(np.tile(x, (len(values), 1)), values, ".", color=f"C{k}", alpha=0.35)
            axis.plot(x, values.mean(axis=0), color=f"C{k}", label=label)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("mean width of viable ranges")
    return figure


def outlier_scatter(
    found: Analysis, level: Level, score: Callable[[Analysis], Array], label: str
) -> Figure:
    """Width in probability and in logit of each person against an outlier score."""
    figure, axes = _panels(["width in probability", "width in logit"])
    ranges = found.ranges[level]
    for axis, width in zip(axes, (ranges.widths, np.ptp(ranges.scores, axis=1)), strict=True):
        axis.plot(score(found), width, ".", alpha=0.6)
        axis.set(xlabel=label)
    axes[0].set_ylabel(f"width, eps = {level}")
    return figure
