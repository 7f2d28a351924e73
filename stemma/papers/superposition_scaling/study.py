"""The experiments of the notebook: what is trained, and what is read off the trained models."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stemma.papers.superposition_scaling import geometry, scaling
from stemma.papers.superposition_scaling.frequencies import Array
from stemma.papers.superposition_scaling.toy import SECOND_MOMENT
from stemma.papers.superposition_scaling.training import Setting, Trained, train
from stemma.stats import power_law

CONVERGED = 0.02
"""A loss that changed by less than this share in the last quarter of training has converged."""


class Task(NamedTuple):
    """Models of one shape that are trained together.

    Attributes:
        name: of the frequencies.
        p: (n,) frequencies.
        width: m.
        gammas: one model per entry and replicate.
        replicates: independent models per gamma.
        setting: how they are trained.
        seed: of all of them.
        device: where they are trained.
    """

    name: str
    p: Array
    width: int
    gammas: tuple[float, ...]
    replicates: int
    setting: Setting
    seed: int
    device: str = "cpu"


class Measured(NamedTuple):
    """What is kept of a task.

    Attributes:
        table: a row a model.
        norms: (gammas, n) lengths of the rows of the first replicate.
        curves: (gammas, points) training losses of the first replicate.
    """

    table: pd.DataFrame
    norms: Array
    curves: Array


def measure(task: Task) -> Measured:
    """Train the models of ``task`` and measure them."""
    gammas = list(np.repeat(task.gammas, task.replicates))
    widths = [task.width] * len(gammas)
    done = train(task.p, widths, gammas, task.setting, task.seed, task.device)
    p = torch.tensor(task.p, dtype=torch.float32, device=task.device)
    rows = done.weights.rows
    table = pd.DataFrame(
        {
            "frequencies": task.name,
            "width": task.width,
            "gamma": gammas,
            "replicate": np.tile(np.arange(task.replicates), len(task.gammas)),
            "loss": _numbers(done.losses),
            "fresh": _numbers(done.fresh),
            "late_change": _numbers(1 - done.losses / done.earlier),
            "phi_half": _numbers(geometry.represented(rows)),
            "phi_1": _numbers(geometry.represented(rows, 1.0)),
            "longest": _numbers(geometry.lengths(rows).amax(dim=1)),
            "unlearned": _numbers(geometry.unlearned_loss(rows, p)),
            "squared_overlap": [geometry.squared_overlap(model) for model in rows],
            "rare_bias": _numbers(_bias_of_rare(done)),
        }
    )
    first = slice(None, None, task.replicates)
    return Measured(table, _array(geometry.lengths(rows)[first]), _array(done.curve[first]))


def top_m_loss(p: Array, width: int) -> float:
    """Return the loss of the baseline without superposition: the first m features, nothing else.

    Orthogonal rows of length one give every represented feature back exactly.
    """
    return SECOND_MOMENT * float(p[width:].sum())


def power_laws(table: pd.DataFrame, drop: int = 0) -> pd.DataFrame:
    """Fit log loss on log m for each frequencies, gamma and replicate.

    Args:
        table: rows of ``measure``.
        drop: leave out so many of the smallest widths.

    Returns:
        Columns frequencies, gamma, replicate, slope, r_squared, least and greatest slope without
        one of the widths.
    """
    fits = []
    for key, part in table.groupby(["frequencies", "gamma", "replicate"], sort=False):
        part = part.sort_values("width").iloc[drop:]
        fit = power_law(part.width, part.loss)
        without = scaling.leave_one_out_slopes(part.width, part.loss)
        fits.append((*key, fit.slope, fit.r_squared, without.min(), without.max()))
    names = ["frequencies", "gamma", "replicate", "slope", "r_squared", "least", "greatest"]
    return pd.DataFrame(fits, columns=names)


def converged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean late change of the loss per frequencies, gamma and width, over replicates."""
    keys = ["frequencies", "gamma", "width"]
    mean = table.groupby(keys, sort=False).late_change.mean().reset_index()
    return mean.assign(converged=mean.late_change.abs() < CONVERGED)


def exponents_on_alpha(laws: pd.DataFrame, alphas: Sequence[float]) -> tuple[Array, Array]:
    """Regress the model's exponent on alpha - 1, a line a replicate (C3).

    Args:
        laws: rows of ``power_laws`` of one gamma, whose frequencies are named by alpha.
        alphas: those to use.

    Returns:
        (replicates,) slopes and intercepts.
    """
    wide = laws.pivot_table(index="replicate", columns="frequencies", values="slope")
    exponents = -wide[[alpha_name(a) for a in alphas]].to_numpy()
    lines = np.polyfit(np.asarray(alphas) - 1, exponents.T, 1)
    return lines[0], lines[1]


def alpha_name(alpha: float) -> str:
    """Return the name of the power-law frequencies of exponent ``alpha``."""
    return f"alpha {alpha:g}"


def _bias_of_rare(done: Trained) -> Tensor:
    n = done.weights.bias.shape[1]
    return done.weights.bias[:, -n // 4 :].mean(dim=1)


def _numbers(values: Tensor) -> list[float]:
    numbers: list[float] = values.double().cpu().tolist()
    return numbers


def _array(values: Tensor) -> Array:
    return np.asarray(values.double().cpu().numpy())
