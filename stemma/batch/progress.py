"""How far a running notebook is, read from the events that its worker and it leave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stemma import files


class Progress(NamedTuple):
    """How far a notebook is.

    Attributes:
        cell: the code cell that runs, from 1; 0 before the first.
        cells: the number of code cells; 0 before the first.
        heading: the last heading above the cell.
        label: what the cell counts.
        done: how much of ``total`` it has done.
        total: 0 if the cell does not say.
    """

    cell: int = 0
    cells: int = 0
    heading: str = ""
    label: str = ""
    done: int = 0
    total: int = 0

    def after(self, event: Mapping[str, Any]) -> "Progress":
        """Return the progress after an event; this very object if it says nothing of it."""
        # Runs of older versions did not count their code cells.
        if event["kind"] == "cell_start" and "code_cell" in event:
            return Progress(event["code_cell"], event["code_cells"], event["heading"])
        if event["kind"] == "progress":
            return self._replace(label=event["label"], done=event["done"], total=event["total"])
        return self

    @property
    def completed(self) -> float:
        """The code cells that are done, with the part that is done of the present one."""
        part = self.done / self.total if self.total else 0.0
        return max(0, self.cell - 1) + part


class ProgressTail:
    """Follows the events of one attempt."""

    def __init__(self, folder: Path) -> None:
        self._tail = files.EventTail(folder / "events.jsonl")
        self._progress = Progress()

    def read(self) -> Progress:
        """Return the progress by now."""
        for event in self._tail.read():
            self._progress = self._progress.after(event)
        return self._progress
