"""Builds the site: the same results give the same bytes."""

import json
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stemma import __version__, files, paths
from stemma.catalog import Paper
from stemma.claims import Verdict
from stemma.errors import RunError
from stemma.report.site import assets, bars, prose, views
from stemma.report.site.assets import Asset, RunAssets
from stemma.report.site.sources import Collection

_LIST = "site.json"
_STATIC = Path(__file__).parent / "static"
_DOCUMENTS = ("provenance", "endpoints")  # how their names begin


class _Document(NamedTuple):
    name: str
    title: str
    text: str


def build(collection: Collection, out: Path, mlflow: str) -> Path:
    """Write the site to ``out`` and return its first page; pages of an older build are removed.

    Args:
        collection: what to show.
        out: a new folder, or that of an older build.
        mlflow: address of the MLflow server to link to.

    Raises:
        RunError: ``out`` holds a page that no build wrote, or cannot be written.
    """
    site = _Site(out)
    try:
        for name in ("site.css", "site.js"):
            site.write(name, (_STATIC / name).read_text(encoding="utf-8"))
        site.write("code.css", prose.code_css())
        _index(site, collection)
        for paper in collection.papers:
            _paper(site, collection, paper, mlflow)
        _provenance(site, collection)
        site.finish()
    except OSError as error:
        raise RunError(f"cannot write the report to {out}: {error.strerror}") from None
    return out / "index.html"


class _Site:
    """Writes files below a folder and knows which; a build owns only what a build wrote."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._written: set[str] = set()
        listed = out / _LIST
        self._old = set(json.loads(listed.read_text())["files"]) if listed.is_file() else set()
        if not self._old and (out / "index.html").exists():
            raise RunError(
                f"{out} holds an index.html that no report wrote: name another folder with --out"
            )
        self._environment = Environment(
            loader=PackageLoader("stemma.report.site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["slug"] = lambda text: text.replace(" ", "-")
        self._environment.filters["date"] = views.date
        self._environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]

    def write(self, name: str, text: str) -> None:
        path = self._path(name)
        files.write_atomically(path, text)

    def page(self, name: str, template: str, here: str, **context: object) -> None:
        root = "../" * (len(PurePosixPath(name).parts) - 1)
        text = self._environment.get_template(f"{template}.html.j2").render(
            root=root, here=here, version=__version__, scales=views.COLUMNS, **context
        )
        self.write(name, text)

    def copy(self, asset: Asset) -> None:
        shutil.copyfile(asset.source, self._path(asset.path))

    def _path(self, name: str) -> Path:
        self._written.add(name)
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> None:
        for name in self._old - self._written:
            (self._out / name).unlink(missing_ok=True)
        files.write_json(self._out / _LIST, {"files": sorted(self._written)})


def _index(site: _Site, collection: Collection) -> None:
    states = Counter(view.state.state.value for view in collection.runs)
    site.page(
        "index.html",
        "index",
        here="index",
        rows=views.index_rows(collection),
        tags=sorted({tag for paper in collection.papers for tag in paper.tags}),
        verdicts=[verdict.value for verdict in Verdict],
        batch=collection.batch,
        runs=collection.runs,
        states=list(states.items()),
        warnings=collection.warnings,
    )


def _paper(site: _Site, collection: Collection, paper: Paper, mlflow: str) -> None:
    shown = collection.shown[paper.slug]
    found = {s.name: assets.of_run(s) for s in shown}
    results = views.shown_views(paper, shown, mlflow)
    for view in results:
        own = found[view.shown.name]
        for asset in [*own.figures, *own.tables]:
            site.copy(asset)
        found[view.shown.name] = _notebook(site, paper, view, own)
    site.page(
        f"papers/{paper.slug}.html",
        "paper",
        here="paper",
        paper=paper,
        results=results,
        pages=found,
        commands={scale: views.command(paper, scale) for scale in views.COLUMNS},
        bar_width=bars.WIDTH,
        bar_height=bars.HEIGHT,
    )


def _notebook(site: _Site, paper: Paper, view: views.ShownView, own: RunAssets) -> RunAssets:
    """Write the executed notebook's page; a notebook that is cut short has none."""
    body = prose.notebook(own.executed) if own.executed else None
    if body is None:
        return RunAssets(own.figures, own.tables)
    site.page(
        own.notebook,
        "notebook",
        here="notebook",
        slug=paper.slug,
        title=paper.title,
        words=f"scale {view.heading}: {view.source}",
        body=Markup(body),  # its outputs are HTML; the page's policy lets nothing in them run
    )
    return own


def _provenance(site: _Site, collection: Collection) -> None:
    documents = _documents()
    names = {document.name for document in documents}
    for document in documents:
        body = Markup(prose.document(document.text, names))
        site.page(
            f"docs/{document.name}.html", "document", here="docs", title=document.title, body=body
        )
    found = assets.evidence(collection)
    for item in found:
        site.copy(item.asset)
    main = next((d.text for d in documents if d.name == "provenance"), "")
    summary = prose.document(main.partition("\n## A worked example")[0], set()) if main else ""
    site.page(
        "provenance.html",
        "provenance",
        here="provenance",
        summary=Markup(summary),
        documents=documents,
        evidence=found,
    )


def _documents() -> list[_Document]:
    paths_found = sorted((paths.home() / "docs").glob("*.md"))
    texts = {
        path.stem: path.read_text(encoding="utf-8")
        for path in paths_found
        if path.stem.startswith(_DOCUMENTS)
    }
    return [
        _Document(name, text.partition("\n")[0].lstrip("# "), text) for name, text in texts.items()
    ]
