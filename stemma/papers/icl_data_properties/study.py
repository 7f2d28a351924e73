"""The experiment: conditions that vary one property of the data each, and what a run comes to."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stemma.papers.icl_data_properties.sequences import Regime
from stemma.papers.icl_data_properties.training import Condition, Row

Array = NDArray[np.float64]
Level = float | int | str

BASE = "base"


class Family(NamedTuple):
    """Conditions that differ in one property from low to high: name, levels, conditions."""

    name: str
    levels: tuple[Level, ...]
    conditions: tuple[Condition, ...]

    def at(self, level: Level) -> str:
        """Return the name of the condition at a level."""
        return self.conditions[self.levels.index(level)].name


def vary(base: Condition, name: str, levels: Sequence[Level]) -> Family:
    """Return the family of conditions that differ from ``base`` in ``name``.

    Args:
        base: the condition that all families share.
        name: a field of ``Regime`` or of ``Spec``.
        levels: its values; a level that is the base's own is the base itself.
    """
    return Family(name, tuple(levels), tuple(at_level(base, name, level) for level in levels))


def at_level(base: Condition, name: str, level: Level) -> Condition:
    """Return ``base`` with one field of its regime or spec changed; itself if nothing changes."""
    part = "regime" if name in Regime.__dataclass_fields__ else "spec"
    if getattr(getattr(base, part), name) == level:
        return base
    label = f"{name}={level}" if isinstance(level, str) else f"{name}={level:g}"
    changed: Any = replace(getattr(base, part), **{name: level})
    return replace(base, name=label, **{part: changed})


def unique(families: Iterable[Family]) -> list[Condition]:
    """Return every condition once, in order of appearance."""
    return list({c.name: c for family in families for c in family.conditions}.values())


def summarize(rows: Iterable[Row], ways: int) -> pd.DataFrame:
    """Return one row a run: peak, mean and final accuracy over the evaluations after step 0.

    Also ``joint``, the maximum over training of min((icl - 1/ways) / (1 - 1/ways), iwl): how well
    one model did both at once; ``joint_common`` takes the in-weights accuracy of common classes.
    """
    chance = 1 / ways
    found = []
    trained = pd.DataFrame(rows).query("step > 0")
    for (name, seed), run in trained.groupby(["condition", "seed"], sort=False):
        row: Row = {"condition": name, "seed": seed, "loss": run["loss"].iloc[-1]}
        for column in [c for c in run.columns if c.startswith(("icl", "iwl"))]:
            values = run[column]
            row |= {f"{column}_peak": values.max(), f"{column}_mean": values.mean()}
            row[f"{column}_final"] = values.iloc[-1]
        advantage = (run["icl"] - chance) / (1 - chance)
        for column, kind in (("iwl", "joint"), ("iwl_common", "joint_common")):
            if column in run:
                row[kind] = np.minimum(advantage, run[column]).max()
        found.append(row)
    return pd.DataFrame(found)


def values(summary: pd.DataFrame, condition: str, column: str) -> Array:
    """Return one number a seed, ordered by seed, shape (seeds,)."""
    part = summary[summary["condition"] == condition].sort_values("seed")
    return np.asarray(part[column], dtype=np.float64)


def levels(summary: pd.DataFrame, family: Family, column: str) -> Array:
    """Return a family's numbers, shape (seeds, levels)."""
    names = [condition.name for condition in family.conditions]
    return np.column_stack([values(summary, name, column) for name in names])


def best_rates(summary: pd.DataFrame, tried: Sequence[Condition]) -> dict[str, float]:
    """Return each architecture's learning rate with the highest peak of in-context accuracy."""
    peaks = dict(zip(summary["condition"], summary["icl_peak"], strict=True))
    found: dict[str, Condition] = {}
    for condition in tried:
        arch = condition.spec.arch
        if arch not in found or peaks[condition.name] > peaks[found[arch].name]:
            found[arch] = condition
    return {arch: condition.rate for arch, condition in found.items()}


def at_rates(family: Family, rates: dict[str, float]) -> Family:
    """Return the family with each condition at its architecture's learning rate."""
    conditions = tuple(replace(c, rate=rates.get(c.spec.arch, c.rate)) for c in family.conditions)
    return family._replace(conditions=conditions)
