"""The report as a reader has it: opened from the disk in Chromium.

``STEMMA_SCREENSHOTS=docs/images`` also writes the screenshots of docs/report.md.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from house import House
from report_house import Finished, write_batch

from stemma.batch.records import Failure, State
from stemma.cli import main
from stemma.report.reference import references

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(),
    reason=f"no {CHROMIUM}: apt-get install --no-install-recommends chromium fonts-dejavu-core",
)
if CHROMIUM.exists():
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, Page, Request, sync_playwright

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]
HARMFUL = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield opened
        opened.close()


class Reader:
    """A tab that remembers what was said on the console and what was asked of a network."""

    def __init__(self, browser: "Browser", scheme: str = "light", width: int = 1280) -> None:
        self.complaints: list[str] = []
        self.page: Page = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
        ).new_page()
        self.page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: "Request") -> None:
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(f"request: {request.url}")

    def open(self, path: Path) -> "Page":
        self.page.goto(path.as_uri())
        return self.page


@pytest.fixture(scope="module")
def of_references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the committed references."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMMA_RUNS", str(tmp_path_factory.mktemp("runs")))
        return _build(tmp_path_factory.mktemp("site"))


def _build(out: Path, *options: str) -> Path:
    done = CliRunner().invoke(main, ["report", "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def of_runs(house: House) -> Path:
    """The site of a batch with figures, an executed notebook and a failure."""
    house.paper("good", [])
    house.paper("other", [])
    failed = Finished("other", state=State.FAILED, failure=Failure.CHECK, message="it was faked")
    write_batch("b1", [Finished("good"), Finished("good", x=2, ours=[0, 0.1, 0, 0.1, 0]), failed])
    return _build(house.root / "site", "--batch", "b1")


def shown(page: "Page") -> list[str]:
    """Return the slugs of the rows that are to be seen, in order."""
    rows = page.locator("#papers tbody tr:visible th code")
    return rows.all_inner_texts()


def test_the_table_sorts_by_every_column(browser: "Browser", of_references: Path) -> None:
    page = Reader(browser).open(of_references / "index.html")
    heads = page.locator("#papers thead th")
    for column in range(heads.count()):
        orders = []
        for _ in range(2):
            heads.nth(column).get_by_role("button").click()
            direction = heads.nth(column).get_attribute("aria-sort")
            keys = page.eval_on_selector_all(
                "#papers tbody tr", f"rows => rows.map(r => r.cells[{column}].dataset.sort)"
            )
            numbers = column not in (1, 3)
            values = [float(k) for k in keys] if numbers else keys
            assert values == sorted(values, reverse=direction == "descending")
            orders.append(direction)
        assert sorted(orders) == ["ascending", "descending"]
        assert page.locator("#papers th[aria-sort]").count() == 1


def test_the_table_filters(browser: "Browser", of_references: Path) -> None:
    page = Reader(browser).open(of_references / "index.html")
    everything = shown(page)
    search = page.get_by_role("search")
    search.get_by_role("searchbox").fill("palimpsestic blackbox")
    assert shown(page) == ["palimpsest"]
    assert search.get_by_role("status").inner_text() == f"1 of {len(everything)} papers"
    search.get_by_role("button", name="Show all").click()
    page.wait_for_function(
        f"document.getElementById('shown').value.startsWith('{len(everything)}')"
    )
    assert shown(page) == everything
    search.get_by_label("Result at").select_option("small")
    small = [result for result in references() if result.scale == "small"]
    assert sorted(shown(page)) == sorted(result.slug for result in small)
    search.get_by_label("With a claim that is").select_option("contradicted")
    contradicted = [r.slug for r in small if "contradicted" in {c.verdict for c in r.claims}]
    assert sorted(shown(page)) == sorted(contradicted)
    search.get_by_label("Tag").select_option("provenance")
    assert shown(page) == []
    assert search.get_by_role("status").inner_text() == f"0 of {len(everything)} papers"


def test_the_keyboard_sorts_and_skips_to_the_content(
    browser: "Browser", of_references: Path
) -> None:
    page = Reader(browser).open(of_references / "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_role("button", name="Year").focus()
    page.keyboard.press("Enter")
    assert page.locator("#papers th[aria-sort]").inner_text().startswith("Year")


def test_a_papers_page_shows_its_figures(browser: "Browser", of_runs: Path) -> None:
    page = Reader(browser).open(of_runs / "papers" / "good.html")
    images = page.locator("figure img")
    assert images.count() == 2
    for i in range(images.count()):
        images.nth(i).scroll_into_view_if_needed()
        page.wait_for_function("i => document.querySelectorAll('figure img')[i].complete", arg=i)
        assert images.nth(i).evaluate("image => image.naturalWidth") > 0


def test_a_notebooks_scripts_do_not_run(browser: "Browser", of_runs: Path) -> None:
    reader = Reader(browser)
    page = reader.open(next((of_runs / "notebooks").iterdir()))
    assert page.title() == "On good: notebook · Stemma"
    assert page.get_by_text("bold").is_visible()
    assert all("script-src" in complaint for complaint in reader.complaints), reader.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_quiet_accessible_and_no_wider_than_the_screen(
    browser: "Browser", of_references: Path, of_runs: Path, scheme: str
) -> None:
    pages = [
        of_references / "index.html",
        of_references / "papers" / "dpp-least-squares.html",
        of_references / "papers" / "cade.html",
        of_references / "provenance.html",
        of_references / "docs" / "provenance.html",
        of_runs / "index.html",
        of_runs / "papers" / "good.html",
        of_runs / "papers" / "other.html",
        next((of_runs / "notebooks").iterdir()),
    ]
    for width in (1280, 400):
        reader = Reader(browser, scheme, width)
        for path in pages:
            page = reader.open(path)
            page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wider <= 0, (path, width)
            assert violations(page) == [], (path, scheme, width)
        allowed = [c for c in reader.complaints if "script-src" in c]  # the notebook's own scripts
        assert reader.complaints == allowed


def violations(page: "Page") -> list[str]:
    # Axe would fetch style sheets by script, which a page on a disk may not.
    options = {"preload": False, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{v['id']} ({v['impact']}): {v['nodes'][0]['html']}"
        for v in found
        if v["impact"] in HARMFUL
    ]


def test_printed_the_menu_is_gone_and_claims_are_open(
    browser: "Browser", of_references: Path
) -> None:
    page = Reader(browser, "dark").open(of_references / "papers" / "dpp-least-squares.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.get_by_role("navigation").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.skipif("STEMMA_SCREENSHOTS" not in os.environ, reason="no STEMMA_SCREENSHOTS folder")
def test_screenshots(browser: "Browser", of_references: Path) -> None:
    folder = Path(os.environ["STEMMA_SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, scheme, path in (
        ("index", "light", "index.html"),
        ("paper", "light", "papers/predictive-multiplicity.html"),
        ("dark", "dark", "papers/palimpsest.html"),
    ):
        page = Reader(browser, scheme).open(of_references / path)
        if name == "index":
            page.get_by_role("button", name="small scale").click()
        if name == "paper":
            claims = page.locator("table.claims tbody > tr")
            claims.nth(3).evaluate("row => row.scrollIntoView()")
        target = folder / f"report-{name}.png"
        page.screenshot(path=target)
        assert target.stat().st_size > 10_000
