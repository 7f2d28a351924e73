"""What the command line shows: progress bars, the catalog, claims tables."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from stemma import catalog
from stemma.batch.batches import RunView
from stemma.batch.progress import Progress as NotebookProgress
from stemma.batch.records import Batch, BatchRun, RunState, State
from stemma.batch.watch import Finished
from stemma.catalog import SCALES, Paper, Parameter
from stemma.tables import COLOURS, claim_rows

_STATE_COLOURS = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.TIMED_OUT: "red",
    State.LOST: "red",
    State.CANCELLED: "yellow",
}


_BARS_KEPT = 12


class BatchDisplay:
    """One bar a notebook: cells done, the current heading, elapsed and remaining time.

    Without a terminal it prints one line a heading instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.fields[label]}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._reached: dict[str, NotebookProgress] = {}
        self._over: list[BatchRun] = []
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def state(self, run: BatchRun, state: RunState) -> None:
        """Show a run's new state."""
        if state.state is State.STARTING:
            self._begin(run, state)
        elif state.state.final:
            self._finish(run, state)
        elif state.state is State.QUEUED and state.message:
            self._line(f"{run.label}: [yellow]{escape(state.message)}[/]")

    def _begin(self, run: BatchRun, state: RunState) -> None:
        self._remove(run)
        words = "starting" if state.attempts == 1 else f"starting, attempt {state.attempts}"
        self._tasks[run.name] = self._progress.add_task(words, label=run.label, total=None)

    def _finish(self, run: BatchRun, state: RunState) -> None:
        colour = _STATE_COLOURS[state.state]
        words = state.state.value + (f" ({state.failure.value})" if state.failure else "")
        if (task := self._tasks.get(run.name)) is not None:
            total = next(t.total for t in self._progress.tasks if t.id == task)
            self._progress.update(task, description=f"[{colour}]{words}")
            if state.state is State.SUCCEEDED:
                self._progress.update(task, completed=total)
            self._progress.stop_task(task)
            self._over.append(run)
            # A long batch must not push its running bars off the screen.
            for old in self._over[:-_BARS_KEPT]:
                self._remove(old)
            del self._over[:-_BARS_KEPT]
        self._line(f"{run.label}: [{colour}]{words}[/]{_message(state)}")

    def _remove(self, run: BatchRun) -> None:
        if (task := self._tasks.pop(run.name, None)) is not None:
            self._progress.remove_task(task)

    def event(self, run: BatchRun, event: dict[str, Any]) -> None:
        """Move a run's bar."""
        name = run.name
        task = self._tasks.get(name)
        if task is None:
            return
        before = self._reached.get(name, NotebookProgress())
        now = self._reached[name] = before.after(event)
        if now is before:
            return
        counted = f"{now.label} {now.done}/{now.total}" if now.total else now.heading
        self._progress.update(
            task, total=now.cells or None, completed=now.completed, description=counted
        )
        if now.heading != before.heading:
            self._line(f"{run.label}: {now.heading}")

    def warn(self, message: str) -> None:
        """Print a warning above the bars."""
        self._progress.console.print(Text(f"warning: {message}", style="yellow"))

    def _line(self, markup: str) -> None:
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._began
            self._console.print(f"[{seconds:7.1f} s] {markup}".replace("[ ", r"\[ ", 1))


def _message(state: RunState) -> str:
    return f" {escape(state.message)}" if state.message else ""


