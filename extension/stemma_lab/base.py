"""What the handlers share: who may call, how errors are answered, how bodies are read."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from pydantic import BaseModel, ValidationError

from stemma.errors import BusyError, StemmaError

Body = TypeVar("Body", bound=BaseModel)


class Refused(Exception):
    """A request that cannot be met, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(ExtensionHandlerMixin, APIHandler):
    """The base of all handlers; each verb is authenticated, authorized and ``answered``."""

    auth_resource = "stemma"

    def read(self, model: type[Body]) -> Body:
        """Return the body of the request; raise pydantic's ValidationError if it does not fit."""
        return model.model_validate_json(self.request.body or b"{}")

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a number of the query.

        Raises:
            Refused: it is no number, or out of bounds.
        """
        given = self.get_query_argument(name, str(default))
        if not given.isdecimal() or not least <= int(given[:20]) <= most:
            raise Refused(400, f"{name}: must be a number from {least} to {most}, got {given!r}")
        return int(given)


def answered(
    verb: Callable[..., Awaitable[BaseModel | None]],
) -> Callable[..., Awaitable[None]]:
    """Write what a verb returns as JSON, and what it raises as a message that says what to do."""

    @functools.wraps(verb)
    async def answering(self: Handler, *arguments: str) -> None:
        try:
            answer = await verb(self, *arguments)
        except (Refused, StemmaError, ValidationError) as error:
            status, message = _explain(error)
            self.set_status(status)
            await self.finish({"message": message})
            return
        if answer is not None:
            await self.finish(answer.model_dump_json())

    return answering


def _explain(error: Exception) -> tuple[int, str]:
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, ValidationError):
        return 400, fields_message(error)
    return 409 if isinstance(error, BusyError) else 400, str(error)


def fields_message(error: ValidationError) -> str:
    """Return what is wrong with a body, each field by its name."""
    wrong: dict[str, str] = {}
    for found in error.errors(include_url=False, include_context=False):
        # A union complains once for each of its members; the field's first complaint will do.
        where = ".".join(map(str, found["loc"][:2])) or "body"
        wrong.setdefault(where, found["msg"])
    return "; ".join(f"{where}: {what}" for where, what in wrong.items())


def unknown(what: str, name: Any) -> Refused:
    """Return the refusal of something that is not there."""
    return Refused(404, f"no {what} `{name}`")
