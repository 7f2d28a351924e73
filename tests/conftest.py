"""Fixtures shared by all tests."""

import shutil
from pathlib import Path

import pytest
from house import House
from mlflow_house import runs, template, tracker  # noqa: F401  (fixtures)

from stemma import catalog

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def house(
    tmp_path: Path,
    template: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    """An empty house; MLflow's store is the house's own."""
    made = House(tmp_path)
    made.runs.mkdir()
    shutil.copy(template, made.runs / "mlflow.db")
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path))
    monkeypatch.setenv("STEMMA_PAPERS", str(tmp_path / "papers"))
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture(autouse=True)
def _fresh_catalog() -> None:
    catalog.clear_cache()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this checkout's sources, to be changed by a test."""
    for name in ("stemma", "provenance", "notebooks"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb*")
        )
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path))
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    return tmp_path