def papers_table(papers: Sequence[Paper]) -> Table:
    """Return the catalog as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "slug", "year", "status", "title"):
        table.add_column(name, no_wrap=name != "title")
    for paper in papers:
        colour = "green" if paper.status == "ready" else "bright_black"
        table.add_row(
            str(paper.number),
            paper.slug,
            str(paper.year),
            f"[{colour}]{paper.status}[/]",
            paper.title,
        )
    return table


def tags_line(papers: Sequence[Paper]) -> str:
    """Return the tags of ``papers`` with their counts, most frequent first."""
    counts = Counter(tag for paper in papers for tag in paper.tags)
    return ", ".join(f"{tag} ({count})" for tag, count in counts.most_common())


def batch_table(batch: Batch, views: Sequence[RunView]) -> Table:
    """Return the runs of a batch with their states, times and messages."""
    table = Table(title=f"{batch.id} {batch.name}".strip(), title_justify="left", box=None)
    for name in ("run", "scale", "state", "attempts", "minutes", "message"):
        table.add_column(name, no_wrap=name != "message")
    for run, state in views:
        colour = _STATE_COLOURS.get(state.state, "cyan")
        words = "cached" if run.cached else state.state.value
        words += f" ({state.failure.value})" if state.failure else ""
        table.add_row(
            run.label,
            run.scale,
            f"[{colour}]{words}[/]",
            str(state.attempts) if state.attempts > 1 else "",
            _minutes(state),
            Text(state.message),
        )
    return table


def states_line(views: Sequence[RunView]) -> str:
    """Say how many runs are in which state."""
    counts = Counter("cached" if v.run.cached else v.state.state.value for v in views)
    return f"{len(views)} runs: " + ", ".join(f"{n} {state}" for state, n in counts.items())


def _minutes(state: RunState) -> str:
    if state.started is None:
        return ""
    return f"{((state.ended or time.time()) - state.started) / 60:.1f}"


def claims_table(finished: Finished) -> Table:
    """Return one run's claims: the paper's value, what was measured, the verdict."""
    run = finished.run
    paper = catalog.load(run.slug)
    what = run.label.removeprefix(run.slug).strip()
    note = (f", {what}" if what else "") + (" (cached)" if run.cached else "")
    table = _stack(f"{paper.title}: scale {run.scale}{note}")
    for row in claim_rows(paper, finished.result.claims if finished.result else []):
        lines = [row.statement, f"paper: {row.paper}"]
        if row.measured:
            lines.append(f"measured here: {row.measured}")
        verdict = Text(row.verdict.value, style=f"bold {COLOURS[row.verdict]}")
        table.add_row(row.claim, verdict, Text("\n".join([*lines, row.reason])))
    return table


def _stack(title: str) -> Table:
    """Return a table of few columns, the last one wide: it reads well in 80 columns too."""
    table = Table(title=title, title_justify="left", show_header=False, show_lines=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    return table


def paper_page(paper: Paper, console: Console) -> None:
    """Print everything the catalog knows of a paper."""
    console.print(f"[bold]{paper.title}[/]")
    console.print(f"{paper.slug} · arXiv {paper.arxiv} ({paper.year}) · {paper.status}")
    console.print(f"tags: {', '.join(paper.tags)}")
    if paper.code is not None:
        console.print(f"authors' code: {paper.code.repository} {paper.code.commit or ''}")
    console.print(f"\n{paper.summary}\n")
    if paper.claims:
        console.print(_claims(paper))
    if paper.parameters:
        console.print(_parameters(paper))
    for need in paper.data:
        console.print(f"data for {need.role}: {' or '.join(need.any_of)}")
    for title, notes in (("Deviations", paper.deviations), ("Defects", paper.defects)):
        if notes:
            console.print(f"\n[bold]{title}[/]")
            for note in notes:
                console.print(f"  {note.id} {note.text}", markup=False)


def _claims(paper: Paper) -> Table:
    table = _stack("Claims")
    for claim in paper.claims:
        tested = ", ".join(f"{scale} ({claim.scales[scale]})" for scale in claim.scales)
        lines = [
            claim.statement,
            f"paper: {claim.paper_value} {claim.unit}".strip(),
            f"where: {claim.where}",
            f"statistic: {claim.statistic}",
            f"tested at: {tested or 'no scale'}",
            *(f"not at {scale}: {why}" for scale, why in claim.untested.items()),
        ]
        rule = claim.rule.kind if claim.rule else ""
        table.add_row(claim.id, rule, Text("\n".join(lines)))
    return table


def _parameters(paper: Paper) -> Table:
    table = _stack("Parameters (-p name=value)")
    for p in paper.parameters:
        unit = f" ({p.unit})" if p.unit else ""
        lines = [p.help + unit, _defaults(p)]
        if allowed := _allowed(p):
            lines.append(f"allowed: {allowed}")
        table.add_row(p.name, p.type, Text("\n".join(lines)))
    return table


def _defaults(parameter: Parameter) -> str:
    """Return the default of small, and those of the other scales where they differ."""
    small = parameter.default_at("small")
    others = {s: parameter.default_at(s) for s in SCALES if parameter.default_at(s) != small}
    return "; ".join([f"default: {small}", *(f"{scale}: {v}" for scale, v in others.items())])


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(map(str, parameter.choices))
    low, high = parameter.minimum, parameter.maximum
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
