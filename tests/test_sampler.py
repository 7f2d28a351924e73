import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from stemma.batch import sampler
from stemma.files import EventTail


def _metrics(path: Path) -> list[dict[str, float]]:
    events = list(EventTail(path).read())
    assert all(event["kind"] == "system" for event in events)
    return [event["metrics"] for event in events]


def test_a_short_run_has_one_sample(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with sampler.SystemSampler(events, 60.0, os.getpid()):
        pass
    (sample,) = _metrics(events)
    assert sample["system/cpu_percent"] >= 0
    assert sample["system/memory_mb"] > 10


def test_samples_until_it_is_stopped(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    running = sampler.SystemSampler(events, 0.01, os.getpid())
    running.start()
    while len(_metrics(events)) < 3:
        time.sleep(0.01)
    running.stop()
    count = len(_metrics(events))
    assert not running._thread.is_alive()
    assert len(_metrics(events)) == count >= 3


def test_counts_the_children() -> None:
    code = "x = bytearray(100 << 20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        root = psutil.Process()
        alone = sampler.resident_bytes([root])
        tree = sampler.resident_bytes([root, *root.children(recursive=True)])
        child.communicate(b"\n")
    assert tree - alone > 100 << 20


def test_the_sampler_ends_with_its_process(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = sampler.SystemSampler(tmp_path / "events.jsonl", 0.01, child.pid)
    running.start()
    child.communicate(b"\n")
    running._thread.join(10)
    assert not running._thread.is_alive()


def test_an_event_file_that_cannot_be_written_only_ends_the_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sampler.SystemSampler(tmp_path / "no" / "events.jsonl", 60.0, os.getpid()):
        pass
    assert "system metrics stop here" in caplog.text


def test_cpu_percent_counts_new_processes_from_their_start() -> None:
    before = {(1, 0.0): 10.0, (2, 0.0): 5.0}
    after = {(1, 0.0): 11.0, (3, 7.0): 0.5}
    assert sampler.cpu_percent(before, after, 2.0) == 75.0


def test_a_process_that_ended_is_left_out() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    assert sampler.cpu_times([process]) == {}
    assert sampler.resident_bytes([process]) == 0


class _NvmlError(Exception):
    pass


def _fake_nvml(devices: dict[str, int], power: Callable[[Any], int]) -> types.ModuleType:
    nvml = types.ModuleType("pynvml")

    def by_uuid(uuid: str) -> int:
        if uuid not in devices:
            raise _NvmlError("not found")
        return devices[uuid]

    vars(nvml).update(
        NVMLError=_NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetUtilizationRates=lambda handle: types.SimpleNamespace(gpu=50 + handle),
        nvmlDeviceGetMemoryInfo=lambda _: types.SimpleNamespace(used=3 * 2**20),
        nvmlDeviceGetPowerUsage=power,
    )
    return nvml


def test_reads_the_leased_gpu_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = _fake_nvml({"GPU-a": 0, "GPU-b": 1}, lambda _: 250_000)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert sampler.gpu_reader({"CUDA_VISIBLE_DEVICES": "GPU-b"})() == {
        "system/gpu_percent": 51.0,
        "system/gpu_memory_mb": 3.0,
        "system/gpu_power_w": 250.0,
    }


def test_leaves_out_what_the_device_does_not_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: Any) -> int:
        raise _NvmlError("not supported")

    monkeypatch.setitem(sys.modules, "pynvml", _fake_nvml({"MIG-a": 0}, unsupported))
    found = sampler.gpu_reader({"CUDA_VISIBLE_DEVICES": "MIG-a"})()
    assert set(found) == {"system/gpu_percent", "system/gpu_memory_mb"}


@pytest.mark.parametrize("devices", ["", "0", "1,2", "GPU-unknown"])
def test_samples_no_gpu_that_is_not_known_to_be_its_own(
    devices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _fake_nvml({"GPU-a": 0}, lambda _: 1))
    assert sampler.gpu_reader({"CUDA_VISIBLE_DEVICES": devices})() == {}


def test_without_pynvml_there_are_no_gpu_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert sampler.gpu_reader({"CUDA_VISIBLE_DEVICES": "GPU-a"})() == {}
