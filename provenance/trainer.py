"""Records what transformers' Trainer consumes."""

from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from provenance.errors import BadTranscript
from provenance.plans import ShuffledSampler
from provenance.recorder import TranscriptRecorder


def attach(trainer: Trainer, recorder: TranscriptRecorder, seed: int) -> "RecorderCallback":
    """Let a Trainer draw its order from ``seed`` and record what it consumes.

    The commitment to the whole order is on disk before the first step; a run that is resumed with
    ``resume_from_checkpoint`` continues its record, over the same folder and with the same seed.
    Call ``recorder.finish()`` after ``trainer.train()``.

    Args:
        trainer: with a training set that has a length.
        recorder: of the run's folder.
        seed: of the order; keep it secret until the order is opened.

    Raises:
        BadTranscript: a training set without length.
    """
    dataset: Any = trainer.train_dataset
    if not hasattr(dataset, "__len__"):
        raise BadTranscript(
            "the order of a training set without length cannot be drawn beforehand: commit_data()"
            " to its examples, and pass batches through watch()"
        )
    sampler = ShuffledSampler(len(dataset), seed)
    # There is no public way to give the Trainer a sampler, short of a subclass of it.
    setattr(trainer, "_get_train_sampler", lambda *_, **__: sampler)  # noqa: B010
    callback = RecorderCallback(recorder, sampler)
    trainer.add_callback(callback)
    return callback


class RecorderCallback(TrainerCallback):
    """Notes every batch that enters the model in training, and each optimizer step.

    Batches are taken where they enter the model, not where they are fetched: what workers fetch
    ahead, or what a resumed run skips, is not noted.
    """

    def __init__(self, recorder: TranscriptRecorder, sampler: ShuffledSampler) -> None:
        self.recorder, self.sampler = recorder, sampler
        self._hook: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Commit to the order, or continue the record of a run that is resumed.

        Raises:
            BadTranscript: a resumed run without a record or with another seed, several GPUs in
                one process, a data loader that does not follow the sampler.
        """
        if args.n_gpu > 1:
            raise BadTranscript("several GPUs in one process: start one process a GPU (torchrun)")
        self._unhook()
        if self.recorder.committed:
            self.recorder.require_seed(self.sampler.seed)
            self.recorder.resume(state.global_step, int(state.epoch or 0))
        elif state.global_step:
            raise BadTranscript(
                f"the run resumes at step {state.global_step} but {self.recorder.folder} holds no"
                " record of the steps before: start over"
            )
        else:
            self.recorder.commit_plan(
                more["train_dataloader"],
                self.sampler,
                epochs=state.num_train_epochs,
                accumulation=args.gradient_accumulation_steps,
                max_steps=state.max_steps,
            )
        self._hook = more["model"].register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, model: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if model.training:
            self.recorder.consume(named if "input_ids" in named else positional[0])

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draw the order of this epoch, also behind the wrappers of a resumed loader."""
        self.sampler.set_epoch(int(state.epoch or 0))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin an optimizer step."""
        self.recorder.forget_pending()
        self.recorder.epoch = int(state.epoch or 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Record the optimizer step."""
        self.recorder.step()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Bring the log to the disk with the checkpoint."""
        self.recorder.flush()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop listening to the model."""
        self._unhook()

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
