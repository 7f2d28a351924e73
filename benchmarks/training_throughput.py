"""Tokens a second in training: ours, transformers' Trainer, and a bare PyTorch loop.

All sides train the same model from the same weights with fused AdamW, on the same rows of the
standard library's text, in rounds, each side once a round, in an order that changes. Ours and the
bare loop take the rows in the same order, and must end with the same loss.

Run: OMP_NUM_THREADS=2 .venv/bin/python benchmarks/training_throughput.py [--steps 60] [--rounds 5]
"""

import argparse
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import timed
from torch.nn import functional
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.utils import logging

from stemma.data import text
from stemma.models.corpus import Rows
from stemma.models.lm import build, small_config
from stemma.models.tokenizer import train_bpe
from stemma.models.training import train

RATE = 1e-3
VOCABULARY = 4_000

SIZES: dict[str, dict[str, int]] = {
    "0.9M, 16 x 64": {"hidden": 128, "layers": 2, "heads": 4, "batch": 16, "length": 64},
    "0.9M, 4 x 32": {"hidden": 128, "layers": 2, "heads": 4, "batch": 4, "length": 32},
    "5M, 8 x 128": {"hidden": 256, "layers": 6, "heads": 8, "batch": 8, "length": 128},
}


def rows_of(tokens: list[int], length: int, count: int) -> Rows:
    """Return (count, length) consecutive pieces of the text."""
    return np.array(tokens[: count * length], dtype=np.int64).reshape(count, length)


def ours(model: PreTrainedModel, rows: Rows, batch: int) -> float:
    log = train(model, rows, np.arange(len(rows)), batch_size=batch, learning_rate=RATE)
    return float(log.losses[-1])


def bare(model: PreTrainedModel, rows: Rows, batch: int) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0, fused=True)
    model.train()
    for tokens in torch.from_numpy(rows).split(batch):
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def trainer(model: PreTrainedModel, rows: Rows, batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=0.0,
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        examples: Any = [{"input_ids": row, "labels": row} for row in torch.from_numpy(rows)]
        Trainer(model=model, args=arguments, train_dataset=examples).train()


SIDES: dict[str, Callable[[PreTrainedModel, Rows, int], float | None]] = {
    "ours": ours,
    "Trainer": trainer,
    "bare": bare,
}


def measure(name: str, tokens: list[int], steps: int, rounds: int) -> None:
    """Print the median speed of each side, and ours as a ratio within rounds."""
    size = dict(SIZES[name])
    batch, length = size.pop("batch"), size.pop("length")
    rows = rows_of(tokens, length, batch * steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    last: dict[str, float | None] = {}
    order = list(SIDES)
    for turn in range(rounds + 1):
        for side in order:
            model = build(small_config(vocab_size=VOCABULARY, **size), 0).to(device)
            last[side], spent = timed(lambda m=model, s=side: SIDES[s](m, rows, batch))
            if turn:  # the first round warms up
                seconds[side].append(spent)
        order = order[1:] + order[:1]
    assert last["ours"] is not None
    assert np.isclose(last["ours"], last["bare"], rtol=1e-3), last
    print(name)
    for side, times in seconds.items():
        ratio = np.median(np.array(times) / np.array(seconds["ours"]))
        print(f"  {side:8} {rows.size / np.median(times):9,.0f} tokens/s, ours {ratio:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    logging.set_verbosity_error()
    documents = text.documents("python-stdlib")[:400]
    tokenizer = train_bpe(documents, VOCABULARY)
    tokens: list[int] = []
    for document in documents:
        tokens += tokenizer(document, verbose=False)["input_ids"]
    for name in SIZES:
        measure(name, tokens, chosen.steps, chosen.rounds)


if __name__ == "__main__":
    main()
