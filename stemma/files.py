"""Files that a reader never sees half written, and an append-only event log."""

import errno
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
    """Append one line ``{time, kind, ...}``; whole lines survive several writing processes.

    Raises:
        OSError: there is no room; what was written of the line is skipped by readers.
    """
    line = json.dumps({"time": round(time.time(), 3), "kind": kind, **fields}).encode() + b"\n"
    # O_APPEND makes one write() land whole at the end, whoever else writes.
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if _ends_within_a_line(descriptor):
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _ends_within_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


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
