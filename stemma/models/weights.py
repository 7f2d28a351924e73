"""What is done to weights without training: digest, copy, average, rounding."""

import copy
import hashlib
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def weights_digest(model: PreTrainedModel) -> str:
    """Return the sha256 over names, types, shapes and bytes of the state dict, 64 hex digits."""
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        whole.update(flat.view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def clone(model: PreTrainedModel) -> PreTrainedModel:
    """Return an independent copy; training it leaves ``model`` alone."""
    return copy.deepcopy(model)


@torch.no_grad()
def average(models: Sequence[PreTrainedModel], weights: Sequence[float]) -> PreTrainedModel:
    """Return a new model with the weighted sum of the parameters (a merge, a "soup").

    Args:
        models: models of one architecture; buffers and config are the first one's.
        weights: one a model, adding up to 1.

    Raises:
        ValueError: no model, weights that do not match or do not add up to 1, or models whose
            parameters differ in name or shape.
    """
    if not models or len(models) != len(weights):
        raise ValueError(f"got {len(models)} models and {len(weights)} weights")
    if abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights must add up to 1, got {sum(weights):g}")
    merged = clone(models[0])
    parts = [dict(model.named_parameters()) for model in models]
    for name, parameter in merged.named_parameters():
        terms = [part[name] for part in parts if name in part]
        if [term.shape for term in terms] != [parameter.shape] * len(models):
            raise ValueError(f"the models differ in {name}")
        parameter.zero_()
        for weight, term in zip(weights, terms, strict=True):
            parameter.add_(term, alpha=weight)
    return merged


@torch.no_grad()
def quantize_round(model: PreTrainedModel, bits: int = 8) -> PreTrainedModel:
    """Return a new model whose matrices are rounded as by symmetric quantization of each row.

    A row w becomes s * round(w / s) with s = max|w| / (2^(bits-1) - 1); vectors (norms, biases)
    stay as they are, as usual. The result is stored in the model's own type.

    Raises:
        ValueError: fewer than 2 bits.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, got {bits}")
    rounded = clone(model)
    for parameter in rounded.parameters():
        if parameter.dim() >= 2:
            rows = parameter.flatten(1)
            step = rows.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
            step = step.clamp(min=torch.finfo(step.dtype).tiny)  # a row of zeros stays zero
            parameter.copy_(((rows / step).round() * step).view_as(parameter))
    return rounded
