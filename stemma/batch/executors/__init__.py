"""Where workers run: one small protocol, and an executor for each kind of place.

An executor starts workers and knows whether they live; it never decides whether a run succeeded.
What a worker left in ``result.json`` decides that, whatever the executor says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pydantic import Field

from stemma.batch.records import Failure, Record, Spec


@dataclass(frozen=True)
class Job:
    """One attempt of a run: ``folder`` holds ``spec.json`` and takes all that the worker leaves."""

    spec: Spec
    folder: Path


class Handle(Record):
    """Names a submitted attempt; kept as ``handle.json``, for a runner that starts anew.

    Attributes:
        kind: the executor's kind.
        id: what the executor calls it: a process, a job or a task.
        token: the attempt's token.
        facts: whatever else the executor needs to find it again.
    """

    kind: str
    id: str
    token: str
    facts: dict[str, str | int | float] = Field(default_factory=dict)


class Report(NamedTuple):
    """What an executor knows of an attempt; failure and message matter only if it is over.

    ``timed_out`` tells that the executor ended it at its deadline.
    """

    phase: Literal["waiting", "running", "over"]
    failure: Failure | None = None
    message: str = ""
    timed_out: bool = False


class Executor(Protocol):
    """Starts, watches and stops attempts. No method may block for more than a moment.

    Attributes:
        kind: its name in manifests and handles.
        slots: how many attempts may be submitted at a time.
    """

    kind: str
    slots: int

    def submit(self, job: Job) -> Handle:
        """Start a worker for ``job``.

        Raises:
            ExecutorError: the place refuses work for the moment; the runner tries again.
        """

    def poll(self, job: Job, handle: Handle) -> Report:
        """Say how an attempt fares; bring what it wrote into ``job.folder`` if it is elsewhere.

        When it says ``over``, nothing of the attempt lives any more and everything that it left is
        in the folder.
        """

    def cancel(self, job: Job, handle: Handle) -> None:
        """Ask for an attempt to be stopped; ``poll`` tells when it is over. May be repeated."""

    def reattach(self, job: Job, handle: Handle) -> bool:
        """Take over an attempt that another runner submitted; False if it is nowhere any more."""

    def close(self) -> None:
        """Give back what the executor holds; attempts that live go on."""
