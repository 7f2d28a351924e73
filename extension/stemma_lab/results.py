"""Results as the lab shows them: claims measured and drawn, figures, links."""

import re
from pathlib import Path

from stemma import catalog, tracking
from stemma.batch import batches
from stemma.batch.plan import out_folder
from stemma.batch.records import Result
from stemma.catalog import Paper
from stemma.claims import Setting
from stemma.report.site.sources import Shown
from stemma.report.site.views import CellView, ClaimView, claim_views, source
from stemma_lab import schemas
from stemma_lab.base import Refused, unknown
from stemma_lab.notebooks import contents_path

_FOLDER = re.compile(r"[0-9a-f]{16}")
_IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}


def result_view(paper: Paper, shown: Shown, root: Path) -> schemas.ResultView:
    """Return a result for a server whose file browser shows ``root``."""
    result, folder = shown.result, shown.folder
    executed = folder / "executed.ipynb" if folder else None
    ids = batches.mlflow_ids(folder) if folder else None
    return schemas.ResultView(
        scale=result.scale,
        source=source(shown),
        parameters=result.parameters,
        claims=[_measured(view, result) for view in claim_views(paper, result)],
        figures=[_figure(result, folder, figure) for figure in result.figures],
        notebook=contents_path(executed, root) if executed and executed.is_file() else None,
        mlflow=tracking.run_link("", ids.experiment_id, ids.run_id) if ids else None,
    )


def claim(stated: catalog.Claim) -> schemas.Claim:
    """Return a claim that is not judged."""
    return schemas.Claim(
        id=stated.id,
        statement=stated.statement,
        paper_value=stated.paper_value,
        unit="" if stated.unit in ("-", "none") else stated.unit,
        where=stated.where,
        statistic=stated.statistic,
        verdict=None,
        reason="",
        cells=[],
    )


def _measured(view: ClaimView, result: Result) -> schemas.Claim:
    setting = view.claim.scales.get(result.scale, "reduced")
    return claim(view.claim).model_copy(
        update={
            "verdict": view.result.verdict,
            "reason": view.result.reason,
            "cells": [_cell(cell, setting) for cell in view.cells],
        }
    )


def _cell(view: CellView, setting: Setting) -> schemas.Cell:
    return schemas.Cell(
        cell=view.cell.cell,
        text=view.text,
        how=view.how,
        verdict=view.cell.outcome.verdict(setting),
        bar=schemas.Bar(**view.bar._asdict()) if view.bar else None,
    )


def _figure(result: Result, folder: Path | None, figure: dict[str, str]) -> schemas.Figure:
    url = f"results/{result.slug}/{result.key[:16]}/{figure['file']}"
    kept = folder is not None and (folder / figure["file"]).is_file()
    return schemas.Figure(name=figure["name"], caption=figure["caption"], url=url if kept else None)


def picture(slug: str, name: str, file: str) -> tuple[bytes, str]:
    """Return a figure that a result records, and its type.

    Args:
        slug: the paper.
        name: the run's folder below that of the paper.
        file: the figure's file name.

    Raises:
        Refused: there is no such figure, or it is no picture of that run.
    """
    refused = unknown("figure", file)
    if slug not in catalog.slugs() or not _FOLDER.fullmatch(name):
        raise refused
    folder = out_folder(slug, name)
    result = Result.find(folder / "result.json")
    recorded = f"figures/{file}"
    kind = _IMAGES.get(Path(file).suffix.lower())
    if result is None or kind is None or recorded not in {f["file"] for f in result.figures}:
        raise refused
    return below(folder, recorded, refused).read_bytes(), kind


def below(folder: Path, name: str, refused: Refused) -> Path:
    """Return a file of a folder; one that is missing or that a link leads out is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise refused
    return path
