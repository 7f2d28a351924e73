"""The processes of one training run, through torch.distributed where it is in use."""

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def place() -> tuple[int, int]:
    """Return this process's rank and the number of processes of the run."""
    distributed = _distributed()
    if distributed is not None:
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def barrier() -> None:
    """Wait for all processes of the run."""
    distributed = _distributed()
    if distributed is not None:
        distributed.barrier()


def gather(value: T) -> list[T]:
    """Return the values of all processes, in the order of their ranks."""
    distributed = _distributed()
    if distributed is None:
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def write_durably(path: Path, text: str, mode: int) -> None:
    """Write a small file at once and bring it, and its name, to the disk.

    Args:
        path: replaced if it exists.
        text: its content.
        mode: its permissions, such as 0o600.
    """
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _distributed() -> Any:
    """torch.distributed if this process uses it; torch itself is never imported here."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available():
        return None
    return torch.distributed if torch.distributed.is_initialized() else None
