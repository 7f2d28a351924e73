"""Text drawn from a language model, decided by a seed alone."""

import inspect

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel

from stemma.models.scoring import evaluating


def sample(
    model: PreTrainedModel,
    prompts: NDArray[np.int64],
    new_tokens: int,
    *,
    temperature: float = 1.0,
    seed: int,
    top_k: int | None = None,
    batch_size: int = 256,
) -> NDArray[np.int64]:
    """Continue each prompt by ``new_tokens`` tokens; an end of text does not stop it.

    Every draw inverts the distribution's cumulative sum at a uniform number of its own, so the
    result does not depend on ``batch_size`` beyond rounding.

    Args:
        model: a causal language model; its device is used, its mode is kept.
        prompts: token ids, shape (n, prompt length), at least one token each.
        new_tokens: tokens to draw for each prompt.
        temperature: divides the logits; 0 takes the likeliest token.
        seed: decides every draw.
        top_k: draw among the k likeliest tokens only.
        batch_size: prompts continued at once.

    Returns:
        The new tokens alone, shape (n, new_tokens).

    Raises:
        ValueError: a negative temperature or an empty prompt.
    """
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if prompts.shape[1] == 0:
        raise ValueError("prompts must hold at least one token")
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(prompts), new_tokens, generator=generator, dtype=torch.float64)
    tokens = torch.from_numpy(np.array(prompts, dtype=np.int64))
    drawn = [np.empty((0, new_tokens), dtype=np.int64)]
    with evaluating(model):
        for u, part in zip(
            torch.split(uniform, batch_size), torch.split(tokens, batch_size), strict=True
        ):
            drawn.append(_continue(model, part, u, temperature, top_k))
    return np.concatenate(drawn)


def _continue(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    uniform: torch.Tensor,
    temperature: float,
    top_k: int | None,
) -> NDArray[np.int64]:
    tokens, uniform = tokens.to(model.device), uniform.to(model.device)
    drawn, cache = [], {cache_argument(model): DynamicCache(config=model.config)}
    for u in uniform.unbind(dim=1):
        logits = model(input_ids=tokens, use_cache=True, logits_to_keep=1, **cache).logits
        tokens = _draw(logits[:, -1].double(), u, temperature, top_k)[:, None]
        drawn.append(tokens)
    if not drawn:
        return np.empty((len(tokens), 0), dtype=np.int64)
    result: NDArray[np.int64] = torch.cat(drawn, dim=1).cpu().numpy()
    return result


def cache_argument(model: PreTrainedModel) -> str:
    """Return what ``model.forward`` calls its cache of keys and values."""
    # transformers 5.24 renamed it; a wrong name would be swallowed and the prompt forgotten.
    known = inspect.signature(model.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def _draw(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_k: int | None
) -> torch.Tensor:
    """Draw one token a row: logits (batch, vocabulary) and uniform (batch,) -> (batch,)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    if top_k is not None and top_k < logits.shape[-1]:
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
    # The sum may miss 1 by rounding; `right` skips tokens of probability 0.
    target = uniform[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)
