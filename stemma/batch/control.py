"""What users do to batches: launch, cancel, retry. The command line and the lab both come here."""

from collections.abc import Sequence

from stemma import tracking
from stemma.batch import batches, daemon, manifest, requests
from stemma.batch.executors.registry import check_settings
from stemma.batch.manifest import Manifest
from stemma.batch.opening import new_id, open_batch
from stemma.batch.plan import plan
from stemma.batch.records import Batch, BatchRun


def prepare(wanted: Manifest, *, force: bool = False) -> Batch:
    """Plan what a manifest asks for, check that it can be run, and open the batch.

    Args:
        wanted: what to run.
        force: run again what is cached.

    Raises:
        StemmaError: any bad input; nothing has been written then.
    """
    batch_id = new_id()
    planned = plan(manifest.expand(wanted), batch=batch_id, force=force, jobs=wanted.jobs)
    if any(p.hit is None for p in planned):
        tracking.check_reachable(tracking.tracking_uri())
        check_settings(wanted.executor)
    return open_batch(
        batch_id,
        planned,
        name=wanted.name,
        jobs=wanted.jobs,
        retries=wanted.retries,
        executor=wanted.executor,
    )


def launch(wanted: Manifest, *, force: bool = False) -> Batch:
    """Open a batch and start its runner; one that is all cached needs none.

    Raises:
        StemmaError: as ``prepare``, or the runner did not start.
    """
    batch = prepare(wanted, force=force)
    if not all(run.cached for run in batch.runs):
        daemon.start(batch.id)
    return batch


def cancel(batch: Batch, runs: Sequence[BatchRun]) -> bool:
    """Ask the runner of a batch to stop runs; return False if it has none, so that nothing runs."""
    if not batches.is_alive(batch.id):
        return False
    _ask(batch, requests.Request(action="cancel", runs=[run.name for run in runs]))
    return True


def retry(batch: Batch, runs: Sequence[BatchRun]) -> None:
    """Ask for another try of the runs that did not succeed; the batch's runner takes it up."""
    _ask(batch, requests.Request(action="retry", runs=[run.name for run in runs]))


def revive(batch: Batch) -> None:
    """Start a runner for a batch that has none.

    Raises:
        StemmaError: it did not start.
    """
    if not batches.is_alive(batch.id):
        daemon.start(batch.id)


def _ask(batch: Batch, request: requests.Request) -> None:
    requests.ask(batches.folder(batch.id), request)
