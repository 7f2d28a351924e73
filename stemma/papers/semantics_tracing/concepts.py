"""Which concepts a state stands for: affinities, CAS and its markers, DSS, the logit lens."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Array = NDArray[np.float64]
Variant = Literal["abs", "signed", "centred"]

DROP, INVERSION, COMMITMENT = 0.02, 0.8, 0.5
"""The paper's thresholds of the markers of CAS."""


class Markers(NamedTuple):
    """Layers of a CAS curve; -1 where there is none."""

    onset: int
    inversion: int
    commitment: int


def affinities(states: Tensor, vectors: Tensor, norm: nn.Module | None = None) -> Array:
    """Return cos(h, u) of states (..., width) and word vectors (words, width).

    Args:
        states: residual states h.
        vectors: means of unembedding rows.
        norm: the final norm, to be applied first; None as in the authors' code.

    Returns:
        Shape (..., words).
    """
    with torch.inference_mode():
        h = states if norm is None else norm(states.to(vectors.device))
        unit = functional.normalize(h.to(vectors).double(), dim=-1)
        cosines = unit @ functional.normalize(vectors.double(), dim=-1).T
    result: Array = cosines.cpu().numpy()
    return result


def cas(contextual: Array, other: Array, variant: Variant = "abs") -> Array:
    """Return the contextual alignment score from affinities with two word lists.

    Args:
        contextual: affinities with the words of the context's sense, shape (..., words).
        other: the same of the competing sense.
        variant: ``abs`` (the paper's): sum |a| of the one over sum |a| of both. ``signed`` and
            ``centred`` (the caller has taken means over prompts away):
            (1 + mean a - mean a of the other) / 2, where opposition is no alignment.

    Returns:
        Shape (...), in [0, 1].
    """
    if variant == "abs":
        ours, theirs = np.abs(contextual).sum(axis=-1), np.abs(other).sum(axis=-1)
        return np.asarray(ours / (ours + theirs + 1e-12))
    return np.asarray((1 + contextual.mean(axis=-1) - other.mean(axis=-1)) / 2)


def item_cas(affinity: Array, lists: NDArray[np.int64], variant: Variant) -> Array:
    """Return the CAS of each item, shape (n, layers).

    Args:
        affinity: of every item with every word, shape (n, layers, words).
        lists: indices of each item's words, shape (n, 2, words of a list): context's, other's.
        variant: see ``cas``; ``centred`` takes each word's mean over the items away first.
    """
    if variant == "centred":
        affinity = affinity - affinity.mean(axis=0)
    contextual = np.take_along_axis(affinity, lists[:, None, 0], axis=2)
    other = np.take_along_axis(affinity, lists[:, None, 1], axis=2)
    return cas(contextual, other, variant)


def markers(curve: Array) -> Markers:
    """Return onset, inversion and commitment of a CAS curve over layers.

    Onset: the first layer that lies more than 0.02 below the one before, as the next does too.
    Inversion: the first below 0.8. Commitment: the first from inversion on with three layers in a
    row below 0.5.
    """
    fallen = [
        layer
        for layer in range(1, len(curve) - 1)
        if max(curve[layer], curve[layer + 1]) < curve[layer - 1] - DROP
    ]
    inverted = np.flatnonzero(curve < INVERSION)
    inversion = int(inverted[0]) if inverted.size else -1
    low = curve < COMMITMENT
    committed = [
        layer
        for layer in range(max(inversion, 0), len(curve) - 2)
        if inversion >= 0 and low[layer : layer + 3].all()
    ]
    return Markers(fallen[0] if fallen else -1, inversion, committed[0] if committed else -1)


def correlations(first: Tensor, second: Tensor) -> Array:
    """Return Pearson's correlation over the width of vectors (..., width), shape (...)."""
    x, y = (v.double() - v.double().mean(dim=-1, keepdim=True) for v in (first, second))
    r: Array = functional.cosine_similarity(x, y, dim=-1).numpy()
    return r


def path_strength(path: Sequence[Tensor]) -> Array:
    """Return the sum of |Pearson correlation| of consecutive concept vectors (..., width)."""
    steps = [np.abs(correlations(a, b)) for a, b in pairwise(path)]
    return np.asarray(np.sum(steps, axis=0))


def dss(correct: Array, incorrect: Array) -> Array:
    """Return the distributional semantics strength from the strengths of two sets of paths."""
    return np.asarray(correct / (correct + incorrect + 1e-10))


def lens_margins(
    states: Tensor, gold: Sequence[int], other: Sequence[int], unembedding: Tensor, norm: nn.Module
) -> Array:
    """Return what each layer would answer: logit of the gold token minus that of the other.

    The logit lens with the final norm, so that the last layer's is the model's own margin.

    Args:
        states: after each block at the answer position, shape (n, layers, width).
        gold: token of each item's gold concept.
        other: token of its other concept.
        unembedding: U, shape (vocabulary, width).
        norm: the final norm.

    Returns:
        Shape (n, layers).
    """
    with torch.inference_mode():
        direction = unembedding[list(gold)] - unembedding[list(other)]
        margins = torch.einsum("nlw,nw->nl", norm(states.to(unembedding)), direction)
    result: Array = margins.double().cpu().numpy()
    return result


def settled_layer(margins: Array) -> int:
    """Return the first layer from which on the sign of ``margins`` (layers,) is the last one's."""
    unlike = np.flatnonzero((margins > 0) != (margins[-1] > 0))
    return int(unlike[-1]) + 1 if unlike.size else 0
