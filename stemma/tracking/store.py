"""Where MLflow's store is, whether it can be used, and how it is opened."""

import importlib.util
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from stemma import paths
from stemma.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_PORTS = {"postgresql": 5432, "mysql": 3306}
_POSTGRESQL = "postgresql+psycopg2"
# Without it MLflow's pages are those of chat models, and a paper opens on empty traces.
TRAINING = "workflowType=machine_learning"
_HEALTH_SECONDS = 5.0
_LOCK_SECONDS = 300.0
# Any number will do for PostgreSQL's advisory lock, if it is Stemma's own.
_ADVISORY_LOCK = 0x5354454D4D41
# Laboratories are often closed networks.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# MLflow's own seven retries let a dead server hang for minutes, and `sync` repairs what is missed.
_TERSE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, else the SQLite store under the folder of runs.

    A relative SQLite path is made absolute, because notebooks may change their folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{paths.runs() / 'mlflow.db'}"
    database = _database(uri)
    return f"{_SQLITE}{database}" if database else uri


def artifact_root(uri: str) -> Path | None:
    """Return the folder of artifacts of a database store; None if a server keeps them.

    A database that several machines share without a server needs a folder of runs at the same
    path on a disk that all of them see.
    """
    if _is_server(uri):
        return None
    database = _database(uri)
    return (database.parent if database else paths.runs()) / "mlartifacts"


def check_reachable(uri: str) -> None:
    """Check quickly, and without importing MLflow, that the store can be used.

    Raises:
        TrackingError: a server that does not answer, a folder that cannot be written, or a
            PostgreSQL address without MLflow's driver.
    """
    if _is_server(uri):
        _check_server(uri)
        return
    database = _database(uri)
    if database is not None:
        _check_writable(database)
    elif _dialect(uri) in _PORTS:
        _check_database(uri)
    elif "://" not in uri or uri.startswith("file:"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI={uri} is a folder, which MLflow no longer writes to:"
            " use sqlite:///FILE or the http address of a server"
        )


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_HEALTH_SECONDS):
            return
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return  # a server that wants credentials is there; MLflow's client has them
        reason: object = f"it answers {error.code} to /health"
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
    raise TrackingError(
        f"no MLflow server at {masked(uri)} ({reason}):"
        " start it (`stemma ui`) or unset MLFLOW_TRACKING_URI"
    ) from None


def _check_database(uri: str) -> None:
    # MLflow would try for 100 seconds.
    parts = urlsplit(uri)
    if parts.scheme == "postgresql" and importlib.util.find_spec("psycopg") is None:
        raise TrackingError(
            f"{masked(uri)} names no driver: write {_POSTGRESQL}:// (pip install psycopg2-binary)"
        )
    if not parts.hostname:
        return  # a socket in the file system
    address = (parts.hostname, parts.port or _PORTS[_dialect(uri)])
    try:
        socket.create_connection(address, timeout=_HEALTH_SECONDS).close()
    except OSError as error:
        raise TrackingError(
            f"no database at {masked(uri)} ({error}): start it or unset MLFLOW_TRACKING_URI"
        ) from None


def _check_writable(database: Path) -> None:
    existing = next(p for p in [database, *database.parents] if p.exists())
    folder = existing if existing.is_dir() else existing.parent
    # SQLite writes its journal beside the database, so the folder must be writable too.
    if not (os.access(existing, os.W_OK) and os.access(folder, os.W_OK)):
        raise TrackingError(
            f"cannot write the MLflow store {database}:"
            " make its folder writable or point MLFLOW_TRACKING_URI at another store"
        )


def open_client(uri: str) -> "MlflowClient":
    """Open the store, creating or migrating its schema, one process at a time.

    MLflow 3.17 creates a SQLite schema without a lock: several processes on a fresh file break it
    for ever. So everyone passes here. A schema that lacks tables is migrated by MLflow itself.

    Raises:
        TrackingError: the store cannot be opened.
    """
    check_reachable(uri)
    be_quiet()
    from mlflow import MlflowClient  # takes seconds, so not under the lock
    from mlflow.exceptions import MlflowException

    with mending(uri), locked(uri):
        try:
            client = MlflowClient(tracking_uri=uri)
        except MlflowException as error:
            if "out-of-date database schema" not in error.message:
                raise
            raise TrackingError(
                f"{masked(uri)} was made by another version of MLflow:"
                f" back it up and run `mlflow db upgrade {masked(uri)}`"
            ) from None
        client.search_experiments(max_results=1)
        return client


def be_quiet() -> None:
    """Keep MLflow from calling home, hanging and chatting; variables already set stay."""
    for name, value in (_QUIET | _TERSE).items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """Hold the lock under which a store's structure is changed.

    It keeps out this machine's other processes and, on PostgreSQL, those of other machines.
    """
    database = _database(uri) or paths.runs() / "mlflow"
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=_LOCK_SECONDS):
        if _dialect(uri) != "postgresql":
            yield
            return
        with _advisory_lock(uri):
            yield


@contextmanager
def _advisory_lock(uri: str) -> Iterator[None]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    key = {"key": _ADVISORY_LOCK}
    # The lock goes with the session, so a killed process leaves none.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), key)
        yield


@contextmanager
def mending(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one line; it wraps database, network and disk errors."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        if _is_server(uri):
            _check_server(uri)  # says it better, if the server is gone
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(f"MLflow at {masked(uri)} failed: {line}") from error


def masked(uri: str) -> str:
    """Return an address that may be shown: without its password."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()


def ui_command(uri: str, host: str, port: int) -> list[str]:
    """Return the command that serves a database store and its artifacts.

    Experiments created through this server keep their artifacts at local paths, so that runs may
    be tracked by way of it or directly.

    Raises:
        TrackingError: ``uri`` is a server already.
    """
    root = artifact_root(uri)
    if root is None:
        raise TrackingError(f"MLFLOW_TRACKING_URI is a server already: open {masked(uri)}")
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri),
        *("--default-artifact-root", root.as_uri()),
        *("--artifacts-destination", root.as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def home_link(uri: str) -> str:
    """Return the address of the list of experiments on the server at ``uri``."""
    return f"{uri.rstrip('/')}/#/experiments?{TRAINING}"


def run_link(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page on the server at ``uri``."""
    return f"{uri.rstrip('/')}/{run_fragment(experiment_id, run_id)}"


def run_fragment(experiment_id: str, run_id: str) -> str:
    """Return the part of a run's address that is the same on every server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def environment(ids: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the variables that let plain ``mlflow`` calls of a notebook land in its run."""
    if not ids:
        return dict(_QUIET)
    return _QUIET | {
        "MLFLOW_TRACKING_URI": ids["tracking_uri"],
        "MLFLOW_EXPERIMENT_ID": ids["experiment_id"],
        "MLFLOW_RUN_ID": ids["run_id"],
    }


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _dialect(uri: str) -> str:
    return uri.partition("://")[0].partition("+")[0]


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None
