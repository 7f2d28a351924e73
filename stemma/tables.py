"""The claims of a paper beside what was measured, as text, HTML and Markdown."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from stemma.catalog import Paper
from stemma.claims import CellResult, ClaimResult, Verdict

COLOURS = {
    Verdict.REPRODUCED: "green",
    Verdict.TREND_HOLDS: "green",
    Verdict.CONTRADICTED: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_TESTED: "bright_black",
}

_CSS = {
    Verdict.REPRODUCED: "#1a7f37",
    Verdict.TREND_HOLDS: "#1a7f37",
    Verdict.CONTRADICTED: "#c62828",
    Verdict.INCONCLUSIVE: "#9a6700",
    Verdict.NOT_TESTED: "#6e7781",
}

_MANY_CELLS = 3


class ClaimRow(NamedTuple):
    """One row of a claims table, as text."""

    claim: str
    statement: str
    paper: str
    measured: str
    verdict: Verdict
    reason: str


def claim_rows(paper: Paper, results: Sequence[ClaimResult]) -> list[ClaimRow]:
    """Return the rows of the claims table, in the catalog's order."""
    rows = []
    for result in results:
        claim = paper.claim(result.claim)
        value = f"{claim.paper_value} {claim.unit}".removesuffix(" -").removesuffix(" none").strip()
        rows.append(
            ClaimRow(
                claim.id,
                claim.statement,
                value,
                measured(result.cells),
                result.verdict,
                result.reason,
            )
        )
    return rows


def measured(cells: Sequence[CellResult]) -> str:
    """Return the estimates with their intervals; many cells are summed up by their extremes."""
    if len(cells) <= _MANY_CELLS:
        return "; ".join(
            f"{cell.cell}: {_interval(cell)}" if cell.cell else _interval(cell) for cell in cells
        )
    estimates = [cell.estimate for cell in cells if cell.estimate is not None]
    if not estimates:
        return f"{len(cells)} cells without an estimate"
    return f"{min(estimates):.3g} to {max(estimates):.3g} over {len(cells)} cells"


def _interval(cell: CellResult) -> str:
    if cell.estimate is None:
        return f"n={cell.n}"
    return " ".join([f"{cell.estimate:.3g}", *bounds(cell), f"(n={cell.n})"])


def bounds(cell: CellResult, digits: int = 3, infinity: str = "inf") -> list[str]:
    """Return the interval in brackets; nothing for a cell without one."""
    if cell.low is None and cell.high is None:
        return []
    low = f"-{infinity}" if cell.low is None else f"{cell.low:.{digits}g}"
    high = infinity if cell.high is None else f"{cell.high:.{digits}g}"
    return [f"[{low}, {high}]"]


def claims_html(paper: Paper, results: Sequence[ClaimResult]) -> str:
    """Return the claims table as an HTML fragment for a notebook."""
    body = "".join(
        "<tr>"
        + f"<td>{escape(row.claim)}</td>"
        + "".join(
            f'<td style="text-align:left">{escape(text)}</td>'
            for text in (row.statement, row.paper, row.measured)
        )
        + f'<td style="color:{_CSS[row.verdict]};font-weight:600;white-space:nowrap">'
        + f"{escape(row.verdict)}</td>"
        + f'<td style="text-align:left">{escape(row.reason)}</td></tr>'
        for row in claim_rows(paper, results)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in _HEAD)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def claims_markdown(paper: Paper, results: Sequence[ClaimResult]) -> str:
    """Return the claims table as a Markdown table."""
    return "\n".join(markdown_table(_HEAD, claim_rows(paper, results)))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; bars and line ends in its cells are made harmless."""
    return [_markdown_row(head), "|" + " --- |" * len(head), *map(_markdown_row, rows)]


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


_HEAD = ("claim", "statement", "paper", "measured here", "verdict", "why")
