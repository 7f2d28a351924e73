"""A Ray cluster of two nodes on this machine, and a driver of attempts, each a process of its own.

Where a machine cannot reach its own network address, Ray works only in a network namespace that has
a loopback and nothing else; ``namespace`` makes one.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import tenacity

from stemma import catalog, files, paths
from stemma.batch import attempts
from stemma.batch import key as keys
from stemma.batch.executors import Executor, Handle, Job, Report
from stemma.batch.plan import fingerprint
from stemma.batch.records import Spec

HERE = Path(__file__).resolve()
TRACE = "trace.jsonl"
FOR_TESTS = {
    # Ray gives way to whatever else runs, by 15; tests that run beside others would crawl.
    "RAY_worker_niceness": "0",
    # Processes in store for work to come, which two cores cannot afford.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # A node is dead after five of these; 3 s would be Ray's own choice.
    "RAY_health_check_period_ms": "1500",
}


@contextlib.contextmanager
def namespace() -> Iterator[list[str]]:
    """Yield the start of a command line that runs a command where Ray works."""
    if os.getuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        yield []
        return
    keeper = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert keeper.stdout is not None
    try:
        made = keeper.stdout.readline() == "up\n"
        yield ["nsenter", f"--net=/proc/{keeper.pid}/ns/net"] if made else []
    finally:
        keeper.kill()
        keeper.wait()


class Cluster:
    """Two nodes, ``a`` and ``b``, of 2 CPUs and 2 GPUs that are none, with a folder for each."""

    def __init__(self, enter: Sequence[str], root: Path) -> None:
        self.root = root
        self._ray_folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # socket paths must be short
        self._log = (root / "cluster.log").open("ab")
        self._process = subprocess.Popen(
            [*enter, sys.executable, str(HERE), "cluster", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ
            | FOR_TESTS
            | {"RAY_TMPDIR": self._ray_folder, "STEMMA_RUNS": "/nonexistent"},
        )
        self.address = self._answer()

    def remove(self, node: str) -> None:
        """Kill a node and everything that is Ray's on it."""
        self._order(f"remove {node}")

    def add(self, node: str) -> None:
        """Start a node."""
        self._order(f"add {node}")

    def places(self) -> list[Path]:
        """Return the folders that attempts have on the nodes."""
        return sorted(self.root.glob("node-*/stemma-ray-*"))

    def close(self) -> None:
        """End the cluster."""
        self._pipe(self._process.stdin).close()
        self._process.wait(60)
        self._log.close()
        shutil.rmtree(self._ray_folder, ignore_errors=True)

    def _order(self, order: str) -> None:
        stdin = self._pipe(self._process.stdin)
        stdin.write(order.encode() + b"\n")
        stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        answer = self._pipe(self._process.stdout).readline().decode().strip()
        assert answer, (self.root / "cluster.log").read_text()[-3000:]
        return answer

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


def serve_cluster(root: Path) -> None:
    """Be a cluster: obey the lines of standard input until it ends."""
    from ray.cluster_utils import Cluster as RayCluster

    cluster = RayCluster()
    nodes: dict[str, Any] = {}

    def add(name: str) -> None:
        folder = root / f"node-{name}"
        folder.mkdir(exist_ok=True)
        os.environ |= {"TMPDIR": str(folder), "TEST_NODE": name}
        has: dict[str, Any] = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 10**8}
        own: dict[str, Any] = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
        nodes[name] = cluster.add_node(**has, **own)

    add("a")
    add("b")
    print(cluster.address, flush=True)
    for line in sys.stdin:
        action, name = line.split()
        if action == "add":
            add(name)
        else:
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


