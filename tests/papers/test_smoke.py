"""Every ready paper's notebook, executed at scale smoke as a user would."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stemma import catalog, data
from stemma.batch.records import Result, State
from stemma.catalog import Paper
from stemma.claims import Verdict
from stemma.errors import DataUnavailable

READY = [paper for paper in catalog.load_all() if paper.status == "ready"]


@pytest.mark.slow
@pytest.mark.parametrize("paper", READY, ids=lambda paper: paper.slug)
def test_a_notebook_runs_and_concludes_nothing(
    paper: Paper, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for need in paper.data_at("smoke"):
        try:
            data.choose(need.any_of)
        except DataUnavailable as error:
            pytest.skip(str(error))
    store = shutil.copy(template, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    command = [sys.executable, "-m", "stemma.cli", "run", paper.slug, "--scale", "smoke"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    (file,) = (tmp_path / "runs" / "out" / paper.slug).glob("*/result.json")
    result = Result.read(file)
    assert result.outcome is State.SUCCEEDED
    assert {claim.verdict for claim in result.claims} == {Verdict.NOT_TESTED}
    assert set(result.evidence) <= {claim.id for claim in paper.claims}
    assert result.evidence, "smoke measures what larger scales judge"
