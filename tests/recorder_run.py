"""A tiny training run whose model logs by itself what it is fed; also run as several processes.

Run: python recorder_run.py trainer|accelerate FOLDER STOP_AT (under RANK, WORLD_SIZE, MASTER_*)
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from provenance.plans import ShuffledSampler
from provenance.recorder import Outcome, TranscriptRecorder
from provenance.trainer import attach

SEED, ROWS = 11, 41


class Interrupted(RuntimeError):
    """Stands for a run that is killed."""


class LoggingModel(LlamaForCausalLM):
    """Logs the token ids of every training forward pass, padding removed."""

    seen: list[list[list[int]]]

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **more: Any) -> Any:
        if self.training:
            rows = zip(input_ids, attention_mask, strict=True)
            self.seen.append([row[mask != 0].tolist() for row, mask in rows])
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **more)


def model() -> LoggingModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
    )
    made = LoggingModel(config)
    made.seen = []
    return made


def dataset(n: int = ROWS) -> list[dict[str, list[int]]]:
    """Rows of 2 to 6 ids; the first two ids name the row."""
    rng = np.random.default_rng(3)
    rows = [[1 + i, 100 + i, *rng.integers(1, 200, rng.integers(0, 5))] for i in range(n)]
    return [{"input_ids": [int(t) for t in row]} for row in rows]


def collate(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(e["input_ids"]) for e in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, example in enumerate(examples):
        ids[i, : len(example["input_ids"])] = torch.tensor(example["input_ids"])
        mask[i, : len(example["input_ids"])] = 1
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(mask == 0, -100),
    }


class StopAt(TrainerCallback):
    """Kills the run in the middle of an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Interrupted


def trainer(folder: Path, logging: LoggingModel, stop_at: int | None, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        **{
            "num_train_epochs": 2,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 3,
            "dataloader_num_workers": 2,
            "save_steps": 5,
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "logging_steps": 1000,
            "remove_unused_columns": False,
            **options,
        },
    )
    callbacks = [] if stop_at is None else [StopAt(stop_at)]
    return Trainer(
        logging, arguments, train_dataset=dataset(), data_collator=collate, callbacks=callbacks
    )


def train(
    folder: Path, stop_at: int | None = None, resume: bool = False, seed: int = SEED, **options: Any
) -> tuple[TranscriptRecorder, LoggingModel]:
    """Train with transformers' Trainer, recorded under ``folder / "run"``."""
    logging = model()
    runner = trainer(folder, logging, stop_at, **options)
    recorder = TranscriptRecorder(folder / "run")
    attach(runner, recorder, seed)
    try:
        runner.train(resume_from_checkpoint=resume)
    except Interrupted:
        recorder.close()
    return recorder, logging


def accelerated(folder: Path) -> tuple[Outcome, LoggingModel]:
    """Train with a loop of one's own over accelerate: batches of 2, two a step, two epochs."""
    from accelerate import Accelerator

    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    logging = model()
    sampler = ShuffledSampler(ROWS, SEED)
    loader = DataLoader(dataset(), batch_size=2, sampler=sampler, collate_fn=collate)  # type: ignore[arg-type]
    wrapped, optimizer, loader = accelerator.prepare(
        logging, torch.optim.SGD(logging.parameters(), lr=0.1), loader
    )
    recorder = TranscriptRecorder(folder / "run")
    recorder.commit_plan(loader, sampler, epochs=2, accumulation=2)
    recorder.follow(optimizer)
    loader = recorder.wrap(loader)
    wrapped.train()
    for _ in range(2):
        for batch in loader:
            with accelerator.accumulate(wrapped):
                accelerator.backward(wrapped(**batch).loss)
                optimizer.step()
                optimizer.zero_grad()
    return recorder.finish(), logging


def main(kind: str, folder: Path, stop_at: int) -> None:
    """Be one of several processes; leave a log of what this one's model was fed."""
    torch.set_num_threads(1)
    options = {"ddp_backend": "gloo", "dataloader_num_workers": 1, "save_steps": 2}
    outcome = None
    if kind == "accelerate":
        outcome, logging = accelerated(folder)
    else:
        resume = (folder / "checkpoints").exists()
        recorder, logging = train(
            folder, None if resume else stop_at, resume, num_train_epochs=3, **options
        )
        outcome = recorder.finish() if resume else None
    report = {"seen": logging.seen, "agrees": outcome and outcome.agrees}
    name = f"seen-{os.environ['RANK']}-{0 if outcome is None else 1}.json"
    (folder / name).write_text(json.dumps(report))
    # A killed run does not say good-bye to the others.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
