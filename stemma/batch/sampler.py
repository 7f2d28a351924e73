"""Samples what a run uses of the machine: its own processes and its own GPU, nothing else's."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from stemma import files

_MEGABYTE = 2**20
_STOP_SECONDS = 10.0

_log = logging.getLogger(__name__)

CpuTimes = dict[tuple[int, float], float]
"""CPU seconds used so far by each process, known by its id and start time."""


class SystemSampler:
    """A thread that appends ``system`` events for a process tree and the GPU leased to it.

    Metrics: ``system/cpu_percent`` (100 is one core), ``system/memory_mb`` (resident memory added
    up over the tree, so that shared pages count more than once) and, if ``CUDA_VISIBLE_DEVICES``
    names a GPU by its UUID, ``system/gpu_percent``, ``system/gpu_memory_mb``,
    ``system/gpu_power_w``. A GPU named by a number is not sampled: NVML ignores the variable and
    counts the host's devices, so it could be a neighbour's.
    """

    def __init__(self, events_path: Path, interval: float, root_pid: int) -> None:
        """Prepare to sample the tree of ``root_pid`` every ``interval`` seconds."""
        self._events = events_path
        self._interval = interval
        self._root = psutil.Process(root_pid)
        self._before: CpuTimes = {}
        self._clock = 0.0
        self._gpu: Callable[[], dict[str, float]] = dict
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="system-sampler", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start sampling; the first event comes after one interval."""
        self._gpu = gpu_reader(os.environ)
        self._before, self._clock = cpu_times(self._tree()), time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a run shorter than the interval gets its one sample now."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _loop(self) -> None:
        sampled = False
        try:
            # The kernel is gone when a run stops, so a last sample would show an idle worker.
            while not (self._stop.wait(self._interval) and sampled):
                self._sample()
                sampled = True
        except psutil.NoSuchProcess:
            return
        except OSError as error:
            # A full disk must not stop the notebook for want of a memory curve.
            _log.warning("system metrics stop here: %s", error)

    def _sample(self) -> None:
        tree = self._tree()
        now, times = time.monotonic(), cpu_times(tree)
        metrics = {
            "system/cpu_percent": cpu_percent(self._before, times, now - self._clock),
            "system/memory_mb": round(resident_bytes(tree) / _MEGABYTE, 1),
            **self._gpu(),
        }
        self._before, self._clock = times, now
        files.append_event(self._events, "system", {"metrics": metrics})

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]


def cpu_times(tree: list[psutil.Process]) -> CpuTimes:
    """Return the CPU seconds (user and system) of each process that is still there."""
    times: CpuTimes = {}
    for process in tree:
        try:
            used = process.cpu_times()
            times[process.pid, process.create_time()] = used.user + used.system
        except psutil.Error:  # it ended meanwhile
            continue
    return times


def cpu_percent(before: CpuTimes, after: CpuTimes, seconds: float) -> float:
    """Return the CPU use between two readings; 100 is one core.

    A process that is new counts from its start; what one used that is gone is lost.
    """
    used = sum(total - before.get(process, 0.0) for process, total in after.items())
    return round(100 * max(used, 0.0) / max(seconds, 1e-9), 1)


def resident_bytes(tree: list[psutil.Process]) -> int:
    """Return the resident memory of the processes that are still there, in bytes."""
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def gpu_reader(environment: Mapping[str, str]) -> Callable[[], dict[str, float]]:
    """Return a function that reads the leased GPU, or one that returns nothing without a GPU."""
    uuid = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if not uuid.startswith(("GPU-", "MIG-")):
        return dict
    try:
        import pynvml
    except ImportError:
        return dict
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError as error:
        _log.warning("no GPU metrics: %s", error)
        return dict
    return lambda: _read_gpu(pynvml, handle)


def _read_gpu(nvml: Any, handle: Any) -> dict[str, float]:
    """Read what the device offers; a MIG slice, for one, has no utilisation of its own."""
    readings: dict[str, Callable[[], float]] = {
        "system/gpu_percent": lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "system/gpu_memory_mb": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / _MEGABYTE,
        "system/gpu_power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    }
    found = {}
    for name, read in readings.items():
        try:
            found[name] = round(read(), 1)
        except nvml.NVMLError:
            continue
    return found
