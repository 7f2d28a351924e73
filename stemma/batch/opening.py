"""From planned runs to a batch that a runner can take."""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stemma import paths
from stemma.batch import batches
from stemma.batch.plan import Planned
from stemma.batch.records import Batch, BatchRun, RunState, State


def new_id() -> str:
    """Return an id for a batch: ids sort by time, and two runners never choose the same."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def open_batch(
    batch_id: str,
    planned: Sequence[Planned],
    *,
    name: str = "",
    jobs: int = 1,
    retries: int = 2,
    executor: Mapping[str, Any],
) -> Batch:
    """Write the folders of a batch and of its runs, all queued, and return the batch."""
    labels = batches.labels([(p.spec.slug, p.spec.scale, p.spec.parameters) for p in planned])
    batch = Batch(
        id=batch_id,
        name=name,
        created=time.time(),
        host=socket.gethostname(),
        jobs=jobs,
        retries=retries,
        executor=dict(executor),
        runs=[_entry(p, label) for p, label in zip(planned, labels, strict=True)],
    )
    for p in planned:
        if p.hit is None:
            prepare(p.folder)
            p.spec.write(p.folder / "spec.json")
            RunState(state=State.QUEUED).write(p.folder / "state.json")
    batches.folder(batch_id).mkdir(parents=True)
    for run in batch.runs:
        if run.cached:
            batches.keep(batch_id, run)
    # Last of all: a batch that is there is complete.
    batch.write(batches.folder(batch_id) / "batch.json")
    return batch


def prepare(folder: Path) -> None:
    """Make an empty run folder; an older run is kept beside it under ``superseded/``."""
    if folder.exists():
        old = folder.parent / "superseded"
        old.mkdir(exist_ok=True)
        shutil.move(folder, old / f"{folder.name}-{time.time_ns()}")
    folder.mkdir(parents=True)


def _entry(planned: Planned, label: str) -> BatchRun:
    return BatchRun(
        slug=planned.spec.slug,
        scale=planned.spec.scale,
        key=planned.spec.key,
        folder=Path(os.path.relpath(planned.folder, paths.runs())).as_posix(),
        label=label,
        cached=planned.hit is not None,
    )
