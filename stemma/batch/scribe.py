"""The runner's side of MLflow: starts the follower, and knows whether to wait for it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from stemma import paths
from stemma.tracking import follow

_ANSWER_SECONDS = 180.0
_RESTART_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0


class Scribe(Protocol):
    """Tells the runner where MLflow stands."""

    def is_ready(self, folder: Path) -> bool:
        """Return whether the run of ``folder`` may start: tracked, or never to be in time."""


class FollowerProcess:
    """Keeps one follower alive beside the runner."""

    def __init__(self, folder: Path) -> None:
        """Start to follow the batch of ``folder``."""
        self._folder = folder
        self._process = self._start()
        self._patient_until = time.monotonic() + _ANSWER_SECONDS

    def is_ready(self, folder: Path) -> bool:
        """Return whether MLflow knows the run, or cannot be waited for because it is down."""
        self._keep_alive()
        return (
            (folder / paths.MLFLOW_IDS).exists()
            or self.complaint() != ""
            or time.monotonic() > self._patient_until
        )

    def complaint(self) -> str:
        """Return what the follower cannot do at the moment; empty if all is well."""
        return follow.read_status(self._folder) or ""

    def finish(self) -> bool:
        """Wait until MLflow has the whole batch, but not for ever; return whether it has."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            self._keep_alive()
            if self._process.poll() == 0:
                return True
            time.sleep(0.1)
        self.stop()
        return False

    def stop(self) -> None:
        """End the follower: it leaves when its standard input closes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_RESTART_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _keep_alive(self) -> None:
        if self._process.poll() not in (None, 0):
            time.sleep(0.5)
            self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        (self._folder / follow.STATUS).unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "stemma.tracking.follow", str(self._folder), str(paths.runs())],
            stdin=subprocess.PIPE,
        )
