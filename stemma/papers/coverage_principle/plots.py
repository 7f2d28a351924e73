"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stemma.papers.coverage_principle import baselines, coverage, evidence
from stemma.papers.coverage_principle.analysis import Floats
from stemma.papers.coverage_principle.study import Outcome
from stemma.papers.coverage_principle.tasks import Bools, Ints

_LEVELS = ("tab:blue", "tab:orange", "tab:green", "tab:purple")
_FEW = 10
_NODES = {"trained": "tab:blue", "covered": "tab:green", "uncovered": "tab:red"}


def substitution_graph(
    triples: Ints, edges: Sequence[tuple[int, int]], trained: Bools, covered: Bools
) -> Figure:
    """Nodes are triples, edges swaps of equivalent fragments that keep the answer."""
    figure, axis = plt.subplots(figsize=(8, 5))
    graph = nx.Graph(edges)
    graph.add_nodes_from(range(len(triples)))
    place = nx.spring_layout(graph, k=0.5, iterations=300, seed=0)
    nx.draw_networkx_edges(graph, place, ax=axis, edge_color="0.7")
    kinds = np.select([trained, covered], ["trained", "covered"], "uncovered")
    for kind, colour in _NODES.items():
        chosen = np.flatnonzero(kinds == kind).tolist()
        at = np.array([place[i] for i in chosen]).reshape(-1, 2)
        axis.scatter(
            at[:, 0], at[:, 1], s=330, color=colour, label=f"{kind} ({len(chosen)})", zorder=2
        )
    for i, triple in enumerate(triples):
        axis.annotate(
            "".join(map(str, triple)), place[i], ha="center", va="center", fontsize=7, color="white"
        )
    axis.legend(markerscale=0.5, loc="best")
    axis.set_axis_off()
    return figure


def scaling(
    needed: Mapping[int, Floats], sizes: Sequence[int], models: Mapping[str, Floats]
) -> Figure:
    """N against n: data side for each k with the theorem's slope, and models where measured.

    Args:
        needed: for each k, shape (seeds, sizes).
        sizes: values of n.
        models: by name, (values of n, N) with shape (2, points).
    """
    figure, axis = plt.subplots(figsize=(6, 4.4))
    n = np.asarray(sizes, float)
    for (k, values), colour in zip(needed.items(), _LEVELS, strict=False):
        centre = np.exp(np.nanmean(np.log(values), axis=0))
        axis.plot(np.tile(n, len(values)), values.ravel(), ".", color=colour, ms=3, alpha=0.4)
        axis.plot(n, centre, "o-", color=colour, ms=5, label=f"k = {k}, measured")
        line = centre[-1] * (n / n[-1]) ** coverage.exponent(k)
        slope = f"$n^{{{coverage.exponent(k):.2f}}}$"
        axis.plot(n, line, "--", color=colour, lw=1, label=f"{slope}, theorem's slope")
    for (name, (x, y)), colour in zip(models.items(), ("black", "0.6"), strict=False):
        axis.plot(x, y, "s", color=colour, ms=5, label=name)
    axis.set(xscale="log", yscale="log", xlabel="tokens n", ylabel="training triples N")
    axis.set_xticks(n, [f"{v:g}" for v in n])
    axis.xaxis.minorticks_off()
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _mean_curve(outcomes: Sequence[Outcome], chosen: Sequence[Bools]) -> Floats:
    right = [o.correct[:, c] for o, c in zip(outcomes, chosen, strict=True)]
    return np.asarray(np.concatenate(right, axis=1).mean(axis=1))


