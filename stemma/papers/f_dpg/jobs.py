"""Runs on text as independent jobs, for ``stemma.models.parallel.in_processes``."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from stemma.papers.f_dpg import text
from stemma.papers.f_dpg.features import Feature
from stemma.papers.f_dpg.toy import FILTERED

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Wish:
    """A target on text, with all that runs towards it share.

    Attributes:
        base: where to start, and a(x).
        feature: what is wanted.
        goal: samples of the target.
        pool: samples of the base model that filtered SFT may learn from.
        samples: on which a tuned model is measured.
        measure_seed: decides these samples, the same for all models.
    """

    base: text.Base
    feature: Feature
    goal: text.TargetSample
    pool: text.Pool
    samples: int
    measure_seed: int


class Outcome(NamedTuple):
    """A run's tuned model, the alignment of each step's samples (SFT: none), its measurement."""

    model: PreTrainedModel
    curve: Array
    measured: text.Measured


def tune_and_measure(wish: Wish, objective: str, tuning: text.Tuning, seed: int) -> Outcome:
    """Tune the base model of a wish by f-DPG, or filtered SFT, and measure the result."""
    if objective == FILTERED:
        model = text.filtered_tuning(wish.base, wish.feature, wish.pool, tuning, seed)
        curve = np.empty(0)
    else:
        policy = text.tune(wish.base, wish.feature, objective, tuning, seed)
        model, curve = policy.model, policy.alignment
    measured = text.measure(
        wish.base, model, wish.feature, wish.goal, wish.samples, wish.measure_seed
    )
    return Outcome(model, curve, measured)
