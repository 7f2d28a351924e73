"""f-DPG, and its cheap rival, on enumerable spaces: many policies at once, measured exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stemma.papers.f_dpg import exact, gru
from stemma.papers.f_dpg.estimator import Estimator, surrogate_loss
from stemma.papers.f_dpg.targets import Target, make_target

Array = NDArray[np.float64]

FILTERED = "filtered SFT"
"""The cheap rival: maximum likelihood on samples of the base model, weighed by P(x) / a(x)."""


@dataclass(frozen=True)
class World:
    """One random base model with its targets.

    Attributes:
        seed: decides everything here.
        base: the base model, a stack of one.
        length: of a sequence.
        log_a: log-probability of every sequence, double, shape (n,).
        targets: by kind.
    """

    seed: int
    base: gru.Stack
    length: int
    log_a: Tensor
    targets: dict[str, Target]


@dataclass(frozen=True)
class Setting:
    """How policies are tuned.

    Attributes:
        steps: gradient steps.
        batch: samples of each step.
        learning_rate: of Adam.
        evaluations: exact evaluations after the first step, evenly spaced in the step's logarithm.
        baseline: whether the moving mean is subtracted from rewards.
        exact_z: use the exact Z instead of the running estimate.
    """

    steps: int
    batch: int
    learning_rate: float
    evaluations: int
    baseline: bool = True
    exact_z: bool = False

    @property
    def evaluated(self) -> list[int]:
        """Steps after which policies are evaluated; 0 is the base model."""
        spaced = np.geomspace(1, self.steps, self.evaluations).round().astype(int)
        return [0, *np.unique(spaced).tolist()]


@dataclass(frozen=True)
class Tuned:
    """What became of the policies of one target: axes (objective, world, evaluation).

    Attributes:
        objectives: names, axis 0.
        steps: of the evaluations.
        metrics: exact values of ``exact.METRICS``, shape (objectives, worlds, evaluations).
        log_z_error: log of the running Z minus log Z, same shape; nan at step 0.
        gradient_norm: of each step's estimate, shape (objectives, worlds, steps).
        checkpoints: the policies at each evaluation, stacks with objective-major rows.
    """

    objectives: tuple[str, ...]
    steps: list[int]
    metrics: dict[str, Array]
    log_z_error: Array
    gradient_norm: Array
    checkpoints: list[gru.Stack]

    def final(self, objective: str, metric: str) -> Array:
        """Return a metric of one objective after the last step, shape (worlds,)."""
        return self.metrics[metric][self.objectives.index(objective), :, -1]

    def policy(self, objective: str, world: int, evaluation: int) -> gru.Stack:
        """Return one policy, a stack of one."""
        rows = self.metrics["entropy"].shape[1]
        return gru.select(
            self.checkpoints[evaluation], [self.objectives.index(objective) * rows + world]
        )


def make_world(seed: int, vocabulary: int, length: int, kinds: Sequence[str], beta: float) -> World:
    """Return a random base model and its targets."""
    base = gru.random_gru(seed, vocabulary)
    with torch.no_grad():
        log_a = gru.all_log_probabilities(_double(base), length)[0]
    sequences = gru.every_sequence(vocabulary, length)
    targets = {kind: make_target(kind, sequences, log_a, seed, beta) for kind in kinds}
    return World(seed, base, length, log_a, targets)


def tune(worlds: Sequence[World], kind: str, objectives: Sequence[str], setting: Setting) -> Tuned:
    """Tune one policy for each objective and world, all side by side, from the base model.

    Objectives of a world share the uniform numbers that their samples are drawn with.
    """
    policies = _copies(worlds, len(objectives))
    optimizer = torch.optim.Adam(list(policies.values()), lr=setting.learning_rate)
    streams = [Generator().manual_seed(world.seed) for world in worlds]
    log_target = _spread([w.targets[kind].log_target(w.log_a) for w in worlds], objectives)
    names = [name for name in objectives for _ in worlds]
    log_z = log_target.logsumexp(dim=1)
    estimator = Estimator(
        names, baseline=setting.baseline, log_z=log_z if setting.exact_z else None
    )
    log = _Log(worlds, kind, objectives, setting)
    log.evaluate(policies, torch.full_like(log_z, torch.nan))
    for step in range(1, setting.steps + 1):
        shape = (setting.batch, worlds[0].length)
        uniform = torch.stack([torch.rand(shape, generator=stream) for stream in streams])
        sequences, log_pi = gru.rollout(policies, uniform.repeat(len(objectives), 1, 1))
        place = gru.index_of(sequences, gru.vocabulary_of(policies))
        advantages = estimator.advantages(log_pi.detach(), log_target.gather(1, place))
        _update(optimizer, surrogate_loss(log_pi, advantages))
        log.step(policies)
        if step in log.steps:
            log.evaluate(policies, estimator.log_z - log_z)
    return log.tuned()


def filtered_tuning(worlds: Sequence[World], kind: str, setting: Setting) -> Tuned:
    """Tune by maximum likelihood on weighed samples of the base model, as many as ``tune`` draws.

    Minimises the forward KL with the base model as the one proposal: no reward, no Z. Batches are
    drawn from the samples with probability proportional to P(x) / a(x).
    """
    policies = _copies(worlds, 1)
    optimizer = torch.optim.Adam(list(policies.values()), lr=setting.learning_rate)
    sequences = gru.every_sequence(gru.vocabulary_of(policies), worlds[0].length)
    chosen = torch.stack([_resampled(world, kind, setting) for world in worlds])
    log = _Log(worlds, kind, [FILTERED], setting)
    unknown = torch.full((len(worlds),), torch.nan, dtype=torch.float64)
    log.evaluate(policies, unknown)
    for step in range(1, setting.steps + 1):
        log_pi = gru.log_probability(policies, sequences[chosen[:, step - 1]])
        _update(optimizer, -log_pi.mean(dim=1))
        log.step(policies)
        if step in log.steps:
            log.evaluate(policies, unknown)
    return log.tuned()


def _resampled(world: World, kind: str, setting: Setting) -> Tensor:
    """Places of the samples of every step, shape (steps, batch)."""
    rng = np.random.default_rng([world.seed, 3])
    a = world.log_a.exp().numpy()
    drawn = rng.choice(len(a), size=setting.steps * setting.batch, p=a / a.sum())
    weights = world.targets[kind].score.exp().numpy()[drawn]
    if not weights.any():
        raise ValueError(f"no sample of the base model has P(x) > 0 for {kind}; raise `steps`")
    shape = (setting.steps, setting.batch)
    return torch.from_numpy(rng.choice(drawn, size=shape, p=weights / weights.sum()))


def _update(optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
    optimizer.zero_grad()
    losses.sum().backward()  # type: ignore[no-untyped-call]  # policies share no parameter
    optimizer.step()


def _copies(worlds: Sequence[World], times: int) -> gru.Stack:
    policies = gru.stack([world.base for world in worlds] * times)
    return {name: value.requires_grad_() for name, value in policies.items()}


def _spread(values: Sequence[Tensor], objectives: Sequence[str]) -> Tensor:
    return torch.stack(list(values)).repeat(len(objectives), 1)


def _double(networks: gru.Stack) -> gru.Stack:
    return {name: value.double() for name, value in networks.items()}


class _Log:
    """Collects what ``Tuned`` holds."""

    def __init__(
        self, worlds: Sequence[World], kind: str, objectives: Sequence[str], setting: Setting
    ) -> None:
        self._worlds, self._kind = worlds, kind
        self._objectives = tuple(objectives)
        self.steps = setting.evaluated
        self._metrics: list[Array] = []
        self._errors: list[Array] = []
        self._norms: list[Array] = []
        self._checkpoints: list[gru.Stack] = []

    def step(self, policies: gru.Stack) -> None:
        squares = [
            p.grad.square().flatten(1).sum(dim=1) for p in policies.values() if p.grad is not None
        ]
        self._norms.append(self._shaped(torch.stack(squares).sum(dim=0).sqrt()))

    def evaluate(self, policies: gru.Stack, log_z_error: Tensor) -> None:
        rows = list(range(len(self._objectives) * len(self._worlds)))
        kept = gru.select(policies, rows)
        self._checkpoints.append(kept)
        self._errors.append(self._shaped(log_z_error))
        with torch.no_grad():
            log_pi = gru.all_log_probabilities(kept, self._worlds[0].length).double()
        by_world = log_pi.view(len(self._objectives), len(self._worlds), -1)
        measured = [
            exact.metrics(by_world[:, i], world.log_a, world.targets[self._kind])
            for i, world in enumerate(self._worlds)
        ]
        table = [[m[name].numpy() for m in measured] for name in exact.METRICS]
        self._metrics.append(np.array(table).transpose(0, 2, 1))

    def tuned(self) -> Tuned:
        values = np.stack(self._metrics, axis=-1)
        return Tuned(
            objectives=self._objectives,
            steps=self.steps,
            metrics=dict(zip(exact.METRICS, values, strict=True)),
            log_z_error=np.stack(self._errors, axis=-1),
            gradient_norm=np.stack(self._norms, axis=-1),
            checkpoints=self._checkpoints,
        )

    def _shaped(self, values: Tensor) -> Array:
        shape = (len(self._objectives), len(self._worlds))
        return values.detach().double().numpy().reshape(shape)
