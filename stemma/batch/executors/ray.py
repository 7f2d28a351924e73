"""Workers on a Ray cluster, whose nodes need share no disk with the runner or each other.

An attempt is one detached actor (``stemma.batch.executors.station``) that takes the CPUs, GPUs and
memory of its run, so that Ray queues what has no room and numbers the GPUs of each. The runner
sends it the specification, the notebook and an earlier attempt's checkpoint, asks it for what was
written since it asked last, and fetches the rest when the worker is over. It never asks for
two things at a time, so a slow runner holds up nobody and fills no memory.

The nodes must have Stemma and its dependencies themselves (one image, or one checkout and one
environment): a node whose code, packages or device differ from what the run was planned with
refuses it. A paper's data come from each node's own cache.

*Two attempts at a time.* Ray itself restarts nothing (``max_restarts=0``): the runner tries again
what the machine broke, with a new token, and two layers that retry would run things twice. An
actor is detached and named by its attempt's token: a runner that starts anew finds it and goes on
where the folder ends. If there is none by that name, its process is gone, and with it the worker:
a guard on the node, no child of Ray's, kills the worker with all that it started as soon as the
actor is gone, however it went. Before an attempt is called over, a task on its node makes sure of
that. Only of a node that Ray calls dead can nobody be sure: should it live on unseen, its worker
ends when Ray's own process there gives up, and what it leaves is never fetched.

*Orphans.* The guard ends the worker at its deadline, above its memory, when asked to, and when the
actor is gone. An actor whose runner does not come back leaves an hour after its attempt's deadline.
"""

import contextlib
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stemma import paths
from stemma.batch import processes
from stemma.batch.batches import mlflow_ids
from stemma.batch.executors import Handle, Job, Report, parcel
from stemma.batch.executors.station import Station, View
from stemma.batch.records import Failure, MlflowIds, Spec
from stemma.errors import ExecutorError

NAMESPACE = "stemma"

_PACE_SECONDS = 0.5
_MEGABYTE = 2**20
_ARCHIVE = ".incoming.tar"
_OUTGOING = ".outgoing.tar"

_log = logging.getLogger("stemma.batch")


