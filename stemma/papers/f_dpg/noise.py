"""How noisy each objective's gradient is, at matched levels of alignment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stemma.papers.f_dpg import exact, gru
from stemma.papers.f_dpg.divergences import pseudo_reward
from stemma.papers.f_dpg.estimator import surrogate_loss
from stemma.papers.f_dpg.toy import Tuned, World

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Noise of one policy's gradient estimate.

    Attributes:
        reward_variance: of -f'(t) over x ~ pi, exact.
        largest_reward: largest abs(-f'(t)) where pi(x) is at least 1e-6.
        gradient_noise: trace of the covariance of one batch's gradient estimate.
        noise_to_signal: the same over the squared norm of the true gradient, so that the scale of
            the reward does not count.
    """

    reward_variance: float
    largest_reward: float
    gradient_noise: float
    noise_to_signal: float


def noise_at(
    world: World, kind: str, policy: gru.Stack, objective: str, batch: int, batches: int
) -> Noise:
    """Measure the noise of one policy (a stack of one).

    Z is exact, and the exact mean reward is subtracted: what is left is the noise of sampling.
    """
    log_p = world.targets[kind].log_p(world.log_a)
    with torch.no_grad():
        log_pi = gru.all_log_probabilities(policy, world.length).double()
    rewards = pseudo_reward(objective, log_pi - log_p)
    pi = log_pi.exp()
    mean = (pi * rewards).sum()
    centred = (rewards - mean).to(policy["outputs"].dtype)
    truth = exact.policy_gradient(policy, world.length, centred)
    found = _batch_gradients(world, policy, centred[0], batch, batches)
    # The mean over batches is known, so that no degree of freedom is lost.
    spread = float((found - truth).square().sum(dim=1).mean())
    seen = pi[0] >= 1e-6
    return Noise(
        reward_variance=float((pi * (rewards - mean).square()).sum()),
        largest_reward=float(rewards[0][seen].abs().max()),
        gradient_noise=spread,
        noise_to_signal=spread / float(truth.square().sum()),
    )


def _batch_gradients(
    world: World, policy: gru.Stack, centred: Tensor, batch: int, batches: int
) -> Tensor:
    """Gradient estimates of independent batches, shape (batches, parameters)."""
    copies = gru.stack([policy] * batches)
    leaves = {name: value.requires_grad_() for name, value in copies.items()}
    stream = Generator().manual_seed(world.seed + 1)
    uniform = torch.rand(batches, batch, world.length, generator=stream)
    sequences, log_pi = gru.rollout(leaves, uniform)
    advantages = centred[gru.index_of(sequences, gru.vocabulary_of(policy))]
    loss = surrogate_loss(log_pi, advantages).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return torch.cat([g.flatten(1) for g in gradients], dim=1)


def first_reaching(tuned: Tuned, objective: str, level: float) -> NDArray[np.int64]:
    """Return, for each world, the first evaluation with alignment at least ``level``, else -1."""
    reached = tuned.metrics["alignment"][tuned.objectives.index(objective)] >= level
    return np.where(reached.any(axis=1), reached.argmax(axis=1), -1)


def matched_noise(
    worlds: Sequence[World],
    kind: str,
    tuned: Tuned,
    objectives: Sequence[str],
    level: float,
    batch: int,
    batches: int,
) -> dict[str, list[Noise]]:
    """Measure each objective's noise where its own policy first reaches a level of alignment.

    Worlds in which one of the objectives never reaches it are left out for all of them.
    """
    at = {name: first_reaching(tuned, name, level) for name in objectives}
    common = [i for i in range(len(worlds)) if all(places[i] >= 0 for places in at.values())]
    return {
        name: [
            noise_at(worlds[i], kind, tuned.policy(name, i, int(at[name][i])), name, batch, batches)
            for i in common
        ]
        for name in objectives
    }
