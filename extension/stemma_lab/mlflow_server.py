"""The MLflow server that shows the runs: one that is there, or one that the lab starts."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from stemma import paths, tracking
from stemma.errors import TrackingError
from stemma_lab.schemas import Mlflow

_HOST = "127.0.0.1"
_STOP_SECONDS = 5.0


class MlflowServer:
    """Knows where MLflow answers, and starts a server if none is given."""

    def __init__(self, url: str, port: int) -> None:
        """Take what the user configured.

        Args:
            url: address of a server that runs already; empty if there is none.
            port: where a server of our own listens; 0 for a free one.
        """
        uri = tracking.tracking_uri()
        self._given = (url or (uri if uri.startswith("http") else "")).rstrip("/")
        self._port = port
        self._own: subprocess.Popen[bytes] | None = None
        self._url = ""

    async def state(self) -> Mlflow:
        """Return where MLflow answers, or why it does not."""
        if self._given:
            return await _asked(self._given, own=False)
        if self._own is None:
            return Mlflow(url=None, own=False, message="no MLflow server runs yet")
        if self._own.poll() is not None:
            return Mlflow(url=None, own=False, message=f"the MLflow server ended: see {_log()}")
        found = await _asked(self._url, own=True)
        return found if found.url else Mlflow(url=None, own=False, message="starting")

    async def start(self) -> Mlflow:
        """Start a server if there is none, and return at once."""
        if not self._given and (self._own is None or self._own.poll() is not None):
            port = self._port or _free_port()
            self._url = f"http://{_HOST}:{port}"
            self._own = await asyncio.to_thread(_serve, port)
        return await self.state()

    def stop(self) -> None:
        """Stop the server that was started here."""
        if self._own is None:
            return
        # The server's workers are children of its own; all share its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._own.pid, signal.SIGTERM)
        try:
            self._own.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._own.pid, signal.SIGKILL)
            self._own.wait()
        self._own = None


def _command(port: int) -> list[str]:
    # `stemma ui` makes the store first if there is none, and becomes the server.
    return [*(sys.executable, "-m", "stemma.cli", "ui"), *("--host", _HOST, "--port", str(port))]


def _serve(port: int) -> subprocess.Popen[bytes]:
    _log().parent.mkdir(parents=True, exist_ok=True)
    with _log().open("wb") as log:
        return subprocess.Popen(
            _command(port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=paths.home(),
            # Another port is another origin, and the lab shows the server in a frame.
            env=os.environ | {"MLFLOW_SERVER_X_FRAME_OPTIONS": "NONE"},
            start_new_session=True,
        )


def _log() -> Path:
    return paths.runs() / "mlflow-server.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def _asked(url: str, *, own: bool) -> Mlflow:
    try:
        await asyncio.to_thread(tracking.check_reachable, url)
    except TrackingError as error:
        return Mlflow(url=None, own=False, message=str(error))
    return Mlflow(url=_without_credentials(url), own=own, message="")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