class RayConfig(BaseModel):
    """The ``executor`` of a manifest.

    Attributes:
        address: an existing cluster (``auto`` finds one on this machine); None starts one on this
            machine that ends with the runner.
        max_tasks: how many runs may be submitted at a time; None: the manifest's ``jobs``.
        resources: custom resources that each run takes, to choose among nodes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ray"] = "ray"
    address: str | None = None
    max_tasks: int | None = Field(None, ge=1)
    resources: dict[str, float] = {}


_WAITING = Report("waiting")


@dataclass
class _Attempt:
    """An attempt under watch; ``steps`` brings it forward and yields what is known of it."""

    job: Job
    actor: Any
    node: str = ""
    cancelled: bool = False
    report: Report = _WAITING
    steps: Iterator[Report] = field(default_factory=lambda: iter(()))


class RayExecutor:
    """Runs each attempt as an actor of a Ray cluster."""

    kind = "ray"

    def __init__(self, config: RayConfig, jobs: int = 1) -> None:
        """Connect to a cluster, or start one on this machine.

        Raises:
            ExecutorError: Ray is not installed, or the cluster does not answer.
        """
        self.slots = config.max_tasks or jobs
        self._config = config
        self._ray = _connect(config.address)
        self._station = self._ray.remote(Station)
        self._attempts: dict[str, _Attempt] = {}

    def submit(self, job: Job) -> Handle:
        """Ask Ray for an actor; it waits in Ray's queue until a node has room.

        Raises:
            ExecutorError: the cluster does not answer.
        """
        spec = job.spec
        needs = _needs(spec, self._config.resources)
        if not any(_fits(needs, node["Resources"]) for node in self._nodes()):
            _log.warning("%s waits: no node of the cluster has %s", spec.slug, _in_words(needs))
        try:
            actor = self._station.options(
                name=_name(spec.token),
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=0,
                max_task_retries=0,
                num_cpus=needs["CPU"],
                num_gpus=needs["GPU"],
                memory=needs["memory"] or None,
                resources=self._config.resources,
            ).remote()
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(f"Ray refuses {spec.slug}: {_last_line(error)}") from None
        self._watch(job, actor)
        return Handle(kind=self.kind, id=_name(spec.token), token=spec.token)

    def poll(self, job: Job, handle: Handle) -> Report:
        """Say how an attempt fares, and append to the folder what it wrote meanwhile."""
        attempt = self._attempts[handle.token]
        try:
            attempt.report = next(attempt.steps)
        except OSError:
            # No room on this machine's disk: what did not arrive is asked for again.
            attempt.steps = self._follow(attempt)
            raise
        if attempt.report.phase == "over":
            del self._attempts[handle.token]
        return attempt.report

    def cancel(self, job: Job, handle: Handle) -> None:
        """Stop the worker and all that it started, or take the attempt out of the queue."""
        attempt = self._attempts.get(handle.token)
        if attempt is None or attempt.cancelled:
            return
        attempt.cancelled = True
        if attempt.report.phase == "waiting":
            self._ray.kill(attempt.actor)

    def reattach(self, job: Job, handle: Handle) -> bool:
        """Find the actor of an attempt by its token."""
        try:
            actor = self._ray.get_actor(_name(handle.token), namespace=NAMESPACE)
        except ValueError:
            if self._config.address is None:
                # Its cluster died with its runner; be sure that the guards are done.
                processes.sweep(handle.token)
            return False
        self._watch(job, actor)
        return True

    def close(self) -> None:
        """Leave the cluster; one that was started here ends, with whatever runs on it."""
        self._ray.shutdown()

    def _watch(self, job: Job, actor: Any) -> None:
        attempt = _Attempt(job, actor)
        attempt.steps = self._follow(attempt)
        self._attempts[job.spec.token] = attempt

    def _follow(self, attempt: _Attempt) -> Iterator[Report]:
        """Bring an attempt to its end, a step for every poll."""
        try:
            over = yield from self._serve(attempt)
        except (self._ray.exceptions.RayError, ExecutorError) as error:
            over = yield from self._bury(attempt, error)
        yield over

    def _serve(self, attempt: _Attempt) -> Generator[Report, None, Report]:
        view = yield from self._look(attempt)
        if not view.begun:
            yield from self._begin(attempt)
        attempt.report = Report("running")
        while view.over is None or view.events or view.log:
            view = yield from self._look(attempt)
            if view.over is None:
                yield from _rest(attempt)
        assert view.left is not None
        yield from self._fetch(attempt, view.left)
        with contextlib.suppress(self._ray.exceptions.RayError):
            yield from self._ask(attempt, attempt.actor.close.remote)
        self._ray.kill(attempt.actor)
        return view.over

    def _look(self, attempt: _Attempt) -> Generator[Report, None, View]:
        """Ask what there is to see, and append what was written since."""
        events, log = (attempt.job.folder / name for name in ("events.jsonl", "log.txt"))
        look, written = attempt.actor.look.remote, (_size(events), _size(log))
        view: View = yield from self._ask(attempt, look, *written, attempt.cancelled)
        attempt.node = view.node
        _append(events, view.events)
        _append(log, view.log)
        return view

    def _begin(self, attempt: _Attempt) -> Generator[Report, None, None]:
        """Send what the worker needs."""
        spec, folder, actor = attempt.job.spec, attempt.job.folder, attempt.actor
        outgoing, checkpoint = folder / _OUTGOING, None
        if (folder / paths.CHECKPOINT).is_dir():
            checkpoint = parcel.pack(folder, [paths.CHECKPOINT], outgoing)
            for offset in range(0, checkpoint.size, parcel.CHUNK):
                piece = parcel.chunk(outgoing, offset)
                yield from self._ask(attempt, actor.take.remote, offset, piece)
            outgoing.unlink()
        notebook, ids = Path(spec.notebook).read_bytes(), within_reach(mlflow_ids(folder))
        yield from self._ask(attempt, actor.begin.remote, spec, notebook, ids, checkpoint)

    def _fetch(self, attempt: _Attempt, left: parcel.Parcel) -> Generator[Report, None, None]:
        """Bring what the worker left into the folder, ``result.json`` last."""
        archive = attempt.job.folder / _ARCHIVE
        try:
            for offset in range(0, left.size, parcel.CHUNK):
                piece = yield from self._ask(attempt, attempt.actor.give.remote, offset)
                parcel.put(archive, offset, piece)
            parcel.unpack(archive, left, attempt.job.folder)
        finally:
            archive.unlink(missing_ok=True)

    def _bury(self, attempt: _Attempt, error: Exception) -> Generator[Report, None, Report]:
        """Make sure that nothing of an attempt lives whose actor failed, and say why it did."""
        token = attempt.job.spec.token
        with contextlib.suppress(ValueError, self._ray.exceptions.RayError):
            self._ray.kill(attempt.actor)
        lost = False
        for node in [attempt.node] if attempt.node else [n["NodeID"] for n in self._nodes()]:
            try:
                yield from self._ask(attempt, self._sweep_on, node, token)
            except self._ray.exceptions.RayError:
                lost = lost or node == attempt.node
        return _why(error, lost=lost, cancelled=attempt.cancelled)

    def _sweep_on(self, node: str, token: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        sweep = self._ray.remote(num_cpus=0)(processes.sweep)
        return sweep.options(scheduling_strategy=there).remote(token)

    def _ask(
        self, attempt: _Attempt, call: Callable[..., Any], *arguments: Any
    ) -> Generator[Report, None, Any]:
        """Call an actor and wait for its answer without blocking; ask again if it got lost."""
        while True:
            answer = call(*arguments)
            while not self._ray.wait([answer], timeout=0)[0]:
                yield attempt.report
            try:
                return self._ray.get(answer)
            except self._ray.exceptions.ActorUnavailableError:
                yield from _rest(attempt)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


def make(settings: Mapping[str, Any], jobs: int) -> RayExecutor:
    """Make the executor that a manifest's ``executor`` describes.

    Raises:
        ExecutorError: Ray is not installed, or the cluster does not answer.
        pydantic.ValidationError: the settings do not fit.
    """
    return RayExecutor(RayConfig.model_validate(settings), jobs)


def _connect(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ExecutorError(
            "executor ray needs Ray: install it with `pip install 'stemma-suite[ray]'`"
        ) from None
    try:
        with _own_signals():
            ray.init(
                address or "local",
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if address else False,
            )
    except Exception as error:  # Ray raises a bare one if a process of its own is late
        what = f"no Ray cluster at {address}" if address else "Ray does not start here"
        raise ExecutorError(f"{what}: {_last_line(error)}") from None
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the process's own reaction to SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name(token: str) -> str:
    return f"stemma-{token}"


def _needs(spec: Spec, resources: Mapping[str, float]) -> dict[str, float]:
    own = {"CPU": spec.threads, "GPU": spec.gpus, "memory": (spec.memory_mb or 0) * _MEGABYTE}
    return {**own, **resources}


def _fits(needs: Mapping[str, float], there: Mapping[str, float]) -> bool:
    return all(amount <= there.get(name, 0.0) for name, amount in needs.items())


def _in_words(needs: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)


def within_reach(ids: MlflowIds | None) -> MlflowIds | None:
    """Return the ids if a node can track there: a store that is a file stands on one machine."""
    served = ids is not None and ids.tracking_uri.startswith(("http://", "https://"))
    return ids if served else None


def _rest(attempt: _Attempt) -> Iterator[Report]:
    until = time.monotonic() + _PACE_SECONDS
    while time.monotonic() < until and not attempt.cancelled:
        yield attempt.report


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, lines: bytes) -> None:
    if lines:
        with path.open("ab") as stream:
            stream.write(lines)


def _why(error: Exception, *, lost: bool, cancelled: bool) -> Report:
    if cancelled:
        return Report("over", None, "cancelled")
    text = str(error)
    if lost or "never ran" in text:
        return Report("over", Failure.LOST_NODE, "the cluster lost the node of its worker")
    cause = getattr(error, "cause", error)
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Report("over", Failure.DISK_FULL, f"on its node: {cause}")
    if "low on memory" in text:
        return Report("over", Failure.OUT_OF_MEMORY, "Ray killed it: its node was low on memory")
    if "creation task" in text:
        words = f"Stemma does not start on a node ({_last_line(error)}): install it there as here"
        return Report("over", Failure.ERROR, words)
    return Report("over", Failure.DEAD_WORKER, f"its actor died: {_last_line(error)}")


def _last_line(error: Exception) -> str:
    """Return the line that says what happened; Ray's first lines say where."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
