"""From requests to runs: everything is validated here, before anything is written."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from stemma import catalog, data, paths
from stemma.batch import key as keys
from stemma.batch.batches import is_alive
from stemma.batch.devices import check_device, device_class
from stemma.batch.manifest import Request
from stemma.batch.records import Result, RunState, Spec, State
from stemma.catalog import Paper, Scale
from stemma.errors import BusyError, RunError

_FINGERPRINTED = ("torch", "transformers", "numpy", "scipy", "papermill", "mlflow")


@dataclass(frozen=True)
class Planned:
    """One run to be: its specification, its folder, and the cached result if there is one."""

    paper: Paper
    spec: Spec
    folder: Path
    hit: Result | None


def plan(
    requests: Sequence[Request], *, batch: str, force: bool = False, jobs: int = 1
) -> list[Planned]:
    """Plan one run for each request.

    Raises:
        StemmaError: any bad input (a bad value, data that cannot be had, a folder that cannot be
            written, a run that is going on elsewhere).
    """
    for scale in {request.scale for request in requests}:
        check_device(scale)
    share = max(1, (os.cpu_count() or 1) // max(1, min(jobs, len(requests))))
    planned: dict[str, Planned] = {}
    for request in requests:
        one = _plan_one(request, batch, force=force, share=share)
        planned.setdefault(one.spec.key, one)
    todo = [p for p in planned.values() if p.hit is None]
    if todo:
        check_writable(paths.runs() / "out")
    for p in todo:
        check_free(p.folder)
    return list(planned.values())


def out_folder(slug: str, run_key: str) -> Path:
    """Return the folder of a run."""
    return paths.runs() / "out" / slug / run_key[:16]


def cached(paper: Paper, folder: Path, run_key: str) -> Result | None:
    """Return the result in ``folder`` if it is a completed run of this very key.

    Rules are no part of the key: changed rules judge the stored evidence anew.
    """
    result = Result.find(folder / "result.json")
    if result is None or result.outcome is not State.SUCCEEDED or result.key != run_key:
        return None
    return result.judged_by(paper)


def _plan_one(request: Request, batch: str, *, force: bool, share: int) -> Planned:
    paper, scale, limits = request.paper, request.scale, request.limits
    parameters = paper.resolve(scale, request.overrides)
    sources = {need.role: data.choose(need.any_of) for need in paper.data_at(scale)}
    digests = {name: data.digest(name) for name in sources.values()}
    notebook = paths.notebook(paper.slug)
    device = device_class()
    parts = keys.ingredients(
        notebook, {"scale": scale, **parameters}, digests, device, paper.version
    )
    run_key = keys.key(parts)
    folder = out_folder(paper.slug, run_key)
    spec = Spec(
        slug=paper.slug,
        scale=scale,
        key=run_key,
        ingredients=parts,
        parameters=parameters,
        sources=sources,
        digests=digests,
        batch=batch,
        notebook=str(notebook),
        timeout=limits.timeout or paper.timeout.get(scale, paper.timeout["small"]),
        threads=limits.threads or share,
        device=device,
        paper_version=paper.version,
        fingerprint=fingerprint(),
        memory_mb=limits.memory_mb,
        gpus=0 if device == "cpu" else 1,
        less_memory=paper.less_memory,
    )
    return Planned(paper, spec, folder, None if force else cached(paper, folder, run_key))


def why(request: Request) -> list[str]:
    """Explain whether a run would be a cache hit and, if not, what changed since the last one."""
    planned = plan([request], batch="why")[0]
    slug, scale = request.paper.slug, request.scale
    if planned.hit is not None:
        return [f"hit: {planned.folder} holds the completed run of this key"]
    previous = _latest(slug, scale)
    if previous is None:
        return [f"miss: no completed run of {slug} at scale {scale} yet"]
    old: Spec = Spec.read(previous / "spec.json")
    words = keys.difference(old.ingredients, planned.spec.ingredients)
    return [f"miss: {word}" for word in words]


def latest_result(slug: str, scale: Scale) -> Result | None:
    """Return the result of the latest completed run of a paper at a scale."""
    folder = _latest(slug, scale)
    result = Result.find(folder / "result.json") if folder else None
    return result.judged_by(catalog.load(slug)) if result else None


def _latest(slug: str, scale: Scale) -> Path | None:
    """Return the folder of the latest completed run of a paper at a scale."""
    completed = []
    for path in (paths.runs() / "out" / slug).glob("*/result.json"):
        result = Result.find(path)
        if result is not None and result.outcome is State.SUCCEEDED and result.scale == scale:
            completed.append((result.started, path.parent))
    return max(completed)[1] if completed else None


def check_writable(folder: Path) -> None:
    """Raise RunError unless files can be created in ``folder``; leaves nothing behind."""
    existing = next(p for p in [folder, *folder.parents] if p.exists())
    probe = existing / f".stemma-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"cannot write to {existing} ({error.strerror}):"
            " make it writable or point STEMMA_RUNS at a folder that is"
        ) from None


def check_free(folder: Path) -> None:
    """Raise BusyError if a worker executes the run of ``folder`` or a runner is about to."""
    if not folder.exists():
        return
    try:
        with FileLock(folder / ".lock", blocking=False):
            pass
    except Timeout:
        raise BusyError(
            f"{folder} is being run by another process: wait for it or stop it"
        ) from None
    state, spec = RunState.find(folder / "state.json"), Spec.find(folder / "spec.json")
    if state is None or spec is None or state.state.final or not is_alive(spec.batch):
        return
    raise BusyError(
        f"{folder} is {state.state.value} in batch {spec.batch}:"
        f" `stemma attach {spec.batch}` waits for it, `stemma cancel {spec.batch}` stops it"
    )


@cache
def fingerprint() -> dict[str, str]:
    """Return git commit, Python, platform and the versions of the packages that matter."""
    facts = {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    return facts | {name: version(name) for name in _FINGERPRINTED}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.home()), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
