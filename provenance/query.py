"""The query test: is the suspect's likelihood of an example related to when it was trained on?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadScores
from provenance.families import Family, holm
from provenance.lineage import Reference
from provenance.ranks import Alternative, RankTest, rank_tests
from provenance.transcript import Transcript

Adjustment = Literal["difference", "polynomial"]

_DEGREE = 4  # of the polynomial adjustment, as in the paper's distillation script


@dataclass(frozen=True)
class QueryResult:
    """Outcome of a query test.

    Attributes:
        test: the rank test (rho, exact p, asymptotic and certified p, interval, n, m, seed).
        transcript: digest of the transcript, None if only positions were given.
        reference: name of the reference model, None without one.
        adjustment: how the reference's scores were taken out.
        n_tokens: tokens scored, None if only positions were given.
    """

    test: RankTest
    transcript: str | None
    reference: str | None
    adjustment: Adjustment
    n_tokens: int | None

    @property
    def p(self) -> float:
        """Exact permutation p-value."""
        return self.test.p

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        against = f"reference {self.reference}" if self.reference else "no reference"
        order = self.transcript[:12] if self.transcript else "positions only"
        return f"{self.test.summary()}; {against}; transcript {order}"


@dataclass(frozen=True)
class QueryFamily:
    """Outcome of testing several suspects against one transcript.

    Attributes:
        results: a result a suspect.
        family: their exact p-values with Holm's adjustment.
    """

    results: dict[str, QueryResult]
    family: Family

    def summary(self) -> str:
        """Return two facts a line: the suspect's Holm-adjusted p and its own summary."""
        return "\n".join(
            f"{name}: Holm p = {self.family.adjusted[name]:.3g}; {result.summary()}"
            for name, result in self.results.items()
        )


def query_test(
    transcript: Transcript | ArrayLike,
    scores: ArrayLike,
    reference: Reference | ArrayLike | None = None,
    *,
    alternative: Alternative = "later-is-likelier",
    adjustment: Adjustment = "difference",
    permutations: int = 9_999,
    resamples: int = 999,
    seed: int = 0,
) -> QueryResult:
    """Test one suspect: phi_query (Eq. 1 of arXiv 2510.19796), or phi_query^ref (Eq. 2).

    Fix n, the reference and the adjustment before looking at any p-value.

    Args:
        transcript: a transcript, or bare positions of shape (n,).
        scores: the suspect's log-likelihood of every example (higher is likelier), shape (n,),
            in the order of the transcript's rows.
        reference: log-likelihoods of a model that is independent of the order under test. With a
            transcript it must be a ``Reference``, which declares what that model has seen.
        alternative: the direction that palimpsestic memorization predicts, or another.
        adjustment: ``difference`` of the two scores, or the residual of a ``polynomial``
            regression (degree 4) of the suspect's scores on the reference's.
        permutations: m; the exact p-value is never under 1 / (m + 1).
        resamples: bootstrap resamples for the interval of rho; 0 leaves it out.
        seed: of permutations and bootstrap.

    Raises:
        TaintedReference: the reference has itself seen this transcript.
        TooFewExamples: n < 20.
        BadScores: NaN, infinite or constant scores, wrong length, undeclared reference.
    """
    return query_family(
        transcript,
        {"suspect": scores},
        reference,
        alternative=alternative,
        adjustment=adjustment,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    ).results["suspect"]


def query_family(
    transcript: Transcript | ArrayLike,
    suspects: Mapping[str, ArrayLike],
    reference: Reference | ArrayLike | None = None,
    *,
    alternative: Alternative = "later-is-likelier",
    adjustment: Adjustment = "difference",
    permutations: int = 9_999,
    resamples: int = 999,
    seed: int = 0,
) -> QueryFamily:
    """Test several suspects with the same permutations and adjust their p-values by Holm.

    Arguments and errors are those of ``query_test``; ``suspects`` maps names to scores (n,).
    """
    table = np.column_stack([np.asarray(s, dtype=float) for s in suspects.values()])
    if reference is not None:
        table = _adjusted(table, _reference_scores(transcript, reference), adjustment)
    whole = transcript if isinstance(transcript, Transcript) else None
    positions, strata = _order(transcript)
    tests = rank_tests(
        positions,
        table,
        strata,
        alternative=alternative,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    results = {
        name: QueryResult(
            test=test,
            transcript=whole.digest if whole else None,
            reference=_name(reference),
            adjustment=adjustment,
            n_tokens=whole.n_tokens if whole else None,
        )
        for name, test in zip(suspects, tests, strict=True)
    }
    return QueryFamily(results, holm({name: r.p for name, r in results.items()}))


def _order(transcript: Transcript | ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if isinstance(transcript, Transcript):
        return transcript.positions, transcript.strata
    positions = np.asarray(transcript)
    return positions, np.zeros(len(positions), np.int64)


def _name(reference: Reference | ArrayLike | None) -> str | None:
    if reference is None:
        return None
    return reference.name if isinstance(reference, Reference) else "reference"


def _reference_scores(
    transcript: Transcript | ArrayLike, reference: Reference | ArrayLike
) -> NDArray[np.float64]:
    if isinstance(reference, Reference):
        if isinstance(transcript, Transcript):
            reference.require_untainted(transcript)
        return reference.scores
    if isinstance(transcript, Transcript):
        raise BadScores(
            "declare what the reference model has seen: Reference.from_scores(scores, lineage)"
        )
    return np.asarray(reference, dtype=float)


def _adjusted(
    table: NDArray[np.float64], reference: NDArray[np.float64], how: Adjustment
) -> NDArray[np.float64]:
    if reference.shape != table.shape[:1]:
        raise BadScores(f"{len(table)} suspect scores but reference of shape {reference.shape}")
    if not (np.isfinite(reference).all() and np.isfinite(table).all()):
        raise BadScores("scores hold NaN or infinite values")
    if how == "difference":
        return np.asarray(table - reference[:, None])
    if np.ptp(reference) == 0:
        raise BadScores("a constant reference has nothing to regress on")
    fits = [np.polynomial.Polynomial.fit(reference, s, _DEGREE)(reference) for s in table.T]
    return np.asarray(table - np.column_stack(fits))
