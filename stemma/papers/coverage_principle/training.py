"""Training a stack of models: full batches or rows drawn at random, AdamW, one budget for all."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stemma.papers.coverage_principle.network import Parameters, forward

PROMPT = 3
"""Tokens given, x1 x2 x3; what follows is learned."""


class Schedule(NamedTuple):
    """The budget that every condition gets, and how it is spent.

    Attributes:
        steps: updates; the last one's weights are the result.
        rate: learning rate after ``warmup`` steps of linear growth, constant from then on.
        decay: AdamW's weight decay of matrices and embeddings.
        batch: rows a step; all of them, in one order, if there are no more.
        looks: evaluations, equally spaced, the last after the last step.
    """

    steps: int
    rate: float
    decay: float
    warmup: int
    batch: int
    looks: int

    def look_steps(self) -> list[int]:
        """Return the numbers of updates after which the models are evaluated."""
        return [round(self.steps * (i + 1) / self.looks) for i in range(self.looks)]


def loss(p: Parameters, sequences: Tensor, heads: int) -> Tensor:
    """Cross-entropy in nats of each model on the tokens after the prompt, shape (models,).

    ``sequences`` has shape (models, batch, length).
    """
    targets = sequences[:, :, PROMPT:]
    logits = forward(p, sequences[:, :, :-1], heads, keep=targets.shape[2]).logits
    each = functional.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none")
    return each.view(len(sequences), -1).mean(dim=1)


def make_optimizer(p: Parameters, schedule: Schedule) -> torch.optim.AdamW:
    """Return AdamW over a stack; biases and layer norms do not decay."""
    matrices = [v for v in p.values() if v.dim() == 3]
    vectors = [v for v in p.values() if v.dim() == 2]
    groups = [
        {"params": matrices, "weight_decay": schedule.decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.rate, fused=True)


def train(
    p: Parameters,
    sequences: Tensor,
    heads: int,
    schedule: Schedule,
    seeds: Sequence[int],
    look: Callable[[int], None],
) -> None:
    """Train the models in place, calling ``look(step)`` at the schedule's evaluations.

    Args:
        p: parameters of the stack.
        sequences: each model's training rows, shape (models, N, length).
        heads: attention heads.
        schedule: the budget.
        seeds: of each model's order of rows, where a batch holds not all.
        look: called with the number of updates done.
    """
    optimizer = make_optimizer(p, schedule)
    drawing = [torch.Generator().manual_seed(seed) for seed in seeds]
    looks = set(schedule.look_steps())
    rows = torch.arange(len(sequences), device=sequences.device)[:, None]
    for step in range(1, schedule.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * min(1.0, step / max(1, schedule.warmup))
        batch = sequences
        if schedule.batch < sequences.shape[1]:
            size = (schedule.batch,)
            chosen = [torch.randint(sequences.shape[1], size, generator=g) for g in drawing]
            batch = sequences[rows, torch.stack(chosen).to(sequences.device)]
        optimizer.zero_grad()
        # The models share no weights: the gradient of the sum is each model's own.
        loss(p, batch, heads).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step in looks:
            look(step)
