"""What can be made from a model by further training: fine-tunes, LoRA, students.

Nothing here looks at the order in which the model itself was trained. Merges and rounding need no
training and are in ``weights``; preference tuning is in ``dpo``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from stemma.models.corpus import Rows
from stemma.models.lm import seeded
from stemma.models.sampling import sample
from stemma.models.training import Recipe
from stemma.models.weights import clone


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
        rows: new examples, shape (n, length).
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


def fine_tune(
    model: PreTrainedModel, rows: Rows, amount: float, recipe: Recipe, seed: int
) -> PreTrainedModel:
    """Return a copy trained once over a random share ``amount`` of ``rows``; see ``fine_tunes``."""
    return fine_tunes(model, rows, [amount], recipe, np.random.default_rng(seed))[amount]


def lora(
    model: PreTrainedModel, rows: Rows, recipe: Recipe, seed: int, *, rank: int = 8
) -> PreTrainedModel:
    """Train a low-rank update of every linear layer, once over ``rows``, and merge it.

    LoRA (Hu et al. 2022) with scale alpha / rank = 2, without dropout; needs the package peft.

    Args:
        model: where to start; left as it is.
        rows: new examples, shape (n, length).
        recipe: batch size and learning rate.
        seed: decides the initial update (which is zero in effect) and the order.
        rank: of the update.

    Returns:
        A plain model of the same architecture.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with seeded(seed):
        adapted: Any = get_peft_model(clone(model), config)
    recipe.fit(adapted, rows, np.random.default_rng(seed).permutation(len(rows)))
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def logit_student(
    teacher: PreTrainedModel, start: PreTrainedModel, rows: Rows, recipe: Recipe, seed: int
) -> PreTrainedModel:
    """Train a copy of ``start`` on the teacher's next-token distributions, once over ``rows``.

    Args:
        teacher: the model whose distributions are learned.
        start: initial weights of the student, of the same vocabulary.
        rows: examples, shape (n, length); their tokens are given, never learned.
        recipe: batch size and learning rate.
        seed: decides the order.
    """
    teacher, student_model = clone(teacher).train(False), clone(start)

    def loss(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = teacher(input_ids=tokens[:, :-1], use_cache=False).logits
        return divergence(wanted, model(input_ids=tokens[:, :-1], use_cache=False).logits)

    order = np.random.default_rng(seed).permutation(len(rows))
    recipe.fit(student_model, rows, order, loss=loss)
    return student_model


def divergence(teacher: torch.Tensor, student_logits: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || student) in nats, mean over positions (Hinton et al. 2015, T = 1).

    Args:
        teacher: logits, shape (..., vocabulary).
        student_logits: logits of the same shape.
    """
    return functional.kl_div(
        student_logits.float().log_softmax(dim=-1).flatten(0, -2),
        teacher.float().log_softmax(dim=-1).flatten(0, -2),
        log_target=True,
        reduction="batchmean",
    )
