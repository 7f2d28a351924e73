"""The ``stemma`` command. Heavy imports live in the commands, so that ``--help`` is quick."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stemma import __version__
from stemma.errors import StemmaError
from stemma.report.commands import diff, report

if TYPE_CHECKING:
    from stemma.batch.plan import Planned
    from stemma.batch.runner import Finished
    from stemma.catalog import Scale

BAD_INPUT = 2
INTERRUPTED = 130
UI_HOST, UI_PORT = "127.0.0.1", 5000
UI_ADDRESS = f"http://{UI_HOST}:{UI_PORT}"

_scale = click.option(
    "--scale",
    type=click.Choice(["smoke", "small", "gpu", "paper"]),
    default="small",
    show_default=True,
    help="smoke proves the machinery; small tests the claims on 2 cores.",
)
_parameter = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter."
)


class _Group(click.Group):
    """Prints a StemmaError as one line and exits with code 2."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StemmaError as error:
            click.echo(f"stemma: {error}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Reproduce machine-learning papers, one notebook each, and read the verdicts."""


@main.command("list")
@click.option("--ready", is_flag=True, help="Only papers whose notebook runs.")
@click.option("--tag", help="Only papers with this tag.")
def list_papers(ready: bool, tag: str | None) -> None:
    """List the papers."""
    from rich.console import Console

    from stemma import catalog
    from stemma.report.terminal import papers_table, tags_line

    papers = catalog.load_all()
    chosen = [
        p for p in papers if (not ready or p.status == "ready") and (tag is None or tag in p.tags)
    ]
    console = Console()
    console.print(papers_table(chosen))
    count = sum(p.status == "ready" for p in chosen)
    console.print(f"{len(chosen)} papers, {count} ready", highlight=False)
    console.print(f"tags: {tags_line(chosen)}", highlight=False)


@main.command()
@click.argument("slug")
def show(slug: str) -> None:
    """Show what is known of a paper: claims, rules, parameters, data, deviations, defects."""
    from rich.console import Console

    from stemma import catalog
    from stemma.report.terminal import paper_page

    paper_page(catalog.load(slug), Console())


@main.command()
@click.argument("slugs", nargs=-1, required=True, metavar="SLUG...")
@_scale
@_parameter
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="At a time.")
@click.option("--force", is_flag=True, help="Run again even if the result is cached.")
@click.option("--timeout", type=click.FloatRange(1), help="Deadline of each notebook, seconds.")
def run(
    slugs: Sequence[str],
    scale: "Scale",
    parameters: Sequence[str],
    jobs: int,
    force: bool,
    timeout: float | None,
) -> None:
    """Run papers' notebooks; what is cached is not run again."""
    import os
    from datetime import UTC, datetime

    from stemma.batch.plan import plan

    planned = plan(
        slugs,
        scale,
        _overrides(parameters),
        batch=datetime.now(UTC).strftime("%Y%m%dT%H%M%S") + f"-{os.getpid()}",
        force=force,
        timeout=timeout,
        threads=max(1, (os.cpu_count() or 1) // min(jobs, len(slugs))),
    )
    finished, cancelled = _execute(planned, jobs)
    _print_results(finished)
    if cancelled:
        sys.exit(INTERRUPTED)
    sys.exit(0 if all(f.state.state.value == "succeeded" for f in finished) else 1)


def _execute(planned: "Sequence[Planned]", jobs: int) -> "tuple[list[Finished], bool]":
    from contextlib import nullcontext

    from rich.console import Console

    from stemma.batch.runner import Runner
    from stemma.report.terminal import BatchDisplay

    console = Console(stderr=True)
    tracker = None
    if any(p.hit is None for p in planned):
        from stemma import tracking

        uri = tracking.tracking_uri()
        tracking.check_reachable(uri)
        with console.status("Opening MLflow") if console.is_terminal else nullcontext():
            tracker = tracking.Tracker(uri)
    try:
        with BatchDisplay(console) as display:
            runner = Runner(planned, display, jobs=jobs, tracker=tracker)
            finished = runner.run()
    finally:
        if tracker is not None:
            tracker.close()
    return finished, runner.cancelled


def _print_results(finished: "Sequence[Finished]") -> None:
    from rich.console import Console

    from stemma.report.terminal import claims_table

    console = Console()
    for f in finished:
        if f.state.state.value != "succeeded":
            console.print(f"[bold]{f.planned.spec.slug}[/]: {f.state.state.value}", end=" ")
            console.print(f.state.message, markup=False)
            console.print(f"log: {f.planned.folder / 'log.txt'}", soft_wrap=True)
            continue
        console.print(claims_table(f))
        console.print(f"notebook and figures: {f.planned.folder}", soft_wrap=True, highlight=False)
        if link := _mlflow_link(f):
            console.print(f"in MLflow (after `stemma ui`): {link}", soft_wrap=True, highlight=False)


def _mlflow_link(finished: "Finished") -> str | None:
    """Return where the run stands in MLflow: on its server, or on the one of `stemma ui`."""
    from stemma import tracking
    from stemma.batch.records import Spec

    ids = Spec.read(finished.planned.folder / "spec.json").mlflow
    if ids is None:
        return None
    server = ids.tracking_uri if ids.tracking_uri.startswith("http") else UI_ADDRESS
    return tracking.run_link(server, ids.experiment_id, ids.run_id)


@main.command()
@click.argument("slug")
@_scale
@_parameter
def why(slug: str, scale: "Scale", parameters: Sequence[str]) -> None:
    """Explain why a paper would run again (or would not)."""
    from stemma.batch.plan import why as explain

    for line in explain(slug, scale, _overrides(parameters)):
        click.echo(line)


@main.command()
@click.option("--host", default=UI_HOST, show_default=True)
@click.option("--port", type=int, default=UI_PORT, show_default=True)
def ui(host: str, port: int) -> None:
    """Open the MLflow server on the store of the runs."""
    import os

    from stemma import tracking

    uri = tracking.tracking_uri()
    if uri.startswith("http"):
        click.echo(f"MLFLOW_TRACKING_URI is a server already: open {uri}")
        return
    tracking.Tracker(uri).close()
    click.echo(f"MLflow on http://{host}:{port} (Ctrl-C stops it)")
    command = tracking.ui_command(uri, host, port)
    os.execvp(command[0], command)


@main.command()
def sync() -> None:
    """Rebuild MLflow from the folders of the runs."""
    from rich.console import Console

    from stemma import paths, tracking

    uri = tracking.tracking_uri()
    tracking.check_reachable(uri)
    counts = tracking.sync(paths.runs(), uri)
    Console().print(", ".join(f"{count} {what}" for what, count in counts.items()))


@main.command()
@click.argument("slug")
@_scale
def reference(slug: str, scale: "Scale") -> None:
    """Keep the latest completed result as the committed reference, runs/reference/."""
    from stemma.report.reference import promote

    click.echo(f"wrote {promote(slug, scale)}")


@main.command(
    "provenance",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def provenance_commands(arguments: Sequence[str]) -> None:
    """Test whether a model or a text descends from a training run (`stemma provenance -h`)."""
    from provenance.cli import main as provenance_main

    provenance_main(args=list(arguments), prog_name="stemma provenance")


main.add_command(report)
main.add_command(diff)


def _overrides(parameters: Sequence[str]) -> dict[str, str]:
    from stemma.errors import ParameterError

    overrides = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"`-p {text}`: write it as -p name=value")
        overrides[name.strip()] = value
    return overrides


if __name__ == "__main__":
    main()
