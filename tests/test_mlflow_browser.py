"""MLflow's own pages, opened cold in a real browser on the committed references.

``STEMMA_SCREENSHOTS=docs/images`` writes the pictures of docs/mlflow.md.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from reference_runs import BATCH, PAPERS, REFERENCES, write_references
from stores import free_port, serving

from stemma import catalog, tracking
from stemma.batch.records import Result
from stemma.tracking import content, experiments, store, views

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
_MISSING = (
    "needs Chromium (apt-get install --no-install-recommends chromium fonts-dejavu-core)"
    if not CHROMIUM.exists()
    else "needs playwright (pip install playwright)"
    if importlib.util.find_spec("playwright") is None
    else ""
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]

DPP = "dpp-least-squares"
# MLflow asks a server without accounts who the user is.
_MLFLOWS_OWN = re.compile(r"users/current|status of 404|ResizeObserver")

# The folder of a test is nobody else's; pictures call it by its name in a checkout.
_HIDE = """folder => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    walker.currentNode.nodeValue = walker.currentNode.nodeValue.replaceAll(folder, "runs");
}"""


class Site:
    """A served store and a page of the browser."""

    def __init__(self, uri: str, client: MlflowClient, page: "Page", runs: Path) -> None:
        self.uri = uri
        self.page = page
        self._folder = runs
        self.ids = {e.name: e.experiment_id for e in client.search_experiments()}
        self.runs = {
            name: [run.info.run_id for run in client.search_runs([of])]
            for name, of in self.ids.items()
        }

    def open(self, fragment: str) -> None:
        self.page.goto("about:blank")  # else only the fragment changes and old content stays
        self.page.goto(f"{self.uri}/{fragment}")

    def see(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=60_000)

    def follow(self, name: str) -> "Page":
        """Click on a link of a description; MLflow opens it in a tab of its own."""
        with self.page.context.expect_page() as opening:
            self.page.get_by_role("link", name=name, exact=True).click()
        return opening.value

    def keep(self, name: str, page: "Page | None" = None) -> None:
        page = page or self.page
        assert page.get_by_text("Something went wrong").count() == 0
        folder = os.environ.get("STEMMA_SCREENSHOTS")
        if folder:
            page.wait_for_timeout(1500)  # charts grow into place
            page.evaluate(_HIDE, str(self._folder))
            page.screenshot(path=Path(folder) / f"mlflow-{name}.png")


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def served(runs_folder: Path) -> Iterator[str]:
    """A server on a store that holds the references and their batch."""
    runs = runs_folder
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMMA_RUNS", str(runs))
        write_references(runs)
        database = f"sqlite:///{runs / 'mlflow.db'}"
        client = store.open_client(database)
        for slug in [*PAPERS, content.BATCHES]:
            experiments.get_experiment(client, database, slug)
        assert tracking.sync(runs, database) == {"created": len(PAPERS)}
        command = store.ui_command(database, "127.0.0.1", port)
        with serving(command, port, runs / "server.log") as uri:
            yield uri


@pytest.fixture(scope="module")
def site(served: str, runs_folder: Path) -> Iterator[Site]:
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.context.set_default_timeout(60_000)
        opened = Site(served, MlflowClient(served), page, runs_folder)
        page.goto(tracking.home_link(served))
        page.get_by_role("button", name="Close", exact=False).first.click()
        yield opened
        browser.close()


@pytest.fixture(autouse=True)
def _no_errors(site: Site) -> Iterator[None]:
    errors: list[str] = []
    browser = site.page.context
    browser.on("console", lambda m: m.type == "error" and errors.append(m.text))
    browser.on("weberror", lambda error: errors.append(str(error.error)))
    yield
    for page in browser.pages[1:]:
        page.close()
    assert [error for error in errors if not _MLFLOWS_OWN.search(error)] == []


def test_the_list_names_the_papers(site: Site) -> None:
    site.page.goto(tracking.home_link(site.uri))
    for slug in PAPERS:
        site.page.get_by_role("link", name=f"stemma/{slug}").wait_for()
        site.see(catalog.load(slug).title[:12])
    site.page.get_by_role("link", name="stemma/batches").wait_for()
    site.keep("experiments")


def test_the_description_leads_to_the_verdicts(site: Site) -> None:
    experiment = site.ids[f"stemma/{DPP}"]
    site.open(f"#/experiments/{experiment}?{store.TRAINING}")
    page = site.follow("Verdicts")
    page.get_by_text("verdict.C1", exact=True).first.wait_for()
    page.get_by_text("trend holds", exact=True).first.wait_for()
    page.get_by_role("button", name="Claims").wait_for()
    site.keep("verdicts", page)


def test_the_claims_are_charts_in_their_order(site: Site) -> None:
    site.open(views.charts_link(site.ids[f"stemma/{DPP}"]))
    site.see("claims/C1/estimate")
    text = site.page.get_by_test_id("experiment-view-compare-runs-chart-area").inner_text()
    sections = re.findall(r"^(\S+)\n\(\d+\)$", text, re.MULTILINE)
    claims = [claim.id for claim in catalog.load(DPP).claims]
    shown = ["claims", *(f"claims/{claim}/estimate" for claim in claims)]
    assert sections[: len(shown)] == shown
    site.page.get_by_text("claims/C1/estimate", exact=True).scroll_into_view_if_needed()
    site.page.mouse.move(1000, 500)
    site.page.mouse.wheel(0, 500)
    site.see("claims/C1/estimate/legendre-5")
    site.page.mouse.move(300, 700)
    site.keep("charts")


def test_a_run_tells_its_verdicts_and_links(site: Site) -> None:
    (run,) = site.runs[f"stemma/{DPP}"]
    site.open(store.run_fragment(site.ids[f"stemma/{DPP}"], run))
    site.see("verdict.C1")
    site.see("Claims: 9 trend holds, 2 contradicted, 1 inconclusive")
    site.page.get_by_text("Show more").click()
    site.see("measured here")
    site.see("page of the paper")
    assert site.page.locator("td", has_text="contradicted").count() >= 2
    site.keep("run")


def test_the_picture_of_the_claims_opens(site: Site) -> None:
    (run,) = site.runs[f"stemma/{DPP}"]
    fragment = store.run_fragment(site.ids[f"stemma/{DPP}"], run)
    site.open(fragment.replace("?", "/artifacts/claims.png?"))
    picture = site.page.locator("img[src^='blob:'], img[src*='claims']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 400
    site.keep("claims")


def test_a_batch_leads_to_its_runs(site: Site) -> None:
    (batch,) = site.runs["stemma/batches"]
    site.open(store.run_fragment(site.ids["stemma/batches"], batch))
    site.see(BATCH)
    site.keep("batch")
    result = Result.read(REFERENCES / f"{DPP}.small.json")
    site.follow(DPP).get_by_role("heading", name=f"{DPP} small {result.key[:8]}").wait_for()


def test_papers_are_compared_by_what_they_share(site: Site) -> None:
    ids = quote(str([site.ids[f"stemma/{slug}"] for slug in PAPERS]).replace("'", '"'))
    site.open(f"#/compare-experiments/s?experiments={ids}&compareRunsMode=CHART&{store.TRAINING}")
    site.see("Displaying Runs from 3 Experiments")
    site.see("claims/contradicted")
    site.keep("papers")
