"""The end points: they translate between HTTP and what knows papers, runs and MLflow."""

import asyncio
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from pydantic import BaseModel
from tornado.web import authenticated

from stemma_lab import schemas
from stemma_lab.base import Handler, answered
from stemma_lab.notebooks import draft

if TYPE_CHECKING:
    from stemma_lab.services import Services

NAMESPACE = "stemma"
_MOST_RUNS = 2000
_MOST_BYTES = 2**60


class StemmaHandler(Handler):
    """A handler that knows the services."""

    @property
    def services(self) -> "Services":
        """What knows papers, runs and MLflow."""
        found: Services = self.settings["stemma_lab_services"]
        return found


class PapersHandler(StemmaHandler):
    """All papers."""

    @authenticated
    @authorized
    @answered
    async def get(self) -> schemas.Papers:
        """Return the papers with their verdicts."""
        return schemas.Papers(papers=await asyncio.to_thread(self.services.papers.rows))


class PaperHandler(StemmaHandler):
    """One paper."""

    @authenticated
    @authorized
    @answered
    async def get(self, slug: str) -> schemas.PaperPage:
        """Return everything that is known of a paper."""
        return await asyncio.to_thread(self.services.papers.page, slug)


class CheckHandler(StemmaHandler):
    """What a form wants to know."""

    @authenticated
    @authorized
    @answered
    async def post(self, slug: str) -> schemas.Check:
        """Return everything that is wrong with a request."""
        body = self.read(schemas.RunBody)
        return await asyncio.to_thread(self.services.papers.check, slug, body)


class DraftHandler(StemmaHandler):
    """A paper's notebook to try things in."""

    @authenticated
    @authorized
    @answered
    async def post(self, slug: str) -> schemas.Draft:
        """Write the notebook with the parameters injected."""
        body = self.read(schemas.RunBody)
        paper = await asyncio.to_thread(self.services.papers.find, slug)
        path = await asyncio.to_thread(draft, paper, body, self.services.root)
        return schemas.Draft(path=path)


class RunsHandler(StemmaHandler):
    """All runs."""

    @authenticated
    @authorized
    @answered
    async def get(self) -> schemas.Runs:
        """Return the newest runs."""
        limit = self.number("limit", 200, least=1, most=_MOST_RUNS)
        return schemas.Runs(runs=await asyncio.to_thread(self.services.runs.newest, limit))

    @authenticated
    @authorized
    @answered
    async def post(self) -> schemas.Run:
        """Start a run."""
        request = self.read(schemas.RunRequest)
        await asyncio.to_thread(self.services.papers.find, request.slug)
        batch = await self.services.starter.start(request)
        runs = self.services.runs
        return await asyncio.to_thread(lambda: runs.view(runs.find(batch.id, batch.runs[0].name)))


class RunHandler(StemmaHandler):
    """One run."""

    @authenticated
    @authorized
    @answered
    async def get(self, batch: str, name: str) -> schemas.RunDetail:
        """Return a run with its result."""
        runs = self.services.runs
        return await asyncio.to_thread(lambda: runs.detail(runs.find(batch, name)))


class CancelHandler(StemmaHandler):
    """Stop a run."""

    @authenticated
    @authorized
    @answered
    async def post(self, batch: str, name: str) -> schemas.Done:
        """Ask the runner to stop a run."""
        runs = self.services.runs
        await asyncio.to_thread(lambda: runs.cancel(runs.find(batch, name)))
        return schemas.Done()


class RetryHandler(StemmaHandler):
    """Try a run again."""

    @authenticated
    @authorized
    @answered
    async def post(self, batch: str, name: str) -> schemas.Done:
        """Ask a runner to try a run again."""
        runs = self.services.runs
        await asyncio.to_thread(lambda: runs.retry(runs.find(batch, name)))
        return schemas.Done()


class LogHandler(StemmaHandler):
    """What a run writes; it is polled, which is no activity of the user."""

    _track_activity = False

    @authenticated
    @authorized
    @answered
    async def get(self, batch: str, name: str) -> schemas.Log:
        """Return the log from an offset on."""
        offset = self.number("offset", 0, least=0, most=_MOST_BYTES)
        runs = self.services.runs
        return await asyncio.to_thread(lambda: runs.log(runs.find(batch, name), offset))


class FigureHandler(StemmaHandler):
    """The picture of a figure."""

    @property
    def content_security_policy(self) -> str:
        """Nothing in a picture is executed or loaded, wherever it is opened."""
        return "sandbox; default-src 'none'"

    @authenticated
    @authorized
    @answered
    async def get(self, slug: str, name: str, file: str) -> BaseModel | None:
        """Send a picture that a result records."""
        from stemma_lab.results import picture

        content, kind = await asyncio.to_thread(picture, slug, name, file)
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.finish(content, set_content_type=kind)
        return None


class MlflowHandler(StemmaHandler):
    """The MLflow server."""

    @authenticated
    @authorized
    @answered
    async def get(self) -> schemas.Mlflow:
        """Return where MLflow answers."""
        return await self.services.mlflow.state()

    @authenticated
    @authorized
    @answered
    async def post(self) -> schemas.Mlflow:
        """Start an MLflow server if there is none."""
        return await self.services.mlflow.start()


_PAPER = rf"{NAMESPACE}/papers/([^/]+)"
_RUN = rf"{NAMESPACE}/runs/([^/]+)/([^/]+)"

handlers: list[tuple[str, Any]] = [
    (rf"{NAMESPACE}/papers", PapersHandler),
    (_PAPER, PaperHandler),
    (rf"{_PAPER}/check", CheckHandler),
    (rf"{_PAPER}/notebook", DraftHandler),
    (rf"{NAMESPACE}/runs", RunsHandler),
    (_RUN, RunHandler),
    (rf"{_RUN}/cancel", CancelHandler),
    (rf"{_RUN}/retry", RetryHandler),
    (rf"{_RUN}/log", LogHandler),
    (rf"{NAMESPACE}/results/([^/]+)/([^/]+)/figures/([^/]+)", FigureHandler),
    (rf"{NAMESPACE}/mlflow", MlflowHandler),
]
