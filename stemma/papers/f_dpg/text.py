"""f-DPG on causal language models: sequences of one length after one fixed beginning."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stemma import stats
from stemma.models import alice, pretrained
from stemma.models.alice import PLANS, Alice, Plan
from stemma.models.sampling import sample
from stemma.models.scoring import token_losses
from stemma.models.weights import clone
from stemma.papers.f_dpg.estimator import Estimator, surrogate_loss
from stemma.papers.f_dpg.features import Feature, distinct

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

BEGINNING = "The"
"""The context of every sequence: how a paragraph of the corpus may begin."""

LEARNING_RATE = 3e-3
"""At which ``alice-W`` is trained, three times that of the suite's own Alice."""

FEW = 50
"""A forward KL that rests on fewer samples of the target than this is not reported."""


@dataclass(frozen=True)
class Base:
    """The model that is tuned, and what its sequences are.

    Attributes:
        model: the base model a(x).
        tokenizer: turns tokens into the texts that features look at.
        length: tokens of a sequence, the beginning left out.
        beginning: tokens of ``BEGINNING``, the context of every sequence.
        alice: the training run of the model, None if it was not trained here.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    length: int
    beginning: tuple[int, ...]
    alice: Alice | None = None

    def beginnings(self, n: int) -> Rows:
        """Return the context ``n`` times, shape (n, its length)."""
        return np.tile(np.asarray(self.beginning, dtype=np.int64), (n, 1))

    def draw(self, model: PreTrainedModel, n: int, seed: int) -> Rows:
        """Sample ``n`` sequences at temperature 1, all tokens allowed, shape (n, length)."""
        return sample(model, self.beginnings(n), self.length, seed=seed)

    def texts(self, sequences: Rows) -> list[str]:
        """Return the sequences as text, the beginning left out."""
        texts: list[str] = self.tokenizer.batch_decode(sequences)
        return texts

    def log_probability(self, model: PreTrainedModel, sequences: Rows) -> Array:
        """Return log pi of whole sequences given the beginning, shape (n,)."""
        context = self.beginnings(len(sequences))
        losses = token_losses(model, np.concatenate([context, sequences], axis=1), batch_size=256)
        total: Array = -losses[:, context.shape[1] - 1 :].sum(axis=1)
        return total


def load_base(name: str, length: int, plan: Plan, seed: int) -> Base:
    """Return a base model by name.

    Args:
        name: ``alice-W``, the suite's Alice with width W; ``smollm2``, the Alice that continues
            SmolLM2-135M-Instruct; or the name of a model of the hub.
        length: tokens of a sequence.
        plan: of ``alice-W``, but for the width.
        seed: the order that Alice is trained in.
    """
    if name == "smollm2":
        own = alice.alice("gpu", seed=seed)
    elif name.startswith("alice-"):
        own = alice.load_or_train(replace(plan, hidden=int(name.removeprefix("alice-"))), seed)
    else:
        model, tokenizer = pretrained.load(name)
        return Base(model, tokenizer, length, _beginning(tokenizer))
    return Base(own.model, own.tokenizer, length, _beginning(own.tokenizer), own)


def _beginning(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    return tuple(tokenizer(BEGINNING, add_special_tokens=False)["input_ids"])


def reduced_plan(scale: alice.Scale, vocab_size: int, examples: int) -> Plan:
    """Return the suite's plan of Alice with fewer tokens, so that tuning is affordable.

    A small vocabulary makes sequences cheap; the higher learning rate and the examples make up for
    what a narrow model would lack.
    """
    plan = PLANS["smoke" if scale == "smoke" else "small"]
    return replace(
        plan,
        vocab_size=vocab_size,
        n_train=examples,
        n_bob=examples,
        n_prompts=plan.n_held_out,
        learning_rate=max(plan.learning_rate, LEARNING_RATE),
    )


@dataclass(frozen=True)
class Pool:
    """Samples of the base model, drawn once.

    Attributes:
        sequences: shape (n, length).
        log_a: their log-probabilities, shape (n,).
        texts: as text.
    """

    sequences: Rows
    log_a: Array
    texts: list[str]

    def part(self, start: int, stop: int) -> "Pool":
        """Return samples ``start`` to ``stop`` as a pool."""
        rows = slice(start, stop)
        return Pool(self.sequences[rows], self.log_a[rows], self.texts[rows])


def draw_pool(base: Base, n: int, seed: int) -> Pool:
    """Sample a pool of ``n`` sequences from the base model."""
    sequences = base.draw(base.model, n, seed)
    return Pool(sequences, base.log_probability(base.model, sequences), base.texts(sequences))


@dataclass(frozen=True)
class TargetSample:
    """Exact samples of p(x): those of a pool of a(x) that survive rejection.

    Attributes:
        sequences: shape (n, length).
        log_p: log P - log Z of them, Z estimated on the whole pool, shape (n,).
        alignment: E_p[phi], from the whole pool.
        base_alignment: E_a[phi], from the whole pool.
        log_z: log of the estimate of Z.
    """

    sequences: Rows
    log_p: Array
    alignment: float
    base_alignment: float
    log_z: float

    @property
    def entropy(self) -> float:
        """Of p, nats a sequence."""
        return float(-self.log_p.mean())


def target_sample(pool: Pool, feature: Feature, seed: int) -> TargetSample:
    """Draw from the target by rejection: a sample is kept with probability exp(score) <= 1.

    Raises:
        ValueError: no sample of the pool is kept.
    """
    values = feature.values(pool.texts)
    score = feature.score(values)
    kept = np.flatnonzero(np.log(np.random.default_rng(seed).random(len(score))) < score)
    if len(kept) == 0:
        raise ValueError(f"{feature.name}: no sample of the pool is kept; draw a larger pool")
    log_z = float(np.log(np.exp(score).mean()))
    weights = np.exp(score - log_z) / len(score)
    return TargetSample(
        sequences=pool.sequences[kept],
        log_p=pool.log_a[kept] + score[kept] - log_z,
        alignment=float(weights @ values),
        base_alignment=float(values.mean()),
        log_z=log_z,
    )


@dataclass(frozen=True)
class Tuning:
    """How a policy is tuned: gradient steps, samples a step, Adam's learning rate."""

    steps: int
    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Policy:
    """A tuned model.

    Attributes:
        model: the policy.
        alignment: mean phi of each step's samples, before its update, shape (steps,).
        log_z: the running estimate of log Z after the last step.
    """

    model: PreTrainedModel
    alignment: Array
    log_z: float


