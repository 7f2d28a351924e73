"""A Jupyter server with the extension, on a small house of papers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from house import House, house  # noqa: F401  (a fixture)
from mlflow_house import template  # noqa: F401  (a fixture)

# Imported here and not named as a plugin: its fixtures that every test uses stay in this folder.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPResponse

from stemma import catalog


@pytest.fixture(autouse=True)
def _fresh_catalog() -> None:
    catalog.clear_cache()


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {
        "ServerApp": {
            "jpserver_extensions": {"stemma_lab": True},
            "allow_unauthenticated_access": False,
        }
    }


@pytest.fixture
def jp_root_dir(house: House) -> Path:  # noqa: F811
    return house.root


class Caller:
    """Calls end points; what is refused is an answer too."""

    def __init__(self, fetch: Callable[..., Any]) -> None:
        self._fetch = fetch

    async def __call__(self, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """GET, or POST if there is a body; return status and parsed answer."""
        response = await self.raw(path, body, **more)
        return response.code, json.loads(response.body)

    async def raw(self, path: str, body: object = None, **more: Any) -> HTTPResponse:
        """Return the whole response."""
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            more = {"method": "POST", "body": text, **more}
        response: HTTPResponse = await self._fetch(*path.split("/"), raise_error=False, **more)
        return response


@pytest.fixture
def call(house: House, jp_fetch: Callable[..., Any]) -> Caller:  # noqa: F811
    return Caller(jp_fetch)
