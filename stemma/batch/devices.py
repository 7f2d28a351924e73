"""The device that runs use; read without importing torch."""

import os
import subprocess
from functools import cache
from typing import NamedTuple

from stemma.catalog import Scale
from stemma.errors import RunError


class Gpu(NamedTuple):
    """A GPU of this machine."""

    name: str
    uuid: str


@cache
def visible_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA would show here, in the order it would number them."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted in ("", "-1"):
        return ()
    query = ["nvidia-smi", "--query-gpu=name,uuid", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    gpus = [Gpu(*line.split(", ")) for line in found.stdout.strip().splitlines()]
    if wanted is None:
        return tuple(gpus)
    by_name = {gpu.uuid: gpu for gpu in gpus} | {str(i): gpu for i, gpu in enumerate(gpus)}
    return tuple(by_name[name] for name in wanted.split(",") if name in by_name)


def device_class() -> str:
    """Return ``cpu``, or ``cuda`` and the GPU's name: what a result may depend on."""
    gpus = visible_gpus()
    return f"cuda {gpus[0].name}" if gpus else "cpu"


def check_device(scale: Scale) -> None:
    """Raise RunError if ``scale`` needs a GPU and there is none."""
    if scale == "gpu" and not visible_gpus():
        raise RunError("scale gpu needs a CUDA device and none is visible: use --scale small")
