"""The figures of the notebook."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stemma.papers.dpp_least_squares.inference import failure_bound, rate_constant
from stemma.papers.dpp_least_squares.sampling import SAMPLERS, Nodes
from stemma.papers.dpp_least_squares.spaces import Array, Space
from stemma.papers.dpp_least_squares.study import Curves

Results = Mapping[str, Mapping[str, Curves]]
"""Space name -> sampler name -> curves."""

COLOURS: dict[str, str] = dict(
    zip(SAMPLERS, ("0.55", "tab:blue", "tab:orange", "tab:green"), strict=True)
)
_COLUMNS = 5


def stability_boxes(results: Results, multiples: Sequence[int]) -> Figure:
    """Distribution of lambda_min per sampler at n = r m, one panel a space."""
    figure, axes = _panels(results)
    width = 0.8 / len(SAMPLERS)
    for axis, (name, by_sampler) in zip(axes, results.items(), strict=True):
        for j, (sampler, curves) in enumerate(by_sampler.items()):
            at = [curves.at(r * curves.sizes[0]) for r in multiples]
            boxes = axis.boxplot(
                [np.maximum(curves.lambda_min[:, k].ravel(), 1e-9) for k in at],
                positions=np.arange(len(at)) + (j - 1.5) * width,
                widths=0.9 * width,
                whis=(5, 95),  # codespell:ignore whis
                showfliers=False,
                patch_artist=True,
                medianprops={"color": "black"},
            )
            for box in boxes["boxes"]:
                box.set_facecolor(COLOURS[sampler])
        axis.axhline(0.5, color="black", lw=0.8, ls=":")
        axis.set(title=_title(name, by_sampler), yscale="log", ylim=(1e-6, 2))
        axis.set_xticks(range(len(multiples)), [f"{r}m" for r in multiples])
    axes[0].set_ylabel("smallest eigenvalue of G")
    _legend(figure, [Patch(color=COLOURS[s]) for s in SAMPLERS])
    return figure


def stability_curves(results: Results, delta: float) -> Figure:
    """P(lambda_min >= 1 - delta) against n / m, with the Chernoff bound for independent points."""
    figure, axes = _panels(results)
    for axis, (name, by_sampler) in zip(axes, results.items(), strict=True):
        for sampler, curves in by_sampler.items():
            m = curves.sizes[0]
            at = [k for k, n in enumerate(curves.sizes) if n % m == 0]
            axis.plot(
                [curves.sizes[k] / m for k in at],
                curves.stability(delta).mean(axis=0)[at],
                "o-",
                ms=3,
                color=COLOURS[sampler],
            )
        r = np.linspace(1, curves.sizes[-1] / m, 200)
        bound = [max(0.0, 1 - failure_bound(m, float(x * m), delta)) for x in r]
        axis.plot(r, bound, "k--", lw=1)
        axis.set(title=_title(name, by_sampler), xlabel="n / m", xscale="log", ylim=(-0.03, 1.03))
        _plain_ticks(axis)
    axes[0].set_ylabel(f"P(smallest eigenvalue >= {1 - delta:g})")
    _legend(figure, _lines(), extra=("Chernoff bound, i.i.d. nu", "k--"))
    return figure


def error_curves(results: Results, function: Mapping[str, str], largest: int) -> Figure:
    """Mean (line) and 95 % quantile (dots) of the error ratio of one function against n / m."""
    figure, axes = _panels(results)
    for axis, (name, by_sampler) in zip(axes, results.items(), strict=True):
        for sampler, curves in by_sampler.items():
            m = curves.sizes[0]
            at = [k for k, n in enumerate(curves.sizes) if n % m == 0 and n <= largest * m]
            ratio = curves.ratio[..., 0][:, at].transpose(1, 0, 2).reshape(len(at), -1)
            x = [curves.sizes[k] / m for k in at]
            axis.plot(x, ratio.mean(axis=1), "-", color=COLOURS[sampler])
            axis.plot(x, np.quantile(ratio, 0.95, axis=1), ":", color=COLOURS[sampler])
        axis.axhline(1, color="black", lw=0.8)
        axis.set(title=f"{name}: {function[name]}", xlabel="n / m", xscale="log", yscale="log")
        axis.set_ylim(0.8, 1e4)
        _plain_ticks(axis)
    axes[0].set_ylabel("squared error / best squared error")
    _legend(figure, _lines(), extra=("95 % quantile", "k:"))
    return figure


def stable_sizes(
    stars: Mapping[str, Mapping[str, float]], m: Mapping[str, int], delta: float, censored: float
) -> Figure:
    """n* against m for each sampler; crosses mark spaces where no size tried was enough.

    Args:
        stars: space -> sampler -> mean n*/m over seeds.
        m: space -> dimension.
        delta: of the reference curve m log(m) / c_delta.
        censored: values above this stand for "more than".
    """
    figure, axis = plt.subplots(figsize=(6.5, 4.5))
    for sampler in SAMPLERS:
        points = sorted((m[name], by[sampler]) for name, by in stars.items())
        for cut, marker in ((False, "o"), (True, "x")):
            chosen = [(d, r) for d, r in points if (r > censored) == cut]
            axis.plot(
                [d for d, _ in chosen],
                [d * r for d, r in chosen],
                marker,
                color=COLOURS[sampler],
                label=None if cut else sampler,
                alpha=0.8,
            )
    d = np.geomspace(min(m.values()), max(m.values()) * 1.01, 50)
    axis.plot(d, d * np.log(d) / rate_constant(delta), "k--", lw=1, label="m log(m) / c")
    axis.plot(d, d, "k:", lw=1, label="m")
    axis.set(
        xscale="log", yscale="log", xlabel="m", ylabel="n*: points until stable in 95 % of draws"
    )
    _plain_ticks(axis, (5, 10, 20, 50, 100, 200))
    axis.set_xlim(d[0] / 1.2, d[-1] * 1.2)
    axis.legend(fontsize=8)
    return figure


def point_clouds(line: Space, plane: Space, samples: Mapping[str, tuple[Nodes, Nodes]]) -> Figure:
    """Points of some samplers in one and two dimensions; samples: name -> (on line, on plane)."""
    figure, axes = plt.subplots(
        2, len(samples), figsize=(3.2 * len(samples), 4.6), height_ratios=(1, 3), squeeze=False
    )
    for (top, bottom), (name, (one, two)) in zip(axes.T, samples.items(), strict=True):
        top.vlines(line.nodes[one, 0], 0, 1, lw=1)
        top.set(xlim=(-1.02, 1.02), yticks=[], title=f"{name}\n{len(one)} and {len(two)} points")
        bottom.plot(*plane.nodes[two].T, "o", ms=4, alpha=0.7)
        bottom.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    figure.tight_layout()
    return figure


def uniform_errors(best: Sequence[float], error: Mapping[str, Array], bound: float) -> Figure:
    """L2 error against the best sup-norm error; one point a space, function and sampler.

    The adversary's points stand at 1, the sup norm of its functions.

    Args:
        best: best sup-norm errors, length P.
        error: sampler -> largest L2 error over replicates, shape (P,).
        bound: factor of the almost sure bound, drawn as a line.
    """
    figure, axis = plt.subplots(figsize=(5.5, 4.5))
    x = np.asarray(best)
    for (sampler, values), marker in zip(error.items(), "s^o", strict=True):
        axis.plot(x, values, marker, ms=5, mfc="none", color=COLOURS[sampler], label=sampler)
    ends = np.array([x.min() / 2, x.max() * 2])
    axis.plot(ends, bound * ends, "k-", lw=1, label=f"almost sure bound, {bound:g} x")
    axis.plot(ends, ends, "k:", lw=1, label="equal")
    axis.set(xscale="log", yscale="log", xlabel="best sup-norm error", ylabel="largest L2 error")
    axis.legend(fontsize=8)
    return figure


def table_errors(results: Results, fekete: Mapping[str, float], names: Sequence[str]) -> Figure:
    """Mean excess squared error of real tables against the number of labelled rows."""
    figure, axes = plt.subplots(1, len(names), figsize=(4.8 * len(names), 3.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for sampler, curves in results[name].items():
            excess = curves.ratio[..., 0].transpose(1, 0, 2).reshape(len(curves.sizes), -1) - 1
            axis.plot(
                curves.sizes, excess.mean(axis=1), "o-", ms=3, color=COLOURS[sampler], label=sampler
            )
        axis.plot(curves.sizes[0], fekete[name], "k*", ms=9, label="Fekete (pivoted QR)")
        axis.set(xscale="log", yscale="log", title=name, xlabel="labelled rows n")
    axes[0][0].set_ylabel("excess squared error / best")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    return figure


def _panels(results: Results) -> tuple[Figure, list[Axes]]:
    columns = min(_COLUMNS, len(results))
    rows = -(-len(results) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.ravel())
    for axis in flat[len(results) :]:
        axis.set_visible(False)
    return figure, flat[: len(results)]


def _title(name: str, by_sampler: Mapping[str, Curves]) -> str:
    return f"{name} (m = {next(iter(by_sampler.values())).sizes[0]})"


def _lines() -> list[Artist]:
    return [Line2D([], [], color=COLOURS[s]) for s in SAMPLERS]


def _legend(figure: Figure, handles: list[Artist], extra: tuple[str, str] | None = None) -> None:
    labels: list[str] = list(SAMPLERS)
    if extra is not None:
        handles = [*handles, Line2D([], [], color="black", ls=extra[1][1:])]
        labels.append(extra[0])
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)


def _plain_ticks(axis: Axes, ticks: Sequence[int] = (1, 2, 4, 10, 20)) -> None:
    axis.set_xticks(ticks, [str(t) for t in ticks])
    axis.minorticks_off()
