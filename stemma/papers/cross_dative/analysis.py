"""Regression of scores on features of exposures, with exposures as the sampling units.

In a design in which every exposure meets every seed, the fixed effects of a mixed model with random
intercepts for exposures are those of least squares on the exposures' means; ``mixed`` fits the
former with statsmodels, everything else the latter.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stemma.papers.cross_dative.stimuli import FEATURES, Exposure, overlap
from stemma.papers.cross_dative.testset import Pair
from stemma.stats import Interval, difference_interval, mean_interval

Array = NDArray[np.float64]

FIRST = tuple(f"first_{name}" for name in FEATURES)
SECOND = tuple(f"second_{name}" for name in FEATURES)
INTERACTIONS = (
    ("first_animacy", "first_pronoun"),
    ("second_animacy", "second_pronoun"),
    ("first_animacy", "second_animacy"),
    ("first_pronoun", "second_pronoun"),
)
"""The paper's interactions, by position instead of role (which differ by direction alone)."""


class Fit(NamedTuple):
    """Least squares.

    Attributes:
        coefficients: by column.
        moved: how much each row moves each coefficient (without it minus with it, centred),
            columns as in ``coefficients``, shape (rows, columns).
        left_out: error of each row predicted from all others, shape (rows,).
    """

    coefficients: pd.Series
    moved: pd.DataFrame
    left_out: Array

    def samples(self, column: str) -> Array:
        """Return one value a row whose mean is the coefficient.

        The variance of that mean is the jackknife variance of the coefficient, which holds for
        errors of unequal variance (HC3; MacKinnon and White 1985): an interval of the mean is an
        interval of the coefficient, and a bootstrap of it one over exposures.
        """
        n = len(self.moved)
        values: Array = self.coefficients[column] + np.sqrt(n * (n - 1)) * self.moved[
            column
        ].to_numpy(dtype=float)
        return values


def features_of(exposures: Sequence[Exposure], tests: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return a row an exposure: features coded -0.5 and 0.5, alignment, overlap with its test.

    Args:
        exposures: in order.
        tests: the test sentences of each direction.
    """
    rows = []
    for number, exposure in enumerate(exposures):
        row: dict[str, object] = {"exposure": number, "direction": exposure.direction}
        for prefix, position in (("first", 0), ("second", 1)):
            flags = exposure.prominent(position)
            row |= {f"{prefix}_{name}": flags[name] - 0.5 for name in FEATURES}
        row |= {
            "alignment": exposure.alignment,
            "overlap": overlap(exposure, tests[exposure.direction]),
            "text": exposure.text,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def least_squares(x: pd.DataFrame, y: Array) -> Fit:
    """Regress ``y`` on the columns of ``x`` and an intercept.

    Raises:
        ValueError: too few rows, or columns that depend on each other.
    """
    design = np.column_stack([np.ones(len(x)), x.to_numpy(dtype=float)])
    if len(x) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"{len(x)} exposures cannot tell {', '.join(map(str, x.columns))} apart")
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    if leverage.max() > 1 - 1e-9:
        raise ValueError("without one of the exposures the others cannot tell the features apart")
    left_out = (y - design @ beta) / (1 - leverage)
    moved = left_out[:, None] * (design @ inverse)
    names = ["intercept", *map(str, x.columns)]
    return Fit(
        pd.Series(beta, names), pd.DataFrame(moved - moved.mean(axis=0), columns=names), left_out
    )


def items(rows: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Return one row an exposure of a direction: means over seeds."""
    of_direction = rows[rows.direction == direction]
    return of_direction.groupby("exposure").mean(numeric_only=True).reset_index()


def effects(
    table: pd.DataFrame,
    outcome: str,
    *,
    interactions: bool = False,
    covariates: Sequence[str] = (),
) -> Fit:
    """Regress an outcome on the features of both arguments; ``table`` has a row an exposure."""
    x = table[[*FIRST, *SECOND, *covariates]].astype(float).copy()
    if interactions:
        for one, two in INTERACTIONS:
            x[f"{one} x {two}"] = table[one] * table[two]
    return least_squares(x, table[outcome].to_numpy(dtype=float))


def intervals(fit: Fit, columns: Sequence[str], confidence: float = 0.95) -> dict[str, Interval]:
    """Return the interval of each coefficient named."""
    return {name: mean_interval(fit.samples(name), confidence, "t") for name in columns}


def mixed(rows: pd.DataFrame, outcome: str) -> dict[str, Interval]:
    """Fit outcome ~ features + seed + (1 | exposure) by REML; return the features' intervals.

    The seeds are fixed effects: each meets every exposure, so that they move no other effect.
    """
    import statsmodels.formula.api as smf

    names = [*FIRST, *SECOND]
    seeds = " + C(seed)" if rows.seed.nunique() > 1 else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at its boundary, zero, is no failure
        model = smf.mixedlm(f"{outcome} ~ {' + '.join(names)}{seeds}", rows, groups="exposure")
        done = model.fit(reml=True)
    bounds = done.conf_int()
    return {
        name: Interval(float(done.params[name]), *map(float, bounds.loc[name])) for name in names
    }


def explained(table: pd.DataFrame, outcome: str, columns: Sequence[str]) -> Array:
    """Return each exposure's part of the out-of-sample R^2, shape (exposures,); the mean is R^2.

    Each exposure is predicted from all others; the reference is the mean of all others.
    """
    y = table[outcome].to_numpy(dtype=float)
    n = len(y)
    alone = (y - y.mean()) * n / (n - 1)
    error = least_squares(table[list(columns)], y).left_out
    parts: Array = (alone**2 - error**2) / np.mean(alone**2)
    return parts


class Gate(NamedTuple):
    """Evidence on the precondition C1: other minus attested form, one value a verb.

    Attributes:
        alternating: of alternating verbs.
        fixed: of verbs that take the attested form alone.
    """

    alternating: Array
    fixed: Array

    @property
    def gap(self) -> Interval:
        """The difference with its 95 % interval over verbs."""
        how = "bca" if min(map(len, self)) >= 20 else "t"
        return difference_interval(*self, 0.95, how, paired=False)


def gates(pairs: Sequence[Pair], double_object: Array, prepositional: Array) -> dict[str, Gate]:
    """Return the evidence for verbs attested in each form.

    Args:
        pairs: sentences in both forms.
        double_object: scores of their double-object sentences, shape (pairs,).
        prepositional: scores of their prepositional sentences, shape (pairs,).
    """
    table = pd.DataFrame({"verb": [p.verb for p in pairs], "group": [p.group for p in pairs]})
    table["gain"] = double_object - prepositional
    verbs = table.groupby(["group", "verb"]).gain.mean()
    both = verbs["alternating"].to_numpy()
    return {
        "attested in DO": Gate(-both, -verbs["double object only"].to_numpy()),
        "attested in PO": Gate(both, verbs["prepositional only"].to_numpy()),
    }


def passes(found: Mapping[str, Gate]) -> bool:
    """Tell whether the precondition is met: the gap is above zero for both forms."""
    return all(gate.gap.low > 0 for gate in found.values())
