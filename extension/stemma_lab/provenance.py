"""The end points of tests of descent.

A suspect may be any address, so the process of a test sends requests wherever its user says. That
is no hole: only users who are authorized here can ask for it, and they have kernels that can do
the same.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from pydantic import BaseModel, RootModel
from tornado.web import authenticated

from stemma import descent, paths
from stemma_lab import schemas
from stemma_lab.base import Handler, answered, unknown
from stemma_lab.places import Places

MODEL_ROOTS = "stemma_model_roots"
"""Name of the setting of Jupyter's web application that holds ``StemmaLab.model_roots``."""

_MOST_TESTS = 50
_LOOK_SECONDS = 0.3

_log = logging.getLogger(__name__)


class Tests(BaseModel):
    """Several tests, as the lab sees them."""

    tests: list[dict[str, Any]]


class OneTest(RootModel[dict[str, Any]]):
    """A test as the lab sees it."""


class Transcripts(BaseModel):
    """Paths of transcripts, as the file browser shows them."""

    transcripts: list[str]


class _Handler(Handler):
    """What the handlers share."""

    @property
    def places(self) -> Places:
        """Where requests may lead."""
        roots: list[str] = self.settings.get(MODEL_ROOTS, [])
        return Places.of(self.serverapp.root_dir, roots)

    async def find(self, test_id: str) -> OneTest:
        """Return a test as the lab sees it.

        Raises:
            Refused: there is none.
        """
        test = await asyncio.to_thread(descent.find, test_id)
        if test is None:
            raise unknown("test", test_id)
        return OneTest(view(test, self.places))


class TestsHandler(_Handler):
    """All tests."""

    @authenticated
    @authorized
    @answered
    async def get(self) -> Tests:
        """Return the newest tests, those that are over without their curves."""
        places = self.places
        tests = await asyncio.to_thread(descent.latest, _MOST_TESTS)
        return Tests(tests=[view(test, places) for test in tests])

    @authenticated
    @authorized
    @answered
    async def post(self) -> OneTest:
        """Start a test."""
        given = self.read(descent.Request)
        request = resolved(given, self.places)
        return await self.find(await asyncio.to_thread(descent.start, request))


class TestHandler(_Handler):
    """One test."""

    @authenticated
    @authorized
    @answered
    async def get(self, test_id: str) -> OneTest:
        """Return a test with its curve."""
        return await self.find(test_id)


class CancelTestHandler(_Handler):
    """Stop a test."""

    @authenticated
    @authorized
    @answered
    async def post(self, test_id: str) -> schemas.Done:
        """End the processes of a test, and answer when they are gone."""
        await self.find(test_id)
        await asyncio.to_thread(descent.cancel, test_id)
        return schemas.Done()


class TranscriptsHandler(_Handler):
    """The transcripts that may be chosen."""

    @authenticated
    @authorized
    @answered
    async def get(self) -> Transcripts:
        """Return the transcripts below the runs that the file browser can show."""
        places = self.places
        found = await asyncio.to_thread(descent.transcripts, paths.runs())
        shown = (places.shown(path) for path in found)
        return Transcripts(transcripts=sorted(path for path in shown if path is not None))


def resolved(request: descent.Request, places: Places) -> descent.Request:
    """Return a request with absolute paths.

    Raises:
        BadPlace: a path that must not be used.
    """
    text = request.test == "partition"
    suspect = str(places.path(request.suspect)) if text else places.model(request.suspect)
    named = {"reference": request.reference, "tokenizer": request.tokenizer}
    models = {name: places.model(value) for name, value in named.items() if value is not None}
    transcript = str(places.path(request.transcript))
    return request.model_copy(update={"transcript": transcript, "suspect": suspect, **models})


def view(test: descent.DescentTest, places: Places) -> dict[str, Any]:
    """Return a test as the lab sees it, with paths as the file browser shows them."""
    answer: dict[str, Any] = test.model_dump(mode="json")
    answer["evidence"] = test.evidence and places.shown(Path(test.evidence))
    request = answer["request"]
    del request["version"]
    for name in ("transcript", "suspect", "reference", "tokenizer"):
        value = request[name]
        if value is not None and Path(value).is_absolute():
            request[name] = places.shown(Path(value)) or value
    return answer


async def follow(emit: Callable[[dict[str, Any]], None], places: Places) -> None:
    """Call ``emit`` with ``{kind, test}`` for every change of a test, for ever.

    A test is emitted at most once in 0.3 seconds; those that were over before are old news.
    """
    follower = await asyncio.to_thread(descent.Follower)
    while True:
        try:
            for test in await asyncio.to_thread(follower.changed):
                emit({"kind": "provenance", "test": view(test, places)})
        except OSError:
            _log.exception("the tests of descent could not be read")
        await asyncio.sleep(_LOOK_SECONDS)


_TEST = r"stemma/provenance/([^/]+)"

handlers: list[tuple[str, Any]] = [
    (r"stemma/provenance", TestsHandler),
    (r"stemma/provenance/transcripts", TranscriptsHandler),
    (_TEST, TestHandler),
    (rf"{_TEST}/cancel", CancelTestHandler),
]
