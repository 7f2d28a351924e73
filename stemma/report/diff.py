"""What moved between two batches: verdicts, estimates, failures, times."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from stemma import catalog
from stemma.batch import batches
from stemma.batch.batches import RunView
from stemma.batch.records import Batch, Result, Spec
from stemma.catalog import Scale, Value
from stemma.claims import CellResult, ClaimResult
from stemma.errors import RunError
from stemma.report import reference

_REFERENCE = "reference"
_SAME = 1e-6  # relative; sums in another order of threads differ by less


@dataclass(frozen=True)
class Entry:
    """One run of one side; ``result`` is None if it left none."""

    slug: str
    scale: Scale
    parameters: Mapping[str, Value]
    state: str
    result: Result | None = None

    @property
    def claims(self) -> dict[str, ClaimResult]:
        """The judged claims by id; none of a run that failed."""
        return {claim.claim: claim for claim in self.result.claims} if self.result else {}


class Side(NamedTuple):
    """All runs of one side, and what it is called."""

    name: str
    entries: list[Entry]


class VerdictMove(NamedTuple):
    """A claim whose verdict moved; ``none`` where its run gave no verdict."""

    claim: str
    old: str
    new: str


class EstimateMove(NamedTuple):
    """A cell whose estimate or interval moved; ``apart``: the intervals do not overlap."""

    claim: str
    cell: str
    old: CellResult
    new: CellResult
    apart: bool


@dataclass(frozen=True)
class RunDiff:
    """Two runs of the same paper, scale and varied parameters.

    Attributes:
        label: slug, scale and the parameters that tell the run from others.
        states: of the runs, old and new.
        seconds: wall times, old and new; None where there is no result.
        parameters: those whose values differ though nothing varies them: name, old and new.
        unmoved: how many estimates are the same.
    """

    label: str
    states: tuple[str, str]
    seconds: tuple[float | None, float | None]
    verdicts: list[VerdictMove]
    estimates: list[EstimateMove]
    parameters: list[tuple[str, str, str]]
    unmoved: int

    @property
    def ratio(self) -> float | None:
        """New time over old time."""
        old, new = self.seconds
        return new / old if old and new is not None else None


@dataclass(frozen=True)
class Diff:
    """What moved from ``old`` to ``new``; ``only_new`` and ``gone`` are labels of runs."""

    old: str
    new: str
    runs: list[RunDiff] = field(default_factory=list)
    only_new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @property
    def verdicts_moved(self) -> int:
        """How many verdicts moved; those that a failed run has lost, or won back, among them."""
        return sum(len(run.verdicts) for run in self.runs)


def load(name: str) -> Side:
    """Return the runs of a batch, of the committed references, or of a folder of result files.

    References come without their repeats: a batch is compared with the run that it runs again.

    Raises:
        RunError: there is no such batch or folder, or it holds no results.
    """
    if name == _REFERENCE:
        return Side(_REFERENCE, [_of_result(result) for result in reference.first_runs()])
    folder = Path(name)
    # A batch's id comes first: a folder of that name may lie beside by chance.
    if folder.is_dir() and name not in batches.ids():
        return Side(name, _of_folder(folder))
    return of_batch(batches.load(name))


def of_batch(batch: Batch) -> Side:
    """Return the runs of a batch, also those without a result."""
    results = {run.name: result for run, result in batches.results(batch)}
    views = batches.view(batch)
    return Side(batch.id, [_of_view(view, results.get(view.run.name)) for view in views])


def _of_view(view: RunView, result: Result | None) -> Entry:
    run, state = view
    parameters = result.parameters if result else _planned_parameters(view)
    words = state.state.value + (f" ({state.failure.value})" if state.failure else "")
    return Entry(run.slug, run.scale, parameters, words, result)


def _planned_parameters(view: RunView) -> Mapping[str, Value]:
    try:
        spec: Spec = Spec.read(batches.run_folder(view.run) / "spec.json")
    except (OSError, ValidationError):
        return {}
    return spec.parameters if spec.key == view.run.key else {}


def _of_folder(folder: Path) -> list[Entry]:
    entries = []
    for path in sorted(folder.glob("*.json")):
        try:
            result: Result = Result.read(path)
        except ValidationError:
            continue  # another record
        entries.append(_of_result(result.judged_by(catalog.load(result.slug))))
    if not entries:
        raise RunError(f"{folder} holds no result files (result.json of a run, or a reference)")
    return entries


def _of_result(result: Result) -> Entry:
    failure = f" ({result.failure.value})" if result.failure else ""
    return Entry(
        result.slug, result.scale, result.parameters, result.outcome.value + failure, result
    )


def compare(old: Side, new: Side) -> Diff:
    """Compare two sides run by run.

    Runs are matched by paper, scale and the parameters that vary within either side; of several
    results of the same run the latest counts.
    """
    varied = _varied(old.entries), _varied(new.entries)
    groups: set[Group] = {(e.slug, e.scale) for e in [*old.entries, *new.entries]}
    names = {
        group: sorted(varied[0].get(group, set()) | varied[1].get(group, set())) for group in groups
    }
    before, after = _by_label(old.entries, names), _by_label(new.entries, names)
    return Diff(
        old.name,
        new.name,
        runs=[_compare(label, before[label], after[label]) for label in before if label in after],
        only_new=[label for label in after if label not in before],
        gone=[label for label in before if label not in after],
    )


Group = tuple[str, str]


def _varied(entries: Sequence[Entry]) -> dict[Group, set[str]]:
    return batches.varied((e.slug, e.scale, e.parameters) for e in entries)


def _by_label(entries: Iterable[Entry], names: Mapping[Group, Sequence[str]]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda e: e.result.started if e.result else 0.0):
        words = [
            f"{name}={entry.parameters.get(name, '?')}" for name in names[entry.slug, entry.scale]
        ]
        found[" ".join([entry.slug, entry.scale, *words])] = entry
    return dict(sorted(found.items()))


def _compare(label: str, old: Entry, new: Entry) -> RunDiff:
    moves, unmoved = _estimates(old.claims, new.claims)
    return RunDiff(
        label=label,
        states=(old.state, new.state),
        seconds=(_seconds(old), _seconds(new)),
        verdicts=_verdicts(old.claims, new.claims),
        estimates=moves,
        parameters=_parameters(old.parameters, new.parameters),
        unmoved=unmoved,
    )


def _seconds(entry: Entry) -> float | None:
    return entry.result.seconds if entry.result else None


def _verdicts(old: Mapping[str, ClaimResult], new: Mapping[str, ClaimResult]) -> list[VerdictMove]:
    moves = []
    for claim in dict.fromkeys([*old, *new]):
        before, after = _verdict(old, claim), _verdict(new, claim)
        if before != after:
            moves.append(VerdictMove(claim, before, after))
    return moves


def _verdict(claims: Mapping[str, ClaimResult], claim: str) -> str:
    return claims[claim].verdict.value if claim in claims else "none"


def _estimates(
    old: Mapping[str, ClaimResult], new: Mapping[str, ClaimResult]
) -> tuple[list[EstimateMove], int]:
    moves, unmoved = [], 0
    for claim in old:
        after = {cell.cell: cell for cell in new[claim].cells} if claim in new else {}
        for cell in old[claim].cells:
            if cell.cell not in after:
                continue
            if _same(cell, after[cell.cell]):
                unmoved += 1
            else:
                apart = _apart(cell, after[cell.cell])
                moves.append(EstimateMove(claim, cell.cell, cell, after[cell.cell], apart))
    return moves, unmoved


def _same(old: CellResult, new: CellResult) -> bool:
    pairs = ((old.estimate, new.estimate), (old.low, new.low), (old.high, new.high))
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=_SAME))
        for a, b in pairs
    )


def _apart(old: CellResult, new: CellResult) -> bool:
    """Whether two intervals do not overlap; an end that is None is unbounded."""
    if any(cell.low is None and cell.high is None for cell in (old, new)):
        return False

    def below(a: CellResult, b: CellResult) -> bool:
        return a.high is not None and b.low is not None and a.high < b.low

    return below(old, new) or below(new, old)


def _parameters(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[tuple[str, str, str]]:
    if not old or not new:
        return []  # a run that left no record of its parameters
    return [
        (name, str(old.get(name, "none")), str(new.get(name, "none")))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
