"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from stemma.papers.superposition_scaling import geometry
from stemma.papers.superposition_scaling.frequencies import Array

STRONG, WEAK = "tab:red", "tab:blue"


def losses(table: pd.DataFrame, baseline: Mapping[str, Sequence[float]]) -> Figure:
    """Loss against width, a panel a distribution, a thin line a replicate (figure 1).

    Args:
        table: models of strong (gamma < 0) and weak superposition.
        baseline: by distribution, the loss without superposition at each width.
    """
    names = list(table.frequencies.unique())
    figure, axes = _row(len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        mine = table[table.frequencies == name]
        for gamma, part in mine.groupby("gamma"):
            colour = STRONG if gamma < 0 else WEAK
            wide = part.pivot_table(index="width", columns="replicate", values="loss")
            axis.plot(wide.index, wide, color=colour, lw=0.6, alpha=0.6)
            axis.plot(
                wide.index,
                wide.mean(axis=1),
                "o-",
                color=colour,
                ms=3,
                label=f"$\\gamma$ = {gamma:g}",
            )
        widths = np.sort(mine.width.unique())
        axis.plot(widths, baseline[name], color="0.5", ls="--", label="top m only")
        first = mine[mine.gamma < 0].groupby("width").loss.mean().iloc[0]
        axis.plot(widths, first * widths[0] / widths, color="black", ls=":", lw=1, label="1/m")
        axis.set(yscale="log", title=name)
        _widths(axis, widths)
    axes[0].set_ylabel("loss (sum over features)")
    axes[-1].legend(fontsize=8)
    return figure


def r_squared(laws: pd.DataFrame) -> Figure:
    """R squared of the power laws per distribution and gamma, a dot a replicate (figure 4a)."""
    names = list(laws.frequencies.unique())
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    for shift, gamma in zip((-0.15, 0.15), np.sort(laws.gamma.unique()), strict=True):
        part = laws[laws.gamma == gamma]
        colour = STRONG if gamma < 0 else WEAK
        for place, name in enumerate(names):
            values = part[part.frequencies == name].r_squared
            axis.plot([place + shift] * len(values), values, ".", color=colour, alpha=0.6)
            axis.plot(place + shift, values.mean(), "_", color=colour, ms=16)
        axis.plot([], [], "o", color=colour, label=f"$\\gamma$ = {gamma:g}")
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("R² of log loss on log m")
    axis.legend(fontsize=8)
    return figure


def represented(grid: pd.DataFrame) -> Figure:
    """Share of represented features against gamma, a panel an alpha, a line a width (figure 3)."""
    names = list(grid.frequencies.unique())
    figure, axes = _row(len(names), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for width, part in grid[grid.frequencies == name].groupby("width"):
            mean = part.groupby("gamma").phi_half.agg(["mean", "min", "max"])
            (line,) = axis.plot(mean.index, mean["mean"], "o-", ms=3, label=f"m = {width}")
            axis.fill_between(
                mean.index, mean["min"], mean["max"], color=line.get_color(), alpha=0.2
            )
        axis.set(xlabel="weight decay $\\gamma$", title=name, ylim=(-0.03, 1.03))
    axes[0].set_ylabel("share of features represented")
    axes[-1].legend(fontsize=8)
    return figure


def exponents(laws: pd.DataFrame, alphas: Sequence[float]) -> Figure:
    """Exponent of the loss over alpha and gamma (figure 4b), and against alpha (5b, 6e)."""
    mean = laws.pivot_table(index="gamma", columns="frequencies", values="slope", sort=False)
    mean = -mean.sort_index()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    image = left.imshow(mean, cmap="viridis", aspect="auto", origin="lower")
    left.set_xticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    left.set_yticks(range(len(mean)), [f"{g:g}" for g in mean.index])
    left.set(xlabel="$\\alpha$", ylabel="$\\gamma$")
    figure.colorbar(image, label="exponent of the loss")
    for gamma, colour in ((mean.index[0], STRONG), (0.5, WEAK)):
        right.plot(alphas, mean.loc[gamma], "o-", color=colour, label=f"$\\gamma$ = {gamma:g}")
    line = np.linspace(1, 2, 20)
    right.axhline(1, color="black", lw=0.8, ls=":", label="1")
    right.plot(line, line - 1, color="0.5", ls="--", lw=1, label="$\\alpha$ - 1")
    right.plot(line, 2 * (line - 1), color="0.5", ls="-.", lw=1, label="2($\\alpha$ - 1)")
    right.set(xlabel="$\\alpha$", ylabel="exponent of the loss")
    right.legend(fontsize=8)
    return figure


def unlearned(table: pd.DataFrame) -> Figure:
    """Loss against the loss of the features that are not represented (figure 5a)."""
    figure, axis = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    shown = table[table.unlearned > 0]
    dots = axis.scatter(shown.unlearned, shown.loss, c=shown.gamma, cmap="coolwarm_r", s=10)
    ends = [shown.unlearned.min(), shown.unlearned.max()]
    axis.plot(ends, ends, color="black", lw=0.8, ls=":")
    axis.set(
        xscale="log", yscale="log", xlabel="4/3 $\\sum p$ of unrepresented features", ylabel="loss"
    )
    figure.colorbar(dots, label="$\\gamma$")
    return figure


def rows(norms: Mapping[str, Array], table: pd.DataFrame, n: int) -> Figure:
    """Lengths of rows, strongly represented features, squared overlaps (figure 6)."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for (name, lengths), colour in zip(norms.items(), (STRONG, WEAK), strict=True):
        left.hist(lengths, bins=np.linspace(0, 1.6, 50), color=colour, alpha=0.6, label=name)
    left.set(xlabel="length of a row", ylabel="rows")
    left.legend(fontsize=8)
    strong = table[table.gamma < 0]
    widths = np.sort(strong.width.unique())
    for frequencies, part in strong.groupby("frequencies", sort=False):
        mean = part.groupby("width")[["phi_1", "squared_overlap"]].mean()
        middle.plot(mean.index, mean.phi_1, "o-", ms=3, label=frequencies)
        right.plot(mean.index, mean.squared_overlap, "o-", ms=3, label=frequencies)
    middle.plot(widths, widths / n, color="black", ls=":", label="m/n")
    middle.plot(widths, widths**2 / (2 * n), color="black", ls="--", label="m²/2n")
    middle.set(ylabel="share of rows longer than 1", ylim=(-0.03, 1.03))
    right.plot(widths, 1 / widths, color="black", ls=":", label="1/m")
    bound = [geometry.welch_bound(n, int(m)) for m in widths]
    right.plot(widths, bound, color="black", ls="--", label="Welch's bound")
    right.set(yscale="log", ylabel="mean squared overlap")
    for axis in (middle, right):
        _widths(axis, widths)
    middle.legend(fontsize=7)
    right.legend(fontsize=7)
    return figure


def curves(of: Mapping[str, Array], steps: int) -> Figure:
    """Training losses, a line a model: has training gone on for long enough?"""
    figure, axis = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
    for name, losses_ in of.items():
        at = (np.arange(len(losses_)) + 0.5) * steps / len(losses_)
        axis.plot(at, losses_, lw=1, label=name)
    axis.axvline(0.75 * steps, color="0.6", lw=0.8, ls=":")
    axis.set(yscale="log", xlabel="step", ylabel="training loss")
    axis.legend(fontsize=7, ncols=2)
    return figure


def activity(laws: pd.DataFrame, expected: Mapping[str, float]) -> Figure:
    """Exponent against the number of features active at once (figure 7b)."""
    figure, axis = plt.subplots(figsize=(4.4, 3), layout="constrained")
    for name, part in laws.groupby("frequencies", sort=False):
        axis.plot([expected[str(name)]] * len(part), -part.slope, "o", color=STRONG, ms=3)
    axis.axhline(1, color="black", lw=0.8, ls=":")
    axis.set(xscale="log", xlabel="features active at once, E", ylabel="exponent of the loss")
    return figure


def embeddings(table: pd.DataFrame) -> Figure:
    """Mean squared overlap of real embeddings against width, with 1/m (figure 8)."""
    figure, axis = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    for name, part in table.groupby("model", sort=False):
        axis.plot(part.width, part.squared_overlap, "o", label=name)
        axis.plot(part.width, part.centred, "x", color=axis.lines[-1].get_color())
    m = np.array([table.width.min() / 1.5, table.width.max() * 1.5])
    axis.plot(m, 1 / m, color="black", lw=0.8, ls=":", label="1/m")
    axis.set(yscale="log", ylabel="mean squared overlap")
    _widths(axis, np.unique(table.width))
    axis.legend(fontsize=8)
    return figure


def family_losses(table: pd.DataFrame, amplitude: float, exponent: float) -> Figure:
    """Loss minus its offset against width, for families of language models (figure 8)."""
    figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for name, part in table.groupby("group", sort=False):
        axis.plot(part.width, part.loss - part.offset, "o", ms=3, label=name)
    m = np.geomspace(table.width.min(), table.width.max(), 20)
    axis.plot(m, amplitude * m**-exponent, color="black", lw=1)
    axis.set(xscale="log", yscale="log", xlabel="width m", ylabel="loss - B")
    axis.legend(fontsize=6, ncols=2)
    return figure


def _widths(axis: Axes, widths: NDArray[np.int64]) -> None:
    """Make x the width on a logarithmic axis; less than a decade has hardly a power of ten."""
    axis.set(xscale="log", xlabel="width m")
    axis.set_xticks(widths, [str(m) for m in widths])
    axis.xaxis.set_minor_locator(NullLocator())


def _row(panels: int, *, sharey: bool) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, panels, figsize=(3.2 * panels, 3.2), sharey=sharey, layout="constrained", squeeze=False
    )
    return figure, list(axes[0])
