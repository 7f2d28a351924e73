"""The experiment: models of one setting over seeds, what they answer, how they represent b."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.models.parallel import in_processes
from stemma.papers.coverage_principle import analysis, coverage, tasks
from stemma.papers.coverage_principle.network import (
    Parameters,
    Shape,
    decode,
    initialize,
    pick,
)
from stemma.papers.coverage_principle.tasks import CONDITIONS, Bools, Ints, Sample
from stemma.papers.coverage_principle.training import PROMPT, Schedule, train

_DECODED = 8192  # sequences at once


class Setting(NamedTuple):
    """A condition of ``tasks.CONDITIONS``, n, the training set's size N, and the model's size."""

    condition: str
    n: int
    size: int
    layers: int
    width: int
    heads: int

    @property
    def shape(self) -> Shape:
        """The models' shape; every condition has the token of the fake bridge, used or not."""
        return Shape(self.n + 1, PROMPT + 1, self.layers, self.width, self.heads)

    @property
    def probe(self) -> int:
        """The layer at which the bridge is looked for: the middle, from which x3 can read it."""
        return self.layers // 2


class Plan(NamedTuple):
    """What all settings share.

    Attributes:
        schedule: the training budget.
        seen_ratio: the part of each table that may occur in training.
        tests: most test triples of a kind.
        analysed: whether to compute each test triple's k-cutoff and to keep the weights.
        stack: models trained at once.
        device: of torch.
    """

    schedule: Schedule
    seen_ratio: float
    tests: int
    analysed: bool = True
    stack: int = 1
    device: str = "cpu"


class Outcome(NamedTuple):
    """One trained model.

    Attributes:
        setting: what was trained.
        seed: of task, training set, weights and order.
        tests: indices of the test triples, shape (T,).
        kind: of each, 0 in domain, 1 to 3 out of domain, shape (T,).
        cutoff: of each, the largest k at which it is covered, shape (T,); -1 out of domain or not
            analysed.
        correct: whether the answer, decoded greedily, was right, shape (looks, T).
        trained: accuracy on the training triples, shape (looks,).
        collapse: IICG by b at the probe layer, shape (looks,).
        parameters: of the last step, a stack of one; none if not analysed.
    """

    setting: Setting
    seed: int
    tests: Ints
    kind: Ints
    cutoff: Ints
    correct: Bools
    trained: list[float]
    collapse: list[float]
    parameters: Parameters

    def accuracy(self, chosen: Bools, look: int = -1) -> float:
        """Return the accuracy on the chosen tests, NaN if there are none."""
        return float(self.correct[look, chosen].mean()) if chosen.any() else float("nan")

    @property
    def in_domain(self) -> Bools:
        """Which tests are in domain."""
        return np.asarray(self.kind == tasks.IN_DOMAIN)


def make_sample(setting: Setting, seed: int, seen_ratio: float) -> Sample:
    """Return a seed's task and training set; equal for conditions that differ in targets alone."""
    task = tasks.make_task(setting.n, CONDITIONS[setting.condition], seen_ratio, seed)
    return tasks.classify(task, tasks.draw_order(task, seed)[: setting.size])


def answer(p: Parameters, setting: Setting, sample: Sample, chosen: Ints) -> Ints:
    """Return one model's answers to the chosen triples; a chain is emitted, never given."""
    emitted = 1 if CONDITIONS[setting.condition].chain == "none" else 2
    parts = []
    for start in range(0, len(chosen), _DECODED):
        prompt = torch.from_numpy(sample.task.triples[chosen[start : start + _DECODED]])
        tokens = decode(p, prompt[None].to(p["wte.weight"].device), setting.heads, emitted)
        parts.append(tokens[0, :, -1].cpu().numpy())
    return np.concatenate(parts)


def bridges(sample: Sample, pairs: Ints) -> Ints:
    """Return f1 of the pairs with these numbers."""
    return sample.task.bridge[pairs * sample.task.n]


def run_setting(setting: Setting, seeds: Sequence[int], plan: Plan) -> list[Outcome]:
    """Train one model a seed, all in one stack, and return what each does after each look."""
    samples = [make_sample(setting, seed, plan.seen_ratio) for seed in seeds]
    weights = [int(tasks.stream(seed, "weights").integers(2**31)) for seed in seeds]
    p = initialize(setting.shape, weights, plan.device)
    tests = [tasks.draw_tests(s, plan.tests, seed) for s, seed in zip(samples, seeds, strict=True)]
    seen: list[list[tuple[Bools, float, float]]] = [[] for _ in seeds]

    def look(step: int) -> None:
        for r, sample in enumerate(samples):
            seen[r].append(_look(pick(p, r), setting, sample, tests[r], plan.tests))

    train(p, _stack(setting, samples, plan.device), setting.heads, plan.schedule, weights, look)
    return [
        _outcome(setting, seed, plan, samples[r], tests[r], seen[r], pick(p, r))
        for r, seed in enumerate(seeds)
    ]


def _stack(setting: Setting, samples: Sequence[Sample], device: str) -> Tensor:
    chain = CONDITIONS[setting.condition].chain
    rows = [tasks.sequences(s.task, s.train, chain) for s in samples]
    return torch.from_numpy(np.stack(rows)).to(device)


def _look(
    p: Parameters, setting: Setting, sample: Sample, tests: Ints, most: int
) -> tuple[Bools, float, float]:
    truth, trained = sample.task.answer, sample.train[:most]
    right = answer(p, setting, sample, tests) == truth[tests]
    fitted = float(np.mean(answer(p, setting, sample, trained) == truth[trained]))
    pairs = analysis.seen_pairs(sample)
    states = analysis.pair_states(p, setting.heads, pairs, setting.n)[setting.probe]
    gap = analysis.cosine_gap(analysis.cosines(states), bridges(sample, pairs))
    return np.asarray(right), fitted, gap


def _outcome(
    setting: Setting,
    seed: int,
    plan: Plan,
    sample: Sample,
    tests: Ints,
    seen: Sequence[tuple[Bools, float, float]],
    p: Parameters,
) -> Outcome:
    right, fitted, gaps = zip(*seen, strict=True)
    cutoff, own = np.full(len(tests), -1), {}
    if plan.analysed:
        cutoff = coverage.cutoffs(sample)[tests]
        own = {name: value.cpu().clone() for name, value in p.items()}
    kind = sample.kind[tests]
    return Outcome(
        setting, seed, tests, kind, cutoff, np.stack(right), list(fitted), list(gaps), own
    )


def run_settings(
    settings: Sequence[Setting], seeds: Sequence[int], plan: Plan, jobs: int
) -> Iterator[Outcome]:
    """Yield an outcome for each setting and seed, in that order; ``jobs`` processes on a CPU."""
    work = [
        (setting, seeds[i : i + plan.stack], plan)
        for setting in settings
        for i in range(0, len(seeds), plan.stack)
    ]
    for outcomes in in_processes(run_setting, work, jobs if plan.device == "cpu" else 1):
        yield from outcomes


def data_sizes(
    n: int, seeds: Sequence[int], k: int, target: float, source: str, seen_ratio: float
) -> list[float]:
    """Return the N that k-covers ``target`` of the in-domain new triples, one a seed."""
    found = []
    for seed in seeds:
        task = tasks.make_task(n, CONDITIONS["twohop"], seen_ratio, seed)
        order = tasks.draw_order(task, seed)
        found.append(coverage.needed_size(task, order, k, target, source))
    return found
