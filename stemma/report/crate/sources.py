"""What an export is made from: executions of papers as the folder of runs keeps them."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from stemma import catalog, paths
from stemma.batch import batches
from stemma.batch import key as keys
from stemma.batch.plan import latest_result, out_folder
from stemma.batch.records import Batch, BatchRun, Result, RunState, Spec
from stemma.catalog import Paper, Scale
from stemma.errors import RunError

_RECORDS = ("spec.json", "state.json", "result.json", "evidence.json", "events.jsonl", "log.txt")
_FILES = ("executed.ipynb", *_RECORDS)
_FOLDERS = ("figures", "tables", "artifacts")

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Execution:
    """One execution of a paper's notebook.

    Attributes:
        folder: the run's folder; None if it is gone or holds another execution by now.
        kept: the batch's own copy of the result, which outlives the folder.
        spec: None if the folder is gone or the run never started.
        result: judged by the paper's present rules; None if the worker did not finish.
    """

    paper: Paper
    scale: Scale
    key: str
    label: str
    state: RunState
    folder: Path | None
    kept: Path | None
    spec: Spec | None
    result: Result | None
    cached: bool = False

    @property
    def name(self) -> str:
        """The execution's name within a crate."""
        return f"{self.paper.slug}-{self.key[:16]}"

    @property
    def facts(self) -> Spec | Result | None:
        """The record that says what went into the run."""
        return self.spec or self.result

    @property
    def fingerprint(self) -> dict[str, str]:
        """Commit, interpreter, platform and versions of the run; empty if not known."""
        return self.facts.fingerprint if self.facts else {}

    @property
    def started(self) -> float | None:
        """When it began, seconds since the epoch; None if it never did."""
        if self.state.started is None and self.result is not None:
            return self.result.started
        return self.state.started

    @property
    def ended(self) -> float | None:
        """When it was over, seconds since the epoch."""
        if self.state.ended is None and self.result is not None:
            return self.result.started + self.result.seconds
        return self.state.ended

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield (name within the run, file) of everything that the run left, links left out."""
        if self.folder is None:
            if self.kept is not None:
                yield "result.json", self.kept
            return
        found = [self.folder / name for name in _FILES]
        for top in (self.folder / name for name in _FOLDERS):
            for folder, _, names in [] if top.is_symlink() else os.walk(top):
                found += [Path(folder) / name for name in names]
        for path in sorted(found):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(self.folder).as_posix(), path

    def notebook(self) -> bytes | None:
        """Return the notebook that ran: the checkout's, else what the executed one goes back to.

        None if neither has the code cells that the run's key was made of.
        """
        if self.spec is None or self.folder is None:
            return None
        for read in (self._own_notebook, self._executed_notebook):
            try:
                content = read()
                if _code_digest(content) == self.spec.ingredients["notebook"]:
                    return content
            except (OSError, ValueError, KeyError):
                continue  # missing or not a notebook
        return None

    def _own_notebook(self) -> bytes:
        return paths.notebook(self.paper.slug).read_bytes()

    def _executed_notebook(self) -> bytes:
        """Take out of the executed notebook what papermill put in."""
        notebook = json.loads(((self.folder or Path()) / "executed.ipynb").read_bytes())
        notebook["metadata"].pop("papermill", None)
        notebook["cells"] = [_pristine(c) for c in notebook["cells"] if not _is_papermills(c)]
        return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()

    def constraints(self) -> bytes | None:
        """Return the pinned versions that the run's key was made of; None if they changed."""
        path = paths.home() / "constraints.txt"
        if self.spec is None or not path.is_file():
            return None
        content = path.read_bytes()
        wanted = self.spec.ingredients.get("constraints.txt")
        return content if hashlib.sha256(content).hexdigest() == wanted else None


class Source(NamedTuple):
    """What is to be exported: one execution, or all of a batch."""

    executions: list[Execution]
    batch: Batch | None = None


