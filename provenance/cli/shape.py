"""Weights of the positions from a file: a learning-rate schedule, or a twin's scores."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from provenance.cli.inputs import read_json
from provenance.errors import BadScores, ProvenanceError
from provenance.lineage import Lineage
from provenance.weights import PositionWeights


class Schedule(BaseModel):
    """The JSON file of a schedule.

    Attributes:
        learning_rates: of each step, in order.
        examples_per_step: how many positions a step has.
        forgetting: c of ``PositionWeights.from_schedule``; its default if left out.
    """

    model_config = ConfigDict(extra="forbid")

    learning_rates: list[float]
    examples_per_step: int = 1
    forgetting: float | None = None


def position_weights(name: str, seen: Lineage) -> PositionWeights:
    """Read weights: a schedule (.json), or a twin's positions and scores (.parquet).

    Args:
        name: of the file.
        seen: orders that the twin has seen.

    Raises:
        ProvenanceError: a file that is neither, or does not fit.
    """
    path = Path(name)
    if path.suffix == ".json":
        return _of_schedule(path)
    if path.suffix == ".parquet":
        positions, scores = columns(path, ("position", "score"))
        return PositionWeights.from_twin(positions, scores, seen)
    raise ProvenanceError(f"{path}: weights come from a schedule (.json) or a twin (.parquet)")


def _of_schedule(path: Path) -> PositionWeights:
    try:
        schedule = Schedule.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProvenanceError(f"{path}: {where}: {first['msg']}") from None
    return PositionWeights.from_schedule(
        schedule.learning_rates,
        examples_per_step=schedule.examples_per_step,
        forgetting=schedule.forgetting,
    )


def columns(path: Path, names: tuple[str, str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read two columns of a parquet file.

    Raises:
        BadScores: no such file or column.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path, columns=list(names))
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise BadScores(f"{path}: needs columns {' and '.join(names)} ({error})") from None
    first, second = (table[name].to_numpy(float) for name in names)
    return first, second
