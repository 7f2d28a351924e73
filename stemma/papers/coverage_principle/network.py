"""GPT-2 from random weights, many independent models at once.

Every parameter has a leading dimension for the model, so that one batched matrix product serves all
of a stack; the models share nothing. Names and arithmetic are those of transformers'
GPT2LMHeadModel, without dropout, with tied embeddings; the tests compare the two.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Parameters = dict[str, Tensor]


class Shape(NamedTuple):
    """The size of a model: vocabulary, longest input, blocks, residual width, attention heads."""

    vocabulary: int
    length: int
    layers: int
    width: int
    heads: int


class Output(NamedTuple):
    """What a forward pass gives.

    Attributes:
        logits: of the next token at the last positions, shape (models, batch, kept, vocabulary).
        states: residual stream after the embedding and after each block (before the last layer
            norm), each of shape (models, batch, length, width); of the last block only the kept
            positions.
    """

    logits: Tensor
    states: list[Tensor]


class Patch(NamedTuple):
    """Replace the residual state of ``layer`` (0 the embedding) at ``position`` by ``state``.

    ``state`` has shape (models, batch, width).
    """

    layer: int
    position: int
    state: Tensor


def initialize(shape: Shape, seeds: Sequence[int], device: str = "cpu") -> Parameters:
    """Return GPT-2's initial weights for one model a seed; each depends on its seed alone."""
    models = [_initial(shape, torch.Generator().manual_seed(seed)) for seed in seeds]
    return {
        name: torch.stack([m[name] for m in models]).to(device).requires_grad_()
        for name in models[0]
    }


def _initial(shape: Shape, rng: torch.Generator) -> Parameters:
    d, scale = shape.width, 0.02
    residual = scale / math.sqrt(2 * shape.layers)
    found: Parameters = {}

    def draw(name: str, size: tuple[int, ...], spread: float) -> None:
        found[f"{name}.weight"] = spread * torch.randn(size, generator=rng)

    draw("wte", (shape.vocabulary, d), scale)
    draw("wpe", (shape.length, d), scale)
    for i in range(shape.layers):
        for name, size, spread in (
            ("attn.c_attn", (d, 3 * d), scale),
            ("attn.c_proj", (d, d), residual),
            ("mlp.c_fc", (d, 4 * d), scale),
            ("mlp.c_proj", (4 * d, d), residual),
        ):
            draw(f"h.{i}.{name}", size, spread)
            found[f"h.{i}.{name}.bias"] = torch.zeros(size[1])
    for name in (f"h.{i}.ln_{j}" for i in range(shape.layers) for j in (1, 2)):
        found[f"{name}.weight"], found[f"{name}.bias"] = torch.ones(d), torch.zeros(d)
    found["ln_f.weight"], found["ln_f.bias"] = torch.ones(d), torch.zeros(d)
    return found


def pick(parameters: Parameters, model: int) -> Parameters:
    """Return one model of a stack, as a stack of one, without gradients."""
    return {name: p[model : model + 1].detach() for name, p in parameters.items()}


def count_parameters(parameters: Parameters) -> int:
    """Return the number of parameters of one model."""
    return sum(p[0].numel() for p in parameters.values())


def _linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    out = torch.baddbmm(p[f"{name}.bias"][:, None], x.flatten(1, 2), p[f"{name}.weight"])
    return out.view(*x.shape[:3], -1)


def normalize(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Apply the layer norm ``name`` to x, shape (models, batch, length, width)."""
    y = functional.layer_norm(x, x.shape[-1:])
    return y * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def _attention(p: Parameters, name: str, x: Tensor, heads: int) -> Tensor:
    models, batch, length, width = x.shape
    mixed = _linear(p, f"{name}.c_attn", x).view(models * batch, length, 3, heads, -1)
    query, key, value = mixed.permute(2, 0, 3, 1, 4)
    out = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return out.transpose(1, 2).reshape(models, batch, length, width)


def unembed(p: Parameters, x: Tensor) -> Tensor:
    """Return the logits of residual states x, shape (models, batch, length, width)."""
    final = normalize(p, "ln_f", x)
    logits = final.flatten(1, 2) @ p["wte.weight"].transpose(1, 2)
    return logits.view(*x.shape[:3], -1)


def forward(
    p: Parameters,
    tokens: Tensor,
    heads: int,
    keep: int | None = None,
    patches: Sequence[Patch] = (),
) -> Output:
    """Run every model on its own batch.

    Args:
        p: parameters of the stack.
        tokens: shape (models, batch, length).
        heads: attention heads of each block.
        keep: how many last positions are wanted (None: all); the last block skips the others.
        patches: states to put in place of the model's own.
    """
    models, batch, length = tokens.shape
    layers = sum(name.endswith("mlp.c_fc.weight") for name in p)
    flat = tokens.reshape(models, batch * length, 1)
    x = torch.gather(p["wte.weight"], 1, flat.expand(-1, -1, p["wte.weight"].shape[2]))
    x = x.view(models, batch, length, -1) + p["wpe.weight"][:, None, :length]
    x = _patched(x, 0, patches)
    states = [x]
    for i in range(layers):
        mixed = _attention(p, f"h.{i}.attn", normalize(p, f"h.{i}.ln_1", x), heads)
        if keep is not None and i == layers - 1:
            x, mixed = x[:, :, -keep:], mixed[:, :, -keep:]
        x = x + _linear(p, f"h.{i}.attn.c_proj", mixed)
        inner = _linear(p, f"h.{i}.mlp.c_fc", normalize(p, f"h.{i}.ln_2", x))
        x = x + _linear(p, f"h.{i}.mlp.c_proj", functional.gelu(inner, approximate="tanh"))
        x = _patched(x, i + 1, patches)
        states.append(x)
    return Output(unembed(p, x), states)


def _patched(x: Tensor, layer: int, patches: Sequence[Patch]) -> Tensor:
    for patch in patches:
        if patch.layer == layer:
            x = x.clone()
            x[:, :, patch.position] = patch.state
    return x


@torch.no_grad()
def decode(p: Parameters, inputs: Tensor, heads: int, emitted: int) -> Tensor:
    """Emit ``emitted`` tokens greedily after ``inputs`` (models, batch, length), each fed back."""
    tokens = inputs
    for _ in range(emitted):
        best = forward(p, tokens, heads, keep=1).logits.argmax(dim=-1)
        tokens = torch.cat([tokens, best], dim=2)
    return tokens[:, :, inputs.shape[2] :]
