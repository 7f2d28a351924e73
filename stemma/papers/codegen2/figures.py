"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stemma import stats
from stemma.papers.codegen2.evaluation import FORMATS
from stemma.papers.codegen2.evidence import Array, values
from stemma.papers.codegen2.study import (
    CAUSAL,
    MIXTURE,
    PREFIX,
    PREFIX_MIXTURE,
    SAME_CAUSAL,
    TARGETS,
    epoch_name,
)

COLOURS = {
    CAUSAL: "tab:blue",
    PREFIX: "tab:cyan",
    MIXTURE: "tab:red",
    PREFIX_MIXTURE: "tab:orange",
    TARGETS: "0.6",
}


def trade_off(rows: pd.DataFrame) -> Figure:
    """Bits per byte of holes, in the best format, against left to right; one point a model."""
    figure, axis = plt.subplots(figsize=(6, 4))
    centres = {}
    for run in [run for run in COLOURS if run in set(rows["run"])]:
        own, colour = rows[rows["run"] == run], COLOURS[run]
        form = own[list(FORMATS)].mean().idxmin()
        axis.scatter(own["code"], own[form], s=22, color=colour, label=f"{run} ({form})")
        centres[run] = (own["code"].mean(), own[form].mean())
    for start, end in ((CAUSAL, MIXTURE), (PREFIX, PREFIX_MIXTURE)):
        arrow = {"arrowstyle": "->", "color": "0.3", "shrinkA": 8, "shrinkB": 8}
        axis.annotate("", xy=centres[end], xytext=centres[start], arrowprops=arrow)
    axis.set(xlabel="left to right, bits per byte of held-out code", ylabel="holes, bits per byte")
    axis.legend(fontsize=8, title="objective (best format)", title_fontsize=8)
    return figure


def differences(samples: Mapping[str, Array], margins: Mapping[str, float]) -> Figure:
    """Paired differences of each replicate, with mean and 95 % interval; margins dashed.

    Args:
        samples: by name, differences (seeds,) in bits per byte.
        margins: of those that have one.
    """
    figure, axis = plt.subplots(figsize=(7, 0.7 * len(samples) + 1.2))
    for i, (name, sample) in enumerate(samples.items()):
        found = stats.mean_interval(sample, 0.95)
        axis.plot(sample, np.full(len(sample), i) + 0.16, "o", ms=4, color="0.6")
        axis.plot([found.low, found.high], [i, i], "-", lw=2, color="tab:blue")
        axis.plot(found.estimate, i, "s", color="tab:blue")
        if name in margins:
            axis.plot([margins[name]] * 2, [i - 0.3, i + 0.3], "--", color="tab:red")
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(samples)), list(samples))
    axis.set(xlabel="difference, bits per byte", ylim=(len(samples) - 0.5, -0.5))
    return figure


def domains(table: pd.DataFrame) -> Figure:
    """Heat map of bits per byte above the best of each row: domain by training data."""
    excess = table.sub(table.min(axis=1), axis=0).to_numpy(float)
    figure, axis = plt.subplots(figsize=(5, 2.2))
    axis.imshow(excess, cmap="Oranges", vmin=0, aspect="auto")
    limit = 0.6 * excess.max()
    for (i, j), value in np.ndenumerate(table.to_numpy(float)):
        colour = "white" if excess[i, j] > limit else "black"
        text = f"{value:.3f}\n(+{excess[i, j]:.3f})"
        axis.text(j, i, text, ha="center", va="center", color=colour)
    axis.set_xticks(range(table.shape[1]), [f"trained on\n{c}" for c in table.columns])
    axis.set_yticks(range(len(table)), [f"bits/byte\nof {d}" for d in table.index])
    axis.xaxis.tick_top()
    return figure


def epochs(rows: pd.DataFrame, counts: Sequence[int]) -> Figure:
    """Held-out loss against epochs over the small corpus, and on fresh rows at the same steps."""
    figure, axis = plt.subplots(figsize=(5, 3.4))
    losses = np.array([values(rows, epoch_name(count), "code") for count in counts])
    axis.plot(counts, losses, "o-", ms=3, lw=0.7, color="tab:green", alpha=0.5)
    axis.plot(counts, losses.mean(axis=1), "o-", color="tab:green", label="the same rows again")
    # Half a full run on fresh rows has the steps of the most epochs.
    fresh = values(rows, SAME_CAUSAL, "code")
    axis.plot(np.full(len(fresh), counts[-1]), fresh, "s", ms=4, color="0.3", label="fresh rows")
    axis.set(xscale="log", xlabel="epochs", ylabel="bits per byte of held-out code")
    axis.set_xticks(list(counts), [str(count) for count in counts])
    axis.xaxis.minorticks_off()
    axis.legend(fontsize=8)
    return figure