def write_spec(slug: str, *, timeout: float = 120.0, gpus: int = 1) -> Job:
    """Plan a run of a paper of the house that takes a GPU wherever it is executed."""
    paper, notebook = catalog.load(slug), paths.notebook(slug)
    parameters = paper.resolve("small", {})
    stated = {"scale": "small", **parameters}
    parts = keys.ingredients(notebook, stated, {}, "cpu", paper.version)
    spec = Spec(
        slug=slug,
        scale="small",
        key=keys.key(parts),
        ingredients=parts,
        parameters=parameters,
        sources={},
        digests={},
        batch="test",
        notebook=str(notebook),
        timeout=timeout,
        threads=1,
        device="cpu",
        paper_version=paper.version,
        fingerprint=fingerprint(),
        gpus=gpus,
        token=uuid.uuid4().hex,
    )
    folder = paths.runs() / "out" / slug / spec.key[:16]
    folder.mkdir(parents=True)
    spec.write(folder / "spec.json")
    return Job(spec, folder)


class Driver:
    """Brings attempts to their end as a runner does: through the protocol, with retries."""

    def __init__(self, address: str | None, slots: int) -> None:
        self._executor = _patiently({"kind": "ray", "address": address}, slots)
        self._handles: dict[str, tuple[Job, Handle]] = {}
        self._said: dict[str, dict[str, Any]] = {}

    def run(self, folders: Sequence[Path]) -> None:
        """Run, or take over, the attempts of these folders; a file ``cancel-SLUG`` cancels one."""
        waiting = list(folders)
        while waiting or self._handles:
            while waiting and len(self._handles) < self._executor.slots:
                self._start(waiting.pop(0))
            for slug, (job, handle) in list(self._handles.items()):
                if (paths.runs() / f"cancel-{job.spec.slug}").exists():
                    self._executor.cancel(job, handle)
                report = self._executor.poll(job, handle)
                self._trace(job, report)
                if report.phase == "over":
                    del self._handles[slug]
                    if self._is_again(job, report):
                        waiting.append(job.folder)
            time.sleep(0.2)
        self._executor.close()

    def _start(self, folder: Path) -> None:
        spec: Spec = Spec.read(folder / "spec.json")
        job, path = Job(spec, folder), folder / "handle.json"
        if path.exists():
            handle = Handle.model_validate_json(path.read_text())
            assert self._executor.reattach(job, handle), "it is nowhere any more"
        else:
            handle = self._executor.submit(job)
            files.write_json(path, handle.model_dump())
        self._handles[str(folder)] = (job, handle)

    def _is_again(self, job: Job, report: Report) -> bool:
        done = attempts.outcome(job.folder, job.spec.token) is not None
        failure = report.failure
        if done or failure is None or not failure.is_infrastructure or job.spec.attempt > 2:
            return False
        attempts.begin(job.folder, job.spec.attempt + 1)
        return True

    def _trace(self, job: Job, report: Report) -> None:
        """Keep what a poll saw, if it saw anything new."""
        events = job.folder / "events.jsonl"
        seen = len(events.read_bytes().splitlines()) if events.exists() else 0
        facts = {
            "slug": job.spec.slug,
            "attempt": job.spec.attempt,
            "events": seen,
            "result": (job.folder / "result.json").exists(),
            **report._asdict(),
        }
        if facts != self._said.get(job.spec.slug):
            files.append_event(paths.runs() / TRACE, "poll", facts)
            self._said[job.spec.slug] = facts


@tenacity.retry(
    retry=tenacity.retry_if_exception_message(match=".*timed out during startup"),
    stop=tenacity.stop_after_attempt(3),
    reraise=True,
)
def _patiently(settings: dict[str, Any], slots: int) -> Executor:
    """Make the executor; Ray gives a cluster 30 s to start, too few for a crowded machine."""
    from stemma.batch.executors.ray import make

    return make(settings, slots)


def trace() -> list[dict[str, Any]]:
    """Return what the drivers' polls saw, each change once."""
    path = paths.runs() / TRACE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    if sys.argv[1] == "cluster":
        serve_cluster(Path(sys.argv[2]))
    else:
        Driver(None if sys.argv[2] == "local" else sys.argv[2], int(sys.argv[3])).run(
            [Path(argument) for argument in sys.argv[4:]]
        )