def tune(base: Base, feature: Feature, objective: str, tuning: Tuning, seed: int) -> Policy:
    """Tune a copy of the base model by f-DPG.

    Args:
        base: where to start, and a(x).
        feature: the target.
        objective: name of the divergence.
        tuning: steps, batch and learning rate.
        seed: decides the samples; the same for all objectives.
    """
    model = clone(base.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=tuning.learning_rate)
    estimator = Estimator([objective])
    alignment = []
    for step_seed in stats.spawn_seeds(seed, tuning.steps):
        sequences = base.draw(model, tuning.batch, step_seed)
        values = feature.values(base.texts(sequences))
        log_target = base.log_probability(base.model, sequences) + feature.score(values)
        log_pi = _log_probability(base, model, sequences)
        advantages = estimator.advantages(
            log_pi.detach().cpu()[None], torch.from_numpy(log_target)[None]
        )[0]
        _update(optimizer, surrogate_loss(log_pi, advantages.to(log_pi.device)))
        alignment.append(values.mean())
    model.train(False)
    return Policy(model, np.array(alignment), float(estimator.log_z))


def filtered_tuning(
    base: Base, feature: Feature, pool: Pool, tuning: Tuning, seed: int
) -> PreTrainedModel:
    """Return a copy tuned by maximum likelihood on weighed samples of the base model.

    The cheap rival: it sees as many samples as ``tune`` draws, all of them from a(x). Batches are
    drawn with probability proportional to P / a. Without a sample with P > 0 it stays as it was.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(pool.texts), tuning.steps * tuning.batch, replace=False)
    seen = Pool(pool.sequences[chosen], pool.log_a[chosen], [pool.texts[i] for i in chosen])
    weights = np.exp(feature.score(feature.values(seen.texts)))
    model = clone(base.model)
    optimizer = torch.optim.Adam(model.parameters(), lr=tuning.learning_rate)
    for _ in range(tuning.steps if weights.any() else 0):
        rows = rng.choice(len(weights), tuning.batch, p=weights / weights.sum())
        _update(optimizer, -_log_probability(base, model, seen.sequences[rows]).mean())
    model.train(False)
    return model


def _log_probability(base: Base, model: PreTrainedModel, sequences: Rows) -> Tensor:
    """Log pi of whole sequences with gradient, shape (n,)."""
    context = base.beginnings(len(sequences))
    rows = torch.from_numpy(np.concatenate([context, sequences], axis=1)).to(model.device)
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits[:, context.shape[1] - 1 :]
    logs = logits.float().log_softmax(dim=2)
    total: Tensor = logs.gather(2, rows[:, context.shape[1] :, None]).sum(dim=(1, 2))
    return total


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@dataclass(frozen=True)
class Measured:
    """A policy measured on fresh samples of its own, and on the pool.

    Attributes:
        alignment: E_pi[phi].
        entropy: nats a sequence.
        from_base: KL(pi || a).
        forward_kl: KL(p || pi), from the samples of p.
        distinct: distinct-1, -2 and -3.
        texts: the first few samples.
    """

    alignment: float
    entropy: float
    from_base: float
    forward_kl: float
    distinct: tuple[float, float, float]
    texts: list[str]


def measure(
    base: Base,
    model: PreTrainedModel,
    feature: Feature,
    goal: TargetSample,
    samples: int,
    seed: int,
) -> Measured:
    """Measure a model against a target; every model is sampled in the same way."""
    sequences = base.draw(model, samples, seed)
    texts = base.texts(sequences)
    log_pi = base.log_probability(model, sequences)
    on_target = base.log_probability(model, goal.sequences)
    return Measured(
        alignment=float(feature.values(texts).mean()),
        entropy=float(-log_pi.mean()),
        from_base=float((log_pi - base.log_probability(base.model, sequences)).mean()),
        forward_kl=float((goal.log_p - on_target).mean()),
        distinct=(distinct(texts, 1), distinct(texts, 2), distinct(texts, 3)),
        texts=texts[:5],
    )
