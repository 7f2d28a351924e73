"""How likely a language model finds given token sequences."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedModel


def sequence_losses(
    model: PreTrainedModel, rows: NDArray[np.int64], batch_size: int = 64
) -> NDArray[np.float64]:
    """Return the mean next-token loss of each row in nats, shape (n,).

    The first token of a row is not predicted. Rows have shape (n, length), without padding.
    """
    means: NDArray[np.float64] = token_losses(model, rows, batch_size).mean(axis=1)
    return means


def token_losses(
    model: PreTrainedModel, rows: NDArray[np.int64], batch_size: int = 64
) -> NDArray[np.float64]:
    """Return -log p of each token of each row given those before it, in nats.

    Args:
        model: a causal language model; its device is used, its mode (train, eval) is kept.
        rows: token ids, shape (n, length), without padding.
        batch_size: rows a forward pass.

    Returns:
        Shape (n, length - 1): column j belongs to token j + 1.
    """
    losses = np.empty((rows.shape[0], rows.shape[1] - 1))
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            part = np.array(rows[start : start + batch_size], dtype=np.int64)
            losses[start : start + batch_size] = _batch(model, torch.from_numpy(part))
    return losses


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the model is in eval mode and torch in inference mode."""
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _batch(model: PreTrainedModel, tokens: torch.Tensor) -> NDArray[np.float64]:
    tokens = tokens.to(model.device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    result: NDArray[np.float64] = losses.double().view(len(tokens), -1).cpu().numpy()
    return result
