"""Nobody without the right calls a handler, and no handler reads what is not its own."""

import json
import re
from itertools import product
from urllib.parse import quote

import pytest
from house import House
from jupyter_server.auth import Authorizer
from report_house import Finished, write_batch

from stemma_lab.app import StemmaLab

VERBS = ("get", "post", "put", "patch", "delete", "head")
HANDLERS = StemmaLab().handlers
CALLS = [
    (pattern, verb)
    for pattern, handler, *_ in HANDLERS
    for verb in VERBS
    if getattr(handler, verb) is not handler._unimplemented_method
]
SECRET = "what nobody may read"


def address(pattern: str, *words: str) -> str:
    """Return an address that a pattern matches, with these words in its groups."""
    given = iter(words)
    return re.sub(r"\([^)]*\)", lambda _match: next(given, "x"), pattern)


@pytest.fixture
def fetch(jp_serverapp, http_server_client, jp_base_url):
    """Ask for an address as it stands, without a token unless one is given."""

    async def fetching(path, verb="get", **more):
        if verb in ("post", "put", "patch"):
            more.setdefault("body", "{}")
        return await http_server_client.fetch(
            jp_base_url + path,
            method=verb.upper(),
            follow_redirects=False,
            raise_error=False,
            **more,
        )

    return fetching


def test_all_handlers_are_looked_at() -> None:
    assert len(CALLS) >= len(HANDLERS) >= 11


@pytest.mark.parametrize(("pattern", "verb"), CALLS)
async def test_strangers_are_refused(house: House, fetch, pattern, verb) -> None:
    assert (await fetch(address(pattern), verb)).code == 403
    other = {"Authorization": "token of-somebody-else"}
    assert (await fetch(address(pattern), verb, headers=other)).code == 403


class Nobody(Authorizer):
    """Lets the user do nothing with Stemma."""

    def is_authorized(self, handler, user, action, resource) -> bool:
        return resource != "stemma"


class TestAuthorization:
    @pytest.fixture
    def jp_server_config(self, jp_server_config):
        jp_server_config["ServerApp"]["authorizer_class"] = Nobody
        return jp_server_config

    async def test_without_a_right(self, house: House, fetch, jp_auth_header) -> None:
        for pattern, verb in CALLS:
            response = await fetch(address(pattern), verb, headers=jp_auth_header)
            assert response.code == 403, (pattern, verb)


async def test_a_cookie_alone_changes_nothing(
    house: House, fetch, jp_auth_header, jp_serverapp
) -> None:
    token = jp_serverapp.identity_provider.token
    response = await fetch(f"lab?token={token}")
    cookies = [c.split(";")[0] for c in response.headers.get_list("Set-Cookie")]
    headers = {"Cookie": "; ".join(cookies)}
    assert (await fetch("stemma/papers", headers=headers)).code == 200
    for pattern, verb in CALLS:
        if verb not in ("get", "head"):
            response = await fetch(address(pattern), verb, headers=headers)
            assert response.code == 403, pattern
            assert "_xsrf" in json.loads(response.body)["message"]


@pytest.mark.parametrize(("pattern", "verb"), [c for c in CALLS if "(" in c[0]])
async def test_unknown_names(house: House, fetch, jp_auth_header, pattern, verb) -> None:
    house.paper("first", [])
    body = {} if verb == "get" else {"body": '{"scale": "smoke", "parameters": {}}'}
    response = await fetch(address(pattern), verb, headers=jp_auth_header, **body)
    assert response.code == 404
    assert json.loads(response.body)["message"].startswith("no ")


async def test_unknown_paper_of_a_run(house: House, call) -> None:
    body = {"slug": "nothing", "scale": "smoke", "parameters": {}}
    assert await call("stemma/runs", body) == (404, {"message": "no paper `nothing`"})
    status, answer = await call("stemma/runs", body | {"slug": "../first"})
    assert status == 400
    assert answer["message"].startswith("slug: ")


