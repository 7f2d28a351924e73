"""One fresh process executes one notebook and writes exactly one result, atomically.

``python -m stemma.batch.worker FOLDER/spec.json``: the same for every executor, but that the local
one forks it from a process that has its imports already. The notebook's kernel inherits this
process's environment. The outcome is judged from the replies of the kernel, never from the executed
notebook, whose states papermill gets wrong after a time-out, a dead kernel or ``sys.exit(0)``.
"""

import errno
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import papermill
import psutil
import tenacity
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from stemma import catalog, files, paths
from stemma.batch import key, processes
from stemma.batch.records import CellTiming, Failure, Result, Spec, State, Worker
from stemma.batch.sampler import SystemSampler
from stemma.recorder import RUN_DIR

_SAMPLE_SECONDS = 5.0
_LOCK_SECONDS = 20.0
_DISK_SECONDS = 900.0
_FAILURES = {
    "CheckFailed": Failure.CHECK,
    "DataUnavailable": Failure.DATA,
    "MemoryError": Failure.OUT_OF_MEMORY,
    "OutOfMemoryError": Failure.OUT_OF_MEMORY,
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class DeadlinePassed(Exception):
    """The whole notebook's time is up."""


@dataclass
class _Progress:
    """Follows the kernel's replies: what really ran."""

    events: Path
    headings: list[str]
    code_cells: int
    deadline: float
    begun: dict[int, float] = field(default_factory=dict)
    done: list[CellTiming] = field(default_factory=list)

    def remaining(self, _cell: Any = None) -> int:
        return max(1, int(self.deadline - time.monotonic()))

    def start(self, cell: Any, cell_index: int) -> None:
        if time.monotonic() >= self.deadline:
            raise DeadlinePassed
        if cell.cell_type != "code":
            return
        self.begun[cell_index] = time.monotonic()
        files.append_event(
            self.events,
            "cell_start",
            {
                "cell": cell_index,
                "code_cell": len(self.begun),
                "code_cells": self.code_cells,
                "heading": self.headings[cell_index],
            },
        )

    def executed(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        status = execute_reply["content"]["status"]
        seconds = round(time.monotonic() - self.begun[cell_index], 3)
        files.append_event(
            self.events, "cell_end", {"cell": cell_index, "status": status, "seconds": seconds}
        )
        if status == "ok":
            self.done.append(
                CellTiming(cell=cell_index, heading=self.headings[cell_index], seconds=seconds)
            )


@dataclass(frozen=True)
class _Ending:
    outcome: State
    failure: Failure | None = None
    message: str = ""


def main(spec_path: Path, token: str | None = None) -> None:
    """Execute the run of ``spec_path`` and write its ``result.json``.

    The worker holds the folder's lock as long as it lives, so that no other takes its place. It
    does nothing if it comes too late: after another attempt began, or after its own was completed
    (a cluster may start a job twice).

    Args:
        spec_path: the specification, in the run's folder.
        token: the attempt that this worker was started for; None takes the one of the file.
    """
    folder = spec_path.parent
    try:
        with FileLock(folder / ".lock", timeout=_LOCK_SECONDS):
            spec: Spec = Spec.read(spec_path)
            if token in (None, spec.token) and not _is_done(folder, spec):
                _introduce(folder, spec)
                _execute(spec, folder)
    except Timeout:
        sys.exit(f"{folder} is being run by another process")


def _is_done(folder: Path, spec: Spec) -> bool:
    path = folder / "result.json"
    return bool(spec.token and path.is_file() and Result.read(path).token == spec.token)


def _introduce(folder: Path, spec: Spec) -> None:
    process = psutil.Process()
    Worker(
        token=spec.token,
        host=socket.gethostname(),
        pid=process.pid,
        created=process.create_time(),
    ).write(folder / "worker.json")


def _execute(spec: Spec, folder: Path) -> None:
    started = time.time()
    clock = time.monotonic()
    os.environ[RUN_DIR] = str(folder)
    notebook = json.loads(Path(spec.notebook).read_text(encoding="utf-8"))
    cells = notebook["cells"]
    progress = _Progress(
        folder / "events.jsonl", headings(cells), code_cells(cells), clock + spec.timeout
    )
    ending = _changed(spec)
    if ending is None:
        with SystemSampler(folder / "events.jsonl", _SAMPLE_SECONDS, os.getpid()):
            ending = _run_notebook(spec, folder, progress)
        ending = _changed(spec) or ending
    if ending.outcome is State.SUCCEEDED:
        shutil.rmtree(folder / paths.CHECKPOINT, ignore_errors=True)
    partial = folder / "executed.part.ipynb"
    if partial.exists():
        os.replace(partial, folder / "executed.ipynb")
    result = _result(spec, folder, ending, progress, started, time.monotonic() - clock)
    _write_when_there_is_room(result, folder / "result.json")


def _changed(spec: Spec) -> _Ending | None:
    """A result must not stand under the key of code that did not make it."""
    names = key.changed(spec.ingredients, Path(spec.notebook))
    if not names:
        return None
    words = f"{', '.join(names)} changed since it was planned: `stemma run` plans it anew"
    return _Ending(State.FAILED, Failure.CHANGED, words)


def _write_when_there_is_room(result: Result, path: Path) -> None:
    """What took hours to compute must not be lost to a disk that is full for minutes."""
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_full),
        wait=tenacity.wait_fixed(1),
        stop=tenacity.stop_after_delay(_DISK_SECONDS),
        reraise=True,
    )
    patiently(result.write, path)


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def _run_notebook(spec: Spec, folder: Path, progress: _Progress) -> _Ending:
    try:
        executed = papermill.execute_notebook(
            spec.notebook,
            str(folder / "executed.part.ipynb"),
            parameters={"scale": spec.scale, **spec.parameters},
            kernel_name="python3",
            language="python",
            progress_bar=False,
            interrupt_on_timeout=True,
            timeout_func=progress.remaining,
            shell_timeout_interval=1,
            on_cell_start=progress.start,
            on_cell_executed=progress.executed,
        )
    except DeadlinePassed:
        return _timed_out(spec)
    except PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt" and time.monotonic() >= progress.deadline - 1:
            return _timed_out(spec)
        return _Ending(State.FAILED, _classify(error), f"{error.ename}: {error.evalue}")
    except DeadKernelError:
        return _Ending(State.FAILED, Failure.DEAD_KERNEL, "the kernel died (killed or crashed)")
    except OSError as error:
        if not _is_full(error):
            raise
        return _Ending(State.FAILED, Failure.DISK_FULL, str(error))
    code = [i for i, cell in enumerate(executed.cells) if cell.cell_type == "code"]
    if len(progress.done) < len([i for i in code if "".join(executed.cells[i].source).strip()]):
        return _Ending(State.FAILED, Failure.EXITED, "the kernel left before the last cell")
    return _Ending(State.SUCCEEDED)


