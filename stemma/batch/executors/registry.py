"""The executors by their kind."""

import pkgutil
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stemma.batch.executors import Executor
from stemma.errors import ExecutorError

_MAKERS = {
    "local": "stemma.batch.executors.registry:_local",
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
        ExecutorError: unknown kind, settings that do not fit, or a package that is missing.
    """
    kind = settings.get("kind")
    if kind not in _MAKERS:
        raise ExecutorError(f"no executor `{kind}`: choose among {', '.join(_MAKERS)}")
    try:
        executor: Executor = pkgutil.resolve_name(_MAKERS[kind])(settings, jobs)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExecutorError(f"executor {kind}: {where}: {first['msg']}") from None
    return executor


def _local(settings: Mapping[str, Any], jobs: int) -> Executor:
    from stemma.batch.executors.local import LocalExecutor

    _LocalSettings.model_validate(settings)
    return LocalExecutor(jobs)
