"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stemma.papers.factual_recall.scoring import Floats
from stemma.papers.factual_recall.study import Choice
from stemma.stats import Interval

COLOURS = {"in context": "tab:orange", "memorised": "tab:blue", "neither": "0.5"}


def frequency_curves(
    curves: Mapping[str, Mapping[str, Sequence[Interval]]],
    published: Mapping[str, Mapping[str, Floats]],
) -> Figure:
    """Shares against the frequency bin of the country and of the city, published ones dashed.

    Args:
        curves: by panel ("country", "city") and answer, an interval for each bin.
        published: by panel and model, in-context shares of ten bins.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(9.4, 3.4), sharey=True, squeeze=False)
    for axis, (panel, answers) in zip(axes[0], curves.items(), strict=True):
        for answer, bins in answers.items():
            estimate, low, high = np.array(bins).T
            middle = (np.arange(len(bins)) + 0.5) / len(bins)
            axis.plot(middle, estimate, "o-", color=COLOURS[answer], label=f"{answer}, here")
            band = np.clip([low, high], 0, 1)
            axis.fill_between(middle, *band, color=COLOURS[answer], alpha=0.15)
        for (model, shares), style in zip(published[panel].items(), ("--", ":"), strict=False):
            middle = (np.arange(len(shares)) + 0.5) / len(shares)
            axis.plot(
                middle, shares, style, color="tab:brown", lw=1.2, label=f"in context, {model}"
            )
        axis.set(xlabel=f"percentile of the {panel}'s count", xlim=(0, 1), ylim=(0, 1))
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    axes[0, 0].set_ylabel("share of prompts")
    axes[0, -1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def attribution_map(mean: Floats, chosen: Choice) -> Figure:
    """Mean logit difference of each head, (layers, heads); the chosen heads are outlined."""
    figure, axis = plt.subplots(figsize=(9.4, 1.2 + 0.22 * mean.shape[1]))
    limit = float(np.abs(mean).max())
    image = axis.imshow(mean.T, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for name, head in chosen._asdict().items():
        corner = (head.layer - 0.5, head.number - 0.5)
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, lw=1.8, ec="black"))
        axis.annotate(
            f"{name.replace('_', '-')} {head}",
            (head.layer, head.number),
            xytext=(-12 if head.layer > mean.shape[0] / 2 else 12, 0),
            textcoords="offset points",
            ha="right" if head.layer > mean.shape[0] / 2 else "left",
            va="center",
            fontsize=8,
        )
    axis.set(xlabel="layer", ylabel="head", yticks=range(mean.shape[1]))
    figure.colorbar(image, label="logits for the in-context answer", pad=0.02)
    return figure


def alpha_curves(heads: pd.DataFrame, others: pd.DataFrame) -> Figure:
    """Shares against alpha: one panel an answer.

    Args:
        heads: columns head, alpha, answer, share; alpha 1 is the plain model.
        others: the same of random heads, at the alphas that were tried.
    """
    answers = list(dict.fromkeys(heads["answer"]))
    figure, axes = plt.subplots(1, len(answers), figsize=(9.4, 3.4), sharey=True, squeeze=False)
    for axis, answer in zip(axes[0], answers, strict=True):
        for i, (name, part) in enumerate(heads[heads["answer"] == answer].groupby("head")):
            part = part.sort_values("alpha")
            axis.plot(part["alpha"], part["share"], "o-", ms=4, color=f"C{i}", label=name)
        _envelope(axis, others[others["answer"] == answer])
        axis.axvline(1, color="0.7", lw=0.8)
        axis.set(title=answer, xlabel="alpha", ylim=(-0.02, 1.02))
    axes[0, 0].set_ylabel("share of prompts")
    axes[0, -1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _envelope(axis: Axes, others: pd.DataFrame) -> None:
    by_alpha = others.groupby("alpha")["share"]
    mean, low, high = by_alpha.mean(), by_alpha.min(), by_alpha.max()
    reach = [mean - low, high - mean]
    axis.errorbar(
        mean.index, mean, reach, fmt="s", ms=4, color="0.4", capsize=4, label="random heads"
    )


def size_bars(shares: pd.DataFrame) -> Figure:
    """Shares of both answers; columns model, in context, memorised."""
    figure, axis = plt.subplots(figsize=(9.4, 3.2))
    at = np.arange(len(shares))
    for shift, answer in ((-0.2, "in context"), (0.2, "memorised")):
        axis.bar(at + shift, shares[answer], 0.4, color=COLOURS[answer], label=answer)
    axis.set(ylabel="share of prompts", ylim=(0, 1))
    axis.set_xticks(at, shares["model"], fontsize=8, rotation=25, ha="right")
    axis.legend(fontsize=8)
    return figure
