"""Install the wheels in a clean environment without Node, and see the side bar open there.

``make check-wheel`` builds them and calls this; it takes some minutes, most of them for pip.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

CHECKOUT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("STEMMA_CHROMIUM", "/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
MINUTE = 60_000


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
        jupyter = shutil.which("jupyter", path=environment["PATH"])
        assert jupyter is not None
        said = subprocess.run(
            [jupyter, *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout
        lines = [line.strip() for line in said.splitlines() if "stemma_lab" in line]
        print(*lines, sep="\n")
        if not any("OK" in line and "enabled" in said for line in lines):
            sys.exit(f"jupyter {' '.join(command)} does not say that stemma_lab is OK:\n{said}")


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[str]:
    """Run JupyterLab, and yield the address that opens it."""
    token = secrets.token_hex()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    jupyter = shutil.which("jupyter", path=environment["PATH"])
    assert jupyter is not None
    server = subprocess.Popen(
        [
            *(jupyter, "lab", "--no-browser", "--allow-root", f"--port={port}"),
            *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
            *("--LabApp.news_url=None", "--LabApp.extension_manager=readonly"),
        ],
        env=dict(environment),
        cwd=CHECKOUT,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        yield f"http://localhost:{port}/lab?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def _wait(port: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


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
        with serving(environment) as address:
            print(f"the side bar says: {open_side_bar(address)}")


if __name__ == "__main__":
    main()
