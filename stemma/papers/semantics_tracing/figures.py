"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stemma.papers.semantics_tracing.tracing import SemanticMap, as_graph

Array = NDArray[np.float64]

RIGHT, WRONG, NULL = "tab:blue", "tab:red", "0.6"


def curves(cas: Array, lens: Array, marked: pd.DataFrame) -> Figure:
    """CAS and lens margin over layers, right and wrong items with 95% bands; median markers.

    Args:
        cas: shape (n, layers).
        lens: calibrated margins of the logit lens, shape (n, layers).
        marked: the items' markers, with the column ``error``.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    wrong = marked.error.to_numpy()
    panels = ((cas, "CAS"), (lens, "margin of the logit lens (logits)"))
    for axis, (values, label) in zip(axes, panels, strict=True):
        for mine, colour, name in ((~wrong, RIGHT, "right"), (wrong, WRONG, "wrong")):
            if mine.any():
                _band(axis, values[mine], colour, f"{name} ({mine.sum()})")
        axis.set(xlabel="layer", ylabel=label)
    axes[0].axhline(0.5, color="black", lw=0.6)
    axes[1].axhline(0.0, color="black", lw=0.6)
    for name, style in (("onset", ":"), ("inversion", "--"), ("commitment", "-.")):
        found = marked.loc[marked.error & (marked[name] >= 0), name]
        if len(found):
            label = f"{name}, median ({len(found)} of {wrong.sum()} wrong)"
            axes[0].axvline(found.median(), color="0.4", ls=style, lw=1, label=label)
    axes[0].legend(fontsize=7)
    axes[1].legend(fontsize=8)
    return figure


def _band(axis: Axes, values: Array, colour: str, label: str) -> None:
    layers, mean = np.arange(values.shape[1]), values.mean(axis=0)
    half = 1.96 * values.std(axis=0) / np.sqrt(len(values))
    axis.plot(layers, mean, color=colour, label=label)
    axis.fill_between(layers, mean - half, mean + half, color=colour, alpha=0.2, lw=0)


def scatter(
    scores: Mapping[str, Array], rates: Array, nulls: Mapping[str, Array], rhos: Mapping[str, float]
) -> Figure:
    """Score of each noun against its hallucination rate; below, rho with permuted lists."""
    figure, axes = plt.subplots(
        2, len(scores), figsize=(10, 5), height_ratios=(2, 1), layout="constrained", squeeze=False
    )
    for (upper, lower), (name, values) in zip(axes.T, scores.items(), strict=True):
        upper.plot(values, rates, "o", color=RIGHT, alpha=0.5, ms=5)
        upper.set(xlabel=f"{name}, mean of a noun", ylabel="hallucination rate", ylim=(-0.05, 1.05))
        upper.set_title(f"Spearman rho = {rhos[name]:.2f}, {len(rates)} nouns", fontsize=10)
        lower.hist(nulls[name], bins=30, color=NULL, label="permuted lists")
        lower.axvline(rhos[name], color=WRONG, lw=1.5, label="own lists")
        lower.axvline(-0.863, color="black", ls=":", label="paper")
        lower.set(xlabel=f"rho of {name}", xlim=(-1, 1), yticks=[])
        lower.legend(fontsize=7)
    return figure


def flips(
    rates: Mapping[str, pd.DataFrame], commitment: Mapping[str, int], donor_rate: float
) -> Figure:
    """Share of wrong answers that patching turns right, against the layer (figure 3).

    Args:
        rates: by donor, rows site and noun, columns layers.
        commitment: by site, the layer from which the rate stays below half of its maximum.
        donor_rate: share of donors that are right themselves.
    """
    sites = {"answer": "answer position", "prompt": "all positions before it"}
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, (site, title) in zip(axes, sites.items(), strict=True):
        for donor, colour in (("gold", RIGHT), ("control", NULL)):
            layers = rates[donor].columns.to_numpy()
            mine = rates[donor].xs(site, level="site").to_numpy()
            half = 1.96 * mine.std(axis=0, ddof=1) / np.sqrt(len(mine))
            label = "told the gold concept" if donor == "gold" else "told another concept"
            axis.errorbar(
                layers, mine.mean(axis=0), half, color=colour, marker="o", ms=4, label=label
            )
        axis.axhline(donor_rate, color="black", ls=":", lw=1, label="donors that are right")
        axis.axvline(commitment[site], color=WRONG, ls="--", lw=1, label="commitment")
        axis.set(xlabel="layer after which states are patched", title=title, ylim=(-0.03, 1.03))
    axes[0].set_ylabel("flip rate of wrong items")
    axes[0].legend(fontsize=8)
    return figure


def maps(rows: Mapping[str, Sequence[SemanticMap]], shown: int = 10) -> Figure:
    """Semantic maps of some prompts (rows) at some layers (columns): concepts and influence."""
    width = max(len(row) for row in rows.values())
    size = (4.2 * width, 3.8 * len(rows))
    figure, axes = plt.subplots(len(rows), width, figsize=size, layout="constrained", squeeze=False)
    for line, (title, row) in zip(axes, rows.items(), strict=True):
        for axis, one in zip(line, row, strict=True):
            _draw(axis, as_graph(one, shown))
            axis.set_title(f"{title}\nlayer {one.layer}", fontsize=9)
            axis.set_axis_off()
            axis.margins(0.22)
    return figure


def _draw(axis: Axes, graph: nx.DiGraph) -> None:
    place = nx.circular_layout(graph)
    weights = np.array([w for _, _, w in graph.edges(data="weight")])
    top = np.abs(weights).max() if weights.size else 1.0
    nx.draw_networkx_nodes(graph, place, ax=axis, node_color="0.9", node_size=700)
    nx.draw_networkx_edges(
        graph,
        place,
        ax=axis,
        node_size=700,
        width=(0.3 + 2.5 * np.abs(weights) / top).tolist(),
        edge_color=np.where(weights > 0, RIGHT, WRONG).tolist(),
        connectionstyle="arc3,rad=0.1",
    )
    labels = {word: word.replace("$", r"\$").replace("\ufffd", "?") for word in graph}
    nx.draw_networkx_labels(graph, place, labels, font_size=8, ax=axis)


def deletion(rows: pd.DataFrame) -> Figure:
    """Drop of the answer's margin when the best one or two words are replaced, by method."""
    order = rows.groupby("method")["drop"].mean().sort_values(ascending=False).index
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for shift, (count, part) in zip((-0.2, 0.2), rows.groupby("count"), strict=True):
        groups = part.groupby("method")["drop"]
        mean, half = groups.mean()[order], 1.96 * groups.sem()[order]
        place = np.arange(len(order)) + shift
        label = "best word" if count == 1 else f"best {count} words"
        axis.bar(place, mean, 0.4, yerr=half, capsize=3, label=label, alpha=0.8)
    axis.axhline(0, color="black", lw=0.6)
    axis.set_xticks(range(len(order)), [name.replace("_", "\n") for name in order], fontsize=8)
    axis.set_ylabel("drop of the margin (logits)")
    axis.legend(fontsize=8)
    return figure
