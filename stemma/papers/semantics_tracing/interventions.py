"""What happens to the answer if states are patched, attention is cut or MLPs are silenced."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.papers.semantics_tracing.items import Item
from stemma.papers.semantics_tracing.patching import (
    Edit,
    blocked_attention,
    edited,
    replace_at,
    scale_at,
)
from stemma.papers.semantics_tracing.subject import Reading, Subject, batches

Array = NDArray[np.float64]

_ROUNDING = 1e-5  # rows of a batch differ in the last bits even if they are equal

SITES = ("answer", "prompt")
"""Where states are patched: at the answer position, or at all between the first token and it."""


class Patched(NamedTuple):
    """Raw margins of one item.

    Attributes:
        margins: patched from each donor, at each of ``SITES``, after each layer; shape
            (donors, 2, layers).
        donors: margins of the donors' own runs, shape (donors,).
        changed: whether each patch changed a logit, shape (donors, 2, layers).
    """

    margins: Array
    donors: Array
    changed: NDArray[np.bool_]


def patch(subject: Subject, item: Item, concepts: Sequence[str], layers: Sequence[int]) -> Patched:
    """Patch an item's run with states of donor runs that are first told a concept.

    A donor's prompt is "A NOUN is a CONCEPT here." and then the item's own; states are aligned
    from the right. The first token differs (no space before it) and is never patched.

    Args:
        subject: the model.
        item: the recipient.
        concepts: what each donor is told.
        layers: blocks after whose output states are replaced, one run a layer.

    Raises:
        ValueError: the tokens of the two prompts cannot be aligned.
    """
    pair = subject.token(item.gold.concept), subject.token(item.other.concept)
    ids, last = subject.encode(item.prompt), len(subject.encode(item.prompt)) - 1
    donors = [donor_run(subject, item, concept) for concept in concepts]
    edits: list[tuple[torch.nn.Module, Edit]] = []
    rows = itertools.product(donors, ([last], list(range(1, last))), layers)
    for row, (donor, where, layer) in enumerate(rows):
        states = donor.states[0, layer, where]
        edits.append((subject.blocks[layer], replace_at(row, where, states)))
    inputs = torch.tensor([ids] * (len(edits) + 1), device=subject.model.device)
    with torch.inference_mode(), edited(edits):
        logits = subject.logits(inputs)
    shape = len(donors), len(SITES), len(layers)
    moved = (logits[:-1] - logits[-1]).abs().amax(dim=1) > _ROUNDING * logits.abs().max()
    changed = moved.numpy().reshape(shape)
    own = np.array([_margins(donor.log_probs, pair)[0] for donor in donors])
    return Patched(_margins(logits[:-1], pair).reshape(shape), own, changed)


def donor_run(subject: Subject, item: Item, concept: str) -> Reading:
    """Read a donor's prompt: states at the item's positions, (1, layers, positions, width)."""
    text = item.told(concept)
    ids, told = subject.encode(item.prompt), subject.encode(text)
    if ids[1:] != told[1 - len(ids) :]:
        raise ValueError(f"tokens of `{item.prompt}` change after another sentence")
    return subject.read([text], [[[p + len(told) - len(ids)] for p in range(len(ids))]])


def _margins(logits: Tensor, pair: tuple[int, int]) -> Array:
    margins: Array = (logits[:, pair[0]] - logits[:, pair[1]]).double().numpy()
    return margins


INTERVENTIONS = (
    "attention answer -> context",
    "attention later -> context",
    "MLP at answer, first half",
    "MLP at answer, second half",
)


def intervene(subject: Subject, items: Sequence[Item]) -> Iterator[pd.DataFrame]:
    """Yield the raw margins of a batch of items without and with each of ``INTERVENTIONS``.

    ``attention``: weights from the answer position (or from every position after the context
    sentence) to the context sentence are cut in all layers. ``MLP``: its output at the answer
    position is set to zero in half of the layers. Rows are indexed by the item's number.
    """
    rows = [subject.encode(item.prompt) for item in items]
    for batch in batches(rows):
        logits = _cut(subject, [items[i] for i in batch], [rows[i] for i in batch])
        gold = [subject.token(items[i].gold.concept) for i in batch]
        other = [subject.token(items[i].other.concept) for i in batch]
        place = torch.arange(len(batch))
        margins = {name: (z[place, gold] - z[place, other]).numpy() for name, z in logits.items()}
        yield pd.DataFrame(margins, index=batch).astype(float)


@torch.inference_mode()
def _cut(
    subject: Subject, items: Sequence[Item], rows: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """Return logits (n, vocabulary) of items of one length, by intervention."""
    inputs = torch.tensor(rows, device=subject.model.device)
    last, half = inputs.shape[1] - 1, subject.layers // 2
    logits = {"none": subject.logits(inputs)}
    contexts = [subject.overlapping(x.prompt, 0, len(x.gold.context)) for x in items]
    queries: list[list[Sequence[int]]] = [
        [[last] for _ in items],
        [range(max(context) + 1, last + 1) for context in contexts],
    ]
    for name, whose in zip(INTERVENTIONS[:2], queries, strict=True):
        pairs = zip(whose, contexts, strict=True)
        mask = torch.cat([blocked_attention(last + 1, q, context) for q, context in pairs])
        logits[name] = subject.logits(inputs, attention_mask=mask.to(inputs.device))
    halves = subject.blocks[:half], subject.blocks[half:]
    for name, blocks in zip(INTERVENTIONS[2:], halves, strict=True):
        mlps = [block.get_submodule("mlp") for block in blocks]
        with edited([(mlp, scale_at([last], 0.0)) for mlp in mlps]):
            logits[name] = subject.logits(inputs)
    return logits


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
