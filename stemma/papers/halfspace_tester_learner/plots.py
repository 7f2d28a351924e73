"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stemma.papers.halfspace_tester_learner.cost import oblivious_moments
from stemma.papers.halfspace_tester_learner.evidence import largest, ratio_to_opt
from stemma.papers.halfspace_tester_learner.study import OURS
from stemma.papers.halfspace_tester_learner.surrogate import loss
from stemma.papers.halfspace_tester_learner.targets import Array

COLOURS: dict[str, str] = {
    OURS: "tab:blue",
    "averaging": "0.6",
    "least squares": "tab:orange",
    "logistic": "tab:green",
}


def excess_curves(rows: pd.DataFrame) -> Figure:
    """Mean excess error against n, one panel a noise and dimension, one colour a noise level."""
    panels = list(rows.groupby(["noise", "d"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.2 * len(panels), 3.2), sharey=True, squeeze=False
    )
    for axis, (key, part) in zip(axes[0], panels, strict=True):
        noise, d = key
        for i, (eta, cell) in enumerate(part.groupby("level")):
            for learner, style in ((OURS, "o-"), ("logistic", "x:")):
                excess = (cell[learner] - cell["planted"]).groupby(cell["n"]).mean()
                axis.plot(
                    excess.index,
                    excess.clip(lower=1e-5),
                    style,
                    ms=4,
                    color=f"C{i}",
                    label=f"eta = {eta:g}" if learner == OURS else None,
                )
        axis.axhline(0.01, color="black", lw=0.8, ls="--")
        axis.set(title=f"{noise}, d = {d}", xlabel="n", xscale="log", yscale="log")
        sizes = sorted(part["n"].unique())
        axis.set_xticks(sizes, [f"{n / 1000:g}k" for n in sizes])
        axis.xaxis.minorticks_off()
    axes[0, 0].set_ylabel("mean excess error")
    axes[0, -1].plot([], [], "kx:", label="logistic")
    axes[0, -1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def ratio_curves(rows: pd.DataFrame, eps: float, factor: float) -> Figure:
    """Mean of (err - eps) / opt against opt, one panel an adversary."""
    last = largest(rows)
    panels = list(last.groupby("noise", sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.2 * len(panels), 3.2), sharey=True, squeeze=False
    )
    for axis, (noise, part) in zip(axes[0], panels, strict=True):
        for i, (learner, colour) in enumerate(COLOURS.items()):
            ratio = ratio_to_opt(part, learner, eps).groupby(part["level"])
            axis.errorbar(
                ratio.mean().index * 1.06 ** (i - 1.5),  # side by side: many coincide
                ratio.mean(),
                ratio.std(),
                fmt="os^v"[i] + "-",
                ms=4,
                lw=1,
                color=colour,
                label=learner,
                capsize=2,
            )
        axis.axhline(factor, color="black", lw=0.8, ls="--")
        axis.set(title=f"adversary: {noise}", xlabel="opt (share of flips)", xscale="log")
        levels = sorted(part["level"].unique())
        axis.set_xticks(levels, [f"{level:g}" for level in levels])
        axis.xaxis.minorticks_off()
    axes[0, 0].set_ylabel("(err - eps) / opt")
    axes[0, -1].legend(fontsize=8)
    return figure


def rejection_map(rows: pd.DataFrame, tests: Mapping[str, str]) -> Figure:
    """Heat map of rejection rates: input law by test; ``tests`` maps columns to labels."""
    rates = rows[list(tests)].astype(float).groupby(rows["law"], sort=False).mean()
    values = rates.to_numpy(float)
    figure, axis = plt.subplots(figsize=(1.0 * len(tests) + 2, 0.36 * len(rates) + 1.2))
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        axis.text(
            j,
            i,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if value > 0.6 else "black",
        )
    axis.set_xticks(range(len(tests)), list(tests.values()), fontsize=8)
    axis.set_yticks(range(len(rates)), list(rates.index), fontsize=8)
    axis.xaxis.tick_top()
    return figure


def landscapes(sets: Mapping[str, tuple[Array, Array, Array]], sigmas: Sequence[float]) -> Figure:
    """L_sigma at cos(a) w* + sin(a) v against the angle a, one panel a data set.

    ``sets`` holds, by title, <w*, x>, <v, x> and the labels, each of shape (n,).
    """
    angles = np.linspace(-np.pi, np.pi, 121)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    figure, axes = plt.subplots(
        1, len(sets), figsize=(4 * len(sets), 3.2), sharey=True, squeeze=False
    )
    for axis, (title, (u, v, y)) in zip(axes[0], sets.items(), strict=True):
        plane = np.stack([u, v], axis=1)
        points, labels = torch.from_numpy(plane), torch.from_numpy(y)
        for sigma in sigmas:
            losses = [float(loss(w, points, labels, sigma)) for w in torch.from_numpy(circle)]
            axis.plot(np.degrees(angles), losses, label=f"sigma = {sigma:g}")
        error = [np.mean((plane @ w >= 0) != (y > 0)) for w in circle]
        axis.plot(np.degrees(angles), error, "k:", label="error")
        axis.set(title=title, xlabel="angle to w*, degrees")
        axis.set_xticks([-180, -90, 0, 90, 180])
    axes[0, 0].set_ylabel("surrogate loss")
    axes[0, -1].legend(fontsize=8)
    return figure


def bands(sets: Mapping[str, tuple[Array, Array, Array]], radius: float) -> Figure:
    """Points near each candidate's boundary: margin against one orthogonal coordinate, by label."""
    figure, axes = plt.subplots(
        1, len(sets), figsize=(3.4 * len(sets), 3.2), sharey=True, squeeze=False
    )
    for axis, (title, (u, z, y)) in zip(axes[0], sets.items(), strict=True):
        near = np.abs(u) <= 3 * radius
        for sign, colour in ((1, "tab:blue"), (-1, "tab:red")):
            chosen = near & (y == sign)
            axis.plot(u[chosen], z[chosen], ".", ms=2, color=colour, alpha=0.5)
        axis.axvspan(-radius, radius, color="0.85", zorder=0)
        share = np.mean(np.abs(u) <= radius)
        axis.set(title=f"{title}\n{share:.1%} in the band", xlabel="<w, x>")
    axes[0, 0].set_ylabel("a coordinate orthogonal to w")
    return figure


def costs(by_d: pd.DataFrame, by_eps: pd.DataFrame, d: int) -> Figure:
    """Seconds and operations against d and 1/eps, and the moments label-oblivious testing needs."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3))
    for axis, table, column in ((axes[0], by_d, "d"), (axes[1], by_eps, "1/eps")):
        group = table.groupby(column)
        axis.plot(group["seconds"].median(), "o-", color="tab:blue")
        other = axis.twinx()
        other.plot(group["operations"].median() / 1e9, "s--", color="tab:orange", ms=4)
        axis.set(xlabel=column, xscale="log", yscale="log")
        other.set(yscale="log")
        ticks = sorted(table[column].unique())
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.xaxis.minorticks_off()
        axis.set_ylabel("seconds", color="tab:blue")
        other.set_ylabel("10^9 operations", color="tab:orange")
    inverse = sorted(by_eps["1/eps"].unique())
    counted = by_eps.groupby("1/eps")["operations"].median()
    axes[2].plot(
        inverse,
        [float(oblivious_moments(d, 1 / k)) for k in inverse],
        "o-",
        color="0.4",
        label=f"moments of degree 1/eps$^2$\n(d = {d})",
    )
    axes[2].plot(counted.index, counted, "s--", color="tab:orange", label="operations here")
    axes[2].set(xlabel="1/eps", xscale="log", yscale="log")
    axes[2].set_xticks(inverse, [f"{t:g}" for t in inverse])
    axes[2].xaxis.minorticks_off()
    axes[2].legend(fontsize=8)
    figure.tight_layout()
    return figure
