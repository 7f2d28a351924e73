"""What the site copies from the folders of runs: notebooks, figures, tables, evidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from provenance.errors import BadEvidence
from stemma.report.site.sources import Collection, Shown


class Asset(NamedTuple):
    """A file of the site: its path there, what it is a copy of, and its caption."""

    path: str
    source: Path
    caption: str


class EvidenceFile(NamedTuple):
    """A signed result of a test of descent that a run left."""

    title: str
    asset: Asset
    kind: str
    lines: list[str]

    @property
    def path(self) -> str:
        """Where it lies in the site."""
        return self.asset.path

    @property
    def name(self) -> str:
        """The file's name."""
        return self.asset.source.name


@dataclass(frozen=True)
class RunAssets:
    """What is shown of one run's folder; ``notebook`` is the page's path."""

    figures: list[Asset] = field(default_factory=list)
    tables: list[Asset] = field(default_factory=list)
    notebook: str = ""
    executed: Path | None = None


def of_run(shown: Shown) -> RunAssets:
    """Return what the folder of a run holds; nothing for a result whose folder is gone."""
    if shown.folder is None:
        return RunAssets()
    executed = next(
        (
            path
            for name in ("executed.ipynb", "executed.part.ipynb")
            if (path := shown.folder / name).is_file()
        ),
        None,
    )
    return RunAssets(
        figures=list(_recorded(shown, "figures", shown.result.figures)),
        tables=list(_recorded(shown, "tables", shown.result.tables)),
        notebook=f"notebooks/{shown.name}.html" if executed else "",
        executed=executed,
    )


def _recorded(shown: Shown, kind: str, records: Sequence[dict[str, str]]) -> Iterator[Asset]:
    assert shown.folder is not None
    for record in records:
        # Only the name counts: a record must not reach out of its folder.
        source = shown.folder / kind / Path(record["file"]).name
        if source.is_file():
            yield Asset(f"files/{shown.name}/{source.name}", source, record["caption"])


def evidence(collection: Collection) -> list[EvidenceFile]:
    """Return the evidence files among the artifacts of the runs that are shown."""
    return [
        found
        for paper in collection.papers
        for shown in collection.shown[paper.slug]
        if shown.folder is not None
        for path in sorted((shown.folder / "artifacts").glob("*.json"))
        if (found := _evidence(paper.title, shown, path)) is not None
    ]


def _evidence(title: str, shown: Shown, path: Path) -> EvidenceFile | None:
    from provenance.evidence import SignedEvidence
    from provenance.evidence.explain import conclusion

    try:
        kind, predicate = SignedEvidence.load(path).read()
    except BadEvidence:
        return None  # another artifact
    asset = Asset(f"files/{shown.name}/{path.name}", path, path.name)
    return EvidenceFile(f"{title}, {shown.result.scale}", asset, kind, conclusion(predicate))
