"""Records what a training run really consumes, against a commitment made before its first step.

A run's folder holds

- ``commitment.json``: what may be published before training; ``secret.json``, readable by its
  owner alone: what opens it;
- ``log/``: one file a process, one record an optimizer step;
- ``transcript/``: the stored transcript, once ``finish`` was called; position = optimizer step,
  stratum = epoch, since a model cannot tell the order within a step.

The time in the commitment is the owner's word until the commitment is published.
"""

import heapq
import itertools
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from provenance.errors import BadTranscript
from provenance.evidence import Commitment, commitments
from provenance.evidence.build import now
from provenance.outcome import COMMITMENT, DATA, SECRET, Outcome, compared
from provenance.plans import (
    ShuffledSampler,
    data_leaves,
    index_batches,
    planned_leaves,
    row_of,
    rows_of,
)
from provenance.processes import barrier, gather, place, write_durably
from provenance.steplog import Step, StepLog
from provenance.store import Progress, StoredTranscript, write_transcript
from provenance.transcript import Transcript, token_digest

LOG, TRANSCRIPT = "log", "transcript"

Batch = TypeVar("Batch")


class TranscriptRecorder:
    """Records one training run; every process makes its own over the same shared folder.

    Three ways to feed it: ``provenance.trainer.attach`` for transformers' Trainer, ``wrap`` for a
    data loader, ``watch`` for any iterable of batches. A batch counts as consumed when the
    optimizer has stepped on it, not when it was fetched: ``follow`` the optimizer, or call
    ``step`` after each optimizer step.

    Attributes:
        folder: the run's folder.
        steps: optimizer steps recorded so far.
        epoch: of the data being consumed.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: object | None = None,
        *,
        rows: Callable[[Any], Sequence[NDArray[np.int64]]] = rows_of,
    ) -> None:
        """Open a run's folder, a new one or that of a run to be resumed.

        Args:
            folder: shared by all processes.
            tokenizer: of the token ids, named in the manifest.
            rows: returns the token ids of each example of a batch, padding removed.
        """
        self.folder = Path(folder)
        self._rank, self._world = place()
        self._tokenizer, self._rows = tokenizer, rows
        (self.folder / LOG).mkdir(parents=True, exist_ok=True)
        self._log = StepLog(self._log_path(self._rank))
        self._pending: list[NDArray[np.int64]] = []
        self._sampler: ShuffledSampler | None = None
        self.steps, self.epoch = 0, 0
        self._resumed = False
        self._first_pass = True

    @property
    def committed(self) -> bool:
        """Whether the commitment is on file."""
        return (self.folder / COMMITMENT).exists()

    def commit(self, plan: Transcript, seed: int | None = None) -> None:
        """Commit to a planned transcript: position = optimizer step, stratum = epoch.

        Args:
            plan: what the run will consume.
            seed: from which the order was drawn, if it was; hidden until opened.

        Raises:
            BadTranscript: there is a commitment already.
        """
        self._commit(lambda: (plan.digest, len(plan)), seed)

    def commit_plan(
        self,
        loader: Any,
        sampler: ShuffledSampler,
        *,
        epochs: int,
        accumulation: int = 1,
        max_steps: int | None = None,
    ) -> None:
        """Commit to what ``loader`` will make the run consume; every process calls this.

        Args:
            loader: a torch DataLoader over a dataset of examples as ``row_of`` takes them, already
                prepared by accelerate if it is to be.
            sampler: that it draws from.
            epochs: passes over the data.
            accumulation: batches an optimizer step.
            max_steps: where the run ends, if before its last epoch does.

        Raises:
            BadTranscript: there is a commitment already, or the loader ignores the sampler.
        """
        self._sampler = sampler
        ranks = gather(index_batches(loader, sampler, epochs))
        dataset = loader.dataset

        def root() -> tuple[str, int]:
            leaves = planned_leaves(
                ranks, lambda i: token_digest(row_of(dataset[i])), accumulation, max_steps
            )
            return leaves.root, len(leaves.positions)

        self._commit(root, sampler.seed)

    def commit_data(self, rows: Iterable[Any], seed: int, rule: str) -> None:
        """Commit to the data and to the seed of an order that cannot be laid out beforehand.

        ``finish`` can then check the data alone; that the order follows from the seed is for
        whoever knows the rule to check.

        Args:
            rows: all examples in the data's own order, as ``row_of`` takes them.
            seed: hidden until opened.
            rule: how the order follows from the seed, in words or code.

        Raises:
            BadTranscript: there is a commitment already.
        """
        self._refuse_a_second()
        if self._rank == 0:
            leaves = data_leaves(rows)
            np.save(self.folder / DATA, leaves.digests)
            made = commitments.commit(leaves.root, len(leaves.positions), now(), seed)
            self._keep(made, {"of": "data", "rule": rule})
        barrier()

    def _commit(self, root: Callable[[], tuple[str, int]], seed: int | None) -> None:
        self._refuse_a_second()
        if self._rank == 0:
            self._keep(commitments.commit(*root(), now(), seed), {})
        barrier()

    def _refuse_a_second(self) -> None:
        if self.committed:
            raise BadTranscript(
                f"{self.folder} holds a commitment already: call resume() to continue its run, or"
                " take a new folder"
            )
        barrier()

    def _keep(self, made: Commitment, more: dict[str, str]) -> None:
        secret = made.model_dump_json(indent=1, exclude_none=True)
        write_durably(self.folder / SECRET, secret + "\n", 0o600)
        public = json.dumps(commitments.public(made) | more, indent=1)
        # Last: its presence says that the commitment is complete.
        write_durably(self.folder / COMMITMENT, public + "\n", 0o644)

    def resume(self, step: int, epoch: int | None = None) -> None:
        """Continue a run from a checkpoint: later steps are forgotten, none is recorded twice.

        Args:
            step: optimizer steps done at the checkpoint; 0 starts over.
            epoch: of the data consumed next; that of the last step kept by default.

        Raises:
            BadTranscript: no commitment, or steps before the checkpoint were not recorded.
        """
        if not self.committed:
            raise BadTranscript(
                f"{self.folder} holds no commitment: a run that was not recorded from its first"
                " step cannot be recorded later; start it over"
            )
        if self._log.end < step:
            raise BadTranscript(
                f"the checkpoint is at step {step} but the log of process {self._rank} ends at step"
                f" {self._log.end}: resume from a checkpoint no later than that"
            )
        self._log.drop_from(step)
        if self._rank == 0:
            for path in (self.folder / LOG).glob("rank-*.sqlite"):
                if int(path.stem.removeprefix("rank-")) >= self._world:
                    StepLog(path).drop_from(step)
        if epoch is None:
            epoch = (self._log.epoch_of(step - 1) or 0) if step else 0
        self.steps, self.epoch, self._pending = step, epoch, []
        self._resumed = self._first_pass = True

    def require_seed(self, seed: int) -> None:
        """Check that the commitment is to this seed.

        Raises:
            BadTranscript: it is to another.
        """
        kept = Commitment.model_validate_json((self.folder / SECRET).read_text())
        if kept.seed != seed:
            raise BadTranscript(
                f"the order committed to in {self.folder} is not that of this seed: resume with"
                " the seed of the run's first start, or take a new folder"
            )

    def consume(self, batch: Any) -> None:
        """Note a batch that is fed to the model; it counts once ``step`` follows.

        Raises:
            BadTranscript: nothing was committed to, a log to be resumed, a batch without token
                ids.
        """
        if not self.committed:
            raise BadTranscript(
                "commit before the first step: commit_plan(), commit() or commit_data()"
            )
        if not self._resumed and self._log.end:
            raise BadTranscript(
                f"{self.folder} has records of {self._log.end} steps: call resume(step) with the"
                " step of the checkpoint, resume(0) to start over, or take a new folder"
            )
        self._resumed = True
        self._pending += self._rows(batch)

    def forget_pending(self) -> None:
        """Drop batches noted since the last optimizer step: their gradients were thrown away."""
        self._pending = []

    def step(self) -> None:
        """Record that the optimizer stepped on the batches noted since its last step."""
        self._log.append(self.steps, self.epoch, self._world, self._pending)
        self.steps, self._pending = self.steps + 1, []

    def follow(self, optimizer: Any) -> None:
        """Call ``step`` after each step of a torch optimizer (or of one that accelerate wraps).

        An optimizer that a gradient scaler holds back on overflow did not step; call
        ``forget_pending`` where that may happen.
        """
        inner = getattr(optimizer, "optimizer", optimizer)
        inner.register_step_post_hook(lambda *_: self.step())

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of one pass, noting each as it is handed over.

        Each call begins the next epoch, but the first and the first after ``resume``.
        """
        self._begin_pass()
        for batch in batches:
            self.consume(batch)
            yield batch

    def _begin_pass(self) -> None:
        self.epoch += 0 if self._first_pass else 1
        self._first_pass = False
        if self._sampler is not None:
            self._sampler.set_epoch(self.epoch)

    def wrap(self, loader: Any) -> "RecordedLoader":
        """Return a data loader that records each pass over ``loader``."""
        return RecordedLoader(self, loader)

    def flush(self) -> None:
        """Bring the log to the disk: call it when a checkpoint is saved."""
        self._log.flush()

    def close(self) -> None:
        """Let go of the log without finishing; a later recorder can resume the run."""
        self.flush()
        self._log.close()

    def finish(self, progress: Progress | None = None) -> Outcome:
        """Merge the logs of all processes into ``transcript/`` and compare with the commitment.

        Every process calls this. A difference is also warned of.

        Args:
            progress: called with the rows written, and 0.

        Raises:
            BadTranscript: no commitment or no step, a process whose log lacks steps, a run that
                was finished before.
        """
        if not self.committed:
            raise BadTranscript(f"{self.folder} holds no commitment: nothing was recorded")
        self.close()
        barrier()
        path = self.folder / TRANSCRIPT
        if self._rank == 0:
            write_transcript(path, self._merged(), self._tokenizer, progress=progress)
            for name in (COMMITMENT, SECRET):
                shutil.copy(self.folder / name, path / name)
        barrier()
        outcome = compared(self.folder, StoredTranscript.open(path))
        if not outcome.agrees:
            warnings.warn(outcome.message, stacklevel=2)
        return outcome

    def _merged(self) -> Iterator[Transcript]:
        """Yield the transcript of each optimizer step, all processes together."""
        logs = [StepLog(p) for p in sorted((self.folder / LOG).glob("rank-*.sqlite"))]
        merged: Iterator[Step] = heapq.merge(*logs, key=lambda s: s.step)
        for expected, (step, group) in enumerate(itertools.groupby(merged, lambda s: s.step)):
            parts = list(group)
            if step != expected or len(parts) != parts[0].world:
                raise BadTranscript(
                    f"{self.folder / LOG} lacks records of step {min(step, expected)}: a process's"
                    " log is missing or was cut; resume from a checkpoint before that step"
                )
            rows = [row for part in parts for row in part.rows]
            if rows:
                yield Transcript.of(
                    rows, np.full(len(rows), step), np.full(len(rows), parts[0].epoch)
                )

    def _log_path(self, rank: int) -> Path:
        return self.folder / LOG / f"rank-{rank:05d}.sqlite"


class RecordedLoader:
    """A data loader whose passes are recorded; all else is the loader's own."""

    def __init__(self, recorder: TranscriptRecorder, loader: Any) -> None:
        self._recorder, self._loader = recorder, loader

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass; a sampler that was committed to draws the order of the pass's epoch."""
        return self._recorder.watch(self._loader)

    def __len__(self) -> int:
        """Return the number of batches of a pass."""
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the loader."""
        return getattr(self._loader, name)
