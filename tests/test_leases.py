"""GPU leases: one run a GPU, and none before the driver says that it is free."""

import os
from pathlib import Path

import psutil
import pytest

from stemma.batch import devices
from stemma.batch.devices import visible_gpus
from stemma.batch.leases import Leases
from stemma.batch.records import Worker

SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*) printf 'H100, GPU-a\\nH100, GPU-b\\n' ;;
  --query-compute-apps=*) cat {busy} ;;
esac
"""


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs; the file lists those on which something computes."""
    listing = tmp_path / "busy"
    listing.write_text("")
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(SMI.format(busy=listing))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices.visible_gpus.cache_clear()
    monkeypatch.setattr("stemma.batch.leases.visible_gpus", visible_gpus.__wrapped__)
    return listing


def holder(token: str, *, alive: bool = True) -> Worker:
    me = psutil.Process()
    created = me.create_time() - (0 if alive else 1000)
    return Worker(token=token, host="here", pid=me.pid, created=created)


def uuid(leases: Leases, token: str, *, alive: bool = True) -> str | None:
    gpu = leases.acquire(holder(token, alive=alive))
    return gpu.uuid if gpu else None


def test_each_gpu_is_leased_once_across_batches(busy: Path, tmp_path: Path) -> None:
    first, second = Leases(tmp_path / "leases"), Leases(tmp_path / "leases")
    assert [uuid(first, "1"), uuid(second, "2"), uuid(first, "3")] == ["GPU-a", "GPU-b", None]
    second.release("GPU-b", "1")  # not the holder
    assert uuid(first, "3") is None
    second.release("GPU-b", "2")
    assert uuid(first, "3") == "GPU-b"


def test_the_lease_of_a_dead_worker_is_free_once_its_gpu_is(busy: Path, tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases")
    assert uuid(leases, "dead", alive=False) == "GPU-a"
    busy.write_text("GPU-a\n")  # its kernel still computes
    assert uuid(leases, "next") == "GPU-b"
    busy.write_text("")
    assert uuid(leases, "last") == "GPU-a"


def test_a_foreign_process_keeps_a_gpu(busy: Path, tmp_path: Path) -> None:
    busy.write_text("GPU-a\nGPU-b\n")
    assert uuid(Leases(tmp_path / "leases"), "1") is None


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("1", ["GPU-b"]), ("GPU-b,GPU-a", ["GPU-b", "GPU-a"]), ("", []), ("-1", []), ("7", [])],
)
def test_only_visible_gpus_are_leased(
    busy: Path, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.uuid for gpu in visible_gpus.__wrapped__()] == expected