def find(target: str, scale: Scale) -> Source:
    """Return what ``target`` names: a run's folder, a paper (its latest run) or a batch.

    Raises:
        RunError: nothing of that name, no completed run, or it is not over yet.
    """
    if (Path(target) / "spec.json").is_file():
        return Source([of_folder(Path(target))])
    if target in catalog.slugs():
        result = latest_result(target, scale)
        if result is None:
            raise RunError(
                f"no completed run of {target} at {scale}: `stemma run {target} --scale {scale}`"
            )
        return Source([of_folder(out_folder(target, result.key))])
    if not any(i.startswith(target) for i in batches.ids()):
        raise RunError(
            f"no paper, run folder or batch `{target}` (see `stemma list`, `stemma status --all`)"
        )
    batch = batches.load(target)
    return Source(of_batch(batch), batch)


def of_folder(folder: Path) -> Execution:
    """Return the execution in a run's folder.

    Raises:
        RunError: its records cannot be read, or the run is not over.
    """
    spec, result = _read(Spec, folder / "spec.json"), _read(Result, folder / "result.json")
    state = _read(RunState, folder / "state.json") or (_state_of(result) if result else None)
    if spec is None or state is None:
        raise RunError(f"{folder} has no records that this version reads: run the paper again")
    if not state.state.final:
        raise RunError(f"{folder} is {state.state.value}: wait for it, or `stemma cancel` it")
    paper = catalog.load(spec.slug)
    judged = result.judged_by(paper) if result else None
    return Execution(paper, spec.scale, spec.key, spec.slug, state, folder, None, spec, judged)


def of_batch(batch: Batch) -> list[Execution]:
    """Return every execution of a batch, the failed and the cached too.

    Raises:
        RunError: the batch is not over.
    """
    waiting = sum(not view.state.state.final for view in batches.view(batch))
    if waiting:
        raise RunError(
            f"batch {batch.id} is not over ({waiting} of {len(batch.runs)} runs to go):"
            f" wait for it, or `stemma cancel {batch.id}`"
        )
    return [_of_batch_run(batch, run) for run in batch.runs]


def _of_batch_run(batch: Batch, run: BatchRun) -> Execution:
    paper, state = catalog.load(run.slug), batches.state_of(batch, run)
    folder = _folder(batch, run, state)
    kept = batches.result_path(batch.id, run)
    path = folder / "result.json" if folder else kept
    result = _read(Result, path)
    return Execution(
        paper,
        run.scale,
        run.key,
        run.label,
        state,
        folder,
        kept if kept.is_file() else None,
        _read(Spec, folder / "spec.json") if folder else None,
        result.judged_by(paper) if result else None,
        run.cached,
    )


def _folder(batch: Batch, run: BatchRun, state: RunState) -> Path | None:
    """Return the run's folder, unless it holds another execution of the key than the batch's."""
    folder = batches.run_folder(run)
    kept, own = batches.result_path(batch.id, run), folder / "result.json"
    if kept.is_file():
        same = own.is_file() and own.read_bytes() == kept.read_bytes()
    elif run.cached:
        same = own.is_file()
    else:
        same = _read(RunState, folder / "state.json") == state
    return folder if same else None


def _state_of(result: Result) -> RunState:
    return RunState(
        state=result.outcome,
        failure=result.failure,
        message=result.message,
        started=result.started,
        ended=result.started + result.seconds,
    )


def _read(record: type[R], path: Path) -> R | None:
    """Return a stored record; None if it is missing or of another schema version."""
    try:
        return record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _code_digest(notebook: bytes) -> str:
    cells = json.loads(notebook)["cells"]
    return keys.notebook_digest(["".join(c["source"]) for c in cells if c["cell_type"] == "code"])


def _is_papermills(cell: dict[str, Any]) -> bool:
    tags = cell["metadata"].get("tags", [])
    return "injected-parameters" in tags or "papermill-error-cell-tag" in tags


def _pristine(cell: dict[str, Any]) -> dict[str, Any]:
    own = ("papermill", "execution")
    metadata = {name: value for name, value in cell["metadata"].items() if name not in own}
    bare = {**cell, "metadata": metadata}
    if cell["cell_type"] == "code":
        bare |= {"outputs": [], "execution_count": None}
    return bare
