"""The tester-learner: learn on S1, test on S2, certify or refuse; and the tests' calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.papers.halfspace_tester_learner.bands import Reference, local_statistics
from stemma.papers.halfspace_tester_learner.moments import moment_statistic, product_table
from stemma.papers.halfspace_tester_learner.surrogate import Schedule, descend
from stemma.papers.halfspace_tester_learner.targets import Array

LOCAL: tuple[str, ...] = ("T2", "T3", "T4")
TESTS: tuple[str, ...] = ("T1", *LOCAL)


class Design(NamedTuple):
    """What the tester-learner is told in advance.

    Attributes:
        sigmas: widths of the surrogate, one candidate each; at most 1.
        degree: of T1 within the tester, and of T3.
        alone: degrees of the label-oblivious testers, T1 alone.
        schedule: of the descent.
    """

    sigmas: tuple[float, ...]
    degree: int
    alone: tuple[int, ...]
    schedule: Schedule


class Statistics(NamedTuple):
    """Statistics of one data set: T1 by degree, and T2, T3, T4 (rows) by candidate (columns)."""

    overall: dict[int, float]
    local: Array


def compute_statistics(
    x: Tensor, candidates: Tensor, design: Design, reference: Reference
) -> Statistics:
    """Compute all tests' statistics; they see neither labels nor the training half.

    Args:
        x: points of S2, shape (n, d).
        candidates: one unit vector a width, shape (S, d).
        design: widths and degrees.
        reference: the target.
    """
    overall = {
        degree: moment_statistic(x, product_table(reference.name, x.shape[1], degree))
        for degree in sorted({design.degree, *design.alone})
    }
    columns = [
        local_statistics(x, w, sigma, reference, design.degree)
        for w, sigma in zip(candidates, design.sigmas, strict=True)
    ]
    return Statistics(overall, np.array(columns).T)


@dataclass(frozen=True)
class Thresholds:
    """Calibrated thresholds; a statistic above its threshold rejects.

    Attributes:
        degree: of T1 within the tester.
        alone: by degree, of T1 as the only test, at the full level alpha.
        overall: of T1 within the tester, at alpha / 4.
        local: of T2, T3, T4 (rows) at each width, shape (3, S); each row has level alpha / 4.
    """

    degree: int
    alone: dict[int, float]
    overall: float
    local: Array

    def rejections(self, statistics: Statistics) -> dict[str, bool]:
        """Return which tests reject: T1 to T4, ``any`` of these, ``T1 degree k`` alone."""
        found = {"T1": statistics.overall[self.degree] > self.overall}
        beyond = np.any(statistics.local > self.local, axis=1).tolist()
        found.update({name: bool(bad) for name, bad in zip(LOCAL, beyond, strict=True)})
        found["any"] = any(found.values())
        for degree, limit in self.alone.items():
            found[f"T1 degree {degree}"] = statistics.overall[degree] > limit
        return found


def set_thresholds(null: Sequence[Statistics], degree: int, alpha: float) -> Thresholds:
    """Set thresholds from statistics of data sets that follow the target.

    The four tests share alpha equally. Within a local test, the (1 - alpha/4) quantile at each
    width gives the scale; one common factor then brings the test over all widths to its level.

    Args:
        null: statistics of independent calibration data sets.
        degree: of T1 within the tester.
        alpha: probability of refusing a data set that follows the target.
    """
    level = 1 - alpha / len(TESTS)
    overall = {k: np.array([s.overall[k] for s in null]) for k in null[0].overall}
    local = np.array([s.local for s in null])
    scale = np.quantile(local, level, axis=0, method="higher")
    factor = np.quantile((local / scale).max(axis=2), level, axis=0, method="higher")
    return Thresholds(
        degree,
        {k: float(np.quantile(v, 1 - alpha, method="higher")) for k, v in overall.items()},
        float(np.quantile(overall[degree], level, method="higher")),
        scale * factor[:, None],
    )


def learn(x: Tensor, y: Tensor, design: Design, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Learn one candidate a width from random starts, for B data sets at once.

    Args:
        x: points of S1, shape (B, n, d).
        y: labels, shape (B, n).
        design: widths and schedule.
        rngs: draw the starts, one generator a data set.

    Returns:
        Unit vectors, shape (B, S, d).
    """
    shape = (len(design.sigmas), x.shape[2])
    start = np.stack([rng.standard_normal(shape) for rng in rngs])
    start /= np.linalg.norm(start, axis=2, keepdims=True)
    sigma = torch.tensor(design.sigmas, dtype=x.dtype, device=x.device)
    return descend(torch.from_numpy(start).to(x), x, y, sigma, design.schedule)


def choose(x: Tensor, y: Tensor, candidates: Tensor) -> Tensor:
    """Return the candidate, or its negation, with the fewest errors on S2, shape (d,)."""
    agreement = (torch.where(x @ candidates.T >= 0, 1.0, -1.0) * y[:, None]).mean(dim=0)
    best = int(agreement.abs().argmax())
    return candidates[best] * (1.0 if agreement[best] >= 0 else -1.0)


class Answer(NamedTuple):
    """A halfspace, whether it is certified, and which tests refused."""

    w: Tensor
    accepted: bool
    rejections: dict[str, bool]


def certify(
    x: Tensor,
    y: Tensor,
    candidates: Tensor,
    design: Design,
    reference: Reference,
    thresholds: Thresholds,
) -> Answer:
    """Test every candidate on S2 and return the best; accepted only if no test refuses.

    Args:
        x: points of S2, shape (n, d), disjoint from those that the candidates were learned on.
        y: labels of S2, shape (n,); they choose among the candidates.
        candidates: one a width, shape (S, d).
        design: widths and degrees.
        reference: the target.
        thresholds: calibrated for this n, d and design.
    """
    rejections = thresholds.rejections(compute_statistics(x, candidates, design, reference))
    return Answer(choose(x, y, candidates), not rejections["any"], rejections)
