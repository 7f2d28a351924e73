"""GPU leases: one run a GPU, across all batches of this machine.

A lease names the worker that holds it and not the runner, so that it outlives a runner that dies.
A GPU is free if no living worker holds it and the driver knows of no process that computes on it.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from stemma.batch import processes
from stemma.batch.devices import Gpu, visible_gpus
from stemma.batch.records import Worker


class Leases:
    """The leases of this machine's GPUs, kept in a folder that all batches share."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the leases; the folder defaults to one of this user's in the temporary folder."""
        default = Path(tempfile.gettempdir()) / f"stemma-gpus-{os.getuid()}"
        self._folder = folder or default
        self._folder.mkdir(parents=True, exist_ok=True)

    def acquire(self, holder: Worker) -> Gpu | None:
        """Lease a free GPU to ``holder``; None if all are taken.

        ``holder`` may be the runner until the worker is known.
        """
        with FileLock(self._folder / ".lock"):
            busy = computing()
            for gpu in visible_gpus():
                if gpu.uuid not in busy and not self._is_held(gpu):
                    self._write(gpu, holder)
                    return gpu
        return None

    def hand_over(self, uuid: str, holder: Worker) -> None:
        """Name another process as the holder of a lease."""
        with FileLock(self._folder / ".lock"):
            holder.write(self._path(uuid))

    def release(self, uuid: str, token: str) -> None:
        """End the lease of an attempt; one that is another's stays."""
        with FileLock(self._folder / ".lock"):
            held = self._read(uuid)
            if held is not None and held.token == token:
                self._path(uuid).unlink(missing_ok=True)

    def _is_held(self, gpu: Gpu) -> bool:
        held = self._read(gpu.uuid)
        return held is not None and processes.find(held.pid, held.created) is not None

    def _write(self, gpu: Gpu, holder: Worker) -> None:
        holder.write(self._path(gpu.uuid))

    def _read(self, uuid: str) -> Worker | None:
        return Worker.find(self._path(uuid))

    def _path(self, uuid: str) -> Path:
        return self._folder / f"{uuid.replace('/', '_')}.json"


def computing() -> set[str]:
    """Return the UUIDs of the GPUs on which the driver knows of a computing process."""
    query = ["nvidia-smi", "--query-compute-apps=gpu_uuid", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return set()
    return set(found.stdout.split())
