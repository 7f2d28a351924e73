"""What a Slurm job does on its node: run one worker, and leave nothing of it behind."""

import socket
from pathlib import Path

from stemma.batch import processes
from stemma.batch.devices import visible_gpus
from stemma.batch.environment import start_worker
from stemma.batch.records import Spec
from stemma.errors import RunError


def work(folder: str, token: str) -> None:
    """Run the worker of an attempt and wait for it.

    Slurm starts a job again that it lost track of. So whatever an earlier start left alive here is
    killed first; the worker itself refuses a folder whose result is complete.

    Args:
        folder: the run's folder.
        token: the attempt that this job was submitted for; it does nothing for another one.

    Raises:
        RunError: the folder cannot be seen from here, or the worker failed.
    """
    spec = _read(Path(folder) / "spec.json")
    if spec.token != token:
        print(f"attempt {spec.attempt} of {folder} has begun since: nothing to do")
        return
    processes.sweep(token)
    try:
        code = _run_worker(spec, Path(folder))
    finally:
        processes.sweep(token)
    if code != 0:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RunError(f"the worker died ({how}); see log.txt")


def _read(path: Path) -> Spec:
    if not path.is_file():
        raise RunError(
            f"{path} cannot be seen from {socket.gethostname()}: put the folder of runs"
            " (STEMMA_RUNS) on a disk that all nodes share"
        )
    spec: Spec = Spec.read(path)
    return spec


def _run_worker(spec: Spec, folder: Path) -> int:
    gpus = visible_gpus() if spec.gpus else ()
    return start_worker(spec, folder, gpu=gpus[0].uuid if len(gpus) == 1 else None).wait()
