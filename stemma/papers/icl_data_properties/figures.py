"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stemma.papers.icl_data_properties.characters import Pixels
from stemma.papers.icl_data_properties.sequences import Sequences
from stemma.papers.icl_data_properties.study import BASE, Family, levels

LABELS = {
    "icl": "in-context accuracy",
    "iwl": "in-weights accuracy",
    "loss": "training loss (nats)",
    "p_bursty": "share of bursty sequences",
    "n_classes": "training classes",
    "polysemy": "labels of a class",
    "exemplars": "images of a class",
    "zipf": "Zipf exponent",
    "arch": "architecture",
}


def sample_sequences(images: Pixels, drawn: Mapping[str, Sequences]) -> Figure:
    """Draw the first sequence of each kind as pictures with their labels.

    Args:
        images: shape (classes, 20, side, side).
        drawn: sequences by name.
    """
    length = next(iter(drawn.values())).labels.shape[1]
    figure, axes = plt.subplots(len(drawn), length, figsize=(length, 1.35 * len(drawn)))
    for line, (name, sequences) in zip(axes, drawn.items(), strict=True):
        for i, axis in enumerate(line):
            picture = images[sequences.classes[0, i], sequences.exemplars[0, i]]
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            label = sequences.labels[0, i]
            axis.set_xlabel(f"label {label}" if i < length - 1 else f"? ({label})", fontsize=8)
        line[0].set_title(name, loc="left", fontsize=9)
    figure.tight_layout()
    return figure


def curves(
    rows: pd.DataFrame,
    families: Sequence[Family],
    chance: float,
    columns: Sequence[str] = ("icl", "iwl"),
) -> Figure:
    """Accuracy against steps: a column of panels a family, a line a level, bands over the seeds."""
    figure, axes = plt.subplots(
        len(columns),
        len(families),
        figsize=(0.8 + 3.4 * len(families), 2.6 * len(columns)),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for i, family in enumerate(families):
        for j, column in enumerate(columns):
            _lines(axes[j, i], rows, family, column)
            if column == "icl":
                axes[j, i].axhline(chance, color="black", lw=0.8, ls="--")
                axes[j, i].set_ylim(chance - 0.1, 1.02)
        axes[0, i].set_title(LABELS[family.name], fontsize=10)
        axes[0, i].legend(fontsize=8, loc="upper left")
        axes[-1, i].set_xlabel("steps")
    for j, column in enumerate(columns):
        axes[j, 0].set_ylabel(LABELS[column])
    figure.tight_layout()
    return figure


def _lines(axis: Axes, rows: pd.DataFrame, family: Family, column: str) -> None:
    for k, (level, condition) in enumerate(zip(family.levels, family.conditions, strict=True)):
        runs = rows[rows["condition"] == condition.name]
        table = runs.pivot_table(index="step", columns="seed", values=column)
        axis.plot(table.index, table.mean(axis=1), color=f"C{k}", label=f"{level}")
        axis.fill_between(
            table.index, table.min(axis=1), table.max(axis=1), color=f"C{k}", alpha=0.2, lw=0
        )


def trade_off(summary: pd.DataFrame, chance: float) -> Figure:
    """In-weights against in-context accuracy, one point a run, one colour a condition."""
    figure, axis = plt.subplots(figsize=(5.2, 4))
    for i, (name, runs) in enumerate(summary.groupby("condition", sort=False)):
        axis.plot(
            runs["icl_mean"],
            runs["iwl_mean"],
            "*" if name == BASE else "osv^D<>"[i % 7],
            color=f"C{i % 10}",
            ms=9 if name == BASE else 6,
            label=str(name),
        )
    axis.axvline(chance, color="black", lw=0.8, ls="--")
    axis.set(xlabel="in-context accuracy, mean over training")
    axis.set(ylabel="in-weights accuracy, mean over training")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def zipf(summary: pd.DataFrame, family: Family, chance: float) -> Figure:
    """Peak accuracies and joint score against the Zipf exponent, bars from least to greatest."""
    figure, axis = plt.subplots(figsize=(5.2, 3.6))
    shown = {
        "icl_peak": "in context, held-out classes",
        "icl_rare_peak": "in context, rare classes",
        "iwl_common_peak": "in weights, common classes",
        "joint_common": "both at once (S)",
    }
    for i, (column, label) in enumerate(shown.items()):
        table = levels(summary, family, column)
        middle = table.mean(axis=0)
        spread = np.abs(np.stack([table.min(axis=0), table.max(axis=0)]) - middle)
        x = np.asarray(family.levels, dtype=float) + 0.02 * (i - 1.5)
        axis.errorbar(x, middle, spread, fmt="osv^"[i] + "-", ms=4, capsize=2, label=label)
    axis.axhline(chance, color="black", lw=0.8, ls="--")
    axis.set(xlabel=LABELS["zipf"], ylabel="peak over training", ylim=(-0.02, 1.02))
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
