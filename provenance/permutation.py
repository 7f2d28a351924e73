"""Permutations of an order within strata, and how often a statistic reaches the observed one.

The suspect's scores never change with the order: only what stands for the positions is permuted,
for many suspects at once, in blocks of bounded memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK = 4_000_000
"""Numbers held at once by loops over permutations or resamples (32 MB)."""

_FIRST = 64  # permutations of the first block where the loop may stop early; blocks then double
_LONG = 10_000  # from here on, shuffling row by row is twice as fast as all rows at once


class Exceedances(NamedTuple):
    """How often permuted statistics reached the observed one, each of shape (suspects,).

    Attributes:
        reached: permutations that reached it.
        drawn: permutations drawn.
        p: p-value that follows.
    """

    reached: Ints
    drawn: Ints
    p: Array


def directed(statistic: Array, sign: float) -> Array:
    """Return the statistic in the direction of the alternative: times ``sign``, absolute for 0."""
    return np.abs(statistic) if sign == 0 else sign * statistic


def permuted(
    x: Array, starts: Ints, sizes: Ints, m: int, rng: np.random.Generator, *, growing: bool = False
) -> Iterator[Array]:
    """Yield ``m`` permutations of ``x`` (n,) within strata, in blocks of shape (rows, n).

    Args:
        x: values, the strata one after another.
        starts: where each stratum begins.
        sizes: length of each stratum.
        m: permutations in all.
        rng: draws them.
        growing: begin with a small block and double it, for a loop that may stop early.
    """
    most = max(1, CHUNK // len(x))
    rows, done = min(_FIRST, most) if growing else most, 0
    while done < m:
        block = np.tile(x, (min(rows, m - done), 1))
        for low, size in zip(starts, sizes, strict=True):
            _shuffle(block[:, low : low + size], rng)
        yield block
        done += len(block)
        rows = min(2 * rows, most)


def _shuffle(part: Array, rng: np.random.Generator) -> None:
    if part.shape[1] < _LONG:
        part[:] = rng.permuted(part, axis=1)
        return
    work = np.empty(part.shape[1])  # stays in the processor's cache, which the block does not
    for row in part:
        work[:] = row
        rng.shuffle(work)
        row[:] = work


def count_exceeding(
    x: Array,
    y: Array,
    starts: Ints,
    sizes: Ints,
    *,
    sign: float,
    m: int,
    stop_after: int | None,
    rng: np.random.Generator,
) -> Exceedances:
    """Compare x[pi] @ y with x @ y over random permutations pi within strata.

    Without ``stop_after`` = h the p-value is (1 + g) / (m + 1) after g exceedances in m draws. With
    it, drawing stops at the h-th exceedance and p = h / l, l being the draws so far; without h
    exceedances in m draws it is (1 + g) / (m + 1) as before. Both satisfy P(p <= u) <= u exactly
    (Besag and Clifford 1991): among the observed and the permuted statistics, which are
    exchangeable under the null hypothesis, l >= h / u needs the observed one to be among the h
    largest of the first h / u.

    Args:
        x: stands for the positions, centred within strata, shape (n,).
        y: scores, shape (n, suspects).
        starts: where each stratum begins.
        sizes: length of each stratum.
        sign: 1 or -1 for a one-sided alternative, 0 for both sides.
        m: most permutations to draw.
        stop_after: exceedances after which a suspect's draws stop, or None.
        rng: draws the permutations.
    """
    # Rounding must not break a tie in the suspect's disfavour.
    slack = 1e-9 * np.linalg.norm(x) * np.linalg.norm(y, axis=0)
    bar = directed(x @ y, sign) - slack
    count, drawn = np.zeros(y.shape[1], np.int64), np.zeros(y.shape[1], np.int64)
    limit = m + 1 if stop_after is None else stop_after
    for block in permuted(x, starts, sizes, m, rng, growing=stop_after is not None):
        running = count + np.cumsum(directed(block @ y, sign) >= bar, axis=0)
        open_ = count < limit
        reached = running[-1] >= limit
        used = np.where(reached, np.argmax(running >= limit, axis=0) + 1, len(block))
        drawn += np.where(open_, used, 0)
        count = np.where(open_, np.minimum(running[-1], limit), count)
        if (count >= limit).all():
            break
    p = np.where(count >= limit, count / np.maximum(drawn, 1), (1 + count) / (drawn + 1))
    return Exceedances(count, drawn, p)
