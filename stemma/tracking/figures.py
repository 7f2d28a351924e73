"""The claims of one run as a picture: estimate and interval of every cell."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemma.claims import Outcome, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    Outcome.HOLDS: "#1a7f37",
    Outcome.CONTRADICTED: "#c62828",
    Outcome.INCONCLUSIVE: "#9a6700",
    Verdict.REPRODUCED: "#1a7f37",
    Verdict.TREND_HOLDS: "#1a7f37",
}
_GREY = "#57606a"
_MOST_CELLS = 20
_ROW, _FRAME, _WIDTH = 0.2, 0.55, 8.0
"""Inches: a cell, the title and axis of a panel, the whole."""
_NAME = 40

Claim = Mapping[str, Any]


def claims_figure(claims: Sequence[Claim]) -> "Figure | None":
    """Return one panel a claim, one row a cell; None if nothing was estimated.

    A claim of more than 20 cells shows the first 20 and says so: a glance is the purpose, and all
    numbers are metrics.

    Args:
        claims: judged claims, as ``result.json`` stores them.
    """
    from matplotlib.figure import Figure  # not pyplot, which is no good in threads

    shown = [(claim, _estimated(claim)) for claim in claims if _estimated(claim)]
    if not shown:
        return None
    rows = [_ROW * (1 + min(len(cells), _MOST_CELLS)) for _, cells in shown]
    height = sum(rows) + _FRAME * len(rows)
    figure = Figure(figsize=(_WIDTH, height), dpi=90)
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)[:, 0]
    # Matplotlib's own layouts take a second for a dozen panels.
    figure.subplots_adjust(
        *(0.28, 0.6 * _FRAME / height, 0.97, 1 - 0.4 * _FRAME / height),
        hspace=_FRAME * len(rows) / sum(rows),
    )
    for axes, (claim, cells) in zip(panels, shown, strict=True):
        _draw(axes, claim, cells)
    return figure


def _estimated(claim: Claim) -> list[Any]:
    return [cell for cell in claim["cells"] if cell["estimate"] is not None]


def _draw(axes: "Axes", claim: Claim, cells: Sequence[Any]) -> None:
    title = f"{claim['claim']}: {claim['verdict']}"
    if len(cells) > _MOST_CELLS:
        title += f" ({_MOST_CELLS} of {len(cells)} cells shown)"
        cells = cells[:_MOST_CELLS]
    values = [cell["estimate"] for cell in cells]
    # An end without a bound ends at the estimate.
    lows, highs = (
        [
            value if cell[end] is None else cell[end]
            for cell, value in zip(cells, values, strict=True)
        ]
        for end in ("low", "high")
    )
    rows = range(len(cells))
    colours = [_COLOURS.get(cell["outcome"], _GREY) for cell in cells]
    axes.hlines(rows, lows, highs, colors=colours, linewidth=1.5)
    axes.scatter(values, rows, c=colours, s=16, zorder=2)
    axes.set_title(title, loc="left", fontsize=9, color=_COLOURS.get(claim["verdict"], _GREY))
    # A name between dollars would be set as mathematics.
    names = [cell["cell"][:_NAME].replace("$", r"\$") or "estimate" for cell in cells]
    axes.set_yticks(rows, names, fontsize=7)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", color="#d0d7de", linewidth=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
