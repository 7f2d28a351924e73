"""Sequences of (character, label) pairs: bursty or not, for training and for the evaluations.

A sequence holds ``length`` items; the last is the query, the others are its context. Classes are
numbered by rank: class i has weight 1 / (i + 1)^a, so that the first are the common ones.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemma.papers.icl_data_properties.characters import EXEMPLARS

Ints = NDArray[np.int64]
Generator = np.random.Generator


@dataclass(frozen=True)
class Regime:
    """The distribution of training sequences.

    Attributes:
        n_classes: training classes in use, the first ones by rank.
        p_bursty: probability that a sequence is bursty.
        zipf: exponent of the classes' weights; 0 is uniform.
        polysemy: labels of each class.
        exemplars: ``all`` drawings of a class, a ``single`` one, or the single one with ``noise``.
        shots: items of each of the ``ways`` classes in a bursty context.
        ways: classes that a bursty context repeats.
        length: items of a sequence, the query included.
    """

    n_classes: int
    p_bursty: float = 0.9
    zipf: float = 0.0
    polysemy: int = 1
    exemplars: str = "all"
    shots: int = 3
    ways: int = 2
    length: int = 9

    @property
    def n_labels(self) -> int:
        """How many labels there are."""
        return self.n_classes * self.polysemy


class Sequences(NamedTuple):
    """Drawn sequences, each field of shape (n, length); the last column is the query."""

    classes: Ints
    exemplars: Ints
    labels: Ints


def weights(regime: Regime) -> NDArray[np.float64]:
    """Return the classes' probabilities, shape (n_classes,), falling with rank."""
    w = np.arange(1, regime.n_classes + 1, dtype=np.float64) ** -regime.zipf
    return np.asarray(w / w.sum())


def draw_classes(rng: Generator, regime: Regime, shape: tuple[int, ...]) -> Ints:
    """Draw classes independently by their weights."""
    cumulative = weights(regime).cumsum()
    found = np.searchsorted(cumulative, rng.random(shape), side="right")
    return np.asarray(np.minimum(found, regime.n_classes - 1))


def draw_training(rng: Generator, n: int, regime: Regime) -> Sequences:
    """Draw training sequences.

    Non-bursty: independent items. Bursty: ``ways`` classes (drawn with replacement, as the authors'
    code does) of ``shots`` items each, items of further classes drawn at random up to the length,
    the context shuffled; the query is of one of the repeated classes.
    """
    classes = draw_classes(rng, regime, (n, regime.length))
    repeated = draw_classes(rng, regime, (n, regime.ways))
    bursty = classes.copy()
    core = regime.shots * regime.ways
    bursty[:, :core] = np.repeat(repeated, regime.shots, axis=1)
    bursty[:, :-1] = rng.permuted(bursty[:, :-1], axis=1)
    bursty[:, -1] = repeated[np.arange(n), rng.integers(regime.ways, size=n)]
    classes = np.where(rng.random((n, 1)) < regime.p_bursty, bursty, classes)
    labels = fixed_labels(rng, classes, regime.polysemy)
    return Sequences(classes, draw_exemplars(rng, classes, regime.exemplars), labels)


def draw_fewshot(
    rng: Generator, n: int, pool: Ints, regime: Regime, shots: int, ways: int = 2
) -> Sequences:
    """Draw few-shot sequences: ``ways`` distinct classes of ``pool``, ``shots`` items of each.

    Labels are 0 to ways - 1, dealt to the classes at random in each sequence ("unfixed"): only the
    context tells them.
    """
    chosen = distinct(rng, n, len(pool), ways)
    context = rng.permuted(np.tile(np.repeat(np.arange(ways), shots), (n, 1)), axis=1)
    labels = np.column_stack([context, rng.integers(ways, size=n)])
    classes = pool[np.take_along_axis(chosen, labels, axis=1)]
    return Sequences(classes, draw_exemplars(rng, classes, regime.exemplars), labels)


def draw_no_support(
    rng: Generator, n: int, regime: Regime, n_classes: int | None = None
) -> Sequences:
    """Draw sequences whose context lacks the query's class.

    Classes follow the training distribution, or are uniform over the first ``n_classes``.
    """
    if n_classes is not None:
        regime = replace(regime, n_classes=n_classes, zipf=0.0)
    classes = draw_classes(rng, regime, (n, regime.length))
    query = classes[:, -1:]
    while (clash := classes[:, :-1] == query).any():
        classes[:, :-1][clash] = draw_classes(rng, regime, (int(clash.sum()),))
    labels = fixed_labels(rng, classes, regime.polysemy)
    return Sequences(classes, draw_exemplars(rng, classes, regime.exemplars), labels)


def distinct(rng: Generator, n: int, size: int, k: int) -> Ints:
    """Draw ``k`` distinct numbers below ``size`` in random order, shape (n, k)."""
    found = rng.integers(size - np.arange(k), size=(n, k))
    for i in range(1, k):
        # The rank among the numbers left becomes a number by stepping over those taken.
        for taken in np.sort(found[:, :i], axis=1).T:
            found[:, i] += found[:, i] >= taken
    return np.asarray(found)


def fixed_labels(rng: Generator, classes: Ints, polysemy: int) -> Ints:
    """Return labels: a class's own, or one of its ``polysemy``, the same within a sequence."""
    if polysemy == 1:
        return classes.copy()
    senses = rng.integers(polysemy, size=classes.shape)
    first = (classes[:, :, None] == classes[:, None, :]).argmax(axis=2)
    return np.asarray(classes * polysemy + np.take_along_axis(senses, first, axis=1))


def draw_exemplars(rng: Generator, classes: Ints, kind: str) -> Ints:
    """Draw each item's exemplar: without replacement within a class, independently between classes.

    ``single`` and ``noise`` know the first drawing only.
    """
    if kind != "all":
        return np.zeros_like(classes)
    drawn = rng.integers(EXEMPLARS, size=classes.shape)
    for i in range(1, classes.shape[1]):
        same = classes[:, :i] == classes[:, i : i + 1]
        while (clash := (same & (drawn[:, :i] == drawn[:, i : i + 1])).any(axis=1)).any():
            drawn[clash, i] = rng.integers(EXEMPLARS, size=int(clash.sum()))
    return np.asarray(drawn)
