"""Finished runs and batches for the tests of the report, written as the runner leaves them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
from nbformat import v4

from stemma import catalog, files
from stemma.batch import batches
from stemma.batch.plan import out_folder
from stemma.batch.records import (
    Batch,
    BatchRun,
    CellTiming,
    Failure,
    Result,
    RunState,
    Spec,
    State,
)
from stemma.catalog import Scale, Value

STARTED = 1_700_000_000.0  # 2023-11-14
OURS, BASELINE = [2.0, 2.1, 2.2, 2.1, 2.0], [1.0, 1.1, 1.0, 1.0, 1.1]


@dataclass(frozen=True)
class Finished:
    """A run that is over; without ``evidence`` it failed and left no result."""

    slug: str
    x: int = 1
    scale: Scale = "small"
    ours: Sequence[float] = tuple(OURS)
    state: State = State.SUCCEEDED
    failure: Failure | None = None
    message: str = ""
    seconds: float = 60.0
    caption: str = "Ours and the baseline."
    leaves_result: bool = True
    seed: int | None = None

    @property
    def key(self) -> str:
        words = f"{self.slug} {self.parameters} {self.scale}"
        return hashlib.sha256(words.encode()).hexdigest()

    @property
    def parameters(self) -> dict[str, Value]:
        """Of the run; a seed only where one is given."""
        return {"x": self.x} | ({} if self.seed is None else {"seed": self.seed})


def write_run(run: Finished, started: float = STARTED) -> Path:
    """Write the folder of a run and return it."""
    folder = out_folder(run.slug, run.key)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    _spec(run).write(folder / "spec.json")
    _state(run, started).write(folder / "state.json")
    if run.leaves_result:
        _figure(folder / "figures" / "groups.png")
        _notebook(folder / "executed.ipynb", run)
        _result(run, started).write(folder / "result.json")
    return folder


def write_batch(batch_id: str, runs: Sequence[Finished], started: float = STARTED) -> Batch:
    """Write a batch with its runs, all over."""
    entries = [(r.slug, r.scale, r.parameters) for r in runs]
    planned = [
        BatchRun(
            slug=run.slug,
            scale=run.scale,
            key=run.key,
            folder=f"out/{run.slug}/{run.key[:16]}",
            label=label,
        )
        for run, label in zip(runs, batches.labels(entries), strict=True)
    ]
    batch = Batch(id=batch_id, created=started, host="here", runs=planned)
    batches.folder(batch_id).mkdir(parents=True)
    batch.write(batches.folder(batch_id) / "batch.json")
    for run, entry in zip(runs, planned, strict=True):
        write_run(run, started)
        batches.keep(batch_id, entry, _state(run, started))
    return batch


def _spec(run: Finished) -> Spec:
    return Spec(
        slug=run.slug,
        scale=run.scale,
        key=run.key,
        ingredients={},
        parameters=run.parameters,
        sources={},
        digests={},
        batch="b",
        notebook=f"{run.slug}.ipynb",
        timeout=60.0,
        threads=1,
        device="cpu",
        paper_version=1,
        fingerprint={},
    )


def _state(run: Finished, started: float) -> RunState:
    return RunState(
        state=run.state,
        failure=run.failure,
        message=run.message,
        started=started,
        ended=started + run.seconds,
    )


def _result(run: Finished, started: float) -> Result:
    paper = catalog.load(run.slug)
    succeeded = run.state is State.SUCCEEDED
    evidence = {"C1": {"": {"ours": list(run.ours), "baseline": BASELINE}}} if succeeded else {}
    return Result(
        slug=run.slug,
        scale=run.scale,
        key=run.key,
        paper_version=1,
        outcome=run.state,
        failure=run.failure,
        message=run.message,
        parameters=run.parameters,
        sources={},
        digests={},
        device="cpu",
        fingerprint={"git_commit": "0123456789abcdef", "git_dirty": "false"},
        evidence=evidence,
        rules=paper.rules_digest,
        claims=paper.judge(run.scale, evidence) if succeeded else [],
        checks=[{"name": "the baseline is a baseline", "passed": True, "detail": ""}],
        figures=[{"name": "groups", "file": "figures/groups.png", "caption": run.caption}],
        tables=[],
        models=[],
        started=started,
        seconds=run.seconds,
        cells=[CellTiming(cell=1, heading="Step 0", seconds=1.5)],
    )


def _figure(path: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot(OURS)
    axes.plot(BASELINE)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _notebook(path: Path, run: Finished) -> None:
    """An executed notebook with what notebooks show: text, a table, a formula, a script."""
    wide = "".join(f"<td>{i} of many columns</td>" for i in range(40))
    outputs: list[Any] = [
        v4.new_output("stream", text="\x1b[31mred\x1b[0m " + "long line " * 60),
        v4.new_output("display_data", {"text/html": f"<table><tr>{wide}</tr></table>"}),
        v4.new_output(
            "display_data",
            {"application/javascript": "document.title = 'taken over'", "text/plain": "a script"},
        ),
        v4.new_output(
            "display_data",
            {"text/html": "<script>document.title = 'taken over'</script><b>bold</b>"},
        ),
    ]
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell(f"# On {run.slug}\n\nWith $\\mu_0 \\ge 1$ and\n\n$$x^2$$"),
            v4.new_code_cell("def f(x):  # a comment\n    return x + 1", outputs=outputs),
        ],
        metadata={"language_info": {"name": "python", "pygments_lexer": "ipython3"}},
    )
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell{i}"
    files.write_atomically(path, nbformat.writes(notebook))
