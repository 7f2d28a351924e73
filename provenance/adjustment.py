"""What explains a score without the order of training is taken out of it before ranking."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadScores, TooFewExamples
from provenance.lineage import Ordered, Reference

Array = NDArray[np.float64]
Adjustment = Literal["difference", "linear", "polynomial"]
Covariates = Sequence[Reference | ArrayLike] | Array

SPARE = 20
"""A regression needs at least this many examples more than it has coefficients."""

_ROUNDING = 1e-12  # a rest smaller than this share of the scores is no rest
_DEGREE = 4  # of the polynomial adjustment, as in the paper's distillation script


def adjusted(
    table: Array, reference: Array | None, covariates: Array | None, how: Adjustment
) -> Array:
    """Return the scores without what reference and covariates explain, shape (n, suspects).

    ``difference`` subtracts the reference (Eq. 2 of arXiv 2510.19796) and then takes the residuals
    of an ordinary least-squares regression on the covariates, if any; ``linear`` regresses on
    reference and covariates together; ``polynomial`` on powers 1 to 4 of the reference and on the
    covariates.

    Why the permutation test stays exact without cross-fitting: the residuals are a function
    r = f(scores, reference, covariates) of quantities attached to the examples. Under the null
    hypothesis all of them are independent of the order, hence so is r, and given r every order
    (within strata) is as likely as the true one. The regression never looks at a position, so that
    no refit is needed when positions are permuted: it would return the same residuals. Fitting
    many covariates costs power, never validity.

    Args:
        table: scores of the suspects, shape (n, suspects).
        reference: scores of the reference, shape (n,).
        covariates: further predictors, shape (n, k).
        how: see above.

    Raises:
        BadScores: NaN or infinite values, lengths that differ, a constant reference to regress on,
            predictors that leave nothing of a suspect's scores, an unknown adjustment.
        TooFewExamples: fewer than 20 examples more than coefficients.
    """
    if how not in get_args(Adjustment):
        raise BadScores(f"adjustment is one of {get_args(Adjustment)}, not {how!r}")
    n = len(table)
    for name, values, ndim in (("reference", reference, 1), ("covariates", covariates, 2)):
        if values is not None and (values.ndim != ndim or len(values) != n):
            raise BadScores(f"{n} suspect scores but {name} of shape {values.shape}")
        if values is not None and not np.isfinite(values).all():
            raise BadScores(f"{name} hold NaN or infinite values: leave those examples out")
    if not np.isfinite(table).all():
        raise BadScores("scores hold NaN or infinite values")
    columns = [] if covariates is None else [covariates]
    if reference is not None and how == "difference":
        table = table - reference[:, None]
    elif reference is not None:
        columns.append(_powers(reference, 1 if how == "linear" else _DEGREE))
    return _residuals(table, np.column_stack(columns)) if columns else table


def columns_of(transcript: Ordered | None, covariates: Covariates) -> tuple[Array, tuple[str, ...]]:
    """Return covariates as a matrix (n, k) and their names.

    Raises:
        BadScores: columns of different lengths, or, with a transcript, one that is no
            ``Reference`` and so does not declare that it is independent of the order.
        TaintedReference: one comes from a model that has seen the transcript.
    """
    columns = list(covariates.T) if isinstance(covariates, np.ndarray) else list(covariates)
    names, values = [], []
    for i, column in enumerate(columns):
        if isinstance(column, Reference):
            if transcript is not None:
                column.require_untainted(transcript)
            names.append(column.name)
            values.append(column.scores)
        elif transcript is not None:
            raise BadScores(
                "declare what each covariate depends on: Reference.from_scores(values, lineage);"
                " an empty lineage says that it is independent of the order"
            )
        else:
            names.append(f"covariate {i}")
            values.append(np.asarray(column, dtype=float))
    if not values or len({v.shape for v in values}) != 1 or values[0].ndim != 1:
        raise BadScores("covariates must be columns of one length, one value an example")
    return np.column_stack(values), tuple(names)


def _powers(reference: Array, degree: int) -> Array:
    if np.ptp(reference) == 0:
        raise BadScores("a constant reference has nothing to regress on")
    # About the middle, not the mean: a sum would depend on the order of rows in its last digit.
    scaled = (reference - (reference.min() / 2 + reference.max() / 2)) / np.ptp(reference)
    return np.asarray(scaled[:, None] ** np.arange(1, degree + 1))


def _residuals(table: Array, columns: Array) -> Array:
    """Least squares with an intercept; the same to the bit whatever order the rows stand in."""
    n, k = columns.shape
    if n < k + 1 + SPARE:
        raise TooFewExamples(f"{k} predictors need at least {k + 1 + SPARE} examples, got {n}")
    order = np.lexsort((*columns.T, *table.T))
    y, x = table[order], columns[order]
    x = x - x.mean(axis=0)
    scale = x.std(axis=0)
    x = x[:, scale > 0] / scale[scale > 0]
    y = y - y.mean(axis=0)
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    residuals: Array = np.empty_like(y)
    # Row by row in one way, so that equal examples keep equal residuals.
    residuals[order] = y - (x[:, :, None] * beta).sum(axis=1)
    if (np.ptp(residuals, axis=0) <= _ROUNDING * np.ptp(y, axis=0)).any():
        raise BadScores("reference and covariates explain the scores to the last digit: no rest")
    return residuals
