"""A small house of papers for tests: papers and notebooks in a temporary folder."""

import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml


class House:
    """A checkout with papers of its own, seen through STEMMA_HOME, STEMMA_PAPERS, STEMMA_RUNS."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        (root / "notebooks").mkdir()
        (root / "papers").mkdir()
        (root / "constraints.txt").write_text("")

    def paper(self, slug: str, cells: Sequence[str], **fields: object) -> None:
        """Write a paper and its notebook; each of ``cells`` is a code cell under a heading."""
        self.write_yaml(slug, fields)
        parameters = textwrap.dedent(
            f"""
            scale: str = "small"
            x: int = 1
            from stemma.recorder import Run
            run = Run("{slug}", scale=scale, x=x)
            """
        )
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            "cells": [
                _cell("code", "start", parameters, ["parameters"]),
                *(
                    cell
                    for i, source in enumerate(cells)
                    for cell in (
                        _cell("markdown", f"md{i}", f"## Step {i}"),
                        _cell("code", f"code{i}", source),
                    )
                ),
            ],
        }
        (self.root / "notebooks" / f"{slug}.ipynb").write_text(json.dumps(notebook))

    def write_yaml(self, slug: str, fields: dict[str, object]) -> Path:
        """Write a paper.yaml that fits the schema, changed by ``fields``."""
        folder = self.root / "papers" / slug.replace("-", "_")
        folder.mkdir(exist_ok=True)
        number = len(list(folder.parent.iterdir()))
        text = yaml.safe_dump({**minimal_paper(slug, number), **fields}, sort_keys=False)
        path = folder / "paper.yaml"
        path.write_text(text)
        return path

    def out(self, slug: str) -> Path:
        """Return the only run folder of a paper."""
        folders = [p for p in (self.runs / "out" / slug).iterdir() if p.name != "superseded"]
        assert len(folders) == 1, folders
        return folders[0]

    def state(self, slug: str) -> dict[str, object]:
        """Return the stored state of the only run of a paper."""
        state: dict[str, object] = json.loads((self.out(slug) / "state.json").read_text())
        return state


@pytest.fixture
def house(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """An empty house with a store of MLflow that is its own, beside the runs it may not have."""
    made = House(tmp_path)
    store = shutil.copy(template, tmp_path / "mlflow.db")
    monkeypatch.setenv("STEMMA_HOME", str(tmp_path))
    monkeypatch.setenv("STEMMA_PAPERS", str(tmp_path / "papers"))
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    return made


def minimal_paper(slug: str, number: int = 1) -> dict[str, object]:
    """Return the smallest ready paper: one parameter, one claim that x exceeds zero."""
    return {
        "slug": slug,
        "number": number,
        "title": f"On {slug}",
        "arxiv": "2401.00001",
        "year": 2024,
        "tags": ["test"],
        "summary": "A paper of the test suite.",
        "status": "ready",
        "claims": [
            {
                "id": "C1",
                "statement": "Ours exceeds the baseline.",
                "paper_value": "qualitative",
                "where": "nowhere",
                "sure": "memory",
                "statistic": "difference of means",
                "rule": {"kind": "difference", "direction": "greater"},
                "scales": {"small": "reduced", "gpu": "reduced", "paper": "full"},
            }
        ],
        "parameters": [
            {"name": "x", "type": "int", "default": 1, "help": "a number", "minimum": 0}
        ],
    }


def _cell(kind: str, name: str, source: str, tags: Sequence[str] = ()) -> dict[str, object]:
    cell: dict[str, object] = {
        "cell_type": kind,
        "id": name,
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
    }
    if kind == "code":
        cell |= {"outputs": [], "execution_count": None}
    return cell
