"""Workers as jobs of a Slurm cluster, one job a notebook, submitted through submitit.

The nodes must share a disk: the folder of runs, the notebooks and the Python environment have the
same paths everywhere. Slurm's own requeueing is off, since the runner counts the attempts.
"""

import math
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stemma.batch.executors import Handle, Job, Report
from stemma.batch.executors.slurm_job import work
from stemma.batch.records import Failure
from stemma.errors import ExecutorError

try:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from stemma.batch.executors import slurm_queue
except ModuleNotFoundError as error:
    raise ExecutorError(
        "executor slurm needs submitit: pip install 'stemma-suite[slurm]'"
    ) from error

OVERHEAD_MB = 256
"""What a job needs beside the run's own processes: the one that starts the worker and waits."""

DISK_SECONDS = 60.0
"""How long a shared disk may take to show the result of a job that is complete."""

_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "srun")
_NEVER = re.compile(
    r"invalid (?!auth)|unrecognized|not permitted|not available|can ?not be satisfied"
    r"|more processors requested|exceeds|could not make sense",
    re.IGNORECASE,
)


class SlurmConfig(BaseModel):
    """What a manifest may say of a Slurm cluster.

    Attributes:
        partition: where jobs wait; None: the cluster's default. So for account, qos, constraint.
        account: who pays.
        qos: quality of service.
        constraint: features that a node must have.
        time_slack: seconds that a job may take longer than its notebook, to start and to end. The
            worker keeps the notebook's own limit; Slurm's is there if that fails.
        slurm_additional_parameters: any other option of sbatch, without dashes; they win over the
            ones above.
        setup: shell lines before the worker starts (``module load cuda``).
        python: the interpreter on the nodes; None: this one.
        logs: where scripts and logs of jobs go; None: ``slurm/`` in the run's folder.
        max_jobs: how many jobs may be in the queue at a time.
        poll_seconds: how often the cluster is asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["slurm"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time_slack: float = Field(120.0, ge=0)
    slurm_additional_parameters: dict[str, str | int | bool] = {}
    setup: list[str] = []
    python: str | None = None
    logs: Path | None = None
    max_jobs: int = Field(100, ge=1)
    poll_seconds: float = Field(5.0, gt=0)


class SlurmExecutor:
    """Runs workers as jobs, which survive the runner and this machine."""

    kind = "slurm"

    def __init__(self, config: SlurmConfig) -> None:
        """Look for the cluster's commands and begin to watch it.

        Raises:
            ExecutorError: this machine has no Slurm.
        """
        missing = [name for name in _COMMANDS if shutil.which(name) is None]
        if missing:
            raise ExecutorError(
                f"executor slurm: no {', '.join(missing)} on PATH: start the batch on a login node"
            )
        self.slots = config.max_jobs
        self._config = config
        self._watch = slurm_queue.JobWatch(config.poll_seconds)
        self._doubtful: set[str] = set()
        self._complete: dict[str, float] = {}

    def submit(self, job: Job) -> Handle:
        """Submit a job.

        What Slurm would refuse for ever (an unknown partition, more memory than any node has) is
        no error here: the attempt is over, and failed, with Slurm's words.

        Raises:
            ExecutorError: the cluster does not answer, or takes no more jobs for the moment.
        """
        name, folder = job_name(job), self._folder(job)
        facts: dict[str, str | int | float] = {"folder": str(folder)}
        job_id = ""
        try:
            job_id = self._submitted(name) or self._submit(job, folder)
        except (FailedJobError, FailedSubmissionError) as error:
            words = _complaint(str(error))
            if not _NEVER.search(words):
                self._doubtful.add(name)
                raise ExecutorError(f"Slurm takes no job now: {words}") from None
            facts["refused"] = words
        else:
            self._watch.follow(name, job_id)
        return Handle(kind=self.kind, id=job_id, token=job.spec.token, facts=facts)

    def poll(self, job: Job, handle: Handle) -> Report:
        """Say how a job fares, as of the last look at the cluster."""
        refused = handle.facts.get("refused")
        if refused:
            words = f"Slurm refused the job ({refused}): mend the executor's settings or the limits"
            return Report("over", Failure.ERROR, words)
        report = self._watch.follow(job_name(job), handle.id)
        if report.phase != "over":
            return report
        completed = report.failure is None and not report.timed_out
        if completed and self._is_late(job):
            return Report("running")
        self._watch.forget(job_name(job))
        if not completed and report.failure is not Failure.DEAD_WORKER:
            return report
        words = _last_words(Path(str(handle.facts.get("folder", self._folder(job)))))
        return report._replace(message=f"{report.message}: {words}")

    def cancel(self, job: Job, handle: Handle) -> None:
        """Have a job cancelled."""
        self._watch.cancel(job_name(job))

    def reattach(self, job: Job, handle: Handle) -> bool:
        """Take over a job, also one that has ended: ``poll`` tells how.

        A handle without id is of a runner that died while it submitted; its job, if there is one,
        is in the queue.
        """
        if handle.id or "refused" in handle.facts:
            return True
        try:
            return job_name(job) in slurm_queue.queue()
        except ExecutorError:
            return False  # should there be a job, it will find another attempt's token and end

    def close(self) -> None:
        """Stop watching; jobs go on."""
        self._watch.close()

    def _submitted(self, name: str) -> str | None:
        """Return the id of an attempt's job that was taken although sbatch failed."""
        living = slurm_queue.queue().get(name) if name in self._doubtful else None
        return living.id if living else None

    def _submit(self, job: Job, folder: Path) -> str:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=0, python=self._config.python)
        executor.update_parameters(**parameters(job, self._config))
        return executor.submit(work, str(job.folder), job.spec.token).job_id

    def _folder(self, job: Job) -> Path:
        if self._config.logs is None:
            return job.folder / "slurm"
        return self._config.logs.absolute() / job_name(job)

    def _is_late(self, job: Job) -> bool:
        """Whether the result of a complete job may still be on its way through a shared disk."""
        if (job.folder / "result.json").exists():
            return False
        job.folder.chmod(job.folder.stat().st_mode)  # makes NFS look again at what is there
        since = self._complete.setdefault(job.spec.token, time.monotonic())
        return time.monotonic() - since < DISK_SECONDS


