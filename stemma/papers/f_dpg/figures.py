"""The paper's figures, redrawn from what was measured."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import gmean

from stemma import stats
from stemma.papers.f_dpg.divergences import DIVERGENCES, pseudo_reward
from stemma.papers.f_dpg.noise import Noise
from stemma.papers.f_dpg.text import Measured
from stemma.papers.f_dpg.toy import FILTERED, Tuned

Array = NDArray[np.float64]

COLOURS = {"KL": "C0", "RKL": "C3", "TV": "C2", "JS": "C1", "CHI2": "C4", FILTERED: "0.45"}
STYLES = {FILTERED: "--"}

_TITLES = {
    "alignment": "alignment",
    "KL(p, pi)": "KL(p || pi), nats",
    "TV": "total variation",
    "JS": "Jensen-Shannon, nats",
    "entropy": "entropy, nats",
}
_LOGARITHMIC = ("KL(p, pi)", "TV", "JS")


def pseudo_rewards() -> Figure:
    """Draw -f'(t) against log t for every divergence."""
    log_t = torch.linspace(-4, 4, 401, dtype=torch.float64)
    figure, axis = plt.subplots(figsize=(6, 3.6))
    for name in DIVERGENCES:
        axis.plot(log_t, pseudo_reward(name, log_t), color=COLOURS[name], label=name)
    axis.axvline(0, color="0.8", lw=0.8, zorder=0)
    axis.set(ylim=(-5, 12), xlabel="log t = log pi(x) / p(x)", ylabel="pseudo-reward -f'(t)")
    axis.legend()
    return figure


def training_curves(runs: Mapping[str, Sequence[Tuned]]) -> Figure:
    """Draw exact metrics against the step, mean and 95 % band over worlds; a row a target."""
    figure, axes = plt.subplots(
        len(runs), len(_TITLES), figsize=(14, 2.5 * len(runs)), sharex=True, squeeze=False
    )
    for row, (kind, tuned) in zip(axes, runs.items(), strict=True):
        for axis, metric in zip(row, _TITLES, strict=True):
            for run in tuned:
                for name, values in zip(run.objectives, run.metrics[metric], strict=True):
                    _band(axis, run.steps, values, name)
            if metric in _LOGARITHMIC:
                axis.set_yscale("log")
        row[0].set_ylabel(kind)
    for top, bottom, title in zip(axes[0], axes[-1], _TITLES.values(), strict=True):
        top.set_title(title, fontsize=10)
        bottom.set_xscale("symlog")
        bottom.set_xlabel("step")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure


def _band(axis: Axes, steps: Sequence[int], values: Array, name: str) -> None:
    """Mean and t interval over worlds of values (worlds, evaluations)."""
    mean, low, high = np.array([stats.mean_interval(column, 0.95) for column in values.T]).T
    colour = COLOURS[name]
    axis.plot(steps, mean, color=colour, ls=STYLES.get(name, "-"), label=name)
    low = np.maximum(low, values.min(axis=0))  # a band below all values helps nobody
    axis.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)


def plane(
    runs: Mapping[str, Sequence[Tuned]], goals: Mapping[str, tuple[Array, Array, Array]]
) -> Figure:
    """Draw alignment against entropy relative to the target's, a point an objective and world.

    Args:
        runs: by kind of target.
        goals: by kind: entropy of the base models, alignment and entropy of the targets.
    """
    figure, axes = plt.subplots(1, len(runs), figsize=(3.6 * len(runs), 3.5), squeeze=False)
    for axis, (kind, tuned) in zip(axes[0], runs.items(), strict=True):
        _, aligned, entropy = goals[kind]
        for run in tuned:
            for name in run.objectives:
                x, y = run.final(name, "entropy") - entropy, run.final(name, "alignment")
                axis.scatter(x, y, s=10, color=COLOURS[name], alpha=0.35, lw=0)
                axis.scatter(
                    x.mean(), y.mean(), s=70, color=COLOURS[name], edgecolor="k", label=name
                )
        axis.scatter(0, aligned.mean(), marker="*", s=140, color="k", label="target", zorder=3)
        axis.set(title=kind, xlabel="entropy minus target's, nats")
    axes[0, 0].set_ylabel("alignment")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure


def final_bars(
    values: Mapping[str, Mapping[str, Mapping[str, Array]]], titles: Mapping[str, str]
) -> Figure:
    """Draw final metrics as bars with 95 % t intervals.

    Args:
        values: by metric, target and objective, one value a replicate.
        titles: of the metrics.
    """
    figure, axes = plt.subplots(1, len(values), figsize=(4.6 * len(values), 3.6), squeeze=False)
    for axis, (metric, by_target) in zip(axes[0], values.items(), strict=True):
        names = list(dict.fromkeys(n for by in by_target.values() for n in by))
        for i, name in enumerate(names):
            at = [k for k, by in enumerate(by_target.values()) if name in by]
            samples = [by[name] for by in by_target.values() if name in by]
            x = np.array(at) + 0.8 * (i + 0.5) / len(names) - 0.4
            mean, _, high = np.array([stats.mean_interval(s, 0.95) for s in samples]).T
            axis.bar(
                x,
                mean,
                0.8 / len(names),
                yerr=high - mean,
                color=COLOURS[name],
                label=name,
                error_kw={"lw": 1},
            )
        axis.set_xticks(range(len(by_target)), by_target, fontsize=8)
        axis.set_title(titles[metric], fontsize=10)
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return figure


