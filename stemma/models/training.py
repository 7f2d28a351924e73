"""Training with AdamW in an explicit order of examples, resumable to the bit.

The order is the transcript: the loop reads the rows at ``order[0]``, ``order[1]``, ... and logs the
very indices with which it gathered each batch.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel

Schedule = Literal["constant", "cosine", "linear", "inverse_sqrt"]
Loss = Callable[[PreTrainedModel, torch.Tensor], torch.Tensor]
"""Of a model and token ids (batch, length): a scalar to minimize."""


@dataclass(frozen=True)
class TrainingState:
    """Where training stands, besides the model's weights.

    Attributes:
        step: steps done since the first phase began.
        optimizer: state dict of the optimizer; ``train`` copies it before use.
    """

    step: int
    optimizer: dict[str, Any]


@dataclass(frozen=True)
class TrainingLog:
    """What one call of ``train`` did.

    Attributes:
        losses: mean next-token loss in nats of each step's batch before its update, shape (steps,).
        learning_rates: of each step, shape (steps,).
        batches: for each step, the indices of the rows it was trained on, each (batch_size,).
        state: to continue from here; give it to the next call of ``train``.
    """

    losses: NDArray[np.float64]
    learning_rates: NDArray[np.float64]
    batches: list[NDArray[np.int64]]
    state: TrainingState

    @cached_property
    def consumed(self) -> NDArray[np.int64]:
        """The indices of all rows trained on, in the order of use, shape (examples,)."""
        return np.concatenate(self.batches)


@dataclass(frozen=True)
class LearningRate:
    """A learning rate as a function of the step.

    Attributes:
        peak: the rate after warm-up.
        schedule: ``constant``; decay by a half ``cosine`` or ``linear``; or ``inverse_sqrt``, with
            the root of the steps done, which does not end.
        total: the step at which the decay ends.
        warmup: steps of linear growth up to the peak.
        final_fraction: the share of the peak that the decay ends at.
    """

    peak: float
    schedule: Schedule
    total: int
    warmup: int = 0
    final_fraction: float = 0.0

    def at(self, step: int) -> float:
        """Return the learning rate of a step (the first step is 0)."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.peak
        if self.schedule == "inverse_sqrt":
            return float(self.peak * (max(1, self.warmup) / (step + 1)) ** 0.5)
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        left = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.peak * (self.final_fraction + (1 - self.final_fraction) * left)


def train(
    model: PreTrainedModel,
    rows: NDArray[np.int64],
    order: NDArray[np.int64],
    *,
    batch_size: int,
    learning_rate: float,
    schedule: Schedule = "constant",
    warmup: int = 0,
    final_fraction: float = 0.0,
    total_steps: int | None = None,
    weight_decay: float = 0.0,
    state: TrainingState | None = None,
    bf16: bool = False,
    loss: Loss | None = None,
    after_step: Callable[[int], object] | None = None,
) -> TrainingLog:
    """Train ``model`` in place on the rows that ``order`` names, ``batch_size`` at a time.

    The model's device is used. On the CPU, equal inputs give equal bits (for one number of
    threads), and two calls, the second with the first's ``state``, equal one call on the joined
    order, if the first order is a multiple of ``batch_size`` and both give the same
    ``total_steps``. Nothing global is set; a model with dropout draws from the global generator.

    Args:
        model: a causal language model.
        rows: token ids, shape (n, length).
        order: indices of rows, shape (examples,); repeats are further epochs.
        batch_size: rows a step; the last batch may be smaller.
        learning_rate: the peak rate of AdamW.
        schedule: how the rate goes on after the warm-up.
        warmup: steps of linear warm-up.
        final_fraction: where the decay ends, as a share of the peak.
        total_steps: where the decay ends, counted from the first phase's start; by default where
            this call ends.
        weight_decay: decoupled weight decay of all parameters.
        state: where an earlier call ended.
        bf16: compute the forward pass in bfloat16 (autocast).
        loss: what to minimize, of the model and a batch of rows; the next-token loss by default.
        after_step: called after each step with the number of steps this call has done.

    Raises:
        ValueError: an empty order, an index outside the rows, or a batch size below 1.
    """
    _check(rows, order, batch_size)
    batches = torch.split(torch.from_numpy(np.array(order, dtype=np.int64)), batch_size)
    first = state.step if state else 0
    rate = LearningRate(
        learning_rate, schedule, total_steps or first + len(batches), warmup, final_fraction
    )
    optimizer = _optimizer(model, weight_decay, state)
    tokens = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64)).to(model.device)
    losses = torch.empty(len(batches), device=model.device)
    model.train()
    for i, indices in enumerate(batches):
        optimizer.param_groups[0]["lr"] = rate.at(first + i)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            value = (loss or next_token_loss)(model, tokens[indices])
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses[i] = value.detach()
        if after_step is not None:
            after_step(i + 1)
    return TrainingLog(
        losses=losses.double().cpu().numpy(),
        learning_rates=np.array([rate.at(first + i) for i in range(len(batches))]),
        batches=[indices.numpy() for indices in batches],
        state=TrainingState(first + len(batches), optimizer.state_dict()),
    )


@dataclass(frozen=True)
class Recipe:
    """How a family of models is trained: AdamW at a constant rate, no padding.

    Attributes:
        batch_size: examples a step.
        learning_rate: of AdamW, constant.
        device: where models are trained.
        bf16: compute the forward pass in bfloat16.
    """

    batch_size: int
    learning_rate: float
    device: str = "cpu"
    bf16: bool = False

    def fit(
        self,
        model: PreTrainedModel,
        rows: NDArray[np.int64],
        order: NDArray[np.int64],
        state: TrainingState | None = None,
        after_step: Callable[[int], object] | None = None,
        loss: Loss | None = None,
    ) -> tuple[NDArray[np.int64], TrainingState]:
        """Train ``model`` in place; return the rows it consumed, in order, and the state."""
        log = train(
            model,
            rows,
            order,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            state=state,
            bf16=self.bf16,
            loss=loss,
            after_step=after_step,
        )
        return log.consumed, log.state


def next_token_loss(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy in nats of tokens (batch, length), each given those before."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def _check(rows: NDArray[np.int64], order: NDArray[np.int64], batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len(order) == 0:
        raise ValueError("the order is empty")
    if np.min(order) < 0 or np.max(order) >= len(rows):
        raise ValueError(f"the order names rows outside 0..{len(rows) - 1}")


def _optimizer(
    model: PreTrainedModel, weight_decay: float, state: TrainingState | None
) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=weight_decay, fused=True)
    if state is not None:
        # The copy lets one state start several phases: AdamW updates its moments in place.
        optimizer.load_state_dict(copy.deepcopy(state.optimizer))
    return optimizer
