"""A training run in a logged random order, with re-runs of its last phase."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel

from provenance import Transcript
from stemma.models import lm
from stemma.models.corpus import Rows
from stemma.models.training import Recipe, TrainingState
from stemma.models.weights import clone

Order = NDArray[np.int64]


@dataclass(frozen=True)
class Checkpoint:
    """A point of a training run from which it can be continued to the bit.

    Attributes:
        done: examples seen so far.
        model: the weights there; never trained further, only copied.
        state: the optimizer's state; None before the first step.
    """

    done: int
    model: PreTrainedModel
    state: TrainingState | None


@dataclass(frozen=True)
class TrainingRun:
    """A finished training run.

    Attributes:
        model: the final model.
        order: the order of training: ``order[t]`` is the row seen at position t, shape (n,).
        consumed: the rows that the training loop really took, in order, shape (n,).
        checkpoints: by the share of the run that was still to come.
        recipe: how it was trained.
    """

    model: PreTrainedModel
    order: Order
    consumed: Order
    checkpoints: dict[float, Checkpoint]
    recipe: Recipe


def transcript_of(rows: Rows, order: Order) -> Transcript:
    """Return the transcript of a run that will see ``rows`` in ``order``: position of each row.

    Made from the order alone, before training; rows stay in the corpus's own order, so that the
    transcript is not sorted by position.
    """
    positions = np.empty(len(order), np.int64)
    positions[order] = np.arange(len(order))
    return Transcript.of(rows, positions)


def initial_model(config: PretrainedConfig, seed: int, device: str) -> PreTrainedModel:
    """Return a fresh model that depends on ``seed`` alone, whatever other threads do."""
    model = lm.build(config, seed)
    model.to(device)  # type: ignore[arg-type]
    return model


def pretrain(
    config: PretrainedConfig,
    init_seed: int,
    rows: Rows,
    order: Order,
    recipe: Recipe,
    last_shares: Sequence[float] = (),
    after_step: Callable[[PreTrainedModel, int], object] | None = None,
) -> TrainingRun:
    """Train a fresh model on ``rows`` in ``order``, keeping a checkpoint before each last share.

    Args:
        config: the architecture.
        init_seed: decides the initial weights.
        rows: examples, shape (n, length).
        order: a permutation of the rows.
        recipe: batch size, learning rate, device.
        last_shares: for each f, keep the checkpoint before the last share f of the run.
        after_step: called with the model and the number of steps done.
    """
    model = initial_model(config, init_seed, recipe.device)
    return train_logged(model, rows, order, recipe, last_shares, after_step)


def train_logged(
    model: PreTrainedModel,
    rows: Rows,
    order: Order,
    recipe: Recipe,
    last_shares: Sequence[float] = (),
    after_step: Callable[[PreTrainedModel, int], object] | None = None,
) -> TrainingRun:
    """Train ``model`` in place; the other arguments are those of ``pretrain``."""
    cuts = {f: _cut(len(order), f, recipe.batch_size) for f in last_shares}
    stops = sorted({*cuts.values(), len(order)})
    done, state = 0, None
    consumed: list[Order] = []
    saved: dict[int, Checkpoint | None] = {}
    for stop in stops:
        hook = _counted(after_step, model, done // recipe.batch_size)
        taken, state = recipe.fit(model, rows, order[done:stop], state, hook)
        consumed.append(taken)
        done = stop
        saved[stop] = Checkpoint(stop, clone(model), state) if stop < len(order) else None
    checkpoints = {f: c for f, cut in cuts.items() if (c := saved[cut]) is not None}
    return TrainingRun(model, order, np.concatenate(consumed), checkpoints, recipe)


def _counted(
    after_step: Callable[[PreTrainedModel, int], object] | None, model: PreTrainedModel, before: int
) -> Callable[[int], object] | None:
    if after_step is None:
        return None
    return lambda step: after_step(model, before + step)


def _cut(n: int, share: float, batch_size: int) -> int:
    """Where the last ``share`` begins, at the end of a whole batch and of at least one step."""
    steps = n // batch_size
    return min(steps - 1, max(1, round(steps * (1 - share)))) * batch_size


def rerun(
    run: TrainingRun, share: float, rows: Rows, order: Order | None = None
) -> PreTrainedModel:
    """Train the last ``share`` of a run again from its checkpoint.

    Args:
        run: the run.
        share: one of the shares that ``pretrain`` kept a checkpoint for.
        rows: the examples.
        order: another order of the same last examples; None repeats the run's own.
    """
    checkpoint = run.checkpoints[share]
    model = clone(checkpoint.model)
    tail = run.order[checkpoint.done :] if order is None else order
    run.recipe.fit(model, rows, tail, checkpoint.state)
    return model


def candidates(
    run: TrainingRun, share: float, rows: Rows, m: int, rng: np.random.Generator
) -> list[PreTrainedModel]:
    """Return m + 1 re-runs of the last share: the true order first, then m reshuffled ones.

    All of them, the true one too, come from the same code path and the same checkpoint.
    """
    tail = run.order[run.checkpoints[share].done :]
    orders = [None, *(rng.permutation(tail) for _ in range(m))]
    return [rerun(run, share, rows, order) for order in orders]
