"""Install the wheels in a clean environment without Node, and see the side bar open there.

``make check-wheel`` builds them and calls this; it takes some minutes, most of them for pip.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from stores import free_port, serving

CHECKOUT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("STEMMA_CHROMIUM", "/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
MINUTE = 60_000
TOKEN = secrets.token_hex()


def install(folder: Path) -> dict[str, str]:
    """Install both wheels in a new environment, and return the variables to run it with."""
    venv.create(folder, with_pip=True)
    found = list((CHECKOUT / "extension" / "dist").glob("stemma_lab-*.whl"))
    if len(found) != 1:
        sys.exit(f"extension/dist has {len(found)} wheels: run `make wheel`")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    constraints = ["--constraint", str(CHECKOUT / "constraints.txt")]
    subprocess.run(
        [*pip, "install", "--quiet", *constraints, f"{CHECKOUT}[lab]", str(found[0])], check=True
    )
    path = str(folder / "bin")
    assert shutil.which("node", path=path) is None
    return os.environ | {"PATH": path, "STEMMA_HOME": str(CHECKOUT), "JUPYTER_PREFER_ENV_PATH": "1"}


def check_lists(environment: Mapping[str, str]) -> None:
    """Check that Jupyter finds both halves of the extension and that both are well."""
    for command in (["labextension", "list"], ["server", "extension", "list"]):
        said = subprocess.run(
            [_jupyter(environment), *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout
        own = "\n".join(line.strip() for line in said.splitlines() if "stemma_lab" in line)
        print(own)
        if "enabled" not in own or "OK" not in own:
            sys.exit(f"jupyter {' '.join(command)} does not say that stemma_lab is OK:\n{said}")


def lab_command(environment: Mapping[str, str], port: int) -> list[str]:
    """Return the command that serves JupyterLab on the checkout."""
    return [
        *(_jupyter(environment), "lab", "--no-browser", "--allow-root", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--ServerApp.root_dir={CHECKOUT}"),
        *(f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url=None"),
    ]


def _jupyter(environment: Mapping[str, str]) -> str:
    found = shutil.which("jupyter", path=environment["PATH"])
    assert found is not None
    return found


def open_side_bar(address: str) -> str:
    """Open the side bar in Chromium, and return what it says of the papers."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page()
        page.goto(address)
        page.locator('.jp-SideBar [data-id="stemma-panel"]').click(timeout=MINUTE)
        papers = page.get_by_text("of 40 papers")
        papers.wait_for(timeout=MINUTE)
        said = papers.inner_text()
        browser.close()
    return said


def main() -> None:
    """Do all of it in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = install(Path(folder) / "venv") | {"STEMMA_RUNS": f"{folder}/runs"}
        check_lists(environment)
        port = free_port()
        command, log = lab_command(environment, port), Path(folder) / "lab.log"
        with serving(command, port, log, health="api", environment=environment) as uri:
            print(f"the side bar says: {open_side_bar(f'{uri}/lab?token={TOKEN}&reset')}")


if __name__ == "__main__":
    main()
