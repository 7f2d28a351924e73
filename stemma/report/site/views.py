"""What the templates print: results and the catalog, put into words."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from stemma import tables
from stemma.batch import batches
from stemma.batch.records import Result
from stemma.catalog import Claim, Paper, Scale, Value
from stemma.claims import CellResult, ClaimResult, Evidence, Verdict
from stemma.report.site import bars
from stemma.report.site.bars import Bar
from stemma.report.site.sources import Collection, Shown, succeeded

_MANY_CELLS = 6
# The scales that draw conclusions come first.
COLUMNS: tuple[Scale, ...] = ("small", "gpu", "paper", "smoke")


class Tally(NamedTuple):
    """How many claims have a verdict."""

    verdict: Verdict
    number: int


@dataclass(frozen=True)
class Entry:
    """One result in the index.

    Attributes:
        tallies: the verdicts with their counts; none for a run that failed, or at smoke.
        outcome: what became of the run, in words.
        source: where the result comes from: origin, date, commit, device.
        label: what tells it from others of the same paper, if it is not the only one.
    """

    tallies: list[Tally]
    outcome: str
    source: str
    label: str


@dataclass(frozen=True)
class ScaleCell:
    """The results of one paper at one scale.

    Attributes:
        order: what the column is sorted by: the number of claims that hold; -1 without a result.
    """

    scale: Scale
    entries: list[Entry]
    order: int
    verdicts: list[str]


class IndexRow(NamedTuple):
    """A paper in the index."""

    paper: Paper
    cells: list[ScaleCell]


class CellView(NamedTuple):
    """One cell of a claim: in words and drawn; ``how`` says from what and by which method."""

    cell: CellResult
    text: str
    how: str
    bar: Bar | None


@dataclass(frozen=True)
class ClaimView:
    """A claim with what was measured; ``summary`` stands for many cells until they are opened."""

    claim: Claim
    result: ClaimResult
    cells: list[CellView]
    summary: str


class ParameterView(NamedTuple):
    """A parameter's value in a run; ``default`` is given where it differs."""

    name: str
    value: str
    default: str
    help: str


@dataclass(frozen=True)
class ShownView:
    """One result on a paper's page."""

    shown: Shown
    heading: str
    source: str
    message: str
    claims: list[ClaimView]
    tallies: list[Tally]
    parameters: list[ParameterView]
    timings: list[tuple[str, float]]
    command: str
    mlflow: str


def index_rows(collection: Collection) -> list[IndexRow]:
    """Return a row for every paper of the catalog."""
    return [
        IndexRow(paper, [_scale_cell(scale, collection.shown[paper.slug]) for scale in COLUMNS])
        for paper in collection.papers
    ]


def _scale_cell(scale: Scale, shown: Sequence[Shown]) -> ScaleCell:
    here = [s for s in shown if s.result.scale == scale]
    entries = [_entry(s, alone=len(here) == 1) for s in here]
    counts: Counter[Verdict] = Counter()
    for entry in entries:
        counts.update(dict(entry.tallies))
    held = counts[Verdict.REPRODUCED] + counts[Verdict.TREND_HOLDS]
    return ScaleCell(scale, entries, held if here else -1, [v.value for v in Verdict if counts[v]])


def _entry(shown: Shown, alone: bool) -> Entry:
    counted = tallies(shown.result) if shown.result.scale != "smoke" else []
    label = "" if alone else shown.label.removeprefix(shown.result.slug).strip()
    return Entry(counted, outcome(shown.result), source(shown), label)


def tallies(result: Result) -> list[Tally]:
    """Return the verdicts of a result with their counts, those that do not occur left out."""
    counts = Counter(claim.verdict for claim in result.claims)
    return [Tally(verdict, counts[verdict]) for verdict in Verdict if counts[verdict]]


def outcome(result: Result) -> str:
    """Return what became of a run, in words."""
    if result.outcome.value == "succeeded":
        return "machinery passed" if result.scale == "smoke" else "succeeded"
    return result.outcome.value + (f" ({result.failure.value})" if result.failure else "")