def gradient_noise(
    runs: Mapping[str, Sequence[Tuned]],
    noise: Mapping[str, Mapping[float, Mapping[str, list[Noise]]]],
) -> Figure:
    """Draw noise-to-signal at matched alignment (top), the gradient's norm by step (bottom).

    Args:
        runs: by kind of target.
        noise: by kind, level of alignment and objective.
    """
    figure, axes = plt.subplots(2, len(noise), figsize=(5 * len(noise), 6.4), squeeze=False)
    for column, (kind, by_level) in zip(axes.T, noise.items(), strict=True):
        _noise_points(column[0], by_level)
        column[0].set(yscale="log", title=kind, xlabel="alignment at which it is measured")
        column[0].set(xticks=list(by_level), xlim=(min(by_level) - 0.1, max(by_level) + 0.1))
        for run in runs[kind]:
            for name, norms in zip(run.objectives, run.gradient_norm, strict=True):
                if name != FILTERED:
                    middle = np.median(norms, axis=0)
                    column[1].plot(middle, lw=0.8, color=COLOURS[name], label=name)
        column[1].set(yscale="log", xlabel="step")
    axes[0, 0].set_ylabel("noise / signal of one batch's gradient")
    axes[1, 0].set_ylabel("norm of the gradient, median")
    axes[0, 0].legend(fontsize=8, loc="lower right")
    axes[1, 0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _noise_points(axis: Axes, by_level: Mapping[float, Mapping[str, list[Noise]]]) -> None:
    for level, by_name in by_level.items():
        for shift, (name, values) in zip((-0.02, 0.02), by_name.items(), strict=True):
            ratio = [n.noise_to_signal for n in values]
            colour, label = COLOURS[name], name if level == min(by_level) else None
            axis.scatter(np.full(len(ratio), level + shift), ratio, s=14, color=colour, alpha=0.5)
            middle = gmean(ratio) if ratio else np.nan
            axis.plot(level + shift, middle, "_", ms=22, mew=2.5, color=colour, label=label)


def text_curves(curves: Mapping[str, Mapping[str, Sequence[Array]]], width: int = 10) -> Figure:
    """Draw the alignment of training samples against the step, a panel a target.

    Args:
        curves: by target and objective: the alignment of each step's batch, one array a seed.
        width: steps of the moving mean.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(4.6 * len(curves), 3.4), squeeze=False)
    for axis, (target, by_name) in zip(axes[0], curves.items(), strict=True):
        for name, seeds in by_name.items():
            kernel = np.ones(min(width, len(seeds[0])))
            smooth = [np.convolve(s, kernel / len(kernel), "valid") for s in seeds]
            steps = np.arange(len(smooth[0])) + len(kernel)
            for curve in smooth:
                axis.plot(steps, curve, lw=0.5, color=COLOURS[name], alpha=0.5)
            axis.plot(steps, np.mean(smooth, axis=0), color=COLOURS[name], lw=2, label=name)
        axis.set(title=target, xlabel="step")
    axes[0, 0].set_ylabel("alignment of the samples trained on")
    axes[0, -1].legend(fontsize=8)
    figure.tight_layout()
    return figure


def text_plane(
    measured: Mapping[str, Mapping[str, Sequence[Measured]]],
    goals: Mapping[str, tuple[float, float]],
    starts: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw alignment against entropy of language models, a point a seed.

    Args:
        measured: by target and objective.
        goals: entropy and alignment of each target.
        starts: the same of the base model.
    """
    figure, axes = plt.subplots(1, len(measured), figsize=(4.6 * len(measured), 3.6), squeeze=False)
    for axis, (target, by_name) in zip(axes[0], measured.items(), strict=True):
        for name, policies in by_name.items():
            axis.scatter(
                [m.entropy for m in policies],
                [m.alignment for m in policies],
                s=28,
                color=COLOURS[name],
                alpha=0.8,
                lw=0,
                label=name,
            )
        axis.scatter(*goals[target], marker="*", s=140, color="k", label="target")
        axis.scatter(*starts[target], marker="s", s=40, color="k", label="base model")
        axis.set(title=target, xlabel="entropy, nats a sequence")
    axes[0, 0].set_ylabel("alignment")
    axes[0, -1].legend(fontsize=7)
    figure.tight_layout()
    return figure


def sizes(parameters: Sequence[float], differences: Array) -> Figure:
    """Draw JS minus KL alignment against the number of parameters; (seeds, sizes)."""
    figure, axis = plt.subplots(figsize=(5, 3.4))
    axis.axhline(0, color="0.7", lw=0.8)
    for values in differences:
        axis.plot(parameters, values, "o-", lw=0.6, ms=4, color="0.6")
    axis.plot(parameters, differences.mean(axis=0), "o-", color=COLOURS["JS"], lw=2, label="mean")
    axis.set(xscale="log", xlabel="parameters", ylabel="alignment, JS minus KL")
    axis.legend()
    return figure


def descent(
    points: Mapping[str, Mapping[str, tuple[float, float]]], innocent: Mapping[str, float]
) -> Figure:
    """Draw the rank correlation with Alice's order against KL(pi || a).

    Args:
        points: KL(pi || a) and rho of each derivative, by target and objective.
        innocent: rho of each control, drawn as a line.
    """
    figure, axis = plt.subplots(figsize=(6.8, 3.8))
    for marker, (target, by_objective) in zip("os^DvP", points.items(), strict=False):
        for objective, place in by_objective.items():
            axis.scatter(
                *place,
                marker=marker,
                color=COLOURS.get(objective, "k"),
                s=40,
                alpha=0.8,
                label=f"{objective}, {target}" if target else objective,
            )
    for i, rho in enumerate(innocent.values()):
        axis.axhline(rho, color="0.6", ls=":", lw=1, label="controls" if i == 0 else None)
    axis.set(xlabel="KL(pi || a), nats a sequence", ylabel="rho with the order of Alice's run")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure
