"""All moments up to a degree at once: the Gram matrix of the monomials of half that degree."""

from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.papers.halfspace_tester_learner.targets import Array, Target, make_target


class MomentTable(NamedTuple):
    """Expected products of pairs of monomials, and their standard deviations.

    Attributes:
        half_degree: largest degree of the F monomials; products have twice that.
        mean: E[m_a m_b], shape (F, F).
        sd: standard deviation of m_a m_b, shape (F, F); 0 for the constant.
        samples: size of the sample they were estimated from; infinite if exact.
    """

    half_degree: int
    mean: Tensor
    sd: Tensor
    samples: float = float("inf")


@cache
def exponents(d: int, degree: int) -> Array:
    """Exponents of all monomials in d variables up to ``degree``, shape (C(d + degree, d), d).

    Ordered by degree, then by their variables: the order of ``monomials``.
    """
    picks = [p for k in range(degree + 1) for p in combinations_with_replacement(range(d), k)]
    table = np.zeros((len(picks), d))
    for row, pick in enumerate(picks):
        np.add.at(table[row], list(pick), 1)
    return table


@cache
def _parents(d: int, degree: int) -> tuple[list[int], list[int]]:
    """For the monomials of exactly ``degree``: which one of the degree below, times which x."""
    below = {p: i for i, p in enumerate(combinations_with_replacement(range(d), degree - 1))}
    picks = list(combinations_with_replacement(range(d), degree))
    return [below[p[:-1]] for p in picks], [p[-1] for p in picks]


def monomials(x: Tensor, degree: int) -> Tensor:
    """Return all monomials up to ``degree`` of points (n, d), shape (C(d + degree, d), n)."""
    # One monomial a row: whole rows are copied, which is several times faster.
    rows = x.T.contiguous()
    levels = [torch.ones_like(rows[:1])]
    for k in range(1, degree + 1):
        parent, variable = _parents(x.shape[1], k)
        levels.append(levels[-1][parent].mul_(rows[variable]))
    return torch.cat(levels)


@cache
def product_table(target: str, d: int, degree: int) -> MomentTable:
    """Exact table of a product distribution for an even ``degree`` (at most 6)."""
    law: Target = make_target(target)
    e = exponents(d, degree // 2).astype(int)
    total = e[:, None, :] + e[None, :, :]
    moments = np.array(law.moments)
    mean = moments[total].prod(axis=2)
    second = moments[2 * total].prod(axis=2)
    sd = np.sqrt(np.maximum(second - mean**2, 0.0))
    return MomentTable(degree // 2, torch.from_numpy(mean), torch.from_numpy(sd))


def sample_table(x: Tensor, degree: int) -> MomentTable:
    """Table estimated from points of shape (n, d)."""
    m = monomials(x, degree // 2)
    mean = m @ m.T / len(x)
    square = m**2
    sd = (square @ square.T / len(x) - mean**2).clamp_min(0).sqrt()
    return MomentTable(degree // 2, mean, sd, float(len(x)))


def moment_statistic(x: Tensor, table: MomentTable) -> float:
    """Return the largest |mean - expected| / standard error over all moments of the table.

    Args:
        x: points, shape (n, d).
        table: what is expected.

    Returns:
        The statistic; infinite if there are no points.
    """
    if len(x) == 0:
        return float("inf")
    m = monomials(x, table.half_degree)
    off = (m @ m.T / len(x) - table.mean.to(x)).abs()
    error = table.sd.to(x) * (1 / len(x) + 1 / table.samples) ** 0.5
    # The constant has no error; the floor keeps it at 0 instead of 0 / 0.
    return float((off / error.clamp_min(1e-12)).flatten()[1:].max())
