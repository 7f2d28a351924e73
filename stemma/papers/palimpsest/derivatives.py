"""Bob: what can be made from Alice's model without looking at her order."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from stemma.models.sampling import sample
from stemma.models.weights import clone
from stemma.papers.palimpsest.corpus import Rows
from stemma.papers.palimpsest.pretraining import Recipe


def fine_tunes(
    model: PreTrainedModel,
    rows: Rows,
    amounts: Sequence[float],
    recipe: Recipe,
    rng: np.random.Generator,
) -> dict[float, PreTrainedModel]:
    """Fine-tune once over ``rows`` with a fresh optimizer, keeping a copy after each amount.

    At a constant learning rate the copy after an amount is the model that a fine-tune of that
    amount would have given.

    Args:
        model: where to start; left as it is.
        rows: new examples, shape (n, length), n the size of Alice's own run.
        amounts: shares of ``rows``, in (0, 1].
        recipe: batch size and learning rate.
        rng: decides the order.
    """
    bob, order = clone(model), rng.permutation(len(rows))
    done, state = 0, None
    kept: dict[float, PreTrainedModel] = {}
    for amount in sorted(amounts):
        stop = max(1, round(amount * len(rows) / recipe.batch_size)) * recipe.batch_size
        if stop > done:
            _, state = recipe.fit(bob, rows, order[done:stop], state)
            done = min(stop, len(rows))
        kept[amount] = clone(bob)
    return kept


def student(
    teacher: PreTrainedModel,
    start: PreTrainedModel,
    prompts: Rows,
    length: int,
    recipe: Recipe,
    seed: int,
) -> PreTrainedModel:
    """Train a copy of ``start`` on text sampled from the teacher (temperature 1).

    Args:
        teacher: the model that writes.
        start: initial weights of the student; independent of the teacher's order.
        prompts: beginnings, shape (n, prompt length).
        length: tokens of an example, prompt included.
        recipe: batch size and learning rate.
        seed: decides the text and the order of training.
    """
    new = sample(teacher, prompts, length - prompts.shape[1], seed=seed)
    rows = np.concatenate([prompts, new], axis=1)
    model = clone(start)
    recipe.fit(model, rows, np.random.default_rng(seed).permutation(len(rows)))
    return model
