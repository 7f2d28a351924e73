"""Which results the site shows: those of one batch, or the latest here, or else the committed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from stemma import catalog
from stemma.batch import batches
from stemma.batch.batches import RunView
from stemma.batch.plan import latest_result, out_folder
from stemma.batch.records import Batch, Result, State
from stemma.catalog import SCALES, Paper, Scale
from stemma.errors import EvidenceError
from stemma.report import reference

Origin = Literal["run here", "committed reference", "batch"]


class Shown(NamedTuple):
    """One result to show.

    Attributes:
        folder: the run's folder, if it still holds this very result.
        label: the slug and what tells the result from others of the same paper.
    """

    result: Result
    origin: Origin
    folder: Path | None
    label: str

    @property
    def name(self) -> str:
        """A name of the result that is good for a file."""
        return f"{self.result.slug}-{self.result.key[:16]}"


@dataclass(frozen=True)
class Collection:
    """Everything the site shows.

    Attributes:
        shown: by slug; a paper without results has none.
        runs: the runs of the batch, also those without a result.
        warnings: results that were left out, and why.
    """

    papers: list[Paper]
    shown: dict[str, list[Shown]]
    batch: Batch | None = None
    runs: list[RunView] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def latest() -> Collection:
    """Collect, for each paper and scale, the latest local result, else the committed one."""
    papers = catalog.load_all()
    committed = {(r.slug, r.scale): r for r in reference.references()}
    warnings: list[str] = []
    shown = {
        paper.slug: [
            found
            for scale in SCALES
            if (found := _latest(paper, scale, committed.get((paper.slug, scale)), warnings))
        ]
        for paper in papers
    }
    return Collection(papers, shown, warnings=warnings)


def of_paper(paper: Paper) -> list[Shown]:
    """Return, for each scale, the latest local result of a paper, else the committed one."""
    found = [_latest(paper, scale, reference.find(paper, scale), []) for scale in SCALES]
    return [shown for shown in found if shown]


def _latest(
    paper: Paper, scale: Scale, committed: Result | None, warnings: list[str]
) -> Shown | None:
    try:
        local = latest_result(paper.slug, scale)
    except EvidenceError as error:
        warnings.append(
            f"{paper.slug} at {scale}: the local result does not fit its rules: {error}"
        )
        local = None
    if local is not None:
        return Shown(local, "run here", folder_of(local), paper.slug)
    if committed is not None:
        return Shown(committed, "committed reference", folder_of(committed), paper.slug)
    return None


def of_batch(batch: Batch) -> Collection:
    """Collect the results of one batch.

    Raises:
        CatalogError: the batch names a paper that the catalog no longer has.
        EvidenceError: a stored result does not fit the present rules.
    """
    papers = catalog.load_all()
    shown: dict[str, list[Shown]] = {paper.slug: [] for paper in papers}
    for found in _of_batch(batch):
        shown[found.result.slug].append(found)
    return Collection(papers, shown, batch, batches.view(batch))


def _of_batch(batch: Batch) -> Iterator[Shown]:
    for run, result in batches.results(batch):
        yield Shown(result, "batch", folder_of(result), run.label)


def folder_of(result: Result) -> Path | None:
    """Return the folder of a result, unless another execution has taken its place."""
    folder = out_folder(result.slug, result.key)
    try:
        kept: Result = Result.read(folder / "result.json")
    except (OSError, ValueError):
        return None
    return folder if kept.started == result.started else None


def succeeded(shown: Shown) -> bool:
    """Whether the run of a result succeeded, so that its claims were judged."""
    return shown.result.outcome is State.SUCCEEDED
