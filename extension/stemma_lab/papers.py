"""The papers as the lab shows them."""

import threading
from collections.abc import Iterable
from pathlib import Path

from stemma import catalog, paths
from stemma.batch.devices import check_device
from stemma.batch.plan import out_folder
from stemma.catalog import SCALES, Paper
from stemma.errors import RunError
from stemma.report import reference
from stemma_lab import schemas
from stemma_lab.base import unknown

_Stamp = tuple[tuple[str, int], ...]


class Papers:
    """The catalog and the latest results; both are read again where their files changed."""

    def __init__(self, root: Path) -> None:
        """Take the folder that the server's file browser shows."""
        self._root = root
        self._catalog: _Stamp = ()
        self._results: dict[str, tuple[_Stamp, list[schemas.ScaleResult]]] = {}
        self._lock = threading.Lock()

    def rows(self) -> list[schemas.PaperRow]:
        """Return all papers with their verdicts."""
        self._refresh()
        return [schemas.PaperRow(**self._row(paper)) for paper in catalog.load_all()]

    def find(self, slug: str) -> Paper:
        """Return a paper.

        Raises:
            Refused: there is none of that name.
            CatalogError: its ``paper.yaml`` is broken.
        """
        self._refresh()
        if slug not in catalog.slugs():
            raise unknown("paper", slug)
        return catalog.load(slug)

    def page(self, slug: str) -> schemas.PaperPage:
        """Return everything that is known of a paper; raises as ``find``."""
        from stemma.report.site.sources import of_paper
        from stemma_lab.results import claim, result_view

        paper = self.find(slug)
        return schemas.PaperPage(
            **self._row(paper),
            version=paper.version,
            code=_code(paper),
            parameters=[_parameter(p) for p in paper.parameters],
            claims=[claim(c) for c in paper.claims],
            untested={scale: _untested(paper, scale) for scale in SCALES},
            deviations=[schemas.Note.model_validate(note) for note in paper.deviations],
            defects=[schemas.Note.model_validate(note) for note in paper.defects],
            timeout={s: paper.timeout.get(s, paper.timeout["small"]) for s in SCALES},
            latest=[result_view(paper, shown, self._root) for shown in of_paper(paper)],
        )

    def check(self, slug: str, body: schemas.RunBody) -> schemas.Check:
        """Return everything that keeps a run from being started; raises as ``find``."""
        paper = self.find(slug)
        errors = paper.problems(body.parameters)
        if paper.status != "ready":
            errors["slug"] = f"{slug} is planned: it has no notebook yet"
        try:
            check_device(body.scale)
        except RunError as error:
            errors["scale"] = str(error)
        return schemas.Check(errors=errors)

    def _row(self, paper: Paper) -> dict[str, object]:
        names = schemas.PaperRow.model_fields.keys() - {"results"}
        return {**{n: getattr(paper, n) for n in names}, "results": self._tallies(paper)}

    def _tallies(self, paper: Paper) -> list[schemas.ScaleResult]:
        """Read the results of a paper anew only if one came or went: they may be many and large."""
        own = out_folder(paper.slug, "").glob("*/result.json")
        committed = reference.folder().glob(f"{paper.slug}.*.json")
        stamp = _stamp([*own, *committed, _definition(paper.slug)])
        with self._lock:
            known = self._results.get(paper.slug)
        if known is None or known[0] != stamp:
            known = stamp, _read_tallies(paper)
            with self._lock:
                self._results[paper.slug] = known
        return known[1]

    def _refresh(self) -> None:
        stamp = _stamp(_definition(slug) for slug in catalog.slugs())
        with self._lock:
            if stamp != self._catalog:
                catalog.clear_cache()
                self._catalog = stamp


def _definition(slug: str) -> Path:
    return paths.papers() / slug.replace("-", "_") / "paper.yaml"


def _stamp(files: Iterable[Path]) -> _Stamp:
    return tuple(sorted((str(file), file.stat().st_mtime_ns) for file in files))


def _read_tallies(paper: Paper) -> list[schemas.ScaleResult]:
    # SciPy takes seconds to import, and Jupyter's start should not wait for it.
    from stemma.report.site.sources import of_paper
    from stemma.report.site.views import tallies

    return [
        schemas.ScaleResult(
            scale=shown.result.scale,
            verdicts=dict(tallies(shown.result)) if shown.result.scale != "smoke" else {},
            origin=shown.origin,
        )
        for shown in of_paper(paper)
    ]


def _code(paper: Paper) -> str | None:
    """Return the address of the authors' code, at the commit that was read."""
    if paper.code is None:
        return None
    address = paper.code.repository
    if not address.startswith("http"):
        address = f"https://github.com/{address}"
    return f"{address}/tree/{paper.code.commit}" if paper.code.commit else address


def _parameter(parameter: catalog.Parameter) -> schemas.Parameter:
    shared = parameter.model_dump(exclude={"default"})
    defaults = {scale: parameter.default_at(scale) for scale in SCALES}
    return schemas.Parameter(defaults=defaults, **shared)


def _untested(paper: Paper, scale: catalog.Scale) -> dict[str, str]:
    return {c.id: c.why_untested(scale) for c in paper.claims if scale not in c.scales}
