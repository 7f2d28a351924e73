"""What the handlers ask; made once a server."""

from dataclasses import dataclass
from pathlib import Path

from stemma_lab.mlflow_server import MlflowServer
from stemma_lab.papers import Papers
from stemma_lab.runs import Runs
from stemma_lab.starting import Starter


@dataclass(frozen=True)
class Services:
    """What knows papers, runs and MLflow; ``root`` is the folder that the file browser shows."""

    root: Path
    papers: Papers
    runs: Runs
    starter: Starter
    mlflow: MlflowServer

    @classmethod
    def make(cls, root: Path, *, mlflow_url: str, mlflow_port: int) -> "Services":
        """Make the services of a server."""
        return cls(root, Papers(root), Runs(root), Starter(), MlflowServer(mlflow_url, mlflow_port))
