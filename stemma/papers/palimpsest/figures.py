"""The paper's figures, redrawn from what was measured."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

SIZE = (6.4, 4.0)


def scores_against_position(
    positions: NDArray[np.int64], dependent: Array, independent: Array, bins: int = 20
) -> Figure:
    """Draw score difference against training position, for a derivative and an innocent model.

    Higher is likelier: log-likelihoods, not losses. All three arrays have shape (n,).
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, sharey=True)
    edges = np.linspace(positions.min(), positions.max() + 1, bins + 1)
    where = np.digitize(positions, edges) - 1
    for axis, scores, name in zip(
        axes, (dependent, independent), ("Alice", "sibling"), strict=True
    ):
        axis.scatter(positions, scores, s=3, alpha=0.2, color="0.6", rasterized=True)
        means = [scores[where == b].mean() for b in range(bins)]
        axis.plot((edges[:-1] + edges[1:]) / 2, means, "o", color="C0", ms=4, label="bin means")
        fit = np.polyfit(positions, scores, 1)
        ends = edges[[0, -1]]
        axis.plot(ends, np.polyval(fit, ends), color="C3", label="fitted line")
        rho = stats.spearmanr(positions, scores).statistic
        axis.set(title=f"suspect: {name}, rho = {rho:+.3f}", xlabel="position in training")
    axes[0].set_ylim(np.quantile(dependent, [0.01, 0.99]))
    axes[0].set_ylabel("log-likelihood minus reference (nats)")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    return figure


def evidence_against_n(sizes: Sequence[int], z: Mapping[str, Array]) -> Figure:
    """Draw the median |z| over seeds against n, per reference; each z has shape (seeds, sizes)."""
    figure, axis = plt.subplots(figsize=SIZE)
    for name, values in z.items():
        median = np.median(np.abs(values), axis=0)
        low, high = np.quantile(np.abs(values), [0.25, 0.75], axis=0)
        axis.plot(sizes, median, "o-", label=name)
        axis.fill_between(sizes, low, high, alpha=0.2)
    axis.axhline(3.1, ls=":", color="0.4")
    axis.annotate("p = 1e-3", (sizes[0], 3.25), color="0.4", fontsize=8)
    axis.set(
        xscale="log", yscale="log", xlabel="examples scored, n", ylabel="|z| (median, quartiles)"
    )
    axis.legend(title="reference")
    return figure


def null_distribution(p: Mapping[str, Array], level: float = 0.99) -> Figure:
    """Draw the distribution functions of null p-values inside pointwise binomial bands."""
    figure, axis = plt.subplots(figsize=(5.2, 4.6))
    grid = np.linspace(0, 1, 201)
    axis.plot(grid, grid, color="0.3", lw=1)
    n = min(len(values) for values in p.values())
    low, high = stats.binom.interval(level, n, grid)
    axis.fill_between(
        grid, low / n, high / n, color="0.88", label=f"{level:.0%} binomial band, n = {n}"
    )
    for name, values in p.items():
        share = [(values <= g).mean() for g in grid]
        axis.step(grid, share, where="post", label=f"{name} ({len(values)})")
    axis.set(xlabel="p", ylabel="share of null p-values at most p")
    axis.legend(loc="lower right", fontsize=8)
    return figure


def memorization_curves(steps: Sequence[int], losses: Array, seen_at: Sequence[float]) -> Figure:
    """Draw the loss of examples, grouped by when they were seen, over training.

    Args:
        steps: steps at which losses were taken, shape (times,).
        losses: mean loss of each group minus the mean over groups, shape (times, groups).
        seen_at: middle of each group's training steps.
    """
    figure, axis = plt.subplots(figsize=SIZE)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, losses.shape[1]))
    for group, colour in zip(range(losses.shape[1]), colours, strict=True):
        axis.plot(
            steps, losses[:, group], color=colour, label=f"seen around step {seen_at[group]:.0f}"
        )
        axis.axvline(seen_at[group], color=colour, ls=":", lw=0.8)
    axis.set(xlabel="training step", ylabel="loss minus mean over groups (nats/token)")
    axis.legend(fontsize=7)
    return figure


def lines_over_seeds(
    x: Sequence[float],
    series: Mapping[str, Array],
    xlabel: str,
    ylabel: str,
    *,
    log: bool = False,
    level: float | None = None,
) -> Figure:
    """Draw each seed's points and the mean over seeds; each series has shape (seeds, len(x))."""
    figure, axis = plt.subplots(figsize=SIZE)
    for i, (name, values) in enumerate(series.items()):
        style = "--" if "plain" in name else "-"
        axis.plot(x, values.mean(axis=0), f"o{style}", color=f"C{i}", label=f"{name}: mean")
        axis.plot(x, values.T, color=f"C{i}", alpha=0.25, lw=0.8)
    axis.axhline(0, color="0.5", lw=0.8)
    if level is not None:
        axis.axhline(level, color="0.4", ls=":")
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log else "linear")
    axis.legend(fontsize=8)
    return figure


def power_against_tokens(tokens: Sequence[int], p: Mapping[str, Array], ylabel: str) -> Figure:
    """Draw median and quartiles of p over all texts and seeds; each p has shape (sizes, texts)."""
    figure, axis = plt.subplots(figsize=SIZE)
    for name, values in p.items():
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
        axis.plot(tokens, median, "o-", label=name)
        axis.fill_between(tokens, low, high, alpha=0.2)
    axis.set(xscale="log", yscale="log", xlabel="tokens of text", ylabel=ylabel)
    axis.legend(fontsize=8)
    return figure


def p_by_rule(exact: Array, student: Array, normal: Array) -> Figure:
    """Draw the three p-values of the same texts: exact rank, Student's t, and the normal tail."""
    figure, axis = plt.subplots(figsize=SIZE)
    names = ["exact rank", "Student's t", "normal tail (as released)"]
    rng = np.random.default_rng(0)
    for i, values in enumerate((exact, student, normal)):
        logs = np.log10(np.maximum(values, 1e-300))
        axis.scatter(i + rng.uniform(-0.15, 0.15, len(logs)), logs, s=8, alpha=0.5)
        axis.plot([i - 0.3, i + 0.3], [np.median(logs)] * 2, color="k")
    axis.set(xticks=range(3), ylabel="log10 p, one point a text")
    axis.set_xticklabels(names)
    return figure