@pytest.mark.parametrize("name", ["-1", "0", "x", "1e3", "99999999999999999999", "²"])
async def test_bad_numbers(house: House, call, name) -> None:
    status, answer = await call("stemma/runs", params={"limit": name})
    assert status == 400
    assert answer["message"].startswith("limit: must be a number from 1")


def escapes(root) -> list[str]:
    """Names that lead out of a folder if they are taken for paths."""
    up = ["..", "../..", "../../secret.txt", "../secret.txt", "....//", ".", "secret.png"]
    absolute = [str(root / "secret.txt"), "/etc/passwd", "//etc/passwd", "~", "file:///etc/passwd"]
    odd = ["..\\..", "\0", "%2e%2e", "%00", "first\n", "*", "[a-z]*"]
    return [*up, *absolute, *odd]


async def test_no_name_leads_out(house: House, fetch, jp_auth_header) -> None:
    house.paper("first", [])
    write_batch("b", [Finished("first")])
    for place in (house.root, house.runs, house.runs / "batches", house.runs / "out"):
        (place / "secret.txt").write_text(SECRET)
        (place / "secret.png").write_text(SECRET)
        (place / "batch.json").write_text(SECRET)
    body = '{"scale": "smoke", "parameters": {}}'
    known = ("first", Finished("first").key[:16], "groups.png")
    for (pattern, verb), name in product(CALLS, escapes(house.root)):
        for i in range(pattern.count("(")):
            for escaped in (quote(name, safe=""), quote(quote(name, safe=""), safe="")):
                words = [*known[:i], escaped, *known[i + 1 :]]
                more = {} if verb == "get" else {"body": body}
                path = address(pattern, *words)
                response = await fetch(path, verb, headers=jp_auth_header, **more)
                assert response.code == 404, (path, response.body)
                assert SECRET.encode() not in response.body


async def test_plain_dots_and_slashes(house: House, fetch, jp_auth_header) -> None:
    (house.root / "secret.txt").write_text(SECRET)
    for path in (
        "stemma/results/../../secret.txt",
        "stemma/results/first/../../../secret.txt",
        "stemma/runs/../../../secret.txt/log",
        "stemma//etc/passwd",
        "stemma/results/first//etc/passwd",
    ):
        response = await fetch(path, headers=jp_auth_header)
        assert response.code == 404
        assert SECRET.encode() not in (response.body or b"")


async def test_links_out_of_a_run(house: House, call) -> None:
    house.paper("first", [])
    batch = write_batch("b", [Finished("first")])
    folder = house.out("first")
    secret = house.root / "secret.png"
    secret.write_text(SECRET)
    name = batch.runs[0].name
    for link in (folder / "figures" / "groups.png", folder / "log.txt"):
        link.unlink(missing_ok=True)
        link.symlink_to(secret)
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["batch"] == "b"
    url = f"stemma/results/first/{folder.name}/figures/groups.png"
    assert (await call(url))[0] == 404
    assert (await call(f"stemma/runs/b/{name}/log"))[0] == 404
    # A folder that is a link leads out as well.
    (folder / "figures" / "groups.png").unlink()
    (folder / "figures").rmdir()
    outside = house.root / "outside"
    outside.mkdir()
    (outside / "groups.png").write_text(SECRET)
    (folder / "figures").symlink_to(outside)
    assert (await call(url))[0] == 404


async def test_only_recorded_pictures(house: House, call) -> None:
    house.paper("first", [])
    write_batch("b", [Finished("first")])
    folder = house.out("first")
    (folder / "figures" / "other.png").write_text("another")
    base = f"stemma/results/first/{folder.name}/figures"
    assert (await call(f"{base}/other.png"))[0] == 404
    result = json.loads((folder / "result.json").read_text())
    result["figures"].append({"name": "page", "file": "figures/page.html", "caption": ""})
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "figures" / "page.html").write_text("<script>alert(1)</script>")
    assert (await call(f"{base}/page.html"))[0] == 404
