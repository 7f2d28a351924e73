"""The point processes: independent points, projection DPP, volume sampling, repeated DPP.

All draws are batched over replicates. Uniform numbers come from numpy on the CPU whatever the
device, so that a seed gives the same points on CPU and GPU up to rounding.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stemma.papers.dpp_least_squares.spaces import Array, Space

Nodes = NDArray[np.int64]
SamplerName = Literal["iid mu", "iid nu", "volume", "repeated DPP"]
SAMPLERS: tuple[SamplerName, ...] = ("iid mu", "iid nu", "volume", "repeated DPP")

_CHUNK_BYTES = 2**24


class Sampler(NamedTuple):
    """A point process on the nodes of a space, with the weight of its least-squares problem.

    Attributes:
        name: which process.
        density: probability of each node for the independent points, shape (N,).
        weight: w at each node, shape (N,).
    """

    name: SamplerName
    density: Array
    weight: Array


def make_sampler(space: Space, name: SamplerName, alpha: float = 0.0) -> Sampler:
    """Return a sampler with the weight 1/w = alpha + (1 - alpha) ||phi||^2 / m.

    ``alpha`` 0 gives the Christoffel weight; ``alpha`` > 0 bounds w by 1/alpha. ``iid mu`` is
    classical least squares (w = 1) whatever ``alpha``.
    """
    mixture = 1.0 if name == "iid mu" else alpha
    inverse = mixture + (1 - mixture) * space.christoffel / space.m
    density = space.mu * inverse
    return Sampler(name, density / density.sum(), 1 / inverse)


def draw(
    space: Space,
    sampler: Sampler,
    n: int,
    replicates: int,
    rng: np.random.Generator,
    device: str = "cpu",
) -> Nodes:
    """Draw ``replicates`` samples of n points; returns node indices, shape (replicates, n).

    ``volume`` is one DPP of m points and n - m independent ones: volume-rescaled sampling with
    respect to the sampler's density (Derezinski, Warmuth and Hsu). Columns 0..m-1 are the DPP; the
    order does not matter to least squares. Any prefix of ``volume`` of length >= m is a volume
    sample, and any prefix of ``repeated DPP`` by whole blocks of m is a repeated DPP.

    Raises:
        ValueError: fewer than m points, or a repeated DPP whose n is no multiple of m.
    """
    m = space.m
    if sampler.name in ("iid mu", "iid nu"):
        return draw_independent(sampler.density, (replicates, n), rng)
    if n < m:
        raise ValueError(f"{sampler.name}: n = {n} points, fewer than m = {m}")
    if sampler.name == "volume":
        first = draw_dpp(space, replicates, rng, device)
        rest = draw_independent(sampler.density, (replicates, n - m), rng)
        return np.concatenate([first, rest], axis=1)
    if n % m:
        raise ValueError(f"a repeated DPP has a multiple of m = {m} points, not {n}")
    return draw_dpp(space, replicates * (n // m), rng, device).reshape(replicates, n)


def draw_independent(density: Array, shape: tuple[int, int], rng: np.random.Generator) -> Nodes:
    """Draw independent nodes with probabilities ``density`` (N,); any shape."""
    cumulative = np.cumsum(density)
    found = np.searchsorted(cumulative, rng.random(shape) * cumulative[-1], side="right")
    return np.asarray(np.minimum(found, len(density) - 1), dtype=np.int64)


def draw_dpp(space: Space, replicates: int, rng: np.random.Generator, device: str = "cpu") -> Nodes:
    """Draw projection DPPs with kernel phi(x).phi(y) with respect to mu; shape (replicates, m)."""
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    v = torch.as_tensor(vectors, dtype=torch.float64, device=device)
    size = max(1, _CHUNK_BYTES // (8 * len(space.mu)))
    parts = []
    for start in range(0, replicates, size):
        uniforms = rng.random((space.m, min(size, replicates - start)))
        parts.append(_chain_rule(v, torch.as_tensor(uniforms, device=device)).cpu().numpy())
    return np.concatenate(parts)


def _chain_rule(v: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw one DPP for each column of ``uniforms`` (m, R) by the chain rule (card's step 3).

    ``left`` holds, for every replicate and node, the squared distance of the node's row of ``v``
    from the span of the rows drawn so far: the conditional density of the next point.
    """
    m, replicates = uniforms.shape
    left = (v**2).sum(dim=1).repeat(replicates, 1)
    span = torch.zeros(replicates, m, m, dtype=v.dtype, device=v.device)
    chosen = torch.empty(replicates, m, dtype=torch.int64, device=v.device)
    for k in range(m):
        cumulative = left.cumsum(dim=1)
        target = (uniforms[k] * cumulative[:, -1])[:, None]
        node = torch.searchsorted(cumulative, target, right=True).clamp_(max=len(v) - 1)
        chosen[:, k] = node[:, 0]
        direction = _orthogonal_part(v[node[:, 0]], span[:, :k])
        span[:, k] = direction
        left -= (direction @ v.T) ** 2
        left.clamp_(min=0.0)
        left.scatter_(1, node, 0.0)
    return chosen


def _orthogonal_part(rows: torch.Tensor, span: torch.Tensor) -> torch.Tensor:
    """Unit vectors along the parts of ``rows`` (R, m) orthogonal to ``span`` (R, k, m)."""
    rows = rows / rows.norm(dim=1, keepdim=True)
    for _ in range(2):  # twice is enough (Kahan): orthogonal to rounding
        inner = torch.einsum("rkm,rm->rk", span, rows)
        rows = rows - torch.einsum("rkm,rk->rm", span, inner)
        rows = rows / rows.norm(dim=1, keepdim=True)
    return rows
