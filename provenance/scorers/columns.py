"""Scores that somebody computed before: arrays, or a column of a published table."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadScores
from provenance.scorers.base import LogProbs, Row, ScorerError, checked_rows, sequence_scores

Kind = Literal["loss", "log-prob"]


def column_log_probs(column: Sequence[ArrayLike], kind: Kind = "loss") -> list[LogProbs]:
    """Read a column of losses, or of log-probabilities, as log-probabilities in nats.

    Args:
        column: for each example a list over tokens, or one number.
        kind: ``loss`` (nats a token, as published in the authors' data set) changes sign.

    Raises:
        BadScores: a value is NaN or infinite, has the wrong sign, or is missing.
    """
    sign = -1.0 if kind == "loss" else 1.0
    result = []
    for number, entry in enumerate(column):
        values = sign * np.atleast_1d(np.asarray(entry, dtype=np.float64))
        if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
            raise BadScores(f"example {number} of the column has missing, NaN or infinite values")
        if (values > 1e-6).any():
            raise BadScores(f"example {number} of the column has values that are no {kind}")
        result.append(values)
    return result


def column_scores(
    column: Sequence[ArrayLike], kind: Kind = "loss", reduce: Literal["sum", "mean"] = "sum"
) -> NDArray[np.float64]:
    """Return one score an example from a published column, shape (n,), higher is likelier."""
    return sequence_scores(column_log_probs(column, kind), reduce)


class PrecomputedScorer:
    """Looks log-probabilities up by the tokens of a row."""

    def __init__(
        self, rows: Sequence[Row], column: Sequence[ArrayLike], kind: Kind = "loss", name: str = ""
    ) -> None:
        """Keep a table.

        Args:
            rows: token ids of each example.
            column: their losses or log-probabilities, see ``column_log_probs``.
            kind: what the column holds.
            name: of the model that was scored.

        Raises:
            ScorerError: lengths that differ, or one row with two different answers.
            BadScores: values that are NaN, infinite or of the wrong sign.
        """
        self.name = name or "pre-computed"
        values = column_log_probs(column, kind)
        if len(values) != len(rows):
            raise ScorerError(f"{len(rows)} rows and {len(values)} entries in the column")
        self._table: dict[bytes, LogProbs] = {}
        for row, answer in zip(checked_rows(rows), values, strict=True):
            known = self._table.setdefault(row.tobytes(), answer)
            if not np.array_equal(known, answer):
                raise ScorerError("the same tokens stand in the table with two different values")

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return what the table says of each row.

        Raises:
            ScorerError: a row is not in the table.
        """
        found = [self._table.get(row.tobytes()) for row in checked_rows(rows)]
        for number, values in enumerate(found):
            if values is None:
                raise ScorerError(f"row {number} is not in the table of {self.name}")
        return [values for values in found if values is not None]
