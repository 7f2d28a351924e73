"""The commands ``stemma report`` and ``stemma diff``; heavy imports live in them."""

import sys
from pathlib import Path

import click

from stemma.cli.options import UI_ADDRESS

MOVED = 1


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the site.  [default: runs/report]",
)
@click.option("--batch", "batch_id", metavar="ID", help="Report one batch, not the latest results.")
@click.option(
    "--mlflow", default=UI_ADDRESS, show_default=True, metavar="URL", help="MLflow to link to."
)
@click.option("--markdown", is_flag=True, help="Print the results table of the references.")
@click.option(
    "--write",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Replace the table between the markers of this file.",
)
def report(
    out: Path | None, batch_id: str | None, mlflow: str, markdown: bool, write: Path | None
) -> None:
    """Build a static site of all papers, their verdicts, figures and notebooks.

    With --markdown or --write: the table of the reference results instead.
    """
    if markdown or write is not None:
        if out is not None or batch_id is not None:
            raise click.UsageError("--markdown and --write build no site: drop --out and --batch")
        _table(markdown, write)
        return
    from stemma import paths
    from stemma.batch import batches
    from stemma.report.site import sources
    from stemma.report.site.build import build

    found = sources.of_batch(batches.load(batch_id)) if batch_id else sources.latest()
    for warning in found.warnings:
        click.echo(f"left out: {warning}", err=True)
    click.echo(f"wrote {build(found, out or paths.runs() / 'report', mlflow)}")


def _table(markdown: bool, write: Path | None) -> None:
    from stemma.report.reference import replace_table, results_markdown

    table = results_markdown()
    if markdown:
        click.echo(table)
    if write is not None:
        replace_table(write, table)


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a file.")
def diff(a: str, b: str, markdown: bool) -> None:
    """Compare two batches: which verdicts, estimates and times moved from A to B.

    A and B are ids of batches, the word `reference`, or folders of result files. The exit code is
    0 if no verdict moved and 1 if one did; those that a failed run has lost, or won back, count.
    """
    from stemma.report.diff import compare, load
    from stemma.report.diff_text import diff_markdown, print_diff

    found = compare(load(a), load(b))
    if markdown:
        click.echo(diff_markdown(found))
    else:
        from rich.console import Console

        print_diff(found, Console())
    if found.verdicts_moved:
        sys.exit(MOVED)
