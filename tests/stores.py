"""Stores of MLflow for tests: its server, and PostgreSQL from Debian's package."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

_START_SECONDS = 180.0


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    health: str = "health",
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a server, MLflow's or another, until the block ends, and yield its address.

    It is there when the page ``health`` answers; ``environment`` None is this process's own.
    """
    uri = f"http://127.0.0.1:{port}"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**(os.environ if environment is None else environment), **quiet},
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            wait_until_it_answers(f"{uri}/{health}", server, log)
            yield uri
        finally:
            os.killpg(server.pid, 15)
            server.wait(timeout=60)


def wait_until_it_answers(page: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert server.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        try:
            if httpx.get(page, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)


def server_command(store: str, artifacts: Path, port: int) -> list[str]:
    """Return the command of a server that passes all artifacts through itself."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store),
        *("--artifacts-destination", artifacts.as_uri()),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgresql_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps out of PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


class PostgreSQL:
    """A cluster of its own, reached by a socket in its folder and by nothing else."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder

    def uri(self, database: str) -> str:
        """Return the address of a new, empty database."""
        self._run("createdb", "--host", str(self._folder), database)
        return f"postgresql+psycopg2://postgres@/{database}?host={self._folder}"

    def start(self) -> None:
        data, log = str(self._folder / "data"), str(self._folder / "log")
        own = ("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        self._run("initdb", "--pgdata", data, *own)
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "--pgdata", data, "--log", log, "--wait", "-o", options, "start")

    def stop(self) -> None:
        data = str(self._folder / "data")
        self._run("pg_ctl", "--pgdata", data, "--mode", "immediate", "--wait", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if program == "createdb":
            command[1:1] = ["--username", "postgres"]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                *command,
            ]
        # pg_ctl leaves the server its standard output, which a pipe would wait for.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd="/", timeout=120, check=False
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@contextmanager
def postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """Run a new cluster until the block ends."""
    # Not in pytest's folder, which only its owner may enter; and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="stemma-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        cluster = PostgreSQL(programs, folder)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
