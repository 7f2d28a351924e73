"""Removes old runs. References are files of their own, so nothing here can reach them."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from stemma import paths
from stemma.batch import batches
from stemma.batch.records import Batch, RunState


class Removed(NamedTuple):
    """What was removed, or would be."""

    runs: int
    batches: int
    megabytes: int


def clean(days: float, *, dry_run: bool = False) -> Removed:
    """Remove the folders of runs and batches that ended more than ``days`` ago.

    What is not over, or belongs to a batch whose runner lives, stays.
    """
    before = time.time() - days * 86_400
    runs = list(_old_runs(before))
    old = list(_old_batches(before))
    size = sum(_size(path) for path in [*runs, *old])
    if not dry_run:
        for path in [*runs, *old]:
            shutil.rmtree(path)
    return Removed(len(runs), len(old), round(size / 1e6))


def _old_runs(before: float) -> Iterator[Path]:
    out = paths.runs() / "out"
    busy = {run.folder for b in _all() if batches.is_alive(b.id) for run in b.runs}
    for path in sorted([*out.glob("*/*/state.json"), *out.glob("*/superseded/*/state.json")]):
        folder = path.parent
        if folder.relative_to(paths.runs()).as_posix() not in busy and _ended(path, before):
            yield folder


def _ended(path: Path, before: float) -> bool:
    try:
        state: RunState = RunState.read(path)
    except ValidationError:
        return path.stat().st_mtime < before
    return state.state.final and (state.ended or path.stat().st_mtime) < before


def _old_batches(before: float) -> Iterator[Path]:
    for batch in _all():
        if batches.is_alive(batch.id) or batch.created >= before:
            continue
        views = batches.view(batch)
        if all(v.state.state.final and (v.state.ended or 0) < before for v in views):
            yield batches.folder(batch.id)


def _all() -> list[Batch]:
    return [batches.load(batch_id) for batch_id in batches.ids()]


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
