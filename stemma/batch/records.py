"""What a run's folder stores; every format carries a version."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from stemma import files
from stemma.catalog import Paper, Scale, Value
from stemma.claims import ClaimResult

SCHEMA_VERSION: Literal[1] = 1


class State(StrEnum):
    """The state of a run; only the runner sets it."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether the run is over."""
        return self not in (State.QUEUED, State.STARTING, State.RUNNING)


class Failure(StrEnum):
    """The class of a failure: what broke, which decides what may be retried."""

    ERROR = "error"
    CHECK = "check"
    EXITED = "exited early"
    DATA = "data unavailable"
    DEAD_KERNEL = "dead kernel"
    DEAD_WORKER = "dead worker"
    OUT_OF_MEMORY = "out of memory"
    DISK_FULL = "disk full"
    LOST_NODE = "lost node"
    CHANGED = "changed"

    @property
    def is_infrastructure(self) -> bool:
        """Whether the machine failed rather than the notebook, so that trying again is honest."""
        return self in _INFRASTRUCTURE


_INFRASTRUCTURE = frozenset(
    {
        Failure.DEAD_KERNEL,
        Failure.DEAD_WORKER,
        Failure.OUT_OF_MEMORY,
        Failure.DISK_FULL,
        Failure.LOST_NODE,
    }
)


class Record(BaseModel):
    """What a file of a run or a batch stores; it is frozen, and refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the record stored at ``path``."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """Return the record at ``path``, None if it is missing or of another schema version."""
        try:
            return cls.read(path)
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        """Store the record at ``path``, atomically."""
        files.write_json(path, self.model_dump(mode="json"))


class MlflowIds(Record):
    """Where the run is tracked (``mlflow.json``); no worker creates an experiment or a run."""

    tracking_uri: str
    experiment_id: str
    run_id: str


class Spec(Record):
    """Everything that a worker needs to know.

    Attributes:
        timeout: deadline of the whole notebook, seconds.
        threads: CPU threads that the notebook may use.
        memory_mb: resident memory that the run's processes may use together, MiB; None: no limit.
        gpus: GPUs that the run needs for itself.
        less_memory: parameters to change should the run run out of memory.
        token: names one attempt; the worker refuses a spec of another one, and every process of
            the attempt carries it in its environment.
    """

    version: Literal[1] = SCHEMA_VERSION
    slug: str
    scale: Scale
    key: str
    ingredients: dict[str, str]
    parameters: dict[str, Value]
    sources: dict[str, str]
    digests: dict[str, str]
    batch: str
    notebook: str
    timeout: float
    threads: int
    device: str
    paper_version: int
    fingerprint: dict[str, str]
    memory_mb: int | None = None
    gpus: int = 0
    less_memory: dict[str, Value] = {}
    attempt: int = 1
    token: str = ""


class Worker(Record):
    """The process that executes an attempt (``worker.json``); its start time tells ids apart."""

    version: Literal[1] = SCHEMA_VERSION
    token: str
    host: str
    pid: int
    created: float


class RunState(Record):
    """The state of a run, as its runner knows it; times in seconds since the epoch."""

    version: Literal[1] = SCHEMA_VERSION
    state: State
    failure: Failure | None = None
    message: str = ""
    started: float | None = None
    ended: float | None = None
    attempts: int = 1


class BatchRun(Record):
    """One run of a batch.

    Attributes:
        folder: the run's folder, relative to the folder of runs.
        label: the slug and what tells the run from others of the same paper.
        cached: whether a completed run of this key was there before.
    """

    slug: str
    scale: Scale
    key: str
    folder: str
    label: str
    cached: bool = False

    @property
    def name(self) -> str:
        """The run's name within its batch, good for a file name."""
        return f"{self.slug}-{self.key[:16]}"


class Batch(Record):
    """What a batch is to do (``batches/<id>/batch.json``); how far it is stands in its runs."""

    version: Literal[1] = SCHEMA_VERSION
    id: str
    name: str = ""
    created: float
    host: str
    jobs: int = 1
    retries: int = 2
    executor: dict[str, Any] = {"kind": "local"}
    runs: list[BatchRun]


class CellTiming(Record):
    """How long one code cell took, seconds."""

    cell: int
    heading: str
    seconds: float


class Result(Record):
    """What a finished worker leaves: the truth that MLflow and the report are views of."""

    version: Literal[1] = SCHEMA_VERSION
    slug: str
    scale: Scale
    key: str
    paper_version: int
    outcome: State
    failure: Failure | None = None
    message: str = ""
    parameters: dict[str, Value]
    sources: dict[str, str]
    digests: dict[str, str]
    device: str
    fingerprint: dict[str, str]
    evidence: dict[str, dict[str, dict[str, Any]]]
    rules: str
    claims: list[ClaimResult]
    checks: list[dict[str, Any]]
    figures: list[dict[str, str]]
    tables: list[dict[str, str]]
    models: list[dict[str, Any]]
    started: float
    seconds: float
    cells: list[CellTiming]
    token: str = ""

    def judged_by(self, paper: Paper) -> "Result":
        """Return this result with the verdicts of the paper's present rules."""
        if self.rules == paper.rules_digest or self.outcome is not State.SUCCEEDED:
            return self
        verdicts = paper.judge(self.scale, self.evidence)
        return self.model_copy(update={"claims": verdicts, "rules": paper.rules_digest})
