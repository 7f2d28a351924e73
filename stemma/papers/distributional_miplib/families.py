"""The domains: which generator at which size, and programs that no two uses share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import networkx as nx
import numpy as np

from stemma.papers.distributional_miplib import instances
from stemma.papers.distributional_miplib.milp import Milp

Generator = Callable[..., Milp]


class Use(IntEnum):
    """What a program is for; each use has seeds of its own."""

    TRAIN = 0
    VALIDATE = 1
    TEST = 2
    LARGER = 3


@dataclass(frozen=True)
class Family:
    """A distribution of programs.

    Attributes:
        name: the domain.
        generator: takes a NumPy generator and the sizes.
        sizes: the sizes; every one grows with hardness.
        fixed: further arguments (a real graph).
    """

    name: str
    generator: Generator
    sizes: tuple[int, ...]
    fixed: tuple[Any, ...] = ()

    def draw(self, seed: int, use: Use, count: int) -> list[Milp]:
        """Return ``count`` programs; the first ones do not depend on ``count``."""
        return [
            self.generator(self._rng(seed, use, i), *self.fixed, *self.sizes) for i in range(count)
        ]

    def scaled(self, factor: float) -> "Family":
        """Return the same domain with every size times ``factor``, rounded."""
        sizes = tuple(round(size * factor) for size in self.sizes)
        return Family(self.name, self.generator, sizes, self.fixed)

    def _rng(self, seed: int, use: Use, number: int) -> np.random.Generator:
        key = [seed, int(use), number, *self.name.encode(), *self.sizes]
        return np.random.default_rng(key)


GENERATORS: dict[str, Generator] = {
    "set_cover": instances.set_cover,
    "auction": instances.auction,
    "independent_set": instances.independent_set,
    "facility_location": instances.facility_location,
    "gisp": instances.gisp,
    "vertex_cover": instances.vertex_cover,
}


def parse_family(text: str) -> Family:
    """Return the family that a parameter names, e.g. ``set_cover-250x500``.

    Raises:
        ValueError: unknown domain, or sizes that are no positive integers.
    """
    name, _, sizes = text.partition("-")
    if name not in GENERATORS:
        raise ValueError(f"{text}: no domain {name}; there are {', '.join(GENERATORS)}")
    try:
        numbers = tuple(int(size) for size in sizes.split("x"))
    except ValueError:
        raise ValueError(f"{text}: write a size as {name}-100 or {name}-100x200") from None
    if min(numbers) < 1:
        raise ValueError(f"{text}: sizes are positive")
    return Family(name, GENERATORS[name], numbers)


def real_graph_family(graphs: Sequence["nx.Graph[int]"], nodes: int) -> Family:
    """Return GISP on induced subgraphs of real graphs, each graph as likely."""

    def generate(rng: np.random.Generator, size: int) -> Milp:
        return instances.gisp_within(rng, graphs[int(rng.integers(len(graphs)))], size)

    return Family("gisp_real", generate, (nodes,))


def shared(groups: Iterable[Iterable[Milp]]) -> int:
    """Return how many programs stand in more than one of the groups (by their digest)."""
    digests = [{milp.digest for milp in group} for group in groups]
    return sum(map(len, digests)) - len(set().union(*digests))
