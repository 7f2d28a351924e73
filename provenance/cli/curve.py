"""The evidence while a test asks: JSON lines {examples, p_value} for whoever watches the file."""

import json
import time
from pathlib import Path

_FLUSH_SECONDS = 0.25


class Curve:
    """Appends points to a file, in few writes; without a file it does nothing.

    Only the last point of a query without ``--stop`` is a result: to watch such a curve and end
    when it looks good would make the p-value worthless. ``--stop`` may be watched.
    """

    def __init__(self, path: Path | None) -> None:
        """Start an empty file.

        Raises:
            OSError: it cannot be written.
        """
        self._path = path
        self._waiting: list[str] = []
        self._written = float("-inf")
        if path is not None:
            path.write_text("")

    @property
    def is_wanted(self) -> bool:
        """Whether anybody watches."""
        return self._path is not None

    def add(self, examples: int, p_value: float, *, last: bool = False) -> None:
        """Add the p-value of the examples asked so far; the last one is written at once."""
        if self._path is None:
            return
        self._waiting.append(json.dumps({"examples": examples, "p_value": p_value}) + "\n")
        now = time.monotonic()
        if last or now - self._written >= _FLUSH_SECONDS:
            with self._path.open("a") as file:
                file.write("".join(self._waiting))
            self._waiting, self._written = [], now
