"""The experiment: one row a data set and sample size."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from stemma.models.parallel import in_processes
from stemma.papers.halfspace_tester_learner.bands import (
    Reference,
    SampledReference,
    gaussian_reference,
)
from stemma.papers.halfspace_tester_learner.baselines import BASELINES, fit_baseline
from stemma.papers.halfspace_tester_learner.labels import (
    Evaluator,
    draw_labels,
    flip_probability,
)
from stemma.papers.halfspace_tester_learner.targets import Array, make_target
from stemma.papers.halfspace_tester_learner.tester import (
    Design,
    Statistics,
    Thresholds,
    certify,
    choose,
    compute_statistics,
    learn,
    set_thresholds,
)
from stemma.papers.halfspace_tester_learner.zoo import directions, make_law

Row = dict[str, Any]

OURS = "tester-learner"

SEARCH_ANGLES: tuple[float, ...] = tuple(np.linspace(-1.5, 1.5, 25).tolist())
"""By which w* is turned towards v when the optimum is searched, radians."""


class Setting(NamedTuple):
    """What one group of data sets has in common; ``sizes`` are nested samples of each."""

    law: str
    noise: str
    level: float
    d: int
    sizes: tuple[int, ...]


class Plan(NamedTuple):
    """What all data sets share: seed, design, number of fresh points for errors, device."""

    seed: int
    design: Design
    fresh: int
    device: str = "cpu"


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone, not on any order."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def make_reference(target: str, d: int, points: int, seed: int) -> Reference:
    """Return the target's band moments: exact for the Gaussian, else from ``points`` draws."""
    if target == "gaussian":
        return gaussian_reference()
    sample = make_target(target).sample(stream(seed, "reference", target, d), points, d)
    return SampledReference(target, sample)


def null_statistics(
    reference: Reference, d: int, n: int, sets: Sequence[int], plan: Plan
) -> list[Statistics]:
    """Statistics of calibration data sets: n points of the target, candidates at random.

    Independent directions for the widths, where learned candidates nearly agree: their maximum
    over the widths is larger, so that the tester refuses too rarely rather than too often.
    """
    torch.set_num_threads(1)
    law, found = make_target(reference.name), []
    for index in sets:
        rng = stream(plan.seed, "calibration", reference.name, d, n, index)
        x = torch.from_numpy(law.sample(rng, n, d)).to(plan.device)
        w = rng.standard_normal((len(plan.design.sigmas), d))
        unit = torch.from_numpy(w / np.linalg.norm(w, axis=1, keepdims=True)).to(plan.device)
        found.append(compute_statistics(x, unit, plan.design, reference))
    return found


def calibrate(
    reference: Reference, d: int, n: int, sets: int, alpha: float, plan: Plan, jobs: int
) -> Thresholds:
    """Set thresholds for a test half of n points from ``sets`` simulated data sets."""
    chunks = np.array_split(np.arange(sets), max(jobs, sets // 50))
    tasks = [(reference, d, n, chunk.tolist(), plan) for chunk in chunks]
    null = [s for part in in_processes(null_statistics, tasks, jobs) for s in part]
    return set_thresholds(null, plan.design.degree, alpha)


class Drawn(NamedTuple):
    """One data set (rows x, labels y) and the evaluator that knows its planted halfspace."""

    x: Array
    y: Array
    evaluator: Evaluator


def draw_set(setting: Setting, index: int, plan: Plan) -> Drawn:
    """Draw a data set of the largest size, and fresh points to measure errors on."""
    rng = stream(plan.seed, "data", *setting[:4], index)
    w_star, v = directions(rng, setting.d)
    law = make_law(setting.law)
    x = law(rng, setting.sizes[-1], w_star, v)
    u = x @ w_star
    y = draw_labels(rng, u, flip_probability(setting.noise, setting.level, u, x @ v))
    fresh = law(rng, plan.fresh, w_star, v)
    return Drawn(x, y, Evaluator(fresh, w_star, v, setting.noise, setting.level))


def run_sets(
    setting: Setting,
    sets: Sequence[int],
    plan: Plan,
    reference: Reference,
    thresholds: Thresholds,
) -> list[Row]:
    """Learn, test and evaluate data sets; rows hold the setting, errors, and rejections.

    At every size n the first n/2 rows are S1 and the next n/2 S2. Tests are run at the largest size
    only, the one that ``thresholds`` are for.
    """
    torch.set_num_threads(1)
    drawn = [draw_set(setting, index, plan) for index in sets]
    x = torch.from_numpy(np.stack([data.x for data in drawn])).to(plan.device)
    y = torch.from_numpy(np.stack([data.y for data in drawn])).to(plan.device)
    rows: list[Row] = []
    for n in setting.sizes:
        first, second = slice(0, n // 2), slice(n // 2, n)
        rngs = [stream(plan.seed, "starts", *setting[:4], n, index) for index in sets]
        candidates = learn(x[:, first], y[:, first], plan.design, rngs)
        for b, data in enumerate(drawn):
            row: Row = {**setting._asdict(), "n": n, "set": sets[b]}
            if n == setting.sizes[-1]:
                answer = certify(
                    x[b, second], y[b, second], candidates[b], plan.design, reference, thresholds
                )
                row |= {"accepted": answer.accepted, **answer.rejections}
                w = answer.w
            else:
                w = choose(x[b, second], y[b, second], candidates[b])
            rows.append(row | _errors(data, w.cpu().numpy(), n))
    return rows


def _errors(data: Drawn, w: Array, n: int) -> Row:
    """Errors on fresh points; baselines train on both halves."""
    errors = {OURS: data.evaluator.error(w)}
    for name in BASELINES:
        errors[name] = data.evaluator.error(fit_baseline(name, data.x[:n], data.y[:n]))
    opt = data.evaluator.searched_optimum(SEARCH_ANGLES, list(errors.values()))
    return {**errors, "planted": data.evaluator.planted_error(), "opt": opt}


def run_settings(
    settings: Sequence[Setting],
    sets: int,
    plan: Plan,
    reference: Reference,
    thresholds: Mapping[tuple[int, int], Thresholds],
    jobs: int,
) -> Iterator[list[Row]]:
    """Yield the rows of every setting, ``sets`` data sets each, in order.

    Args:
        settings: what to run.
        sets: data sets a setting.
        plan: what all share.
        reference: the target.
        thresholds: by dimension and size of the test half.
        jobs: processes.
    """
    tasks = [
        (s, list(range(sets)), plan, reference, thresholds[s.d, s.sizes[-1] // 2]) for s in settings
    ]
    return in_processes(run_sets, tasks, jobs)
