"""The ``stemma`` command. Heavy imports live in the commands, so that ``--help`` is quick."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stemma import __version__
from stemma.cli.batch import COMMANDS
from stemma.cli.export import export
from stemma.cli.options import (
    BAD_INPUT,
    UI_HOST,
    UI_PORT,
    overrides,
    parameter_option,
    scale_option,
)
from stemma.cli.report import diff, report
from stemma.errors import StemmaError

if TYPE_CHECKING:
    from stemma.catalog import Scale


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
@click.argument("slug")
@scale_option
@parameter_option
def why(slug: str, scale: "Scale", parameters: Sequence[str]) -> None:
    """Explain why a paper would run again (or would not)."""
    from stemma.batch.manifest import Manifest, Selection, expand
    from stemma.batch.plan import why as explain

    selection = Selection(papers=[slug], scale=scale, parameters=dict(overrides(parameters)))
    for line in explain(expand(Manifest(runs=[selection]))[0]):
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
    click.echo(f"MLflow on {tracking.home_link(f'http://{host}:{port}')} (Ctrl-C stops it)")
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
@scale_option
@click.option(
    "--repeat", is_flag=True, help="Add it to the reference, as a repeat with another seed."
)
def reference(slug: str, scale: "Scale", repeat: bool) -> None:
    """Keep the latest completed result as the committed reference, runs/reference/.

    A verdict on which a reference and its repeats disagree is inconclusive.
    """
    from stemma.report.reference import promote, promote_repeat

    click.echo(f"wrote {(promote_repeat if repeat else promote)(slug, scale)}")


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


for _command in (*COMMANDS, report, diff, export):
    main.add_command(_command)
