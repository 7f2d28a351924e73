"""What the side bar costs a browser: the size of its bundle, and the scripting when it is opened.

A Jupyter server of its own shows forty papers and 200 past runs; Chromium opens the side bar, and
its own counters say how long scripts, layout and styles took from the click to the filled lists.
The first opening of a page compiles the code; later pages find it compiled.

Run: .venv/bin/python benchmarks/lab_panel.py [repeats]
"""

import argparse
import gzip
import os
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from report_house import Finished, write_batch
from stores import free_port, serving

from stemma.batch.records import State

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "extension" / "stemma_lab" / "labextension" / "static"
CHROMIUM = os.environ.get("STEMMA_CHROMIUM", "/usr/bin/chromium")
TOKEN = "benchmark"
RUNS = 200
TAB = ".jp-SideBar.jp-mod-left [data-id='stemma-panel']"


def gzipped(folder: Path) -> int:
    """Return the bytes of the bundle's scripts, each gzipped."""
    return sum(len(gzip.compress(path.read_bytes())) for path in folder.glob("*.js"))


def past_runs(folder: Path) -> None:
    """Write batches of the past below ``folder``."""
    os.environ["STEMMA_RUNS"] = str(folder)
    slugs = ["dpp-least-squares", "palimpsest", "predictive-multiplicity"]
    for number in range(RUNS):
        slug = slugs[number % len(slugs)]
        run = Finished(slug, x=number, state=State.CANCELLED, leaves_result=False)
        write_batch(f"batch-{number:03}", [run])


def lab_command(root: Path, port: int) -> list[str]:
    """Return the command of a Jupyter server."""
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        *(f"--ServerApp.root_dir={root}", "--LabApp.news_url=None"),
    ]


def opening(browser: Browser, uri: str) -> dict[str, float]:
    """Return the milliseconds that a page spends from the click to the filled lists."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{uri}/lab?token={TOKEN}&reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.wait_for_timeout(3000)  # the lab goes on loading behind its splash
    counters = page.context.new_cdp_session(page)
    counters.send("Performance.enable")

    def read() -> dict[str, float]:
        found = counters.send("Performance.getMetrics")["metrics"]
        return {m["name"]: m["value"] * 1000 for m in found if m["name"].endswith("Duration")}

    before = read()
    page.click(TAB)
    page.wait_for_selector(".st-Paper")
    page.wait_for_selector(".st-Run")
    page.wait_for_timeout(500)
    after = read()
    assert page.locator(".st-Paper").count() == 40
    assert page.get_by_text("Show 50 more").count() == 1
    page.close()
    return {name: after[name] - before[name] for name in after}


def main() -> None:
    """Print the size, and the median of each counter over the repeats."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repeats", type=int, nargs="?", default=5)
    repeats = parser.parse_args().repeats
    print(f"bundle: {gzipped(BUNDLE) / 1000:.1f} kB gzipped")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        past_runs(Path(folder) / "runs")
        port = free_port()
        log = Path(folder) / "lab.log"
        with serving(lab_command(ROOT, port), port, log, health="api") as uri:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            openings = [opening(browser, uri) for _ in range(repeats)]
    for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration"):
        values = [found[name] for found in openings]
        print(f"{name}: median {statistics.median(values):.0f} ms, most {max(values):.0f} ms")


if __name__ == "__main__":
    main()
