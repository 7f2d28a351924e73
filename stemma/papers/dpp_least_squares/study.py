"""The Monte-Carlo experiment: every sampler on one space, over sizes, replicates and seeds."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from stemma.papers.dpp_least_squares.functions import Targets
from stemma.papers.dpp_least_squares.inference import Moments
from stemma.papers.dpp_least_squares.least_squares import Fit, fit_path
from stemma.papers.dpp_least_squares.sampling import Nodes, Sampler, draw
from stemma.papers.dpp_least_squares.spaces import Array, Space

_BATCH_BYTES = {"cpu": 2**28, "cuda": 2**32}
_MAX_ROUNDS = 1000


@dataclass
class Curves:
    """What S master seeds with R replicates each gave for one sampler on one space.

    Attributes:
        sizes: numbers of points, length K; the first is m.
        lambda_min: shape (S, K, R).
        ratio: squared error over squared best error, shape (S, K, R, F).
        shift: moments of the first function's coefficient shift, at n = m and n = 2m.
        gram: moments of the Gram matrix's entries at n = 2m.
    """

    sizes: tuple[int, ...]
    lambda_min: Array
    ratio: Array
    shift: dict[int, Moments] = field(default_factory=dict)
    gram: Moments = field(default_factory=Moments)

    def at(self, n: int) -> int:
        """Index of the size n."""
        return self.sizes.index(n)

    def stability(self, delta: float) -> Array:
        """Frequency of lambda_min >= 1 - delta, shape (S, K)."""
        return np.asarray((self.lambda_min >= 1 - delta).mean(axis=2))


def sizes_of(m: int, multiples: Sequence[int], extra: int) -> tuple[int, ...]:
    """Return m, m + 1 and r m for each multiple and for ``extra``, increasing."""
    return tuple(sorted({m, m + 1, *(r * m for r in multiples), extra * m}))


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone, not on any order."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def run_curves(
    space: Space,
    targets: Targets,
    sampler: Sampler,
    sizes: Sequence[int],
    replicates: int,
    seeds: Sequence[int],
    device: str = "cpu",
) -> Curves:
    """Draw and fit R replicates for each master seed; samples are nested over the sizes.

    A size m + 1 of the repeated DPP is one DPP and the first point of the next: a volume sample.
    """
    shape = (len(seeds), len(sizes), replicates)
    curves = Curves(tuple(sizes), np.empty(shape), np.empty((*shape, len(targets.names))))
    per_batch = _batch_size(space, targets, device)
    blocks = -(-sizes[-1] // space.m) * space.m
    for s, seed in enumerate(seeds):
        rng = stream(seed, space.name, sampler.name)
        for start in range(0, replicates, per_batch):
            part = slice(start, min(start + per_batch, replicates))
            nodes = draw(space, sampler, blocks, part.stop - part.start, rng, device)
            fits = fit_path(space, targets, sampler.weight, nodes, sizes, device)
            for k, fit in enumerate(fits):
                curves.lambda_min[s, k, part] = fit.lambda_min
                curves.ratio[s, k, part] = fit.ratio
                _add_moments(curves, fit, space.m)
    return curves


class Conditioned(NamedTuple):
    """R accepted samples, and how many draws they took.

    Attributes:
        ratio: squared error over squared best error, shape (R, F).
        nodes: the accepted samples, shape (R, n).
        draws: number of draws, the rejected ones included.
    """

    ratio: Array
    nodes: Nodes
    draws: int


def run_conditioned(
    space: Space,
    targets: Targets,
    sampler: Sampler,
    n: int,
    replicates: int,
    delta: float,
    rng: np.random.Generator,
    device: str = "cpu",
) -> Conditioned:
    """Redraw whole samples until ``replicates`` of them have lambda_min >= 1 - delta.

    Raises:
        RuntimeError: acceptance is so rare that it would take too many rounds.
    """
    accepted: list[Array] = []
    kept: list[Nodes] = []
    draws = count = 0
    size = min(replicates, _batch_size(space, targets, device))
    for _ in range(_MAX_ROUNDS):
        nodes = draw(space, sampler, n, size, rng, device)
        (fit,) = fit_path(space, targets, sampler.weight, nodes, [n], device)
        good = np.flatnonzero(fit.lambda_min >= 1 - delta)[: replicates - count]
        count += len(good)
        accepted.append(fit.ratio[good])
        kept.append(nodes[good])
        if count == replicates:
            # Draws after the last one that was needed would not have been made.
            draws += int(good[-1]) + 1
            return Conditioned(np.concatenate(accepted), np.concatenate(kept), draws)
        draws += size
    raise RuntimeError(f"{space.name}, {sampler.name}: {count} of {draws} samples accepted")


def _add_moments(curves: Curves, fit: Fit, m: int) -> None:
    if fit.n in (m, 2 * m):
        curves.shift.setdefault(fit.n, Moments()).add(fit.shift[:, :, 0], products=True)
    if fit.n == 2 * m:
        curves.gram.add(fit.factor.transpose(0, 2, 1) @ fit.factor / fit.n)


def _batch_size(space: Space, targets: Targets, device: str) -> int:
    row = 8 * space.m * (space.m + len(targets.names)) * 8
    return max(1, _BATCH_BYTES[torch.device(device).type] // row)
