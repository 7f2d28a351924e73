"""Faults at random times: whatever dies, every run of a batch succeeds exactly once.

A batch of twelve small notebooks runs in two slots while workers, kernels, the runner and its
helpers are killed with signal 9, the disk of the runs is full for seconds, and the MLflow server is
gone for twenty seconds. The disk is a tmpfs of its own, so this needs root and Linux.

Run: .venv/bin/python tests/faults.py [--seeds 20] [--first 0]
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import stores
from house import House

PAPERS = 12
QUOTA_MB = 24
FAULT_SECONDS = 45.0
OUTAGE_SECONDS = 20.0
PATIENCE_SECONDS = 400.0
RETRIES = 100

# Two executions of one run at a time would meet at the lock.
CELL = """
import fcntl, os, time
marks = {marks!r}
lock = open(marks + ".lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(marks + ".overlap", "a").write("two at a time")
time.sleep({seconds})
run.log("loss", 0.5)
run.measure("C1", ours=[2, 3, 4, 3, 2], baseline=[0, 1, 0, 1, 0])
run.verdicts()
"""


class Server:
    """An MLflow server on a SQLite file, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._log = folder / "server.log"
        port = stores.free_port()
        self.uri = f"http://127.0.0.1:{port}"
        store = f"sqlite:///{folder / 'mlflow.db'}"
        self._command = stores.server_command(store, folder / "artifacts", port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=os.environ | quiet,
                start_new_session=True,
            )

    def wait(self) -> None:
        assert self._process is not None
        stores.wait_until_it_answers(f"{self.uri}/health", self._process, self._log)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@contextmanager
def quota(folder: Path) -> Iterator[None]:
    """Give ``folder`` a small disk of its own."""
    folder.mkdir()
    options = f"size={QUOTA_MB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Trial:
    """One batch under faults."""

    def __init__(self, seed: int, root: Path, server: Server) -> None:
        self.rng = random.Random(seed)
        self.root = root
        self.server = server
        self.done: Counter[str] = Counter()
        self.outage_until = 0.0
        self.environment = os.environ | {
            "STEMMA_HOME": str(root),
            "STEMMA_PAPERS": str(root / "papers"),
            "STEMMA_RUNS": str(root / "runs"),
            "MLFLOW_TRACKING_URI": server.uri,
            "STEMMA_FAULTS": str(root),
        }
        self.slugs = [f"trial-{seed}-{i}" for i in range(PAPERS)]
        house = House(root)
        for slug in self.slugs:
            seconds = self.rng.uniform(0.2, 3.0)
            house.paper(slug, [CELL.format(marks=str(root / slug), seconds=seconds)])

    def stemma(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "stemma.cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def run(self) -> None:
        begun = self.stemma(
            "run", *self.slugs, "--jobs", "2", "--retries", str(RETRIES), "--detach"
        )
        assert begun.returncode == 0, begun.stderr
        batch = next((self.root / "runs" / "batches").iterdir()).name
        self._disturb()
        ended = subprocess.run(
            [sys.executable, "-m", "stemma.cli", "attach", batch],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        self.check(batch)

    def _disturb(self) -> None:
        faults: list[Callable[[], None]] = [
            lambda: self._kill("worker", self._workers()),
            lambda: self._kill("worker", self._workers()),
            lambda: self._kill("kernel", self._kernels()),
            lambda: self._kill("kernel", self._kernels()),
            self._kill_runner,
            self._kill_runner,
            lambda: self._kill("follower", self._named("stemma.tracking.follow")),
            lambda: self._kill("forking process", self._named("multiprocessing.forkserver")),
            self._fill_disk,
            self._stop_server,
        ]
        until = time.monotonic() + FAULT_SECONDS
        while time.monotonic() < until:
            time.sleep(self.rng.uniform(0.3, 2.5))
            self.rng.choice(faults)()
            self.check_results()
            self._end_outage()
        if not self.done["MLflow outage"]:
            self._stop_server()
        while self.outage_until:
            time.sleep(0.5)
            self._end_outage()
        self.server.wait()

    def _kill(self, what: str, targets: list[psutil.Process]) -> None:
        if targets:
            target = self.rng.choice(targets)
            try:
                target.kill()
            except psutil.NoSuchProcess:
                return
            self.done[what] += 1

    def _kill_runner(self) -> None:
        self._kill("runner", self._named("stemma.batch.daemon"))
        time.sleep(self.rng.uniform(0.0, 3.0))
        # Whoever comes back to the batch starts a new runner.
        subprocess.Popen(
            [sys.executable, "-m", "stemma.cli", "attach"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _fill_disk(self) -> None:
        filler = self.root / "runs" / "filler"
        try:
            with filler.open("wb", buffering=0) as stream:
                while stream.write(bytes(65536)):
                    pass
        except OSError:
            self.done["full disk"] += 1
        time.sleep(self.rng.uniform(1.0, 4.0))
        filler.unlink()

    def _stop_server(self) -> None:
        if not self.done["MLflow outage"]:
            self.server.stop()
            self.outage_until = time.monotonic() + OUTAGE_SECONDS
            self.done["MLflow outage"] += 1

    def _end_outage(self) -> None:
        if self.outage_until and time.monotonic() > self.outage_until:
            self.outage_until = 0.0
            self.server.start()

    def ours(self) -> list[psutil.Process]:
        """Return every process that this trial started, directly or not."""
        found = []
        for process in psutil.process_iter():
            try:
                own = process.environ().get("STEMMA_FAULTS") == str(self.root)
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _named(self, word: str) -> list[psutil.Process]:
        return [p for p in self.ours() if any(word in part for part in _command(p))]

    def _workers(self) -> list[psutil.Process]:
        found = []
        for path in (self.root / "runs" / "out").glob("*/*/worker.json"):
            try:
                worker = json.loads(path.read_text())
                process = psutil.Process(worker["pid"])
            except (OSError, ValueError, psutil.Error):
                continue
            if abs(process.create_time() - worker["created"]) < 1:
                found.append(process)
        return found

    def _kernels(self) -> list[psutil.Process]:
        return self._named("ipykernel_launcher")

    def check_results(self) -> None:
        """A result is there as a whole or not at all."""
        for path in (self.root / "runs" / "out").glob("*/*/result.json"):
            result = json.loads(path.read_text())
            assert result["outcome"] in ("succeeded", "failed"), result["outcome"]
            if result["outcome"] == "succeeded":
                assert [claim["verdict"] for claim in result["claims"]] == ["trend holds"]

    def check(self, batch: str) -> None:
        """Everything succeeded, once, and nothing is left."""
        runs = self.root / "runs"
        for slug in self.slugs:
            (folder,) = [p for p in (runs / "out" / slug).iterdir() if p.name != "superseded"]
            state = json.loads((folder / "state.json").read_text())
            spec, result = (
                json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "result")
            )
            assert state["state"] == result["outcome"] == "succeeded", (slug, state)
            assert (spec["token"], spec["key"]) == (result["token"], result["key"])
            assert not (self.root / f"{slug}.overlap").exists(), f"{slug}: two at a time"
        self.check_results()
        self._check_mlflow(batch)
        again = self.stemma("run", *self.slugs, "--jobs", "2")
        assert again.returncode == 0, again.stderr
        latest = json.loads((sorted((runs / "batches").iterdir())[-1] / "batch.json").read_text())
        assert all(run["cached"] for run in latest["runs"]), "a success was no hit"
        deadline = time.monotonic() + 30
        while (left := self.ours()) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert not left, [_command(p) for p in left]

    def _check_mlflow(self, batch: str) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(self.server.uri)
        experiments = {e.name: e.experiment_id for e in client.search_experiments()}
        for slug in self.slugs:
            found = client.search_runs([experiments[f"stemma/{slug}"]])
            assert [r.info.status for r in found] == ["FINISHED"], (slug, found)
            tags: dict[str, Any] = found[0].data.tags
            assert tags["stemma.complete"] == "true"
            assert tags["verdict.C1"] == "trend holds"
        parents = client.search_runs(
            [experiments["stemma/batches"]], f"tags.`stemma.batch` = '{batch}'"
        )
        assert [r.info.status for r in parents] == ["FINISHED"], parents
        assert client.search_runs(["0"]) == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def can_mount() -> bool:
    """Return whether this process may give a folder a disk of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with quota(Path(folder) / "probe"):
                return True
        except subprocess.CalledProcessError:
            return False


def trial(seed: int, root: Path, server: Server) -> Counter[str]:
    """Run one batch under the faults of ``seed``; return how often what was done to it."""
    root.mkdir()
    with quota(root / "runs"):
        one = Trial(seed, root, server)
        try:
            one.run()
        finally:
            for process in one.ours():
                process.kill()
    return one.done


def main() -> None:
    """Run the trials and print what was done in each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "mlflow")
        server.start()
        server.wait()
        try:
            for seed in range(chosen.first, chosen.first + chosen.seeds):
                begun = time.monotonic()
                done = trial(seed, Path(folder) / f"trial-{seed}", server)
                faults = ", ".join(f"{n} x {what}" for what, n in sorted(done.items()))
                print(
                    f"seed {seed}: all succeeded once, {time.monotonic() - begun:.0f} s; {faults}",
                    flush=True,
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
