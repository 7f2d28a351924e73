"""What happens to the answer if states are patched, attention is cut or MLPs are silenced."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.papers.semantics_tracing.items import Item
from stemma.papers.semantics_tracing.patching import (
    blocked_attention,
    edited,
    replace_at,
    scale_at,
)
from stemma.papers.semantics_tracing.subject import Subject

Array = NDArray[np.float64]

SITES = ("answer", "prompt")
"""Where states are patched: at the answer position, or at all between the first token and it."""


class Patched(NamedTuple):
    """Raw margins of one item: patched after each layer, and of the donor's own run."""

    margins: dict[str, Array]
    donor: float
    changed: bool


def patch(subject: Subject, item: Item, concept: str, layers: Sequence[int]) -> Patched:
    """Patch an item's run with states of a donor run that is first told a concept.

    The donor's prompt is "A NOUN is a CONCEPT here." and then the item's own; states are aligned
    from the right. The first token differs (no space before it) and is never patched.

    Args:
        subject: the model.
        item: the recipient.
        concept: what the donor is told.
        layers: blocks after whose output states are replaced, one run a layer.

    Raises:
        ValueError: the tokens of the two prompts cannot be aligned.
    """
    ids, donor_ids = subject.encode(item.prompt), subject.encode(item.told(concept))
    if ids[1:] != donor_ids[1 - len(ids) :]:
        raise ValueError(f"tokens of `{item.prompt}` change after another sentence")
    pair = subject.token(item.gold.concept), subject.token(item.other.concept)
    shift = len(donor_ids) - len(ids)
    positions = [[p + shift] for p in range(len(ids))]
    donor = subject.read([item.told(concept)], [positions])
    states = donor.states[0][list(layers)]  # (layers patched, positions, width)
    last = len(ids) - 1
    where = {"answer": [last], "prompt": list(range(1, last))}
    logits = {site: _patched_logits(subject, ids, states, layers, where[site]) for site in SITES}
    clean = subject.next_logits([ids])[0]
    changed = any(bool((rows != clean).any()) for rows in logits.values())
    margins = {site: _margins(rows, pair) for site, rows in logits.items()}
    return Patched(margins, float(_margins(donor.log_probs, pair)[0]), changed)


@torch.inference_mode()
def _patched_logits(
    subject: Subject,
    ids: Sequence[int],
    states: Tensor,
    layers: Sequence[int],
    positions: Sequence[int],
) -> Tensor:
    """Return logits with row r of a batch patched after block ``layers[r]``."""
    inputs = torch.tensor([list(ids)] * len(layers), device=subject.model.device)
    edits = [
        (subject.blocks[layer], replace_at(row, positions, states[row, list(positions)]))
        for row, layer in enumerate(layers)
    ]
    with edited(edits):
        return subject.logits(inputs)


def _margins(logits: Tensor, pair: tuple[int, int]) -> Array:
    margins: Array = (logits[:, pair[0]] - logits[:, pair[1]]).double().numpy()
    return margins


INTERVENTIONS = (
    "attention answer -> context",
    "attention later -> context",
    "MLP at answer, first half",
    "MLP at answer, second half",
)


@torch.inference_mode()
def intervene(subject: Subject, item: Item) -> dict[str, float]:
    """Return an item's raw margin without and with each of ``INTERVENTIONS``.

    ``attention``: weights from the answer position (or from every position after the context
    sentence) to the context sentence are cut in all layers. ``MLP``: its output at the answer
    position is set to zero in half of the layers.
    """
    ids = subject.encode(item.prompt)
    pair = subject.token(item.gold.concept), subject.token(item.other.concept)
    inputs = torch.tensor([ids], device=subject.model.device)
    context = subject.overlapping(item.prompt, 0, len(item.gold.context))
    last, half = len(ids) - 1, subject.layers // 2
    later = list(range(max(context) + 1, last + 1))
    logits = {"none": subject.logits(inputs)}
    for name, queries in zip(INTERVENTIONS[:2], ([last], later), strict=True):
        mask = blocked_attention(len(ids), queries, context).to(inputs.device)
        logits[name] = subject.logits(inputs, attention_mask=mask)
    halves = subject.blocks[:half], subject.blocks[half:]
    for name, blocks in zip(INTERVENTIONS[2:], halves, strict=True):
        mlps: list[torch.nn.Module] = [block.get_submodule("mlp") for block in blocks]
        with edited([(mlp, scale_at([last], 0.0)) for mlp in mlps]):
            logits[name] = subject.logits(inputs)
    return {name: float(_margins(row, pair)[0]) for name, row in logits.items()}


def flip_rates(patched: pd.DataFrame, donor: str) -> pd.DataFrame:
    """Return, by site and noun, the share of flipped answers at each layer (columns).

    Args:
        patched: rows with donor, site, noun, layer, margin (calibrated).
        donor: ``gold`` or ``control``.
    """
    mine = patched[patched.donor == donor].assign(flip=lambda t: (t.margin > 0).astype(float))
    return mine.pivot_table(index=["site", "noun"], columns="layer", values="flip", aggfunc="mean")


def commitment_layer(layers: Sequence[int], rates: Sequence[float]) -> int:
    """Return the first layer from which on every rate is below half of the largest.

    The number of layers, ``layers[-1] + 1``, if the last rate is not.
    """
    low = np.asarray(rates) < 0.5 * max(rates)
    above = np.flatnonzero(~low)
    place = int(above[-1]) + 1 if above.size else 0
    return int(layers[place]) if place < len(layers) else int(layers[-1]) + 1


def early_and_late(layers: Sequence[int], depth: int) -> tuple[list[int], list[int]]:
    """Split off the layers of the first third and of the last quarter of ``depth``."""
    early = [layer for layer in layers if layer < depth / 3]
    late = [layer for layer in layers if layer >= 3 * depth / 4]
    return early, late
