"""The tour runs as it stands and concludes what it tells."""

import json
from pathlib import Path
from typing import Any

import papermill
import pytest

from stemma import paths

FLAGGED = {"Alice", "Bob: 4 bits"}  # at this size; Bob's other models need the small scale


@pytest.fixture(scope="module")
def concluded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tour")
    papermill.execute_notebook(
        paths.notebook("provenance-tour"),
        folder / "executed.ipynb",
        parameters={
            "scale": "smoke",
            "permutations": 999,
            "reshuffles": 9,
            "completions": 400,
            "output": str(folder),
        },
        progress_bar=False,
    )
    found: dict[str, Any] = json.loads((folder / "concluded.json").read_text())
    return found


@pytest.mark.slow
def test_descendants_are_flagged_and_the_innocent_are_not(concluded: dict[str, Any]) -> None:
    flagged = set(concluded["flagged"])
    assert flagged >= FLAGGED
    assert flagged.isdisjoint({"Carol", "Erin"})


@pytest.mark.slow
def test_a_tainted_reference_is_refused(concluded: dict[str, Any]) -> None:
    assert concluded["refused"] is True


@pytest.mark.slow
def test_evidence_verifies_and_a_forgery_does_not(concluded: dict[str, Any]) -> None:
    assert concluded["verified"] is True
    assert concluded["forged verified"] is False


@pytest.mark.slow
def test_rivals_flag_other_things(concluded: dict[str, Any]) -> None:
    methods = concluded["rivals"]
    carol = {method: values["Carol"] for method, values in methods.items()}
    erin = {method: values["Erin"] for method, values in methods.items()}
    assert carol["palimpsest, query"] > 0.01
    assert carol["loss"] > erin["loss"] + 0.05  # she did train on the data
    assert erin["hidden units (Zhu et al.)"] > -2


def test_the_tour_stores_no_outputs_and_begins_with_its_parameters() -> None:
    cells = json.loads(Path(paths.notebook("provenance-tour")).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert code[0]["metadata"]["tags"] == ["parameters"]
    assert 15 <= len(cells) <= 30
