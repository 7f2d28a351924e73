"""Looking inside: is there one representation of b at x2, and does the answer run through it?"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.papers.coverage_principle.network import (
    Parameters,
    Patch,
    forward,
    unembed,
)
from stemma.papers.coverage_principle.tasks import IN_DOMAIN, TRAIN, Ints, Sample

Floats = NDArray[np.float64]

X2 = 1
"""Position of x2, where the bridge can first be known."""


def seen_pairs(sample: Sample, most: int = 1000) -> Ints:
    """Return the numbers of at most ``most`` pairs (x1, x2) that occur in training, sorted."""
    pairs = np.unique(sample.task.first[sample.train])
    return pairs[np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(np.int64)]


@torch.no_grad()
def pair_states(p: Parameters, heads: int, pairs: Ints, n: int) -> Floats:
    """Return the residual states at x2 of one model, shape (layers + 1, pairs, width).

    They depend on (x1, x2) alone, so that no pair counts twice.
    """
    tokens = np.stack([pairs // n, pairs % n], axis=1)
    device = p["wte.weight"].device
    states = forward(p, torch.from_numpy(tokens)[None].to(device), heads).states
    return torch.stack([s[0, :, X2] for s in states]).double().cpu().numpy()


def cosines(states: Floats) -> Floats:
    """Return the cosine of each pair of rows of ``states`` (rows, width)."""
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def cosine_gap(cosine: Floats, groups: Ints, strata: Ints | None = None) -> float:
    """Return IICG: mean cosine within groups minus between groups, of different rows.

    Args:
        cosine: shape (rows, rows).
        groups: shape (rows,).
        strata: compare only rows that share this label (None: all), shape (rows,).

    Returns:
        NaN if there is nothing within, or nothing between, groups.
    """
    i, j = np.triu_indices(len(groups), 1)
    if strata is not None:
        alike = strata[i] == strata[j]
        i, j = i[alike], j[alike]
    same = groups[i] == groups[j]
    if same.all() or not same.any():
        return float("nan")
    values = cosine[i, j]
    return float(values[same].mean() - values[~same].mean())


class Collapse(NamedTuple):
    """IICG of one model at one layer, at x2, over the pairs seen in training.

    Attributes:
        by_bridge: groups of equal b.
        by_bridge_and_x2: groups of equal (b, x2).
        given_x2: groups of equal b, among pairs of equal x2 only.
        shuffled: mean over shuffled b.
        p_value: of ``by_bridge`` against shuffled b, one-sided.
    """

    by_bridge: float
    by_bridge_and_x2: float
    given_x2: float
    shuffled: float
    p_value: float


def measure_collapse(
    states: Floats, pairs: Ints, bridge: Ints, n: int, shuffles: int, rng: np.random.Generator
) -> Collapse:
    """Return the gaps of states (pairs, width) at one layer, given each pair's bridge."""
    cosine, second = cosines(states), pairs % n
    found = cosine_gap(cosine, bridge)
    null = np.array([cosine_gap(cosine, rng.permutation(bridge)) for _ in range(shuffles)])
    return Collapse(
        found,
        cosine_gap(cosine, bridge * n + second),
        cosine_gap(cosine, bridge, second),
        float(null.mean()),
        (1 + int((null >= found).sum())) / (1 + shuffles),
    )


class Donors(NamedTuple):
    """Triples whose states are replaced, and those that the states come from.

    Attributes:
        base: indices of triples, shape (pairs,).
        donor: indices with the base's x3 and another (x1, x2), shape (pairs,).
    """

    base: Ints
    donor: Ints


def draw_donors(sample: Sample, same_bridge: bool, most: int, rng: np.random.Generator) -> Donors:
    """Pair triples of equal x3: with equal b, or with another b that leads to another answer.

    Bases and donors are trained on or in domain: both answers are determined by the data.
    """
    task, found = sample.task, sample.of_kind(TRAIN, IN_DOMAIN)
    base = rng.permutation(found)[:most]
    donors = []
    for i in base:
        fits = task.triples[found, 2] == task.triples[i, 2]
        if same_bridge:
            fits &= (task.bridge[found] == task.bridge[i]) & (task.first[found] != task.first[i])
        else:
            fits &= task.answer[found] != task.answer[i]
        donors.append(rng.choice(found[fits]) if fits.any() else -1)
    chosen = np.array(donors)
    return Donors(base[chosen >= 0], chosen[chosen >= 0])


@torch.no_grad()
def trace(p: Parameters, heads: int, sample: Sample, pairs: Donors) -> Floats:
    """Return the share of answers that become the donor's, shape (layers + 1, 3).

    One state, at a layer (0 the embedding) and a position, is replaced by the donor's. With donors
    of equal b the answers are equal: the share is then of answers that remain right.
    """
    task, device = sample.task, p["wte.weight"].device
    base, donor = (torch.from_numpy(task.triples[i])[None].to(device) for i in pairs)
    wanted = torch.from_numpy(task.answer[pairs.donor]).to(device)
    states = forward(p, donor, heads).states
    shares = np.zeros((len(states), 3))
    for layer, state in enumerate(states):
        for position in range(3):
            patch = Patch(layer, position, state[:, :, position])
            logits = forward(p, base, heads, patches=[patch]).logits[0, :, -1]
            shares[layer, position] = float((logits.argmax(-1) == wanted).double().mean())
    return shares


@torch.no_grad()
def lens_ranks(p: Parameters, heads: int, sample: Sample, target: Ints, chosen: Ints) -> Floats:
    """Return the mean rank (0 best) of ``target`` in the logit lens, shape (layers + 1, 3).

    Args:
        p: parameters of one model.
        heads: attention heads.
        sample: the training set.
        target: a token for each of the task's triples, such as its bridge or answer.
        chosen: indices of the triples looked at.
    """
    device = p["wte.weight"].device
    tokens = torch.from_numpy(sample.task.triples[chosen])[None].to(device)
    wanted = torch.from_numpy(target[chosen]).to(device)
    ranks = [_mean_ranks(unembed(p, s)[0], wanted) for s in forward(p, tokens, heads).states]
    return np.array(ranks)


def _mean_ranks(logits: Tensor, wanted: Tensor) -> list[float]:
    own = logits.gather(2, wanted[:, None, None].expand(-1, logits.shape[1], 1))
    above: list[float] = (logits > own).sum(dim=2).double().mean(dim=0).tolist()
    return above
