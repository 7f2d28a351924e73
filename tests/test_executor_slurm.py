"""The Slurm executor, against commands that answer what a test wants, and on a real cluster."""

import hashlib
import os
import uuid
from pathlib import Path

import pytest
from batching import planned
from house import House
from slurm_cluster import EXPECTED, check, run_all
from slurm_house import wait_for, why_not

from stemma.batch.executors import Handle, Job, Report, slurm, slurm_queue
from stemma.batch.executors.slurm import SlurmConfig, SlurmExecutor, job_name
from stemma.batch.executors.slurm_job import work
from stemma.batch.executors.slurm_queue import ending_of, phase_of
from stemma.batch.records import Failure, Result, Spec, State
from stemma.errors import ExecutorError, RunError

# Each answers from a file of its own and fails if there is none.
COMMANDS = {
    "sbatch": 'cp "$1" "$0.script"; echo x >> "$0.calls"; cat "$0.says" >&2 && exit 1;'
    " echo Submitted batch job 7",
    "squeue": 'cat "$0.says"',
    "sacct": 'echo "JobID|State|NodeList|JobName"; cat "$0.says"',
    "scancel": 'echo "$@" >> "$0.calls"',
    "srun": "exit 1",
}


class Cluster:
    """Slurm's commands, which answer what ``says`` tells them."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        for name, body in COMMANDS.items():
            path = bin_folder / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    def says(self, command: str, *lines: str) -> None:
        (self._bin / f"{command}.says").write_text("".join(f"{line}\n" for line in lines))

    def silence(self, command: str) -> None:
        (self._bin / f"{command}.says").unlink(missing_ok=True)

    def calls(self, command: str) -> list[str]:
        path = self._bin / f"{command}.calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def script(self) -> list[str]:
        return (self._bin / "sbatch.script").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Cluster(folder)


@pytest.fixture
def executor(cluster: Cluster) -> SlurmExecutor:
    made = SlurmExecutor(SlurmConfig())
    made.close()  # only the test looks at the cluster
    return made


def job_of(root: Path, slug: str = "good", **fields: object) -> Job:
    key = hashlib.sha256(slug.encode()).hexdigest()
    folder = root / "runs" / "out" / slug / key[:16]
    folder.mkdir(parents=True)
    spec = Spec.model_validate(
        {
            "slug": slug,
            "scale": "small",
            "key": key,
            "ingredients": {},
            "parameters": {"x": 1},
            "sources": {},
            "digests": {},
            "batch": "test",
            "notebook": str(root / "notebooks" / f"{slug}.ipynb"),
            "timeout": 600,
            "threads": 2,
            "device": "cpu",
            "paper_version": 1,
            "fingerprint": {},
            "token": uuid.uuid4().hex,
            **fields,
        }
    )
    spec.write(folder / "spec.json")
    return Job(spec, folder)


def planned_job(slug: str) -> Job:
    plan = planned([slug])[0]
    plan.folder.mkdir(parents=True)
    spec = plan.spec.model_copy(update={"token": uuid.uuid4().hex})
    spec.write(plan.folder / "spec.json")
    return Job(spec, plan.folder)


def look(executor: SlurmExecutor, job: Job, handle: Handle) -> Report:
    """Poll after a look at the cluster."""
    executor.poll(job, handle)
    executor._watch.refresh()
    return executor.poll(job, handle)


@pytest.mark.parametrize(
    ("state", "failure", "timed_out"),
    [
        ("COMPLETED", None, False),
        ("FAILED", Failure.DEAD_WORKER, False),
        ("TIMEOUT", None, True),
        ("DEADLINE", None, True),
        ("OUT_OF_MEMORY", Failure.OUT_OF_MEMORY, False),
        ("NODE_FAIL", Failure.LOST_NODE, False),
        ("BOOT_FAIL", Failure.LOST_NODE, False),
        ("PREEMPTED", Failure.LOST_NODE, False),
        ("REVOKED", Failure.LOST_NODE, False),
        ("CANCELLED", Failure.EXITED, False),
        ("CANCELLED by 1000", Failure.EXITED, False),
    ],
)
def test_an_ending_has_its_class(state: str, failure: Failure | None, timed_out: bool) -> None:
    report = ending_of(state, "n1")
    assert report is not None
    assert (report.phase, report.failure, report.timed_out) == ("over", failure, timed_out)


@pytest.mark.parametrize("state", ["", "UNKNOWN", "PENDING", "RUNNING", "SUSPENDED", "REQUEUED"])
def test_accounts_that_lag_behind_end_nothing(state: str) -> None:
    assert ending_of(state) is None


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", "waiting"),
        ("CONFIGURING", "waiting"),
        ("REQUEUED", "waiting"),
        ("REQUEUE_HOLD", "waiting"),
        ("RUNNING", "running"),
        ("COMPLETING", "running"),
        ("SUSPENDED", "running"),
        ("STOPPED", "running"),
    ],
)
def test_a_job_in_the_queue_waits_or_runs(state: str, phase: str) -> None:
    assert phase_of(state) == Report(phase)  # type: ignore[arg-type]


def test_a_job_asks_for_what_the_run_needs(cluster: Cluster, tmp_path: Path) -> None:
    config = SlurmConfig(
        partition="gpu",
        account="lab",
        qos="night",
        constraint="a100|h100",
        time_slack=30,
        slurm_additional_parameters={"exclude": "n3"},
        setup=["module load cuda"],
    )
    executor = SlurmExecutor(config)
    job = job_of(tmp_path, timeout=600, threads=3, memory_mb=2000, gpus=1)
    handle = executor.submit(job)
    executor.close()
    assert (handle.id, handle.token) == ("7", job.spec.token)
    options = {line.removeprefix("#SBATCH --") for line in cluster.script if "#SBATCH" in line}
    assert {
        f"job-name=stemma-good-{job.spec.token[:8]}",
        "cpus-per-task=3",
        "gpus-per-node=1",
        "mem=2256MB",
        "time=11",
        "partition=gpu",
        "account=lab",
        "qos=night",
        "constraint='a100|h100'",
        "exclude=n3",
        "no-requeue",
        "signal=USR2@0",
    } <= options
    lines = cluster.script
    assert lines.index("module load cuda") < lines.index("# command")
    assert not any(line.startswith("srun") for line in lines)


def test_what_a_run_does_not_need_is_not_asked_for(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    executor.submit(job_of(tmp_path))
    asked = "\n".join(cluster.script)
    for option in ("--mem", "--gpus", "--partition", "--account", "--qos", "--constraint"):
        assert option not in asked, option


def test_logs_can_go_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    executor = SlurmExecutor(SlurmConfig(logs=tmp_path / "logs"))
    job = job_of(tmp_path)
    executor.submit(job)
    executor.close()
    folder = tmp_path / "logs" / job_name(job)
    assert f"#SBATCH --error={folder}/%j_0_log.err" in cluster.script


def test_a_job_is_followed_to_its_end(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    cluster.says("squeue", f"7|PENDING|{job_name(job)}")
    assert look(executor, job, handle) == Report("waiting")
    cluster.says("squeue", f"7|RUNNING|{job_name(job)}")
    assert look(executor, job, handle) == Report("running")
    # Cancelled says sacct at once, but its processes may still write.
    cluster.says("sacct", f"7|CANCELLED by 0|n1|{job_name(job)}")
    cluster.says("squeue", f"7|COMPLETING|{job_name(job)}")
    assert look(executor, job, handle) == Report("running")
    cluster.says("squeue")
    report = look(executor, job, handle)
    assert (report.phase, report.failure) == ("over", Failure.EXITED)


def test_news_wait_for_a_silent_controller(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "LOST_SECONDS", 0.0)
    job = job_of(tmp_path)
    handle = executor.submit(job)
    cluster.says("squeue", f"7|RUNNING|{job_name(job)}")
    assert look(executor, job, handle) == Report("running")
    cluster.silence("squeue")
    with pytest.raises(ExecutorError, match="squeue"):
        executor._watch.refresh()
    assert executor.poll(job, handle) == Report("running")


def test_a_forgotten_job_is_lost_even_if_another_has_its_id(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    executor.cancel(job, handle)
    cluster.says("squeue", "7|RUNNING|stemma-other-01234567")
    cluster.says("sacct", "7|COMPLETED|n1|stemma-other-01234567")
    assert look(executor, job, handle).phase == "waiting"
    monkeypatch.setattr(slurm_queue, "LOST_SECONDS", -1.0)
    report = look(executor, job, handle)
    assert (report.phase, report.failure) == ("over", Failure.LOST_NODE)
    assert cluster.calls("scancel") == []


def test_a_cancellation_is_repeated_until_the_job_ends(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    executor.cancel(job, handle)
    for state in ("RUNNING", "PENDING", "COMPLETING"):
        cluster.says("squeue", f"7|{state}|{job_name(job)}")
        look(executor, job, handle)
    assert cluster.calls("scancel") == ["--quiet 7", "--quiet 7"]


def test_the_thread_looks_by_itself(cluster: Cluster, tmp_path: Path) -> None:
    executor = SlurmExecutor(SlurmConfig(poll_seconds=0.05))
    job = job_of(tmp_path)
    handle = executor.submit(job)
    cluster.says("squeue", f"7|RUNNING|{job_name(job)}")
    wait_for(lambda: executor.poll(job, handle).phase == "running", 20)
    executor.close()
    assert not executor._watch._thread.is_alive()


def test_a_result_may_come_late(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    cluster.says("squeue")
    cluster.says("sacct", f"7|COMPLETED|n1|{job_name(job)}")
    assert look(executor, job, handle).phase == "running"
    (job.folder / "result.json").write_text("{}")
    assert executor.poll(job, handle).phase == "over"
    (job.folder / "result.json").unlink()
    monkeypatch.setattr(slurm, "DISK_SECONDS", 0.0)
    assert look(executor, job, handle).phase == "over"


def test_a_failed_job_gives_its_last_words(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    (job.folder / "slurm" / "7_0_log.err").write_text("Traceback\nNo module named 'stemma'\n")
    cluster.says("squeue")
    cluster.says("sacct", f"7|FAILED|n1|{job_name(job)}")
    report = look(executor, job, handle)
    assert report.failure is Failure.DEAD_WORKER
    assert report.message == "the job failed on n1: No module named 'stemma'"


def test_a_job_without_any_log_points_to_the_disk(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    handle = executor.submit(job)
    cluster.says("squeue")
    cluster.says("sacct", f"7|FAILED|n1|{job_name(job)}")
    assert "is that disk there on all nodes?" in look(executor, job, handle).message


@pytest.mark.parametrize(
    "words",
    [
        "Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Invalid feature specification",
        "Batch job submission failed: Requested node configuration is not available",
        "Memory specification can not be satisfied",
        "Invalid generic resource (gres) specification",
    ],
)
def test_what_slurm_never_takes_fails(
    words: str, cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    cluster.says("sbatch", f"sbatch: error: {words}", 'Try "sbatch --help" for more information')
    job = job_of(tmp_path)
    handle = executor.submit(job)
    assert executor.reattach(job, Handle.model_validate_json(handle.model_dump_json()))
    report = executor.poll(job, handle)
    assert (report.phase, report.failure) == ("over", Failure.ERROR)
    assert words in report.message


def test_a_job_that_was_taken_after_all_is_not_submitted_twice(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    cluster.says("sbatch", "sbatch: error: Socket timed out on send/recv operation")
    with pytest.raises(ExecutorError, match=r"Slurm takes no job now: .*Socket timed out"):
        executor.submit(job)
    cluster.says("squeue", f"9|PENDING|{job_name(job)}")
    assert executor.submit(job).id == "9"
    assert len(cluster.calls("sbatch")) == 1


def test_a_refusal_for_the_moment_ends(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    cluster.says("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit")
    with pytest.raises(ExecutorError):
        executor.submit(job)
    cluster.silence("sbatch")
    cluster.says("squeue")
    assert executor.submit(job).id == "7"


def test_another_runner_takes_over(
    cluster: Cluster, executor: SlurmExecutor, tmp_path: Path
) -> None:
    job = job_of(tmp_path)
    known = Handle(kind="slurm", id="5", token=job.spec.token)
    assert executor.reattach(job, known)
    unknown = known.model_copy(update={"id": ""})
    assert not executor.reattach(job, unknown)  # the controller is silent
    cluster.says("squeue", "5|RUNNING|stemma-other-01234567")
    assert not executor.reattach(job, unknown)
    cluster.says("squeue", f"5|RUNNING|{job_name(job)}")
    assert executor.reattach(job, unknown)
    assert look(executor, job, unknown) == Report("running")
    cluster.says("squeue")
    cluster.says("sacct", f"5|TIMEOUT|n1|{job_name(job)}")
    assert look(executor, job, unknown).timed_out


def test_a_machine_without_slurm_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutorError, match=r"no sbatch, .* start the batch on a login node"):
        SlurmExecutor(SlurmConfig())


@pytest.mark.parametrize("setting", [{"partitoin": "gpu"}, {"max_jobs": 0}, {"poll_seconds": 0}])
def test_settings_that_do_not_fit_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        slurm.make({"kind": "slurm", **setting}, 1)


def test_a_folder_that_a_node_does_not_see_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="on a disk that all nodes share"):
        work(str(tmp_path / "nowhere"), "token")


def test_a_job_of_an_older_attempt_does_nothing(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    work(str(job.folder), "another")
    assert [path.name for path in job.folder.iterdir()] == ["spec.json"]


def test_a_job_that_slurm_starts_again_completes_once(house: House) -> None:
    note = house.root / "complete"
    house.paper("good", [f"with open({str(note)!r}, 'a') as f: f.write('x')"])
    job = planned_job("good")
    work(str(job.folder), job.spec.token)
    work(str(job.folder), job.spec.token)
    result: Result = Result.read(job.folder / "result.json")
    assert (result.outcome, result.token) == (State.SUCCEEDED, job.spec.token)
    assert note.read_text() == "x"


def test_a_worker_that_dies_fails_its_job(house: House) -> None:
    house.paper("good", ["import os\nos.kill(os.getppid(), 9)"])
    job = planned_job("good")
    with pytest.raises(RunError, match=r"the worker died \(signal 9\)"):
        work(str(job.folder), job.spec.token)


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_real_cluster(tmp_path: Path) -> None:
    environment = dict(os.environ)
    try:
        endings = run_all(tmp_path)
    finally:
        os.environ.clear()
        os.environ.update(environment)
    check(endings)
    assert endings.keys() == EXPECTED.keys()
    assert endings["overdue"].message.startswith("killed by Slurm at the job's time limit")
