"""Learning to branch by imitation: samples of the expert, training, accuracy."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.papers.distributional_miplib.milp import Milp
from stemma.papers.distributional_miplib.policy import Batch, Policy, collate
from stemma.papers.distributional_miplib.rules import Sample, Sampling
from stemma.papers.distributional_miplib.solver import Limits, run_with
from stemma.stats import Array

RATE_CUT, PATIENCE = 0.2, 10
"""The learning rate falls to a fifth when ten validations in a row bring nothing."""


class Training(NamedTuple):
    """How a policy is trained; every arm of a comparison has the same.

    Attributes:
        width: embedding width.
        steps: gradient steps, at most.
        batch: samples a step, drawn with replacement.
        rate: Adam's learning rate.
        check_every: steps between two looks at the validation loss; the best weights are kept.
        stop_after: looks in a row that bring nothing, after which training ends.
    """

    width: int
    steps: int
    batch: int
    rate: float
    check_every: int
    stop_after: int


class Trained(NamedTuple):
    """A policy and the gradient step whose weights it has: that of the least validation loss."""

    policy: Policy
    best_step: int


class Accuracy(NamedTuple):
    """Share of samples whose choice is among the expert's best, and what chance would get.

    Attributes:
        top1: the choice has the best score of the expert (ties count).
        top5: one of the five highest choices has it.
        chance: expected top1 of a random choice.
        ties: share of samples in which several candidates have the best score.
    """

    top1: float
    top5: float
    chance: float
    ties: float


def sample_expert(
    milp: Milp, seed: int, probability: float, most: int, limits: Limits
) -> list[Sample]:
    """Return up to ``most`` decisions of strong branching along a pseudocost search.

    Args:
        milp: the program.
        seed: of SCIP's permutation and of the nodes at which the expert is asked.
        probability: of asking the expert at a node.
        most: samples after which the search stops.
        limits: where it stops otherwise.
    """
    rule = Sampling(np.random.default_rng([seed, 1]), probability, most)
    run_with(milp, rule, seed, limits)
    return rule.samples


def loss(scores: Tensor, batch: Batch, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of the softmax over each state's candidates.

    Args:
        scores: (k,) scores of all candidates.
        batch: says which state each candidate belongs to.
        targets: (states,) position in ``scores`` of the expert's choice.
    """
    top = scores.new_full((batch.states,), -torch.inf)
    top = top.scatter_reduce(0, batch.owners, scores.detach(), "amax")
    mass = torch.exp(scores - top[batch.owners])
    total = scores.new_zeros(batch.states).index_add(0, batch.owners, mass)
    return (total.log() + top - scores[targets]).mean()


def _join(samples: Sequence[Sample]) -> tuple[Batch, Tensor]:
    starts = np.cumsum([0, *(len(s.scores) for s in samples[:-1])])
    best = np.array([int(np.argmax(s.scores)) for s in samples])
    return collate([s.state for s in samples]), torch.from_numpy(starts + best)


def train(
    samples: Sequence[Sample], validation: Sequence[Sample], seed: int, training: Training
) -> Trained:
    """Return a policy that imitates the expert, with the weights of least validation loss.

    Raises:
        ValueError: no samples to learn from or to validate on.
    """
    if not samples or not validation:
        raise ValueError("no samples of the expert: the programs are solved without branching")
    rng = np.random.default_rng([seed, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(training.width)
    some = rng.choice(len(samples), min(len(samples), 64), replace=False)
    policy.estimate_norms(collate([samples[i].state for i in some]))
    optimizer = torch.optim.Adam(policy.parameters(), training.rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=RATE_CUT, patience=PATIENCE
    )
    held_out, held_targets = _join(validation)
    best, best_step, kept = np.inf, 0, copy.deepcopy(policy.state_dict())
    for step in range(1, training.steps + 1):
        picked = rng.integers(len(samples), size=training.batch)
        batch, targets = _join([samples[i] for i in picked])
        optimizer.zero_grad()
        loss(policy(batch), batch, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % training.check_every == 0:
            with torch.no_grad():
                current = float(loss(policy(held_out), held_out, held_targets))
            plateau.step(current)
            if current < best:
                best, best_step, kept = current, step, copy.deepcopy(policy.state_dict())
            elif step >= best_step + training.stop_after * training.check_every:
                break
    policy.load_state_dict(kept)
    return Trained(policy.eval(), best_step)


def accuracy(policy: Policy, samples: Sequence[Sample]) -> Accuracy:
    """Return how often the policy chooses what the expert rates best."""
    found = np.array([_hits(policy.score(s.state), s.scores) for s in samples])
    return Accuracy(*(float(v) for v in found.mean(axis=0)))


def _hits(chosen: Array, expert: Array) -> tuple[float, float, float, float]:
    best = expert >= expert.max()
    order = np.argsort(-chosen, kind="stable")
    return float(best[order[0]]), float(best[order[:5]].any()), best.mean(), float(best.sum() > 1)