def _classify(error: PapermillExecutionError) -> Failure:
    full = error.ename == "OSError" and any(f"[Errno {n}]" in error.evalue for n in _NO_ROOM)
    return Failure.DISK_FULL if full else _FAILURES.get(error.ename, Failure.ERROR)


def _timed_out(spec: Spec) -> _Ending:
    return _Ending(State.TIMED_OUT, None, f"the notebook exceeded {spec.timeout:g} s")


def headings(cells: list[dict[str, Any]]) -> list[str]:
    """Return, for each cell, the last Markdown heading above it.

    Papermill inserts a cell of parameters below the tagged one, so later cells move down by one.
    """
    found: list[str] = []
    heading = "start"
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines = [line for line in source.splitlines() if line.startswith("#")]
            heading = lines[-1].lstrip("# ").strip() if lines else heading
        found.append(heading)
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            found.append(heading)
    return found


def code_cells(cells: list[dict[str, Any]]) -> int:
    """Return how many code cells papermill will execute: those of the notebook and its own."""
    return 1 + len([cell for cell in cells if cell["cell_type"] == "code"])


def _result(
    spec: Spec,
    folder: Path,
    ending: _Ending,
    progress: _Progress,
    started: float,
    seconds: float,
) -> Result:
    recorded = folder / "evidence.json"
    evidence = json.loads(recorded.read_text(encoding="utf-8")) if recorded.exists() else {}
    events = list(files.EventTail(folder / "events.jsonl").read())
    paper = catalog.load(spec.slug)
    succeeded = ending.outcome is State.SUCCEEDED
    return Result(
        slug=spec.slug,
        scale=spec.scale,
        key=spec.key,
        paper_version=spec.paper_version,
        outcome=ending.outcome,
        failure=ending.failure,
        message=ending.message,
        parameters=spec.parameters,
        sources=spec.sources,
        digests=spec.digests,
        device=spec.device,
        fingerprint=spec.fingerprint,
        evidence=evidence,
        rules=paper.rules_digest,
        claims=paper.judge(spec.scale, evidence) if succeeded else [],
        checks=_of_kind(events, "check"),
        figures=_of_kind(events, "figure"),
        tables=_of_kind(events, "table"),
        models=_of_kind(events, "model"),
        started=started,
        seconds=round(seconds, 3),
        cells=progress.done,
        token=spec.token,
    )


def _of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in event.items() if name not in ("kind", "time")}
        for event in events
        if event["kind"] == kind
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ.get(processes.TOKEN))
