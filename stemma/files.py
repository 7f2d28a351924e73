"""Files that a reader never sees half written, and an append-only event log."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to a sibling of ``path`` and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk needs its room back
        raise


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinities are refused."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def append_event(path: Path, kind: str, fields: Mapping[str, Any]) -> None:
    """Append one line ``{time, kind, ...}``; whole lines survive several writing processes."""
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **fields}) + "\n"
    # O_APPEND makes one write() land whole at the end, whoever else writes.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class EventTail:
    """Reads the events that were appended since the last call.

    A line that a full disk cut short is skipped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the new complete events; an unfinished last line waits for the next call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue
