"""Where things stand: the checkout, the notebooks, the folder of runs."""

import os
from pathlib import Path

from stemma.errors import RunError

CHECKPOINT = "checkpoint"
"""The folder of a run in which an attempt leaves what the next one goes on from."""

MLFLOW_IDS = "mlflow.json"
"""Names a run's MLflow run, in the run's folder; it stays from attempt to attempt."""


def home() -> Path:
    """Return the root of the Stemma checkout (``STEMMA_HOME``, else beside the package).

    Raises:
        RunError: if no ``notebooks`` folder is there.
    """
    root = Path(os.environ.get("STEMMA_HOME", Path(__file__).resolve().parents[1]))
    if not (root / "notebooks").is_dir():
        raise RunError(
            f"no notebooks/ in {root}: clone the repository and install it with `pip install -e .`,"
            " or point STEMMA_HOME at a checkout"
        )
    return root


def notebook(slug: str) -> Path:
    """Return the path of a paper's notebook."""
    return home() / "notebooks" / f"{slug}.ipynb"


def runs() -> Path:
    """Return the folder of runs (``STEMMA_RUNS``, else ``runs/`` of the checkout)."""
    return Path(os.environ.get("STEMMA_RUNS", home() / "runs")).absolute()


def papers() -> Path:
    """Return the folder of the papers' rooms (``STEMMA_PAPERS`` overrides it, for tests)."""
    return Path(os.environ.get("STEMMA_PAPERS", Path(__file__).resolve().parent / "papers"))
