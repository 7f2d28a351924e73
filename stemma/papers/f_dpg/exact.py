"""What is known exactly on an enumerated space: divergences, entropy, both sides of the theorem."""

import torch
from torch import Tensor

from stemma.papers.f_dpg import gru
from stemma.papers.f_dpg.divergences import exact_divergence, pseudo_reward
from stemma.papers.f_dpg.targets import Target

METRICS = ("alignment", "entropy", "KL(p, pi)", "KL(pi, p)", "TV", "JS", "KL(pi, a)")


def metrics(log_pi: Tensor, log_a: Tensor, target: Target) -> dict[str, Tensor]:
    """Return ``METRICS`` of policies, in nats (alignment: see ``Target.alignment``).

    Args:
        log_pi: log-probabilities of all sequences, double, shape (policies, n).
        log_a: of the base model, shape (n,).
        target: the target.

    Returns:
        For each metric, shape (policies,). KL(pi, p) is infinite on pointwise targets.
    """
    log_p, pi = target.log_p(log_a).expand_as(log_pi), log_pi.exp()
    return {
        "alignment": target.alignment(pi),
        "entropy": -(pi * log_pi).sum(dim=1),
        "KL(p, pi)": exact_divergence("KL", log_pi, log_p),
        "KL(pi, p)": exact_divergence("RKL", log_pi, log_p),
        "TV": exact_divergence("TV", log_pi, log_p),
        "JS": exact_divergence("JS", log_pi, log_p),
        "KL(pi, a)": (pi * (log_pi - log_a)).sum(dim=1),
    }


def divergence_gradient(policy: gru.Stack, length: int, log_p: Tensor, name: str) -> Tensor:
    """Return the gradient of D_f(pi || p) by differentiating the sum over all sequences."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in policy.items()}
    value = exact_divergence(name, gru.all_log_probabilities(leaves, length), log_p)
    return _flat(torch.autograd.grad(value.sum(), list(leaves.values())))


def policy_gradient(policy: gru.Stack, length: int, rewards: Tensor) -> Tensor:
    """Return -E_pi[reward(x) grad log pi(x)], the expectation being the sum over all sequences.

    Args:
        policy: a stack of one.
        length: of the sequences.
        rewards: of every sequence, shape (1, n), held fixed.
    """
    leaves = {k: v.detach().clone().requires_grad_() for k, v in policy.items()}
    log_pi = gru.all_log_probabilities(leaves, length)
    weighted = (log_pi.detach().exp() * rewards * log_pi).sum()
    return -_flat(torch.autograd.grad(weighted, list(leaves.values())))


def theorem_error(policy: gru.Stack, length: int, log_p: Tensor, name: str) -> float:
    """Return the relative difference of the theorem's two sides for one policy and target."""
    log_pi = gru.all_log_probabilities(policy, length)
    expected = divergence_gradient(policy, length, log_p, name)
    found = policy_gradient(policy, length, pseudo_reward(name, log_pi - log_p))
    return _relative(found, expected)


def penalty_error(policy: gru.Stack, length: int, log_a: Tensor, target: Target) -> float:
    """Return the relative difference between the RKL rule and RL with a KL penalty.

    The latter's reward is score(x) - log(pi(x) / a(x)), that is r(x) / beta minus the penalty; the
    two differ by a constant, which has no gradient.
    """
    log_pi = gru.all_log_probabilities(policy, length)
    penalised = target.score - (log_pi - log_a)
    rule = policy_gradient(policy, length, pseudo_reward("RKL", log_pi - target.log_p(log_a)))
    return _relative(policy_gradient(policy, length, penalised), rule)


def dpg_error(policy: gru.Stack, length: int, log_p: Tensor) -> float:
    """Return the relative difference between the KL rule and DPG's reward p(x) / pi(x)."""
    log_pi = gru.all_log_probabilities(policy, length)
    rule = policy_gradient(policy, length, pseudo_reward("KL", log_pi - log_p))
    return _relative(policy_gradient(policy, length, (log_p - log_pi).exp()), rule)


def _flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
