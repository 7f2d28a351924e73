"""Attention within a prefix, and the loss of examples that carry their prefix."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from stemma.papers.codegen2.objectives import EXTRA


def prefix_mask(prefix: Tensor, length: int) -> Tensor:
    """Return who may attend to whom: position i to j if j <= i or j < prefix.

    Args:
        prefix: length of each row's prefix, shape (batch,); 0 is the causal decoder.
        length: tokens a row.

    Returns:
        Booleans of shape (batch, 1, length, length), as scaled_dot_product_attention takes them.
    """
    place = torch.arange(length, device=prefix.device)
    causal = place[None, :] <= place[:, None]
    return (causal[None] | (place[None, None, :] < prefix[:, None, None]))[:, None]


def logits_of(model: PreTrainedModel, ids: Tensor, prefix: Tensor) -> Tensor:
    """Return logits (batch, length, vocab) of ids (batch, length), given each row's prefix."""
    logits: Tensor = model(
        input_ids=ids, attention_mask=_mask(prefix, ids.shape[1]), use_cache=False
    ).logits
    return logits


def hidden_of(model: PreTrainedModel, ids: Tensor, prefix: Tensor) -> Tensor:
    """Return the last hidden states, shape (batch, length, width)."""
    hidden: Tensor = model.base_model(
        input_ids=ids, attention_mask=_mask(prefix, ids.shape[1]), use_cache=False
    ).last_hidden_state
    return hidden


def token_losses(model: PreTrainedModel, ids: Tensor, prefix: Tensor) -> Tensor:
    """Return -log p in nats, shape (batch, length - 1): column j belongs to token j + 1.

    The losses of tokens inside the prefix mean nothing: the model has seen them.
    """
    logits = logits_of(model, ids, prefix)[:, :-1].float()
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return losses.view(len(ids), -1)


def example_loss(model: PreTrainedModel, examples: Tensor) -> Tensor:
    """Return the mean loss in nats over the supervised tokens of a batch of examples."""
    ids, prefix, first = examples[:, :-EXTRA], examples[:, -2], examples[:, -1]
    losses = token_losses(model, ids, prefix)
    counted = torch.arange(1, ids.shape[1], device=ids.device) >= first[:, None]
    return (losses * counted).sum() / counted.sum()


def _mask(prefix: Tensor, length: int) -> Tensor | None:
    # Without a mask the model is causal, and faster.
    return prefix_mask(prefix, length) if bool((prefix > 0).any()) else None
