"""What is expected in a band around a candidate, and the statistics of the local tests T2 to T4."""

from functools import cache
from itertools import pairwise
from math import erf, sqrt, tan
from typing import Protocol

import torch
from torch import Tensor

from stemma.papers.halfspace_tester_learner.moments import (
    MomentTable,
    moment_statistic,
    product_table,
    sample_table,
)
from stemma.papers.halfspace_tester_learner.targets import Array

SLAB_REACH = 3.0
"""Slabs of T4 end at this distance from the boundary; what lies beyond is one slab."""


class Reference(Protocol):
    """The target's band around a direction."""

    name: str

    def mass(self, w: Tensor, radius: float) -> float:
        """Return P(|<w,x>| <= radius)."""

    def table(self, w: Tensor, radius: float, degree: int) -> MomentTable:
        """Return the moments of the part orthogonal to w, given |<w,x>| <= radius."""


class GaussianReference:
    """N(0, I): the orthogonal part is N(0, I_{d-1}) in every band."""

    name = "gaussian"

    def mass(self, w: Tensor, radius: float) -> float:
        """Return erf(radius / sqrt 2)."""
        return erf(radius / sqrt(2))

    def table(self, w: Tensor, radius: float, degree: int) -> MomentTable:
        """Return the moments of N(0, I_{d-1})."""
        return product_table("gaussian", len(w) - 1, degree)


class SampledReference:
    """A target that is known but has no closed form in a band: a large sample of it stands in."""

    def __init__(self, name: str, points: Array) -> None:
        """Take points of the target, shape (N, d)."""
        self.name = name
        self.points = torch.from_numpy(points)

    def mass(self, w: Tensor, radius: float) -> float:
        """Return the share of the sample in the band."""
        return float(((self.points @ w.to(self.points)).abs() <= radius).double().mean())

    def table(self, w: Tensor, radius: float, degree: int) -> MomentTable:
        """Return the moments of the sample in the band."""
        here = w.to(self.points)
        inside = (self.points @ here).abs() <= radius
        return sample_table(orthogonal_part(self.points[inside], here), degree)


@cache
def gaussian_reference() -> GaussianReference:
    """Return the reference of the standard Gaussian."""
    return GaussianReference()


def orthogonal_part(x: Tensor, w: Tensor) -> Tensor:
    """Coordinates of x orthogonal to the unit vector w, shape (n, d - 1), by a Householder map."""
    v = w.clone()
    v[0] += 1.0 if w[0] >= 0 else -1.0
    v = v / v.norm()
    reflection = torch.eye(len(w), dtype=w.dtype, device=w.device) - 2 * torch.outer(v, v)
    return x @ reflection[:, 1:]


def mass_statistic(u: Tensor, radii: tuple[float, ...], masses: tuple[float, ...]) -> float:
    """T2: largest |log(observed / expected mass)| in units of its standard error.

    Args:
        u: <w,x>, shape (n,).
        radii: half widths of the bands.
        masses: what the target has there, each above 0 and below 1.

    Returns:
        The statistic; infinite for an empty band.
    """
    worst = 0.0
    for radius, mass in zip(radii, masses, strict=True):
        share = float((u.abs() <= radius).double().mean())
        if share == 0.0:
            return float("inf")
        scale = sqrt(len(u) * mass / (1 - mass))
        worst = max(worst, abs(torch.log(torch.tensor(share / mass)).item()) * scale)
    return worst


def wedge_bound(u: Tensor, z: Tensor, theta: float) -> float:
    """T4: a certified bound of the empirical disagreement with every halfspace within an angle.

    h_w and h_v, at most theta apart, differ at x only if |<z, a>| >= |u| / tan(theta) for the unit
    vector a of v orthogonal to w. In the slab i tan(theta) <= |u| < (i + 1) tan(theta) that is at
    least i, which by Chebyshev happens to a share of at most lambda_i / i^2, lambda_i being the
    largest eigenvalue of the slab's second moments of z. The bound sums mass times min(1, that).

    Args:
        u: <w,x>, shape (n,).
        z: orthogonal part, shape (n, d - 1).
        theta: the angle, radians, below pi/2.

    Returns:
        The bound, between 0 and 1.
    """
    width = tan(theta)
    order = torch.argsort(u.abs())
    distance, part = u.abs()[order], z[order]
    last = max(1, int(SLAB_REACH / width))
    edges = torch.arange(1, last + 1, dtype=u.dtype, device=u.device) * width
    cuts = [0, *torch.searchsorted(distance, edges).tolist(), len(u)]
    grams = torch.stack([part[a:b].T @ part[a:b] / max(b - a, 1) for a, b in pairwise(cuts)])
    largest = torch.linalg.eigvalsh(grams)[:, -1]
    i = torch.arange(len(grams), dtype=u.dtype, device=u.device)
    share = torch.where(i == 0, torch.ones_like(i), largest / i.clamp_min(1) ** 2).clamp_max(1)
    counts = torch.diff(torch.tensor(cuts, dtype=u.dtype, device=u.device))
    return float((counts * share).sum() / len(u))


def local_statistics(
    x: Tensor, w: Tensor, sigma: float, reference: Reference, degree: int
) -> tuple[float, float, float]:
    """Return the statistics of T2 (band mass), T3 (band shape) and T4 (wedge) at one candidate.

    T2 looks at |<w,x>| <= sigma/6 and sigma/2, T3 at all moments up to ``degree`` of the
    orthogonal part within sigma/2, T4 at the angle theta = sigma, in units of theta.

    Args:
        x: points of the test half S2, shape (n, d).
        w: candidate, shape (d,), of length 1.
        sigma: the candidate's width.
        reference: the target.
        degree: of T3, even.
    """
    u, z = x @ w, orthogonal_part(x, w)
    radii = (sigma / 6, sigma / 2)
    masses = (reference.mass(w, radii[0]), reference.mass(w, radii[1]))
    mass = mass_statistic(u, radii, masses)
    inside = z[u.abs() <= radii[1]]
    shape = moment_statistic(inside, reference.table(w, radii[1], degree))
    return mass, shape, wedge_bound(u, z, sigma) / sigma
