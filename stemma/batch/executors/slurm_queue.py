"""What Slurm knows of our jobs: one squeue and one sacct call for all of them at a time.

squeue tells which jobs live, down to their last process; sacct how the others ended. sacct alone
would not do: it calls a cancelled job cancelled while its processes still end, and shows a job that
a crashed controller forgot as running for ever. Jobs are known by their names, which are unique:
such a controller gives the ids of forgotten jobs to new ones.
"""

import logging
import subprocess
import threading
import time
from typing import NamedTuple

from submitit.slurm.slurm import SlurmInfoWatcher

from stemma.batch.executors import Report
from stemma.batch.records import Failure
from stemma.errors import ExecutorError

LOST_SECONDS = 30.0
"""How long a job may be neither in the queue nor at its end before it counts as lost."""

_COMMAND_SECONDS = 60.0
_WAITING = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)
_LOST = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED"})

_log = logging.getLogger("stemma.batch")


def phase_of(state: str) -> Report:
    """Return the report of a job in the queue, of its state there."""
    return Report("waiting" if state in _WAITING else "running")


def ending_of(state: str, node: str = "") -> Report | None:
    """Return the report of a job that has left the queue, of its state in the accounts.

    Args:
        state: as sacct writes it, as in ``CANCELLED by 1000``.
        node: where it ran.

    Returns:
        None if the state is not final: the accounts lag behind.
    """
    word = state.split(" ")[0]
    where = f" on {node}" if node and node != "None assigned" else ""
    if word in ("TIMEOUT", "DEADLINE"):
        return Report("over", None, f"killed by Slurm at the job's time limit{where}", True)
    if word == "OUT_OF_MEMORY":
        return Report("over", Failure.OUT_OF_MEMORY, f"killed by Slurm, out of memory{where}")
    if word in _LOST:
        return Report("over", Failure.LOST_NODE, f"Slurm took the node away{where} ({word})")
    if word == "CANCELLED":
        # Somebody wanted it gone: not to be tried again.
        return Report("over", Failure.EXITED, f"the job was stopped by scancel ({state})")
    if word == "FAILED":
        return Report("over", Failure.DEAD_WORKER, f"the job failed{where}")
    return Report("over", None, f"the job ended{where}") if word == "COMPLETED" else None


class Living(NamedTuple):
    """A job that waits, runs or ends."""

    id: str
    state: str


def queue() -> dict[str, Living]:
    """Return the jobs of this user by name.

    Raises:
        ExecutorError: the controller does not answer.
    """
    lines = _run("squeue", "--me", "--noheader", "--format=%A|%T|%j").splitlines()
    rows = [line.strip().split("|", 2) for line in lines if line.count("|") >= 2]
    return {name: Living(job_id, state) for job_id, state, name in rows}


class JobWatch:
    """Follows jobs in a thread of its own, so that nobody waits for Slurm's commands."""

    def __init__(self, seconds: float) -> None:
        """Look every so many seconds."""
        self._seconds = seconds
        self._ids: dict[str, str] = {}
        self._reports: dict[str, Report] = {}
        self._missing: dict[str, float] = {}
        self._unwanted: set[str] = set()
        self._complaint = ""
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="slurm", daemon=True)
        self._thread.start()

    def follow(self, name: str, job_id: str) -> Report:
        """Return the latest news of a job, which is followed from now on."""
        self._ids.setdefault(name, job_id)
        return self._reports.setdefault(name, Report("waiting"))

    def forget(self, name: str) -> None:
        """Follow a job no longer."""
        self._reports.pop(name, None)

    def cancel(self, name: str) -> None:
        """Have a job cancelled as soon as the controller listens."""
        self._unwanted.add(name)
        self._wake.set()

    def close(self) -> None:
        """Stop looking, after a last look."""
        self._closed = True
        self._wake.set()
        self._thread.join(5.0)

    def refresh(self) -> None:
        """Ask what became of all jobs, and cancel what is to be cancelled.

        Raises:
            ExecutorError: the controller does not answer; what is known stays as it is.
        """
        watched = [name for name, known in list(self._reports.items()) if known.phase != "over"]
        if not watched:
            return
        living = queue()
        for name in living.keys() & set(watched):
            self._ids[name] = living[name].id
            self._tell(name, phase_of(living[name].state))
            self._missing.pop(name, None)
        gone = {name: self._ids[name] for name in watched if name not in living}
        for name, ending in _accounts(gone).items():
            self._bury(name, ending)
        self._unwanted &= living.keys()
        for job in [living[name] for name in self._unwanted]:
            # Again and again: a controller that crashes forgets what it was told last.
            if job.state != "COMPLETING":
                _run("scancel", "--quiet", job.id)

    def _bury(self, name: str, ending: Report | None) -> None:
        since = self._missing.setdefault(name, time.monotonic())
        if ending is None and time.monotonic() - since > LOST_SECONDS:
            ending = Report("over", Failure.LOST_NODE, f"Slurm forgot its job {self._ids[name]}")
        if ending is not None:
            self._tell(name, ending)
            del self._missing[name], self._ids[name]

    def _tell(self, name: str, report: Report) -> None:
        if name in self._reports:
            self._reports[name] = report

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait(self._seconds)
            self._wake.clear()
            try:
                self.refresh()
                self._complain("")
            except ExecutorError as error:
                self._complain(str(error))
            except Exception:
                # Were this thread to end, everybody would wait for ever.
                _log.exception("cannot follow the jobs")

    def _complain(self, words: str) -> None:
        """Say a trouble once, however long it lasts."""
        if words and words != self._complaint:
            _log.warning("%s", words)
        self._complaint = words


class _Accounts(SlurmInfoWatcher):
    """Asks sacct for the names too."""

    def _make_command(self) -> list[str] | None:
        command = super()._make_command()
        return command and [*command, "--format=JobID,State,NodeList,JobName"]


def _accounts(gone: dict[str, str]) -> dict[str, Report | None]:
    """Ask sacct, once for all jobs, how they ended.

    Args:
        gone: the id of each job by its name.
    """
    accounts = _Accounts()
    for job_id in filter(None, gone.values()):
        accounts.register_job(job_id)
    accounts.update()
    found = {name: accounts.get_info(job_id, mode="cache") for name, job_id in gone.items()}
    return {
        name: ending_of(facts["State"], facts["NodeList"]) if facts.get("JobName") == name else None
        for name, facts in found.items()
    }


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        raise ExecutorError(f"{command[0]}: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExecutorError(f"{command[0]}: {error}") from None
    return done.stdout
