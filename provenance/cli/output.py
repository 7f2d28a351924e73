"""What the commands print: words first, or JSON; progress on standard error."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from provenance.evidence import explain


def say(words: list[str], data: dict[str, Any], as_json: bool) -> None:
    """Print a result: plain words, or one JSON object."""
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    for line in words:
        click.echo(line)


def with_consequences(words: list[str]) -> list[str]:
    """Return the words of a result with the two sentences that stand beside every result."""
    return [
        *words,
        "",
        "What no such test proves:",
        *(f"  - {sentence}" for sentence in explain.consequences()),
    ]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error; yields a callback of units done and all units."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield update
