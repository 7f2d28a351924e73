"""The figures of the notebook."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stemma import stats
from stemma.papers.distributional_miplib.evidence import own_accuracy, paired
from stemma.papers.distributional_miplib.study import HOMOGENEOUS, MIXED, TOTAL, WITHOUT, Solution

COLOURS = {HOMOGENEOUS: "tab:blue", MIXED: "tab:orange", TOTAL: "tab:green"}


def hardness(table: pd.DataFrame) -> Figure:
    """Nodes and seconds per domain and size under SCIP's pseudocosts, a box per size."""
    domains, sizes = list(table.domain.unique()), sorted(table["size"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    width = 0.8 / len(sizes)
    for axis, column, label in zip(axes, ("nodes", "seconds"), ("nodes", "seconds"), strict=True):
        for j, size in enumerate(sizes):
            mine = table[table["size"] == size]
            boxes = axis.boxplot(
                [mine[column][mine.domain == domain] for domain in domains],
                positions=np.arange(len(domains)) + (j - (len(sizes) - 1) / 2) * width,
                widths=0.9 * width,
                patch_artist=True,
                medianprops={"color": "black"},
                flierprops={"markersize": 3},
            )
            for box in boxes["boxes"]:
                box.set_facecolor(plt.get_cmap("Blues")(0.25 + 0.25 * j))
            axis.bar(0, np.nan, color=plt.get_cmap("Blues")(0.25 + 0.25 * j), label=f"x {size:g}")
        axis.set(yscale="log", ylabel=label)
        axis.set_xticks(range(len(domains)), [_words(d) for d in domains], fontsize=8)
    axes[0].legend(title="size", fontsize=8, title_fontsize=8)
    return figure


def accuracy_curves(table: pd.DataFrame) -> Figure:
    """Share of expert choices hit against N, a panel a domain; bands are 95 % t intervals."""
    domains = list(table.domain[table.kind == HOMOGENEOUS].unique())
    figure, axes = plt.subplots(
        2, len(domains), figsize=(2.3 * len(domains), 4.6), sharex=True, sharey="row",
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for column, domain in enumerate(domains):
        for axis, metric in zip(axes[:, column], ("top1", "top5"), strict=True):
            for kind, colour in COLOURS.items():
                mine = table[(table.kind == kind) & (table.test == domain)]
                if kind == HOMOGENEOUS:
                    mine = mine[mine.domain == domain]
                _curve(axis, mine.groupby("programs")[metric].apply(list), kind, colour)
            chance = table.chance[table.test == domain].mean()
            if metric == "top1":
                axis.axhline(chance, color="0.5", ls=":", lw=1, label="chance")
        axes[0, column].set_title(_words(domain), fontsize=9)
        axes[1, column].set_xlabel("programs N")
    axes[0, 0].set_ylabel("acc@1")
    axes[1, 0].set_ylabel("acc@5")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _curve(axis: Axes, values: "pd.Series[Any]", label: str, colour: str) -> None:
    means = [float(np.mean(v)) for v in values]
    axis.plot(values.index, means, marker="o", ms=3, color=colour, label=label)
    if len(values.iloc[0]) > 1:
        bands = [stats.mean_interval(v, 0.95) for v in values]
        low, high = [b.low for b in bands], [b.high for b in bands]
        axis.fill_between(values.index, low, high, color=colour, alpha=0.15, lw=0)


def nodes_per_rule(table: pd.DataFrame, rules: Sequence[str]) -> Figure:
    """1-shifted geometric mean of nodes per domain and rule, 95 % t intervals of its logarithm."""
    domains = list(table.domain.unique())
    figure, axis = plt.subplots(figsize=(10, 3.6), layout="constrained")
    for j, rule in enumerate(rules):
        groups = {
            i: np.log1p(table[(table.domain == domain) & (table.rule == rule)].nodes)
            for i, domain in enumerate(domains)
        }
        groups = {i: logs for i, logs in groups.items() if len(logs)}  # no policy of its own
        means = np.expm1([logs.mean() for logs in groups.values()])
        bands = [stats.mean_interval(logs, 0.95) for logs in groups.values()]
        low = means - np.expm1([band.low for band in bands])
        high = np.expm1([band.high for band in bands]) - means
        at = np.array(list(groups)) + (j - (len(rules) - 1) / 2) * 0.8 / len(rules)
        axis.errorbar(at, means, [low, high], fmt="o", ms=4, capsize=2, label=rule)
    axis.set(yscale="log", ylabel="nodes (shifted geometric mean)")
    axis.set_xticks(range(len(domains)), [_words(d) for d in domains])
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def forest(table: pd.DataFrame, ours: str, baselines: Sequence[str]) -> Figure:
    """Paired ratio of nodes (plus 1) of ``ours`` to each baseline, a line a domain."""
    nodes = np.log1p(paired(table, "nodes"))
    domains = list(table.domain.unique())
    figure, axes = plt.subplots(
        1, len(baselines), figsize=(4.2 * len(baselines), 2.8), sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis, baseline in zip(axes[0], baselines, strict=True):
        for place, domain in enumerate(domains):
            difference = (nodes[ours] - nodes[baseline]).loc[domain].to_numpy()
            band = stats.mean_interval(difference, 0.95)
            axis.plot(np.exp([band.low, band.high]), [place, place], color="tab:blue")
            axis.plot(np.exp(difference.mean()), place, "o", color="tab:blue")
        axis.axvline(1.0, color="black", lw=0.8, ls=":")
        axis.set(xscale="log", xlabel=f"nodes: {ours} / {baseline}")
        axis.xaxis.set_major_locator(LogLocator(base=2))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_yticks(range(len(domains)), [_line(d) for d in domains])
    axes[0, 0].invert_yaxis()
    return figure


def left_out(table: pd.DataFrame) -> Figure:
    """Top-1 accuracy of policies that never saw a domain, beside those that did."""
    largest = table[table.programs == table.programs.max()]
    domains = list(table.domain[table.kind == HOMOGENEOUS].unique())
    seeds = largest.seed[largest.kind == WITHOUT].unique()
    largest = largest[largest.seed.isin(seeds)]
    tests = [*domains, *(t for t in table.test.unique() if t not in domains)]
    rows = {
        f"{word} {_line(domain)}": largest[(largest.kind == kind) & (largest.domain == domain)]
        for word, kind in (("only", HOMOGENEOUS), ("without", WITHOUT))
        for domain in domains
    } | {"mixed": largest[largest.kind == MIXED]}
    means = {name: part.groupby("test").top1.mean() for name, part in rows.items()}
    matrix = pd.DataFrame(means).T[tests]
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(matrix) + 1.2), layout="constrained")
    image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(matrix.to_numpy()):
        shade = "white" if value < 0.6 else "black"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=8)
    axis.set_xticks(range(len(tests)), [_words(t) for t in tests], fontsize=8)
    axis.set_yticks(range(len(matrix)), list(matrix.index), fontsize=8)
    axis.set(xlabel="tested on", ylabel="trained on")
    figure.colorbar(image, label="acc@1")
    return figure


def gap_curves(programs: Mapping[str, Sequence[Solution]]) -> Figure:
    """Primal-dual gap against time, a panel a program and a line a rule."""
    figure, axes = plt.subplots(
        1, len(programs), figsize=(3.6 * len(programs), 2.9), layout="constrained", squeeze=False
    )
    for axis, (name, solutions) in zip(axes[0], programs.items(), strict=True):
        for solution in solutions:
            seconds, primal, dual = np.array(solution.outcome.curve).reshape(-1, 3).T
            gap = np.abs(primal - dual) / np.maximum(np.abs(primal), 1e-9)
            known = gap < 10  # no incumbent yet
            axis.step(seconds[known], 100 * gap[known], where="post", label=solution.rule)
        axis.set(xlabel="seconds", title=_line(name))
        axis.set_yscale("symlog", linthresh=0.1)
    axes[0, 0].set_ylabel("primal-dual gap, %")
    axes[0, -1].legend(fontsize=7)
    return figure


def time_shares(table: pd.DataFrame, rule: str) -> Figure:
    """Share of a policy's solving time in reading states, in the network, and in SCIP."""
    mine = table[table.rule == rule].groupby("domain", sort=False)
    sums = mine[["seconds", "feature_seconds", "forward_seconds"]].sum()
    features, forward = sums.feature_seconds / sums.seconds, sums.forward_seconds / sums.seconds
    figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
    at, left = np.arange(len(sums)), np.zeros(len(sums))
    parts = {"state": features, "network": forward, "SCIP": 1 - features - forward}
    for name, share in parts.items():
        axis.barh(at, share, left=left, label=name)
        left = left + share.to_numpy()
    axis.set_yticks(at, [_line(d) for d in sums.index])
    axis.set(xlabel="share of solving time", xlim=(0, 1))
    axis.invert_yaxis()
    axis.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return figure


def advantage(table: pd.DataFrame) -> Figure:
    """Mean advantage in acc@1 over homogeneous policies against N, a thin line a replicate."""
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    alone = own_accuracy(table, HOMOGENEOUS)
    for kind in (MIXED, TOTAL):
        gain = own_accuracy(table, kind) - alone
        axis.plot(gain.columns, gain.T, color=COLOURS[kind], lw=0.7, alpha=0.5)
        axis.plot(gain.columns, gain.mean(), color=COLOURS[kind], marker="o", label=kind)
    axis.axhline(0, color="black", lw=0.8, ls=":")
    axis.set(xlabel="programs N", ylabel="acc@1 minus homogeneous")
    axis.legend(fontsize=8)
    return figure


def _words(domain: str) -> str:
    return domain.replace("_", "\n")


def _line(domain: str) -> str:
    return domain.replace("_", " ")