def source(shown: Shown) -> str:
    """Return where a result comes from: origin, date, commit, device, minutes."""
    result = shown.result
    commit = result.fingerprint.get("git_commit", "")[:7] or "unknown"
    changed = " with changes" if result.fingerprint.get("git_dirty") == "true" else ""
    return (
        f"{shown.origin}, {date(result.started)}, commit {commit}{changed},"
        f" {result.device}, {result.seconds / 60:.1f} min"
    )


def date(seconds: float) -> str:
    """Return the day of a time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def shown_views(paper: Paper, shown: Sequence[Shown], mlflow: str) -> list[ShownView]:
    """Return the results of a paper, by scale."""
    ordered = sorted(shown, key=lambda s: COLUMNS.index(s.result.scale))
    return [_shown_view(paper, s, mlflow) for s in ordered]


def _shown_view(paper: Paper, shown: Shown, mlflow: str) -> ShownView:
    result = shown.result
    words = shown.label.removeprefix(result.slug).strip()
    return ShownView(
        shown=shown,
        heading=words if result.scale in words.split() else f"{result.scale} {words}".strip(),
        source=source(shown),
        message="" if succeeded(shown) else f"{outcome(result)}: {result.message}",
        claims=claim_views(paper, result) if result.scale != "smoke" else [],
        tallies=tallies(result),
        parameters=_parameters(paper, result),
        timings=_timings(result),
        command=command(paper, result.scale, result.parameters),
        mlflow=(shown.folder and batches.mlflow_link(shown.folder, mlflow)) or "",
    )


def claim_views(paper: Paper, result: Result) -> list[ClaimView]:
    """Return the claims of a result, measured and drawn."""
    return [_claim_view(paper.claim(c.claim), c, result.evidence) for c in result.claims]


def _claim_view(claim: Claim, judged: ClaimResult, evidence: Evidence) -> ClaimView:
    drawn: list[Bar | None] = [None] * len(judged.cells)
    if claim.rule is not None and judged.cells:
        drawn = bars.bars(claim.rule, judged.cells, evidence[claim.id])
    cells = [
        CellView(cell, _cell_text(cell), _how(cell), bar)
        for cell, bar in zip(judged.cells, drawn, strict=True)
    ]
    many = len(cells) > _MANY_CELLS
    return ClaimView(
        claim=claim,
        result=judged,
        cells=cells,
        summary=tables.measured(judged.cells) if many else "",
    )


def _cell_text(cell: CellResult) -> str:
    if cell.estimate is None:
        return cell.note
    return f"{cell.estimate:.3g} {bars.interval_words(cell)}".strip()


def _how(cell: CellResult) -> str:
    words = [f"n = {cell.n}", cell.method]
    if bars.interval_words(cell) and cell.method != "each value":  # that one gives a range
        words.append(f"{cell.confidence * 100:.4g} %")
    note = f"; {cell.note}" if cell.note and cell.estimate is not None else ""
    return ", ".join(words) + note


def _parameters(paper: Paper, result: Result) -> list[ParameterView]:
    views = []
    for parameter in paper.parameters:
        if parameter.name not in result.parameters:
            continue
        value = result.parameters[parameter.name]
        default = parameter.default_at(result.scale)
        differs = "" if value == default else text(default)
        views.append(ParameterView(parameter.name, text(value), differs, parameter.help))
    return views


def text(value: Value) -> str:
    """Return a parameter's value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _timings(result: Result) -> list[tuple[str, float]]:
    seconds: dict[str, float] = {}
    for cell in result.cells:
        seconds[cell.heading] = seconds.get(cell.heading, 0.0) + cell.seconds
    return list(seconds.items())


def command(paper: Paper, scale: Scale, parameters: Mapping[str, Value] | None = None) -> str:
    """Return the command that makes a result; parameters at their defaults are left out."""
    words = ["stemma", "run", paper.slug, "--scale", scale]
    for parameter in paper.parameters:
        value = (parameters or {}).get(parameter.name, parameter.default_at(scale))
        if value != parameter.default_at(scale):
            words += ["-p", f"{parameter.name}={text(value)}"]
    return shlex.join(words)
