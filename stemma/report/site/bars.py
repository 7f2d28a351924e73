"""Intervals as bars: from a cell and its rule to lengths in a drawing, in numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stemma.claims import CellResult, Rule
from stemma.claims.readings import region
from stemma.claims.results import Samples
from stemma.claims.rules import Region
from stemma.tables import bounds

WIDTH = 240.0
HEIGHT = 16.0
_MARGIN = 8.0
_ROOM = 0.05  # of the axis, on either side of what is drawn


class Axis(NamedTuple):
    """The values at the left and the right edge; all cells of a claim share one axis."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Return where a value is drawn; what lies beyond the axis is drawn at its edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(_MARGIN + min(max(share, 0.0), 1.0) * (WIDTH - 2 * _MARGIN), 2)


class Bar(NamedTuple):
    """One cell drawn: horizontal positions in units of the drawing.

    Attributes:
        low: left end of the interval; None if there is no interval.
        marks: the finite edges of the claimed values (the null, a threshold, a tolerance).
        claimed: where the claim is true, from and to.
        open_low: the interval has no lower bound and is drawn to the edge.
        text: the same in words.
    """

    estimate: float
    low: float | None
    high: float | None
    marks: tuple[float, ...]
    claimed: tuple[float, float]
    open_low: bool
    open_high: bool
    text: str


def claimed_region(rule: Rule, cell: CellResult, samples: Samples) -> Region:
    """Return the values for which the claim is true in one cell."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in samples.items()}
    return region(rule, arrays, cell.estimate or 0.0)


def axis(cells: Sequence[CellResult], regions: Sequence[Region]) -> Axis | None:
    """Return an axis on which every estimate, interval and threshold has room; None if empty."""
    values = [v for cell in cells for v in (cell.estimate, cell.low, cell.high) if v is not None]
    if not values:
        return None
    values += [edge for found in regions for edge in found if np.isfinite(edge)]
    low, high = min(values), max(values)
    room = (high - low) * _ROOM or abs(low) * _ROOM or 1.0
    return Axis(low - room, high + room)


def bars(
    rule: Rule, cells: Sequence[CellResult], evidence: Mapping[str, Samples]
) -> list[Bar | None]:
    """Return one bar a cell, on a shared axis; None for a cell without an estimate."""
    regions = [claimed_region(rule, cell, evidence[cell.cell]) for cell in cells]
    shared = axis(cells, regions)
    return [
        None if shared is None or cell.estimate is None else _bar(cell, found, shared)
        for cell, found in zip(cells, regions, strict=True)
    ]


def _bar(cell: CellResult, claimed: Region, shared: Axis) -> Bar:
    assert cell.estimate is not None
    bounded = cell.low is not None or cell.high is not None
    low = shared.low if cell.low is None else cell.low
    high = shared.high if cell.high is None else cell.high
    return Bar(
        estimate=shared.x(cell.estimate),
        low=shared.x(low) if bounded else None,
        high=shared.x(high) if bounded else None,
        marks=tuple(shared.x(edge) for edge in claimed if np.isfinite(edge)),
        claimed=(shared.x(claimed.low), shared.x(claimed.high)),
        open_low=bounded and cell.low is None,
        open_high=bounded and cell.high is None,
        text=_words(cell, claimed),
    )


def interval_words(cell: CellResult) -> str:
    """Return the interval in brackets; nothing for a cell without one."""
    return "".join(bounds(cell, infinity="∞"))


def region_words(claimed: Region) -> str:
    """Return in words which values the claim allows."""
    if np.isfinite(claimed.low) and np.isfinite(claimed.high):
        return f"between {claimed.low:.3g} and {claimed.high:.3g}"
    return f"above {claimed.low:.3g}" if np.isfinite(claimed.low) else f"below {claimed.high:.3g}"


def _words(cell: CellResult, claimed: Region) -> str:
    interval = interval_words(cell)
    name = f"{cell.cell}: " if cell.cell else ""
    return (
        f"{name}estimate {cell.estimate:.3g}"
        + (f", interval {interval}" if interval else "")
        + f"; claimed {region_words(claimed)}"
    )
