"""The environment of a worker, which its kernel and all their children inherit."""

import os

from stemma import tracking
from stemma.batch import processes
from stemma.batch.records import MlflowIds, Spec


def worker_environment(
    spec: Spec, *, gpu: str | None = None, ids: MlflowIds | None = None
) -> dict[str, str]:
    """Return this process's environment with what a worker of ``spec`` needs on top.

    Args:
        spec: one attempt of a run; its token marks every process of the attempt.
        gpu: UUID of the GPU that is leased to the run. By UUID, so that the sampler knows which
            device is the run's own. None leaves ``CUDA_VISIBLE_DEVICES`` as it is.
        ids: where plain ``mlflow`` calls of the notebook go.
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
    return os.environ | own | tracking.environment(ids.model_dump() if ids else None)
