"""The command ``stemma export``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stemma.cli.options import scale_option

if TYPE_CHECKING:
    from stemma.catalog import Scale


@click.command("export")
@click.argument("target")
@scale_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.zip|DIR",
    help="Where to write; by default a zip file here.",
)
@click.option("--force", is_flag=True, help="Replace the crate that is there.")
def export(target: str, scale: "Scale", out: Path | None, force: bool) -> None:
    """Write a run or a batch as an RO-Crate (Workflow Run Crate 0.5).

    TARGET is a paper's slug (its latest completed run), a run's folder or the id of a batch.
    """
    from stemma.report import crate

    written = crate.export(target, scale, out, force=force)
    runs = "1 run" if written.runs == 1 else f"{written.runs} runs"
    click.echo(f"wrote {written.path}: {runs}, {written.files} files")
