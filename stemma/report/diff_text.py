"""A comparison of two batches in the terminal and as Markdown."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemma.claims import CellResult
from stemma.report.diff import Diff, RunDiff
from stemma.tables import bounds, markdown_table


class _Block(NamedTuple):
    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def print_diff(diff: Diff, console: Console) -> None:
    """Print a comparison as tables."""
    console.print(summary(diff), markup=False, highlight=False)
    for block in _blocks(diff):
        table = Table(title=block.title, title_justify="left", title_style="bold", box=None)
        for name in block.head:
            table.add_column(name, overflow="fold")
        for row in block.rows:
            table.add_row(*(Text(text) for text in row))
        console.print()
        console.print(table)


def diff_markdown(diff: Diff) -> str:
    """Return a comparison as Markdown."""
    lines = [summary(diff)]
    for block in _blocks(diff):
        lines += ["", f"## {block.title}", "", *markdown_table(block.head, block.rows)]
    return "\n".join(lines)


def summary(diff: Diff) -> str:
    """Return the counts of what moved, in one line."""
    moves = [move for run in diff.runs for move in run.estimates]
    unmoved = sum(run.unmoved for run in diff.runs)
    return (
        f"{diff.old} -> {diff.new}: runs compared: {len(diff.runs)},"
        f" verdicts moved: {diff.verdicts_moved},"
        f" estimates moved: {len(moves)} of {len(moves) + unmoved}"
        f" (apart, intervals do not overlap: {sum(move.apart for move in moves)}),"
        f" runs new: {len(diff.only_new)}, gone: {len(diff.gone)}"
    )


def _blocks(diff: Diff) -> Iterator[_Block]:
    """Yield the tables that have rows."""
    every = [
        _Block("Runs", ("run", "state", "minutes", "ratio"), [_run_row(r) for r in diff.runs]),
        _Block(
            "Verdicts that moved",
            ("run", "claim", "old", "new"),
            [(run.label, *move) for run in diff.runs for move in run.verdicts],
        ),
        *(_estimates(run) for run in diff.runs),
        _Block(
            "Parameters that differ",
            ("run", "parameter", "old", "new"),
            [(run.label, *found) for run in diff.runs for found in run.parameters],
        ),
        _Block(f"Only in {diff.new}", ("run",), [(label,) for label in diff.only_new]),
        _Block(f"Only in {diff.old}", ("run",), [(label,) for label in diff.gone]),
    ]
    yield from (block for block in every if block.rows)


def _estimates(run: RunDiff) -> _Block:
    rows = [
        (m.claim, m.cell, _cell(m.old), _cell(m.new), "apart" if m.apart else "")
        for m in run.estimates
    ]
    return _Block(f"Estimates that moved: {run.label}", ("claim", "cell", "old", "new", ""), rows)


def _run_row(run: RunDiff) -> tuple[str, ...]:
    old, new = run.states
    minutes = " -> ".join("none" if s is None else f"{s / 60:.1f}" for s in run.seconds)
    ratio = "" if run.ratio is None else f"{run.ratio:.2f}"
    return run.label, old if old == new else f"{old} -> {new}", minutes, ratio


def _cell(cell: CellResult) -> str:
    if cell.estimate is None:
        return f"n={cell.n}"
    return " ".join([f"{cell.estimate:.4g}", *bounds(cell, digits=4)])