def learning(panels: Mapping[str, Sequence[Outcome]], steps: Sequence[int], top: int) -> Figure:
    """Accuracy against step, one line a k-cutoff (``top`` stands for more), and out of domain.

    Cutoffs of fewer than ``_FEW`` tests have no line.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5 * len(panels), 3.8), sharey=True, squeeze=False
    )
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, top + 1))
    for axis, (title, outcomes) in zip(axes[0], panels.items(), strict=True):
        for k in range(top + 1):
            chosen = [np.minimum(o.cutoff, top) == k for o in outcomes]
            if sum(int(c.sum()) for c in chosen) >= _FEW:
                label = f"k >= {k}" if k == top else f"k = {k}"
                curve = _mean_curve(outcomes, chosen)
                axis.plot(steps, curve, "o-", ms=3, color=shades[k], label=label)
        outside = _mean_curve(outcomes, [~o.in_domain for o in outcomes])
        axis.plot(steps, outside, "s--", ms=3, color="tab:red", label="out of domain")
        axis.axhline(1 / outcomes[0].setting.n, color="0.5", ls=":", label="chance 1/n")
        axis.set(title=title, xlabel="training step")
    axes[0, 0].set(ylabel="accuracy on new triples", ylim=(0, 1.03))
    handles = [axis.get_legend_handles_labels() for axis in axes[0]]
    named = {
        label: line for lines, labels in handles for line, label in zip(lines, labels, strict=True)
    }
    labels = sorted(named)
    axes[0, -1].legend(
        [named[label] for label in labels],
        labels,
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )
    return figure


def by_cutoff(table: pd.DataFrame, chance: float) -> Figure:
    """Accuracy of the models and of the baselines against the k-cutoff, in domain."""
    figure, axis = plt.subplots(figsize=(5.6, 3.8))
    styles = ("o-", "x:", "+:", "s--")
    for name, style in zip([evidence.MODEL, *baselines.NAMES], styles, strict=True):
        axis.plot(table["k"], table[name], style, label=name)
    axis.axhline(chance, color="0.5", ls=":", label="chance 1/n")
    labels = [f"{k}\n({t})" for k, t in zip(table["k"], table["tests"], strict=True)]
    axis.set_xticks(table["k"], labels)
    axis.set(xlabel="k-cutoff (tests)", ylabel="accuracy", ylim=(0, 1.03))
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def collapse_by_layer(table: pd.DataFrame, conditions: Sequence[str]) -> Figure:
    """IICG at x2 by layer, mean and range over seeds, for the groupings of the states."""
    figure, axes = plt.subplots(
        1, len(conditions), figsize=(4.4 * len(conditions), 3.6), sharey=True, squeeze=False
    )
    groupings = {
        "by_bridge": "by b",
        "by_bridge_and_x2": "by (b, x2)",
        "given_x2": "by b, among equal x2",
        "shuffled": "by shuffled b",
    }
    for axis, condition in zip(axes[0], conditions, strict=True):
        part = table[table["condition"] == condition].groupby("layer")
        for i, (column, label) in enumerate(groupings.items()):
            mean = part[column].mean()
            spread = np.stack([mean - part[column].min(), part[column].max() - mean])
            axis.errorbar(
                mean.index + 0.05 * (i - 1.5), mean, spread, fmt="os^x"[i] + "-", label=label, ms=5
            )
        axis.axhline(0, color="0.5", lw=0.8)
        axis.set(title=condition, xlabel="layer (0: embedding)", xticks=list(mean.index))
    axes[0, 0].set_ylabel("cosine gap at x2")
    axes[0, -1].legend(fontsize=8)
    return figure


def conditions_bars(rows: pd.DataFrame, order: Sequence[str], chance: float) -> Figure:
    """In-domain accuracy by condition, models and fragment lookup, each seed a dot.

    ``rows`` holds condition, seed, model and lookup accuracy.
    """
    figure, axis = plt.subplots(figsize=(1.5 * len(order) + 1, 3.8))
    x = np.arange(len(order))
    sides = ((evidence.MODEL, -0.2, "tab:blue"), (baselines.LOOKUP, 0.2, "0.6"))
    for name, shift, colour in sides:
        groups = [rows.loc[rows["condition"] == c, name] for c in order]
        axis.bar(x + shift, [g.mean() for g in groups], 0.38, color=colour, label=name)
        for at, group in zip(x + shift, groups, strict=True):
            axis.plot(np.full(len(group), at), group, "k.", ms=4)
    axis.axhline(chance, color="0.4", ls=":", label="chance 1/n")
    axis.set_xticks(x, order)
    axis.set(ylabel="in-domain accuracy", ylim=(0, 1.03))
    axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    return figure


def heat_maps(panels: Mapping[str, Floats], label: str) -> Figure:
    """Layer by position, one panel a map, values written in; all in [0, 1]."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), squeeze=False)
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        _heat_map(axis, values)
        axis.set(title=title, xlabel="position", ylabel="layer (0: embedding)")
    figure.suptitle(label, y=1.02)
    figure.tight_layout()
    return figure


def _heat_map(axis: Axes, values: Floats) -> None:
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if value > 0.6 else "black"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(3), ["x1", "x2", "x3"])
    axis.set_yticks(range(len(values)))
