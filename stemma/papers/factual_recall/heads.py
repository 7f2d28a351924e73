"""Attention heads of causal language models: scaled, observed and attributed.

Head h of layer l writes r = W_O^{l,h} z_{l,h} into the residual stream, z_{l,h} being its mixture
of values. Attention weights act linearly on values, so that multiplying the values that one head
reads by alpha multiplies its z by alpha, biases included. Here z is scaled, at the input of the
output projection: with grouped-query attention several heads share their values, but never z.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class Head(NamedTuple):
    """One attention head, both counted from 0."""

    layer: int
    number: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.number}"


Scaling = Mapping[Head, float]
"""The factor of each head that is scaled; an empty one leaves the model as it is."""


class Parts(NamedTuple):
    """What is needed of a model, whatever its architecture calls it.

    Attributes:
        body: the model without its unembedding.
        layers: its blocks.
        outputs: the output projection of each block's attention, whose input is z, head by head.
        norm: the norm before the unembedding.
        resumable: whether the body can start at any block, given that block's input.
    """

    body: nn.Module
    layers: nn.ModuleList
    outputs: list[nn.Module]
    norm: nn.Module
    resumable: bool


def parts(model: PreTrainedModel) -> Parts:
    """Return the parts of a Llama, GPT-2 or GPT-NeoX (Pythia) model.

    Raises:
        ValueError: another architecture.
    """
    inner: Any = model
    kind = model.config.model_type
    if kind == "llama":
        body = inner.model
        outputs = [layer.self_attn.o_proj for layer in body.layers]
        return Parts(body, body.layers, outputs, body.norm, True)
    if kind == "gpt_neox":
        body = inner.gpt_neox
        outputs = [layer.attention.dense for layer in body.layers]
        return Parts(body, body.layers, outputs, body.final_layer_norm, True)
    if kind == "gpt2":  # adds positions to whatever embeddings it is given: cannot be resumed
        body = inner.transformer
        return Parts(body, body.h, [block.attn.c_proj for block in body.h], body.ln_f, False)
    raise ValueError(f"heads of `{kind}` are not known here; use a llama, gpt2 or gpt_neox model")


def shape(model: PreTrainedModel) -> tuple[int, int]:
    """Return the number of layers and of (query) heads in each."""
    return int(model.config.num_hidden_layers), int(model.config.num_attention_heads)


def all_heads(model: PreTrainedModel) -> list[Head]:
    """Return every head, by layer and index."""
    n_layers, n_heads = shape(model)
    return [Head(layer, index) for layer in range(n_layers) for index in range(n_heads)]


@contextmanager
def scaled(model: PreTrainedModel, scaling: Scaling) -> Iterator[None]:
    """Within the block, multiply z of each head of ``scaling`` by its factor, at every position."""
    outputs, (_, n_heads) = parts(model).outputs, shape(model)
    with ExitStack() as stack:
        for head, factor in scaling.items():
            hook = _scale(head.number, n_heads, factor)
            handle = outputs[head.layer].register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        yield


def _scale(index: int, n_heads: int, factor: float) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z = inputs[0].clone()
        width = z.shape[-1] // n_heads
        z[..., index * width : (index + 1) * width] *= factor
        return (z, *inputs[1:])

    return hook


@contextmanager
def watched(modules: Mapping[int, nn.Module]) -> Iterator[dict[int, Tensor]]:
    """Within the block, keep the latest first input of each module, under the module's key."""
    seen: dict[int, Tensor] = {}

    def keep(key: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[key] = inputs[0]

        return hook

    with ExitStack() as stack:
        for key, module in modules.items():
            stack.callback(module.register_forward_pre_hook(keep(key)).remove)
        yield seen


@contextmanager
def starting_at(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """Within the block the model begins at ``layer``: give that block's input as inputs_embeds."""
    found = parts(model)
    body: Any = found.body
    body.layers = found.layers[layer:]
    try:
        yield
    finally:
        body.layers = found.layers


def attribute(
    model: PreTrainedModel, z: list[Tensor], residual: Tensor, direction: Tensor
) -> Tensor:
    """Direct logit attribution: what each head adds to a difference of two logits.

    The final norm is linear once its scale, taken from the whole residual stream, is held fixed.
    So head (l, h) adds d . N(W_O^{l,h} z_{l,h}); the direction is taken back through N and W_O,
    instead of every head's output forward.

    Args:
        model: the model.
        z: the input of each layer's output projection at one position, shape (n, width).
        residual: the input of the final norm there, shape (n, width).
        direction: difference of two rows of the unembedding for each prompt, shape (n, width).

    Returns:
        Shape (n, layers, heads), in logits.
    """
    found, (_, n_heads) = parts(model), shape(model)
    back = through_norm(found.norm, residual, direction)
    added = [
        (inputs * (back @ _matrix(module))).view(len(inputs), n_heads, -1).sum(dim=-1)
        for inputs, module in zip(z, found.outputs, strict=True)
    ]
    return torch.stack(added, dim=1)


def through_norm(norm: Any, residual: Tensor, direction: Tensor) -> Tensor:
    """Return u with u . r = direction . N(r) for every part r of ``residual``, bias left out."""
    weighted = direction * norm.weight
    if isinstance(norm, nn.LayerNorm):
        variance = residual.var(dim=-1, correction=0, keepdim=True)
        weighted = weighted - weighted.mean(dim=-1, keepdim=True)
        found: Tensor = weighted / torch.sqrt(variance + norm.eps)
        return found
    square = residual.pow(2).mean(dim=-1, keepdim=True)
    found = weighted / torch.sqrt(square + norm.variance_epsilon)
    return found


def _matrix(module: Any) -> Tensor:
    """Return an output projection's matrix, shape (out, in); GPT-2 keeps it transposed."""
    weight: Tensor = module.weight
    return weight if isinstance(module, nn.Linear) else weight.T