def job_name(job: Job) -> str:
    """Return the name of an attempt's job; no other has it."""
    return f"stemma-{job.spec.slug}-{job.spec.token[:8]}"


def make(settings: Mapping[str, Any], _jobs: int) -> SlurmExecutor:
    """Make the executor of a manifest's settings; ``max_jobs`` stands in for the number of jobs."""
    return SlurmExecutor(SlurmConfig.model_validate(settings))


def parameters(job: Job, config: SlurmConfig) -> dict[str, Any]:
    """Return what submitit is to ask of Slurm for a job."""
    spec = job.spec
    asked: dict[str, Any] = {
        "job_name": job_name(job),
        "cpus_per_task": spec.threads,
        "gpus_per_node": spec.gpus or None,
        "mem": f"{spec.memory_mb + OVERHEAD_MB}MB" if spec.memory_mb else None,
        "time": math.ceil((spec.timeout + config.time_slack) / 60),
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "setup": config.setup or None,
        # A step started by srun would get a single CPU of the job's since Slurm 22.05.
        "use_srun": False,
        # Slurm's warning goes to every process of the job, and would end the worker.
        "signal_delay_s": 0,
        "additional_parameters": {
            **config.slurm_additional_parameters,
            "no-requeue": True,
        },
    }
    return {name: value for name, value in asked.items() if value is not None}


def _last_words(folder: Path) -> str:
    """Return the last line that a job wrote."""
    logs = sorted(folder.glob("*_log.err"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return f"it could not write to {folder}; is that disk there on all nodes?"
    return _last_line(logs[-1].read_text(encoding="utf-8", errors="replace")) or f"see {folder}"


def _complaint(text: str) -> str:
    """Return what sbatch said, in one line."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return "; ".join(line.strip() for line in lines if line.strip())


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
