"""Geometry of the rows of W: which features are represented, and how much they overlap."""

import torch
from torch import Tensor
from torch.nn import functional

from stemma.papers.superposition_scaling.toy import SECOND_MOMENT

REPRESENTED = 0.5
"""A feature is represented if its row is longer than this (the paper's phi_1/2)."""


def lengths(rows: Tensor) -> Tensor:
    """Return the lengths (..., n) of ``rows`` (..., n, m)."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms


def represented(rows: Tensor, threshold: float = REPRESENTED) -> Tensor:
    """Return phi (...): the share of rows longer than ``threshold``."""
    return (lengths(rows) > threshold).float().mean(dim=-1)


def unlearned_loss(rows: Tensor, p: Tensor) -> Tensor:
    """Return (...) the loss of doing without the unrepresented features, 4/3 sum of their p_i."""
    return SECOND_MOMENT * ((lengths(rows) <= REPRESENTED) * p).sum(dim=-1)


def squared_overlap(rows: Tensor) -> float:
    """Return the mean cos^2 over all pairs of different rows of (n, m).

    The sum of squared cosines is the squared Frobenius norm of the m x m second moment, so that no
    n x n matrix is needed.
    """
    unit = functional.normalize(rows.double(), dim=1)
    n = len(unit)
    return float(((unit.T @ unit).square().sum() - n) / (n * (n - 1)))


def welch_bound(n: int, m: int) -> float:
    """Return the least mean cos^2 of n > m unit vectors in m dimensions (Welch 1974)."""
    return (n - m) / (m * (n - 1))
