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
def visible_gpu() -> Gpu | None:
    """Return the first GPU that CUDA would show here, None if there is none."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted in ("", "-1"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,uuid", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split(", ") for line in found.stdout.strip().splitlines()]
    gpus = [Gpu(name, uuid) for name, uuid in rows]
    first = (wanted or "0").split(",")[0]
    by_index = gpus[int(first) :] if first.isdigit() else [g for g in gpus if g.uuid == first]
    return by_index[0] if by_index else None


def device_class() -> str:
    """Return ``cpu``, or ``cuda`` and the GPU's name: what a result may depend on."""
    gpu = visible_gpu()
    return "cpu" if gpu is None else f"cuda {gpu.name}"


def check_device(scale: Scale) -> None:
    """Raise RunError if ``scale`` needs a GPU and there is none."""
    if scale == "gpu" and visible_gpu() is None:
        raise RunError("scale gpu needs a CUDA device and none is visible: use --scale small")
