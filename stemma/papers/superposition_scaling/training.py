"""Training of the toy model: Adam with decoupled weight decay or growth."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stemma.models.training import LearningRate
from stemma.papers.superposition_scaling import toy
from stemma.papers.superposition_scaling.frequencies import Array

WARM_UP = 0.1
FINAL_RATE = 0.05
FRESH_BATCH = 1000
LAST_STEPS = 100
"""The training loss reported is the mean over so many last steps (as in the code)."""


@dataclass(frozen=True)
class Setting:
    """How a model is trained.

    Attributes:
        steps: gradient steps.
        batch: fresh samples per step.
        rate: Adam's largest learning rate.
        by_width: rates of the paper's large runs: 2 rate (8 / m)^(1/4) for W, 2 / m for b.
        fresh: samples on which a trained model is evaluated.
        train_rows: False leaves W as drawn, with rows of length one, and fits only b (ablation).
    """

    steps: int
    batch: int
    rate: float = 0.01
    by_width: bool = False
    fresh: int = 100_000
    train_rows: bool = True


class Trained(NamedTuple):
    """Models after training.

    Attributes:
        weights: W (R, n, m) and b (R, n).
        losses: (R,) mean over the last 100 steps.
        earlier: (R,) mean over the 100 steps before the last quarter of training.
        fresh: (R,) on samples that were not trained on.
        curve: (R, points) mean losses of equal stretches of training.
    """

    weights: toy.Weights
    losses: Tensor
    earlier: Tensor
    fresh: Tensor
    curve: Tensor


def train(
    p: Array,
    widths: list[int],
    gamma: list[float],
    setting: Setting,
    seed: int,
    device: str = "cpu",
) -> Trained:
    """Train one model per entry of ``widths`` and ``gamma``, each on samples of its own.

    Args:
        p: (n,) frequencies.
        widths: m of each model.
        gamma: weight decay (positive) or growth (negative) of each model.
        setting: the schedule.
        seed: of initial weights and samples.
        device: where to train.
    """
    weights = toy.initial(widths, len(p), seed, device)
    if not setting.train_rows:
        weights.rows.div_(torch.linalg.vector_norm(weights.rows, dim=2, keepdim=True))
    trained = weights if setting.train_rows else weights[1:]
    decays = torch.tensor(gamma, device=device)
    sampler = toy.Sampler(p, len(widths), setting.batch, seed, device)
    rates = learning_rates(setting, max(widths))[-len(trained) :]
    adam = torch.optim.Adam([{"params": [tensor]} for tensor in trained])
    log = torch.empty(setting.steps, len(widths), device=device)
    for step in range(setting.steps):
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate.at(step)
        loss, gradient = toy.losses(weights, sampler.draw())
        for tensor, slope in zip(trained, gradient[-len(trained) :], strict=True):
            tensor.grad = slope / len(p)
        if setting.train_rows:
            toy.decay(weights.rows, decays, adam.param_groups[0]["lr"])
        adam.step()
        log[step] = loss
    return Trained(
        weights,
        log[-LAST_STEPS:].mean(dim=0),
        log[: 3 * setting.steps // 4][-LAST_STEPS:].mean(dim=0),
        evaluate(weights, p, setting, seed + 1),
        torch.stack([part.mean(dim=0) for part in log.tensor_split(50)], dim=1),
    )


def evaluate(weights: toy.Weights, p: Array, setting: Setting, seed: int) -> Tensor:
    """Return (R,) losses on at least ``setting.fresh`` samples that were not trained on."""
    models, _, _ = weights.rows.shape
    sampler = toy.Sampler(p, models, FRESH_BATCH, seed, str(weights.rows.device))
    batches = math.ceil(setting.fresh / FRESH_BATCH)
    found = [toy.losses(weights, sampler.draw()).losses for _ in range(batches)]
    return torch.stack(found).mean(dim=0)


def learning_rates(setting: Setting, width: int) -> tuple[LearningRate, LearningRate]:
    """Return the learning rates of W and of b: a linear warm-up, then a half cosine."""
    peaks = (setting.rate, setting.rate)
    if setting.by_width:
        peaks = (2 * setting.rate * (8 / width) ** 0.25, 2 / width)
    warm = round(WARM_UP * setting.steps)
    rows, bias = (LearningRate(peak, "cosine", setting.steps, warm, FINAL_RATE) for peak in peaks)
    return rows, bias
