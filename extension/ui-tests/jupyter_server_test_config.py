"""The server of the browser tests: no token, open to its machine; never use it for anything else.

The checkout is its root, since papers and notebooks are real; the runs are the tests' own.
"""

import os
import shutil
from pathlib import Path

from jupyterlab.galata import configure_jupyter_server

c = get_config()  # noqa: F821
configure_jupyter_server(c)

checkout = Path(__file__).resolve().parents[2]
runs = checkout / "runs" / "ui-tests"
shutil.rmtree(runs, ignore_errors=True)
os.environ["STEMMA_RUNS"] = str(runs)

c.ServerApp.root_dir = str(checkout)
c.ServerApp.allow_root = True
c.LabApp.extension_manager = "readonly"
c.LabApp.news_url = None
c.ServerApp.log_level = "ERROR"
