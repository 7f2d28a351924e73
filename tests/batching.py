"""Runs batches within the test's own process, so that limits can be changed; nothing is tracked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stemma.batch.executors.local import LocalExecutor
from stemma.batch.manifest import Limits, Manifest, Selection, expand
from stemma.batch.opening import new_id, open_batch
from stemma.batch.plan import Planned, plan
from stemma.batch.records import Batch, BatchRun, RunState, State
from stemma.batch.runner import Runner
from stemma.batch.watch import Finished, Watch, finished


class NoScribe:
    """A batch that is not tracked."""

    def is_ready(self, _folder: Path) -> bool:
        return True


class Quiet:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.events: list[dict[str, object]] = []
        self.warnings: list[str] = []

    def state(self, _run: BatchRun, state: RunState) -> None:
        self.states.append(state.state)

    def event(self, _run: BatchRun, event: dict[str, object]) -> None:
        self.events.append(event)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def planned(slugs: Sequence[str], *, force: bool = False, **limits: Any) -> list[Planned]:
    """Plan the papers at scale small."""
    manifest = Manifest(limits=Limits(**limits), runs=[Selection(papers=list(slugs))])
    return plan(expand(manifest), batch="test", force=force)


def opened(
    slugs: Sequence[str], *, jobs: int = 2, retries: int = 0, force: bool = False, **limits: Any
) -> Batch:
    """Open a batch of the papers at scale small."""
    manifest = Manifest(limits=Limits(**limits), runs=[Selection(papers=list(slugs))])
    batch_id = new_id()
    wanted = plan(expand(manifest), batch=batch_id, force=force, jobs=jobs)
    return open_batch(batch_id, wanted, jobs=jobs, retries=retries, executor={"kind": "local"})


def execute(batch: Batch) -> dict[str, Finished]:
    """Run a batch to its end; return its runs by their slugs."""
    Runner(batch, LocalExecutor(batch.jobs), NoScribe()).run()
    return {f.run.slug: f for f in finished(batch)}


def heard(batch: Batch) -> Quiet:
    """Return what an onlooker of a batch that is over is told."""
    listener = Quiet()
    Watch(batch, listener).look()
    return listener
