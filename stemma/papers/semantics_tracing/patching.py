"""Read and change what a model's modules put out, by forward hooks that are always removed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]


@contextmanager
def edited(edits: Sequence[tuple[nn.Module, Edit]]) -> Iterator[None]:
    """Within the block each module's output ``h`` is ``edit(h)``.

    Modules that return a tuple have its first entry edited.
    """
    handles = [module.register_forward_hook(_hook(edit)) for module, edit in edits]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within the block the modules' outputs are appended to the list, in the order they run."""
    outputs: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        outputs.append(output)
        return output

    with edited([(module, keep) for module in modules]):
        yield outputs


def replace_at(row: int, positions: Sequence[int], states: Tensor) -> Edit:
    """Return an edit that puts ``states`` (positions, width) into one row of a batch."""
    where = torch.as_tensor(positions)

    def edit(output: Tensor) -> Tensor:
        changed = output.clone()
        changed[row, where.to(output.device)] = states.to(output)
        return changed

    return edit


def scale_at(positions: Sequence[int], factor: float) -> Edit:
    """Return an edit that multiplies the output at some positions, in every row."""
    where = torch.as_tensor(positions)

    def edit(output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, where.to(output.device)] *= factor
        return changed

    return edit


def blocked_attention(length: int, queries: Sequence[int], keys: Sequence[int]) -> Tensor:
    """Return an additive causal mask in which ``queries`` cannot attend to ``keys``.

    Shape (1, 1, length, length): 0 where attention is allowed, the least float where not. A
    position always sees itself.
    """
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    allowed[torch.as_tensor(queries)[:, None], torch.as_tensor(keys)] = False
    allowed |= torch.eye(length, dtype=torch.bool)
    mask = torch.zeros(length, length).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return mask[None, None]


def _hook(edit: Edit) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output)

    return hook
