"""From slugs and parameters to runs: everything is validated here, before anything is written."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from stemma import catalog, data, paths
from stemma.batch import key as keys
from stemma.batch.devices import check_device, device_class
from stemma.batch.records import Result, Spec, State
from stemma.catalog import Paper, Scale
from stemma.errors import ParameterError, RunError

_FINGERPRINTED = ("torch", "transformers", "numpy", "scipy", "papermill", "mlflow")


@dataclass(frozen=True)
class Planned:
    """One run to be: its specification, its folder, and the cached result if there is one."""

    paper: Paper
    spec: Spec
    folder: Path
    hit: Result | None


def plan(
    slugs: Sequence[str],
    scale: Scale,
    overrides: Mapping[str, str],
    *,
    batch: str,
    force: bool = False,
    timeout: float | None = None,
    threads: int = 1,
) -> list[Planned]:
    """Plan one run for each slug.

    An override must belong to at least one of the papers and goes to those that have it.

    Raises:
        StemmaError: any bad input (unknown slug or parameter, data that cannot be had, a folder
            that cannot be written, a run that is going on elsewhere).
    """
    papers = [_ready(slug) for slug in dict.fromkeys(slugs)]
    _check_owned(papers, overrides)
    check_device(scale)
    planned = [
        _plan_one(p, scale, overrides, batch, force=force, timeout=timeout, threads=threads)
        for p in papers
    ]
    if any(p.hit is None for p in planned):
        check_writable(paths.runs() / "out")
    for p in planned:
        if p.hit is None:
            check_free(p.folder)
    return planned


def out_folder(slug: str, run_key: str) -> Path:
    """Return the folder of a run."""
    return paths.runs() / "out" / slug / run_key[:16]


def cached(paper: Paper, folder: Path, run_key: str) -> Result | None:
    """Return the result in ``folder`` if it is a completed run of this very key.

    Rules are no part of the key: changed rules judge the stored evidence anew.
    """
    result = _read(folder / "result.json")
    if result is None or result.outcome is not State.SUCCEEDED or result.key != run_key:
        return None
    return result.judged_by(paper)


def _ready(slug: str) -> Paper:
    paper = catalog.load(slug)
    if paper.status != "ready":
        raise RunError(
            f"{slug} is planned: it has no notebook yet (`stemma list --ready` shows what runs)"
        )
    return paper


def _check_owned(papers: Sequence[Paper], overrides: Mapping[str, str]) -> None:
    for name in overrides:
        if not any(name == parameter.name for paper in papers for parameter in paper.parameters):
            if len(papers) == 1:
                papers[0].resolve("small", {name: ""})  # raises with a hint
            slugs = ", ".join(paper.slug for paper in papers)
            raise ParameterError(f"none of {slugs} has a parameter `{name}` (see `stemma show`)")


def _plan_one(
    paper: Paper,
    scale: Scale,
    overrides: Mapping[str, str],
    batch: str,
    *,
    force: bool,
    timeout: float | None,
    threads: int,
) -> Planned:
    own = {p.name: overrides[p.name] for p in paper.parameters if p.name in overrides}
    parameters = paper.resolve(scale, own)
    sources = {need.role: data.choose(need.any_of) for need in paper.data_at(scale)}
    digests = {name: data.digest(name) for name in sources.values()}
    notebook = paths.notebook(paper.slug)
    device = device_class()
    parts = keys.ingredients(
        keys.code_cells(notebook), {"scale": scale, **parameters}, digests, device, paper.version
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
        timeout=timeout or paper.timeout.get(scale, paper.timeout["small"]),
        threads=threads,
        device=device,
        paper_version=paper.version,
        fingerprint=fingerprint(),
    )
    return Planned(paper, spec, folder, None if force else cached(paper, folder, run_key))


def why(slug: str, scale: Scale, overrides: Mapping[str, str]) -> list[str]:
    """Explain whether a run would be a cache hit and, if not, what changed since the last one."""
    planned = plan([slug], scale, overrides, batch="why")[0]
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
    result = _read(folder / "result.json") if folder else None
    return result.judged_by(catalog.load(slug)) if result else None


def _latest(slug: str, scale: Scale) -> Path | None:
    """Return the folder of the latest completed run of a paper at a scale."""
    completed = []
    for path in (paths.runs() / "out" / slug).glob("*/result.json"):
        result = _read(path)
        if result is not None and result.outcome is State.SUCCEEDED and result.scale == scale:
            completed.append((result.started, path.parent))
    return max(completed)[1] if completed else None


def _read(path: Path) -> Result | None:
    """Return a stored result, or None if it is missing or of another schema version."""
    try:
        result: Result = Result.read(path)
    except (FileNotFoundError, ValidationError):
        return None
    return result


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
    """Raise RunError if another process is executing the run of ``folder``."""
    if not folder.exists():
        return
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RunError(
            f"{folder} is being run by another process: wait for it or stop it"
        ) from None
    lock.release()


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
