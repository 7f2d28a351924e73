"""Two-hop tasks: random tables, what is seen of them, training and test triples.

A triple (x1, x2, x3) of n tokens has the bridge b = f1(x1, x2) and the answer t = f2(b, x3); in the
``nontree`` task x2 acts along two paths, t = f2(b, x2, x3). After twohop.py and nontree.py of the
authors' code.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TRAIN = -1
IN_DOMAIN = 0
"""Kinds of a triple: trained on, or new with both primitives seen; 1 to 3 are out of domain."""


class Condition(NamedTuple):
    """A task and the form of its targets.

    Attributes:
        structure: ``twohop`` or ``nontree``.
        tables: ``random``; ``shared`` (f2 = f1); ``additive`` (f1 is addition modulo n).
        chain: what is emitted before t: nothing, the ``bridge`` b, or a ``fake`` constant token.
    """

    structure: str
    tables: str = "random"
    chain: str = "none"


CONDITIONS = {
    "twohop": Condition("twohop"),
    "nontree": Condition("nontree"),
    "twohop-cot": Condition("twohop", chain="bridge"),
    "nontree-cot": Condition("nontree", chain="bridge"),
    "twohop-fake": Condition("twohop", chain="fake"),
    "twohop-shared": Condition("twohop", tables="shared"),
    "twohop-additive": Condition("twohop", tables="additive"),
}


class Task(NamedTuple):
    """All n^3 triples of one pair of tables, in lexicographic order.

    Attributes:
        n: number of tokens.
        triples: shape (n^3, 3).
        bridge: b of each triple, shape (n^3,).
        answer: t of each triple, shape (n^3,).
        first: number of each triple's primitive (x1, x2), shape (n^3,).
        second: number of its primitive (b, x3), or (b, x2, x3), shape (n^3,).
        domain: indices of the triples that may be trained on, shape (about 0.49 n^3,).
    """

    n: int
    triples: Ints
    bridge: Ints
    answer: Ints
    first: Ints
    second: Ints
    domain: Ints


@dataclass(frozen=True)
class Sample:
    """A training set of a task, and the kind of every triple given that set.

    Attributes:
        task: the task.
        train: indices of the training triples, shape (N,).
        kind: shape (n^3,): -1 trained on; 0 both primitives occur in training, the triple does
            not; 1 neither occurs; 2 only the second; 3 only the first.
    """

    task: Task
    train: Ints
    kind: Ints

    def of_kind(self, *kinds: int) -> Ints:
        """Return the indices of the triples of these kinds."""
        return np.flatnonzero(np.isin(self.kind, kinds))


def stream(seed: int, *keys: object) -> np.random.Generator:
    """Return the generator of random numbers that is named by ``seed`` and ``keys``."""
    return np.random.default_rng([seed, zlib.crc32(repr(keys).encode())])


def encode(columns: Ints, n: int) -> Ints:
    """Number the rows of ``columns`` (rows, width), tokens below n, as digits in base n."""
    code: Ints = columns @ (n ** np.arange(columns.shape[1])[::-1])
    return code


def _see(rng: np.random.Generator, size: int, ratio: float) -> Bools:
    seen = np.zeros(size, bool)
    seen[rng.permutation(size)[: round(ratio * size)]] = True
    return seen


def make_task(n: int, condition: Condition, seen_ratio: float, seed: int) -> Task:
    """Draw the tables and the part of each that may occur in training.

    Conditions of equal structure and tables get the same task for a seed, whatever their targets;
    all with random tables share f1.
    """
    rng = stream(seed, "first", n)
    f1, f1_seen = rng.integers(n, size=n * n), _see(rng, n * n, seen_ratio)
    if condition.tables == "additive":
        f1 = np.add.outer(np.arange(n), np.arange(n)).ravel() % n
    arguments = 3 if condition.structure == "nontree" else 2
    rng = stream(seed, "second", n, arguments)
    f2, f2_seen = rng.integers(n, size=n**arguments), _see(rng, n**arguments, seen_ratio)
    if condition.tables == "shared":
        f2, f2_seen = f1, f1_seen
    triples = np.indices((n, n, n)).reshape(3, -1).T.astype(np.int64)
    first = encode(triples[:, :2], n)
    bridge = f1[first]
    second = encode(np.column_stack([bridge, triples[:, 4 - arguments :]]), n)
    domain = np.flatnonzero(f1_seen[first] & f2_seen[second])
    return Task(n, triples, bridge, f2[second], first, second, domain)


def draw_order(task: Task, seed: int) -> Ints:
    """Return the domain of a task in random order: its first N are a training set of size N."""
    return stream(seed, "order", task.n).permutation(task.domain)


def classify(task: Task, train: Ints) -> Sample:
    """Return the training set with the kind of every triple; "seen" is what occurs in it.

    Raises:
        ValueError: if no triple of the domain would be left to test.
    """
    if len(train) >= len(task.domain):
        raise ValueError(f"{len(train)} training triples, the domain holds {len(task.domain)}")
    first = np.isin(task.first, task.first[train])
    second = np.isin(task.second, task.second[train])
    kind = np.select([first & second, first, second], [IN_DOMAIN, 3, 2], 1)
    kind[train] = TRAIN
    return Sample(task, train, kind)


def draw_tests(sample: Sample, most: int, seed: int) -> Ints:
    """Return indices of at most ``most`` test triples of each kind 0 to 3, sorted within kinds."""
    rng = stream(seed, "tests", sample.task.n)
    drawn = []
    for kind in range(4):
        found = sample.of_kind(kind)
        drawn.append(np.sort(rng.permutation(found)[:most]))
    return np.concatenate(drawn)


def sequences(task: Task, chosen: Ints, chain: str) -> Ints:
    """Return the token sequences of the chosen triples, shape (chosen, 4 or 5).

    x1 x2 x3 t without a chain; x1 x2 x3 b t with the bridge; the fake bridge is the token n.
    """
    middle = {
        "none": [],
        "bridge": [task.bridge[chosen]],
        "fake": [np.full(len(chosen), task.n)],
    }[chain]
    return np.column_stack([task.triples[chosen], *middle, task.answer[chosen]])
