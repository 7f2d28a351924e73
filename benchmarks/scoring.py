"""Speed of scoring: ours, the authors' way, lm-eval, and the bare forward pass.

All sides score the same real sequences of 16 to 256 tokens with SmolLM2-135M in fp32, in one run:
blocks between blank lines as the text has them (``blocks``), or text cut to lengths that are
uniform (``uniform``). The sequences are scored in rounds, each side once a round, in an order that
changes.

- ours: TransformersScorer.
- authors: as the perplexity metric of `evaluate` describes it, which their code calls: batches of
  16 in the given order, padded, with mask; cross-entropy over the logits of every position.
- lm-eval: HFLM's log-likelihood of the same token ids (first token as context), batches of 16;
  left out if lm-eval is not installed.
- bare model, bare backbone: forward pass of ours' batches, with and without the LM head, nothing
  computed from the result.

Run: OMP_NUM_THREADS=1 python benchmarks/scoring.py [--lengths blocks] [sequences] [rounds]
"""

import argparse
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from provenance.scorers import TransformersScorer, sequence_scores
from provenance.scorers.local import batches
from stemma.data.text import documents
from stemma.models.pretrained import smollm2

Rows = list[NDArray[np.int64]]
Side = Callable[[Rows], "NDArray[np.float64] | None"]

SHORTEST, LONGEST = 16, 256
AUTHORS_BATCH = 16
PIECES = 4  # sequences of one document
BUDGET = 512  # TransformersScorer's default on CPU


class Clock(NamedTuple):
    """Seconds of one side."""

    wall: float
    cpu: float


def sequences(tokenizer: Any, count: int, lengths: str) -> Rows:
    """Return the first ``count`` sequences of the standard library's text, documents in turn."""
    pieces = _blocks if lengths == "blocks" else _cuts
    generator = np.random.default_rng(0)
    rows: Rows = []
    for text in documents("python-stdlib"):
        rows += pieces(tokenizer, text[:8_000], generator)
        if len(rows) >= count:
            return rows[:count]
    raise SystemExit(f"only {len(rows)} sequences in the text")


def _cuts(tokenizer: Any, text: str, generator: np.random.Generator) -> Rows:
    """Cut text into sequences whose lengths are uniform on 16 ... 256."""
    ids = np.array(tokenizer(text, verbose=False)["input_ids"], dtype=np.int64)
    lengths = generator.integers(SHORTEST, LONGEST + 1, PIECES)
    ends = np.cumsum(lengths)
    return [ids[end - n : end] for end, n in zip(ends, lengths, strict=True) if end <= len(ids)]


def _blocks(tokenizer: Any, text: str, generator: np.random.Generator) -> Rows:
    """Return blocks between blank lines that have 16 to 256 tokens, four by chance."""
    found = [
        np.array(tokenizer(block, verbose=False)["input_ids"], dtype=np.int64)
        for block in text.split("\n\n")
    ]
    fit = [ids for ids in found if SHORTEST <= len(ids) <= LONGEST]
    return [fit[i] for i in generator.permutation(len(fit))[:PIECES]]


def padded(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids filled up on the right, and the mask of the real ones."""
    ids = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.from_numpy(row)
        mask[n, : len(row)] = 1
    return ids, mask


@torch.inference_mode()
def authors(model: Any, rows: Rows) -> NDArray[np.float64]:
    scores = []
    for start in range(0, len(rows), AUTHORS_BATCH):
        ids, mask = padded(rows[start : start + AUTHORS_BATCH])
        logits = model(ids, attention_mask=mask).logits
        losses = functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none"
        )
        scores.append(-(losses * mask[:, 1:]).sum(dim=1).double().numpy())
    return np.concatenate(scores)


def lm_eval(model: Any, tokenizer: Any) -> Side:
    from lm_eval.models.huggingface import HFLM

    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=AUTHORS_BATCH)

    def score(rows: Rows) -> NDArray[np.float64]:
        requests = [
            ((str(n), str(n)), row[:1].tolist(), row[1:].tolist()) for n, row in enumerate(rows)
        ]
        answers = harness._loglikelihood_tokens(requests, disable_tqdm=True)
        return np.array([value for value, _ in answers])

    return score


@torch.inference_mode()
def bare(part: Any, rows: Rows) -> None:
    for batch in batches([len(row) for row in rows], BUDGET):
        ids, _ = padded([rows[i] for i in batch])
        part(ids[:, :-1], use_cache=False)


def timed(side: Side, rows: Rows) -> tuple[Clock, "NDArray[np.float64] | None"]:
    wall, cpu = time.perf_counter(), time.process_time()
    scores = side(rows)
    return Clock(time.perf_counter() - wall, time.process_time() - cpu), scores


def measure(sides: dict[str, Side], rows: Rows, rounds: int) -> dict[str, list[Clock]]:
    """Time every side on every round's share of the rows, and compare the scores."""
    clocks: dict[str, list[Clock]] = {name: [] for name in sides}
    for number in range(rounds):
        share = rows[number::rounds]
        names = list(sides)[number % len(sides) :] + list(sides)[: number % len(sides)]
        scores = {}
        for name in names:
            clock, scores[name] = timed(sides[name], share)
            clocks[name].append(clock)
        ours = scores.pop("ours")
        for name, other in scores.items():
            if other is not None:
                gap = np.abs(other - ours).max()
                print(f"round {number + 1}: largest difference to {name}: {gap:.1e} nats a row")
    return clocks


def report(clocks: dict[str, list[Clock]], tokens: int) -> None:
    """Print seconds, tokens a second, and how many times ours' time each side takes."""
    total = {
        name: Clock(*(sum(c) for c in zip(*rounds, strict=True))) for name, rounds in clocks.items()
    }
    ours = total["ours"]
    print(
        f"{'side':14} {'wall s':>8} {'CPU s':>8} {'tokens/s':>9} {'x ours':>7}  x ours, each round"
    )
    for name, clock in total.items():
        each = [c.wall / o.wall for c, o in zip(clocks[name], clocks["ours"], strict=True)]
        print(
            f"{name:14} {clock.wall:8.1f} {clock.cpu:8.1f} {tokens / clock.wall:9.0f}"
            f" {clock.wall / ours.wall:7.2f}  {', '.join(f'{x:.2f}' for x in each)}"
        )


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sequences", type=int, nargs="?", default=2_000)
    parser.add_argument("rounds", type=int, nargs="?", default=4)
    parser.add_argument("--lengths", choices=["uniform", "blocks"], default="blocks")
    args = parser.parse_args()
    model, tokenizer = smollm2()
    rows = sequences(tokenizer, args.sequences, args.lengths)
    tokens = sum(len(row) for row in rows)
    scorer = TransformersScorer(model)
    sides: dict[str, Side] = {
        "ours": lambda part: sequence_scores(scorer.log_probs(part)),
        "bare model": lambda part: bare(model, part),
        "authors": lambda part: authors(model, part),
        "bare backbone": lambda part: bare(model.base_model, part),
    }
    if importlib.util.find_spec("lm_eval"):
        sides["lm-eval"] = lm_eval(model, tokenizer)
    scorer.log_probs(rows[:4])  # warm
    clocks = measure(sides, rows, args.rounds)
    print(
        f"{len(rows)} sequences ({args.lengths}), {tokens} tokens, SmolLM2-135M fp32,"
        f" {torch.get_num_threads()} thread(s), {os.cpu_count()} cores, {platform.machine()},"
        f" torch {torch.__version__}"
    )
    report(clocks, tokens)


if __name__ == "__main__":
    main()
