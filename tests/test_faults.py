"""One trial of `faults.py` in every test run; twenty before a release."""

from collections.abc import Iterator
from pathlib import Path

import faults
import pytest

pytestmark = pytest.mark.skipif(
    not faults.can_mount(), reason="needs root and a mount of its own for a disk that can be full"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[faults.Server]:
    running = faults.Server(tmp_path_factory.mktemp("server") / "mlflow")
    running.start()
    running.wait()
    yield running
    running.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_run_succeeds_once_whatever_dies(server: faults.Server, tmp_path: Path) -> None:
    done = faults.trial(7, tmp_path / "trial", server)
    assert done["runner"] > 0
    assert done["worker"] + done["kernel"] > 0
    assert done["MLflow outage"] == 1
