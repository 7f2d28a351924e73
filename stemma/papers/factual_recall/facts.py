"""Countries, their capitals, how often the Pile names them, and what the authors measured.

``capitals.csv`` holds the 248 rows of a result file of the authors' repository (CounterfactsRecall,
output/gpt2-medium_0_ext_open_caps_rm_0_counter_results.json), reduced to country and capital.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemma import data

SHARES = {
    "gpt2": ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"),
    "pythia": tuple(f"pythia-{size}" for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b")),
}
"""The models of the paper by family, from small to large."""


class Fact(NamedTuple):
    """A country, its capitals (scored: the first), and how often the counted text names them."""

    country: str
    capitals: tuple[str, ...]
    country_count: int
    capital_count: int


class Pair(NamedTuple):
    """A fact, and the city that the prompt gives instead of the capital."""

    fact: Fact
    city: str
    city_count: int


class Item(NamedTuple):
    """A CounterFact item: a sentence without its end, the true end, the false one, two contexts."""

    sentence: str
    true: str
    false: str
    copied: str
    paraphrased: str


def read_capitals() -> dict[str, tuple[str, ...]]:
    """Return the capitals of each country (Bolivia has two), in the file's order."""
    found: dict[str, tuple[str, ...]] = {}
    with Path(__file__).with_name("capitals.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["country"]] = (*found.get(row["country"], ()), row["capital"])
    return found


def read_counts(sources: Iterable[str]) -> Counter[str]:
    """Return how often each lower-cased name occurs, summed over the sources' files."""
    total: Counter[str] = Counter()
    for source in sources:
        counts = json.loads(data.fetch(source).read_text(encoding="utf-8"))
        total.update({name.strip(): int(count) for name, count in counts.items()})
    return total


def usable_facts(
    capitals: Mapping[str, tuple[str, ...]], counts: Mapping[str, int]
) -> tuple[list[Fact], dict[str, str]]:
    """Return the facts that can be asked, and why each other country cannot.

    A capital whose name is in its country's (Singapore, Guatemala City) can be copied from the
    question, and a name that was never counted has no frequency.
    """
    facts, dropped = [], {}
    for country, cities in capitals.items():
        fact = Fact(country, cities, counts[country.lower()], counts[cities[0].lower()])
        if any(_shares_name(country, city) for city in cities):
            dropped[country] = "its capital's name is in its own"
        elif min(fact.country_count, fact.capital_count) == 0:
            dropped[country] = "no count"
        else:
            facts.append(fact)
    return facts, dropped


def _shares_name(country: str, city: str) -> bool:
    one, other = country.lower(), city.lower()
    return one in other or other in one


def draw_pairs(
    facts: Sequence[Fact], counts: Mapping[str, int], n_cities: int, seed: int
) -> list[list[Pair]]:
    """Return, for each fact, ``n_cities`` (or all) other capitals as false answers."""
    cities = sorted({fact.capitals[0] for fact in facts})
    pairs = []
    for index, fact in enumerate(facts):
        others = [city for city in cities if city not in fact.capitals]
        rng = np.random.default_rng([seed, index])
        chosen = rng.choice(len(others), min(n_cities, len(others)), replace=False)
        pairs.append([Pair(fact, others[i], counts[others[i].lower()]) for i in chosen])
    return pairs


def read_items(source: str) -> list[Item]:
    """Return the CounterFact items whose context is their own sentence, capitals left out."""
    rows = json.loads(data.fetch(source).read_text(encoding="utf-8"))
    items = []
    for row in rows:
        copied, false = row["input_copy"], row["ct"]
        sentence = copied[(len(copied) + len(false) + 3) // 2 :]
        if copied == f"{sentence} {false}. {sentence}" and "capital" not in sentence:
            items.append(Item(sentence, row["gt"], false, copied, row["input_para"]))
    return items


def published_shares(source: str, criterion: str = "abs_capital") -> dict[str, NDArray[np.float64]]:
    """Return the authors' shares by frequency bin: gt memorised, ct in context, i_* intervened."""
    table = json.loads(data.fetch(source).read_text(encoding="utf-8"))[criterion]
    return {name: np.asarray(values, dtype=float) for name, values in table.items()}
