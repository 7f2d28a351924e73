"""Synthetic tasks for the claims on separability, minorities and outliers (our own design)."""

import numpy as np

from stemma.papers.predictive_multiplicity.task import Task, make_task
from stemma.stats import Array


def gaussians(distance: float, people: int, seed: int, mislabelled: float = 0.0) -> Task:
    """Two standard normal classes in the plane, ``distance`` apart, half the people in each.

    A share ``mislabelled`` of the labels is flipped; see ``flipped_people``.
    """
    x, y = _classes(distance, people, np.random.default_rng(seed))
    y[flipped_people(people, mislabelled)] *= -1
    return make_task(f"distance {distance:g}", x, y, ("x1", "x2"))


def flipped_people(people: int, share: float) -> np.ndarray:
    """Indices of the mislabelled: the first of both classes in turn (the points are random)."""
    count = round(share * people)
    half = people // 2
    return np.concatenate([np.arange(count // 2), half + np.arange(count - count // 2)])


def minority(share: float, people: int, seed: int, interaction: bool = True) -> Task:
    """A group whose labels follow x2 where everybody else's follow x1.

    The last features are the group's indicator and, with ``interaction``, its products with x1
    and x2, which let the model follow both patterns.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 2))
    group = np.arange(people) < round(share * people)
    score = 2 * np.where(group, x[:, 1], x[:, 0])
    y = np.where(rng.random(people) < 1 / (1 + np.exp(-score)), 1.0, -1.0)
    parts = [x, group[:, None].astype(float)]
    names: tuple[str, ...] = ("x1", "x2", "group")
    if interaction:
        parts.append(group[:, None] * x)
        names = (*names, "group x1", "group x2")
    return make_task(f"share {share:g}", np.hstack(parts), y, names)


def in_group(task: Task) -> np.ndarray:
    """Which distinct rows of a ``minority`` task belong to the minority, shape (m,)."""
    member: np.ndarray = task.rows[:, task.columns.index("group")] == 1
    return member


def outliers(share: float, flipped: bool, people: int, seed: int) -> Task:
    """Two classes 2 apart; a share of people lies 4 sigma beyond its class, away from the other.

    With ``flipped`` the outliers carry the other class's label.
    """
    x, y = _classes(2.0, people, np.random.default_rng(seed))
    far = flipped_people(people, share)
    x[far, 0] = y[far] * (1.0 + 4.0)
    if flipped:
        y[far] *= -1
    return make_task(f"outliers {share:g}", x, y, ("x1", "x2"))


def _classes(distance: float, people: int, rng: np.random.Generator) -> tuple[Array, Array]:
    y = np.where(np.arange(people) < people // 2, -1.0, 1.0)
    x = rng.normal(size=(people, 2))
    x[:, 0] += y * distance / 2
    return x, y
