"""Commands on batches: run, attach, status, logs, cancel, retry, clean."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stemma.cli.options import (
    INTERRUPTED,
    UI_ADDRESS,
    overrides,
    parameter_option,
    scale_option,
)

if TYPE_CHECKING:
    from stemma.batch.manifest import Manifest
    from stemma.batch.records import Batch
    from stemma.batch.watch import Finished
    from stemma.catalog import Scale

_TABLES = 12
_batch = click.argument("batch_id", required=False, metavar="[BATCH]")
_runs = click.option("--run", "names", multiple=True, metavar="LABEL", help="Only this run.")


@click.command()
@click.argument("slugs", nargs=-1, metavar="[SLUG]...")
@click.option("--all", "everything", is_flag=True, help="All papers that are ready.")
@click.option("--tag", "tags", multiple=True, help="Only papers with this tag.")
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path), help="A manifest, runs/*.yaml."
)
@scale_option
@parameter_option
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="At a time.")
@click.option("--force", is_flag=True, help="Run again even if the result is cached.")
@click.option("--timeout", type=click.FloatRange(1), help="Deadline of each notebook, seconds.")
@click.option("--memory", type=click.IntRange(64), help="Memory that a run may use, MiB.")
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Further tries when the machine failed, never the notebook.",
)
@click.option("--detach", is_flag=True, help="Return at once; `stemma attach` comes back to it.")
@click.pass_context
def run(ctx: click.Context, /, force: bool, detach: bool, **choices: Any) -> None:
    """Run papers' notebooks; what is cached is not run again.

    The batch survives the terminal. Ctrl-C cancels it; closing the terminal does not.
    """
    from stemma.batch import control

    wanted = _manifest(ctx, **choices)
    if detach:
        batch = control.launch(wanted, force=force)
        click.echo(f"batch {batch.id} runs: `stemma status`, `stemma attach`, `stemma cancel`")
        return
    _attach(control.prepare(wanted, force=force))


def _manifest(
    ctx: click.Context,
    *,
    slugs: Sequence[str],
    everything: bool,
    tags: Sequence[str],
    path: Path | None,
    scale: "Scale",
    parameters: Sequence[str],
    jobs: int,
    timeout: float | None,
    memory: int | None,
    retries: int,
) -> "Manifest":
    from stemma.batch.manifest import Limits, Manifest, Selection, read

    if path is not None:
        given = [
            n
            for n, v in ctx.params.items()
            if n not in ("path", "force", "detach", "jobs")
            and ctx.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE
            and v
        ]
        if given:
            raise click.UsageError(f"a manifest says everything itself: leave out {given[0]}")
        found = read(path)
        typed = ctx.get_parameter_source("jobs") is click.core.ParameterSource.COMMANDLINE
        return found.model_copy(update={"jobs": jobs}) if typed else found
    if not (slugs or everything or tags):
        raise click.UsageError("name papers, or say --all, --tag TAG or -f MANIFEST")
    if slugs and everything:
        raise click.UsageError("either papers or --all")
    selection = Selection(
        papers=list(slugs) or "all",
        tags=list(tags) or None,
        scale=scale,
        parameters=dict(overrides(parameters)),
    )
    limits = Limits(timeout=timeout, memory_mb=memory)
    return Manifest(jobs=jobs, retries=retries, limits=limits, runs=[selection])


@click.command()
@_batch
def attach(batch_id: str | None) -> None:
    """Watch a batch (the latest); go on with it if its runner died."""
    from stemma.batch import batches

    _attach(batches.load(batch_id))


def _attach(batch: "Batch") -> None:
    """Show a batch until it is over, print its results, and exit by them."""
    import signal
    import threading

    from rich.console import Console

    from stemma.batch.watch import attach as watch
    from stemma.batch.watch import finished
    from stemma.report.terminal import BatchDisplay

    cancel = threading.Event()
    if all(run.cached for run in batch.runs):
        ended = finished(batch)
    else:
        before = {
            s: signal.signal(s, lambda _number, _frame: cancel.set())
            for s in (signal.SIGINT, signal.SIGTERM)
        }
        with BatchDisplay(Console(stderr=True)) as display:
            ended = watch(batch, display, cancel)
        for number, handler in before.items():
            signal.signal(number, handler)
    _print_results(batch, ended)
    if cancel.is_set():
        sys.exit(INTERRUPTED)
    sys.exit(0 if all(f.state.state.value == "succeeded" for f in ended) else 1)


def _print_results(batch: "Batch", ended: "Sequence[Finished]") -> None:
    from rich.console import Console

    from stemma.batch import batches
    from stemma.report.terminal import batch_table, claims_table, states_line

    console = Console()
    views = batches.view(batch)
    if len(ended) > _TABLES:
        console.print(batch_table(batch, views))
        console.print(states_line(views))
        return
    for f in ended:
        folder = batches.run_folder(f.run)
        if f.result is None or f.state.state.value != "succeeded":
            console.print(f"[bold]{f.run.label}[/]: {f.state.state.value}", end=" ")
            console.print(f.state.message, markup=False)
            console.print(f"log: {folder / 'log.txt'}", soft_wrap=True)
            continue
        console.print(claims_table(f))
        console.print(f"notebook and figures: {folder}", soft_wrap=True, highlight=False)
        if link := batches.mlflow_link(folder, UI_ADDRESS):
            console.print(f"in MLflow (after `stemma ui`): {link}", soft_wrap=True, highlight=False)


@click.command()
@_batch
@click.option("--all", "everything", is_flag=True, help="A line for every batch.")
@click.option("--watch", is_flag=True, help="Renew the table until the batch is over.")
def status(batch_id: str | None, everything: bool, watch: bool) -> None:
    """Show how the runs of a batch (the latest) fare."""
    import time

    from rich.console import Console
    from rich.live import Live

    from stemma.batch import batches
    from stemma.report.terminal import batch_table, states_line

    console = Console()
    if everything:
        for known in batches.ids():
            found = batches.load(known)
            line = f"{known} {found.name} {states_line(batches.view(found))}"
            console.print(line, highlight=False, soft_wrap=True)
        return
    batch = batches.load(batch_id)
    if watch:
        with Live(console=console, refresh_per_second=2) as live:
            while True:
                alive = batches.is_alive(batch.id)
                live.update(batch_table(batch, batches.view(batch)))
                if not alive:
                    break
                time.sleep(0.5)
    else:
        console.print(batch_table(batch, batches.view(batch)))
    views = batches.view(batch)
    console.print(states_line(views))
    if not batches.is_alive(batch.id) and not all(v.state.state.final for v in views):
        console.print(f"it has no runner: `stemma attach {batch.id}` goes on with it")


@click.command()
@click.argument("label")
@click.option("--batch", "batch_id", help="The batch; the latest if it is not given.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over.")
def logs(label: str, batch_id: str | None, follow: bool) -> None:
    """Print what a run of a batch wrote to its log; LABEL is a slug or as `status` shows it."""
    import time

    from stemma.batch import batches

    batch = batches.load(batch_id)
    chosen = batches.choose(batch, [label])
    path = batches.run_folder(chosen[0]) / "log.txt"
    position = 0
    while True:
        over = batches.state_of(batch, chosen[0]).state.final
        if path.exists():
            with path.open("rb") as stream:
                stream.seek(position)
                sys.stdout.write(stream.read().decode(errors="replace"))
                position = stream.tell()
        if not follow or over:
            return
        sys.stdout.flush()
        time.sleep(0.5)


@click.command()
@_batch
@_runs
def cancel(batch_id: str | None, names: Sequence[str]) -> None:
    """Stop a batch (the latest), or some of its runs."""
    from stemma.batch import batches, control

    batch = batches.load(batch_id)
    chosen = batches.choose(batch, names)
    if control.cancel(batch, chosen):
        click.echo(f"asked the runner of {batch.id} to stop {len(chosen)} runs")
    else:
        click.echo(f"batch {batch.id} has no runner: nothing of it runs")


@click.command()
@_batch
@_runs
@click.option("--detach", is_flag=True, help="Return at once.")
def retry(batch_id: str | None, names: Sequence[str], detach: bool) -> None:
    """Run what did not succeed in a batch (the latest) once more, as it was planned then."""
    from stemma.batch import batches, control

    batch = batches.load(batch_id)
    control.retry(batch, batches.choose(batch, names))
    if detach:
        control.revive(batch)
    else:
        _attach(batch)


@click.command()
@click.option("--older-than", type=click.FloatRange(0), required=True, metavar="DAYS")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def clean(older_than: float, dry_run: bool) -> None:
    """Remove runs and batches that ended so many days ago; references and MLflow stay."""
    from stemma.batch.cleaning import clean as remove

    removed = remove(older_than, dry_run=dry_run)
    what = "would remove" if dry_run else "removed"
    click.echo(f"{what} {removed.runs} runs and {removed.batches} batches, {removed.megabytes} MB")


COMMANDS = (run, attach, status, logs, cancel, retry, clean)
