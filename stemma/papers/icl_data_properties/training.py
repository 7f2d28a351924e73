"""One run: train a model on drawn sequences, and evaluate it along the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stemma.models.training import LearningRate, Schedule
from stemma.papers.icl_data_properties.characters import Stimuli
from stemma.papers.icl_data_properties.evaluation import Evaluation, draw_evaluations
from stemma.papers.icl_data_properties.network import SequenceModel, Spec
from stemma.papers.icl_data_properties.sequences import Regime, Sequences, draw_training

Row = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How models are trained.

    Attributes:
        steps: of Adam.
        batch: sequences a step.
        warmup: steps of linear growth of the learning rate.
        schedule: ``constant`` after the warm-up, or ``inverse_sqrt``.
        clip: largest norm of the gradient; 0 for no limit.
        eval_every: steps between evaluations.
        eval_sequences: of each evaluation.
        eval_shots: context items of each class in the few-shot evaluations.
        by_rank: evaluate rare and common classes apart as well.
        noise: standard deviation of pixel noise where exemplars are ``noise``.
        device: where models are trained.
    """

    steps: int
    batch: int
    warmup: int
    schedule: Schedule
    clip: float
    eval_every: int
    eval_sequences: int
    eval_shots: int = 4
    by_rank: bool = False
    noise: float = 0.1
    device: str = "cpu"


@dataclass(frozen=True)
class Condition:
    """What a run varies: training distribution, model, learning rate; ``name`` is for tables."""

    name: str
    regime: Regime
    spec: Spec
    rate: float


class Feed:
    """Turns sequences into a model's input on its device."""

    def __init__(self, stimuli: Stimuli, noise: float, device: str, seed: int) -> None:
        """Keep the stimuli on the device; ``noise`` is the pixels' standard deviation, or 0."""
        self.values = torch.from_numpy(np.array(stimuli.values)).to(device)
        self.noise = noise * torch.from_numpy(np.array(stimuli.noise)).to(device)
        self.scale, self.noisy, self.device = stimuli.scale, noise > 0, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, drawn: Sequences) -> tuple[Tensor, Tensor]:
        """Return stimuli (n, length, ...) and all labels (n, length)."""
        classes, exemplars, labels = (torch.from_numpy(a).to(self.device) for a in drawn)
        x = self.values[classes, exemplars]
        if x.dtype == torch.uint8:
            x = x * self.scale
        if self.noisy:
            x = x + self.noise * torch.randn(x.shape, generator=self.generator, device=self.device)
        return x, labels


def build(condition: Condition, stimuli: Stimuli, seed: int) -> SequenceModel:
    """Return the untrained model of a condition; equal shapes and seeds give equal weights."""
    regime = condition.regime
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_features = stimuli.values.shape[-1]
        return SequenceModel(condition.spec, max(2, regime.n_labels), n_features, regime.length)


def train_run(stimuli: Stimuli, condition: Condition, recipe: Recipe, seed: int) -> list[Row]:
    """Train one model; return a row for each evaluation, the untrained model's first.

    A row holds condition, seed, step, the mean training loss (nats) since the evaluation before,
    and the accuracies of ``evaluation.score``. Runs of one seed start from the same weights (if
    their shapes agree) and are evaluated on the same sequences.
    """
    torch.set_num_threads(1)
    model = build(condition, stimuli, seed).to(recipe.device)
    noise = recipe.noise if condition.regime.exemplars == "noise" else 0.0
    feed = Feed(stimuli, noise, recipe.device, seed)
    exams = draw_evaluations(
        stimuli,
        condition.regime,
        recipe.eval_sequences,
        recipe.eval_shots,
        seed,
        by_rank=recipe.by_rank,
    )
    rows = [_row(model, feed, exams, condition, seed, 0, float("nan"))]
    losses: list[float] = []
    for step, loss in enumerate(_steps(model, feed, condition, recipe, seed), start=1):
        losses.append(loss)
        if step % recipe.eval_every == 0:
            mean = float(np.mean(losses))
            rows.append(_row(model, feed, exams, condition, seed, step, mean))
            losses = []
    return rows


def _steps(
    model: SequenceModel, feed: Feed, condition: Condition, recipe: Recipe, seed: int
) -> Iterator[float]:
    """Train step by step; yields each step's loss, the query's cross-entropy alone."""
    rng = np.random.default_rng([seed, 2])
    rate = LearningRate(condition.rate, recipe.schedule, recipe.steps, recipe.warmup)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for first in range(0, recipe.steps, recipe.eval_every):
        count = min(recipe.eval_every, recipe.steps - first)
        drawn = draw_training(rng, count * recipe.batch, condition.regime)
        for i in range(count):
            part = slice(i * recipe.batch, (i + 1) * recipe.batch)
            stimuli, labels = feed(Sequences(*(field[part] for field in drawn)))
            optimizer.param_groups[0]["lr"] = rate.at(first + i)
            loss = functional.cross_entropy(model(stimuli, labels[:, :-1]), labels[:, -1])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.clip > 0:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            yield loss.item()


def _row(
    model: SequenceModel,
    feed: Feed,
    exams: dict[str, Evaluation],
    condition: Condition,
    seed: int,
    step: int,
    loss: float,
) -> Row:
    row: Row = {"condition": condition.name, "seed": seed, "step": step, "loss": loss}
    model.eval()
    with torch.inference_mode():
        for exam in exams.values():
            row |= exam.score(_logits(model, feed, exam.sequences))
    model.train()
    return row


def _logits(model: SequenceModel, feed: Feed, drawn: Sequences, chunk: int = 250) -> Tensor:
    parts = []
    for first in range(0, len(drawn.labels), chunk):
        part = slice(first, first + chunk)
        stimuli, labels = feed(Sequences(*(field[part] for field in drawn)))
        parts.append(model(stimuli, labels[:, :-1]))
    return torch.cat(parts).cpu()
