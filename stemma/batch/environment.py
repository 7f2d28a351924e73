"""How a worker starts: its environment, which its kernel and all their children inherit."""

import os
import subprocess
import sys
from pathlib import Path

from stemma import paths, tracking
from stemma.batch import batches, processes
from stemma.batch.records import Spec


def worker_environment(spec: Spec, folder: Path, *, gpu: str | None = None) -> dict[str, str]:
    """Return this process's environment with what a worker of ``spec`` needs on top.

    Args:
        spec: one attempt of a run; its token marks every process of the attempt.
        folder: the run's folder; it knows where plain ``mlflow`` calls of the notebook go.
        gpu: UUID of the GPU that is leased to the run. By UUID, so that the sampler knows which
            device is the run's own. None leaves ``CUDA_VISIBLE_DEVICES`` as it is.
    """
    threads = str(spec.threads)
    own = {
        processes.TOKEN: spec.token,
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TOKENIZERS_PARALLELISM": "false",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    if gpu is not None:
        own |= {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    ids = batches.mlflow_ids(folder)
    return os.environ | own | tracking.environment(ids.model_dump() if ids else None)


def start_worker(
    spec: Spec, folder: Path, *, gpu: str | None = None, own_session: bool = False
) -> "subprocess.Popen[bytes]":
    """Start the worker of ``folder`` as a command; what it prints goes to its ``log.txt``."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "stemma.batch.worker", str(folder / "spec.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=own_session,
            cwd=paths.home(),
            env=worker_environment(spec, folder, gpu=gpu),
        )
