"""The executors by their kind."""

import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stemma.batch.executors import Executor
from stemma.errors import ExecutorError

_MAKERS = {
    "local": "stemma.batch.executors.registry:_local",
    "slurm": "stemma.batch.executors.slurm:make",
    "ray": "stemma.batch.executors.ray:make",
}


class _LocalSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: str


def make_executor(settings: Mapping[str, Any], jobs: int) -> Executor:
    """Make the executor that a manifest's ``executor`` describes.

    Args:
        settings: ``kind`` and what that kind wants to know.
        jobs: how many runs may go at a time.

    Raises:
        ExecutorError: unknown kind, settings that do not fit, a package that is missing, or a
            cluster that does not answer.
    """
    with _in_one_line(settings) as kind:
        executor: Executor = pkgutil.resolve_name(_MAKERS[kind])(settings, jobs)
    return executor


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check what can be checked of an executor's settings at once, before a batch is written.

    Raises:
        ExecutorError: as ``make_executor``; but a Ray cluster, which takes long to answer or to
            start, is not asked.
    """
    with _in_one_line(settings) as kind:
        if kind == "local":
            _LocalSettings.model_validate(settings)
        elif kind == "slurm":
            make_executor(settings, 1).close()
        else:
            pkgutil.resolve_name("stemma.batch.executors.ray:RayConfig").model_validate(settings)
            if importlib.util.find_spec("ray") is None:
                make_executor(settings, 1)  # says what to install


@contextmanager
def _in_one_line(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kind; turn what is wrong with the settings into one line."""
    kind = str(settings.get("kind"))
    if kind not in _MAKERS:
        raise ExecutorError(f"no executor `{kind}`: choose among {', '.join(_MAKERS)}")
    try:
        yield kind
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExecutorError(f"executor {kind}: {where}: {first['msg']}") from None


def _local(settings: Mapping[str, Any], jobs: int) -> Executor:
    from stemma.batch.executors.local import LocalExecutor

    _LocalSettings.model_validate(settings)
    return LocalExecutor(jobs)
