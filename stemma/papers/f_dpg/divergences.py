"""The f-divergences of the paper, as functions of log t where t = pi(x) / p(x).

D_f(pi || p) = E_{x ~ p} f(pi(x) / p(x)) with f convex and f(1) = 0. The paper's main theorem (arXiv
2302.08215): the gradient of D_f(pi_theta || p) is E_{x ~ pi_theta} f'(pi_theta(x) / p(x)) grad log
pi_theta(x), so that -f'(t) is a reward.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LOG_T_CAP = 12.0
"""Where f'(infinity) is infinite, p(x) = 0 gets the reward of this log t; finite ones are kept."""

_LOG2 = math.log(2.0)


@dataclass(frozen=True)
class Divergence:
    """One convex f, as used in D_f(pi || p).

    Attributes:
        name: short name.
        title: what D_f is.
        f: of log t, elementwise.
        slope: f'(t), of log t, elementwise.
        slope_at_infinity: limit of f' for t to infinity, the price of mass where p(x) = 0.
    """

    name: str
    title: str
    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    slope_at_infinity: float


def _jensen_shannon(log_t: Tensor) -> Tensor:
    own = log_t.exp() * (_LOG2 - functional.softplus(-log_t))
    return own + _LOG2 - functional.softplus(log_t)


DIVERGENCES: dict[str, Divergence] = {
    d.name: d
    for d in (
        Divergence("KL", "forward KL, KL(p || pi)", lambda u: -u, lambda u: -torch.exp(-u), 0.0),
        Divergence(
            "RKL", "reverse KL, KL(pi || p)", lambda u: u.exp() * u, lambda u: u + 1, math.inf
        ),
        Divergence(
            "TV",
            "total variation",
            lambda u: torch.expm1(u).abs() / 2,
            lambda u: u.sign() / 2,
            0.5,
        ),
        Divergence(
            "JS",
            "Jensen-Shannon, KL(p || m) + KL(pi || m) with m = (p + pi) / 2",
            _jensen_shannon,
            lambda u: _LOG2 - functional.softplus(-u),
            _LOG2,
        ),
        Divergence(
            "CHI2",
            "chi-square, sum (p - pi)^2 / pi",
            lambda u: torch.expm1(u) ** 2 * torch.exp(-u),
            lambda u: 1 - torch.exp(-2 * u),
            1.0,
        ),
    )
}
"""By name, in the order of the card's table: KL gives DPG, RKL gives RL with a KL penalty."""


def pseudo_reward(name: str, log_t: Tensor) -> Tensor:
    """Return -f'(t) of the divergence called ``name``, elementwise (any shape).

    ``log_t`` is infinite where p(x) = 0: there the reward is -f'(infinity), or -f' at
    ``LOG_T_CAP`` if that is infinite.
    """
    divergence = DIVERGENCES[name]
    if math.isinf(divergence.slope_at_infinity):
        log_t = torch.where(torch.isposinf(log_t), LOG_T_CAP, log_t)
    return -divergence.slope(log_t)


def exact_divergence(name: str, log_pi: Tensor, log_p: Tensor) -> Tensor:
    """Return D_f(pi || p) over an enumerated space, differentiable in ``log_pi``.

    Args:
        name: of the divergence.
        log_pi: log-probabilities of all sequences, shape (..., n), finite.
        log_p: of the same shape; minus infinity where p is zero.

    Returns:
        Shape (...); infinite for reverse KL if p is zero anywhere.
    """
    divergence = DIVERGENCES[name]
    inside = torch.isfinite(log_p)
    safe = torch.where(inside, log_p, 0.0)
    terms = safe.exp() * divergence.f(log_pi - safe)
    outside = torch.where(inside, torch.zeros_like(log_pi), log_pi.exp()).sum(dim=-1)
    total = torch.where(inside, terms, torch.zeros_like(terms)).sum(dim=-1)
    escaped = torch.where(outside > 0, divergence.slope_at_infinity * outside, outside)
    return total + escaped
