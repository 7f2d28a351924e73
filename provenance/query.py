"""The query test: is the suspect's likelihood of an example related to when it was trained on?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.adjustment import Adjustment, Covariates, adjusted, columns_of
from provenance.errors import BadScores
from provenance.families import Family, holm
from provenance.lineage import Reference
from provenance.ranks import Alternative, RankScores, RankTest, rank_tests
from provenance.transcript import Transcript
from provenance.weights import PositionWeights


class QueryOptions(TypedDict, total=False):
    """Options of a query test; their defaults stand in ``query_family``.

    Fix them all, with n and the reference, before looking at any p-value.

    Attributes:
        weights: a function of the position that takes the place of its rank; see
            ``provenance.weights``.
        covariates: further predictors of the scores that are independent of the order (more
            reference models, length in tokens, unigram score): columns (n,), or an (n, k) array.
            With a transcript each must be a ``Reference``, which declares what it depends on.
        adjustment: ``difference`` of suspect and reference, or the residual of a ``linear`` or a
            ``polynomial`` (degree 4) regression of the suspect's scores on the reference's.
            Covariates always enter by regression; see ``provenance.adjustment``.
        alternative: ``later-is-likelier`` is what palimpsestic memorization predicts.
        rank_scores: ``wilcoxon`` uses the ranks of the scores themselves, as Spearman's rho does;
            ``normal`` their van der Waerden scores Phi^-1(rank / (n + 1)), a little sharper where
            scores are close to normal.
        permutations: m; without early stopping the exact p-value is never under 1 / (m + 1).
        stop_after: stop drawing at that many permutations that reach the observed statistic
            (sequential Monte Carlo, Besag and Clifford 1991), so that large p-values cost few
            draws. None draws all.
        resamples: bootstrap resamples for the interval of rho; 0 leaves it out.
        seed: of permutations and bootstrap.
    """

    weights: PositionWeights | None
    covariates: Covariates | None
    adjustment: Adjustment
    alternative: Alternative
    rank_scores: RankScores
    permutations: int
    stop_after: int | None
    resamples: int
    seed: int


@dataclass(frozen=True)
class QueryResult:
    """Outcome of a query test.

    Attributes:
        test: the rank test (rho, exact p, asymptotic and certified p, interval, n, m, seed).
        transcript: root of the transcript that the examples are of, None if only positions were
            given.
        reference: name of the reference model, None without one.
        adjustment: how the reference's scores were taken out.
        n_tokens: tokens scored, None if only positions were given.
        weights: digest of the weights of the positions, None for the linear rank.
        covariates: names of the covariates.
    """

    test: RankTest
    transcript: str | None
    reference: str | None
    adjustment: Adjustment
    n_tokens: int | None
    weights: str | None = None
    covariates: tuple[str, ...] = ()

    @property
    def p(self) -> float:
        """Exact permutation p-value."""
        return self.test.p

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        against = f"reference {self.reference}" if self.reference else "no reference"
        if self.covariates:
            against += f" and {len(self.covariates)} covariates"
        if self.weights:
            against += f"; weights {self.weights[:12]}"
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
    **options: Unpack[QueryOptions],
) -> QueryResult:
    """Test one suspect: phi_query (Eq. 1 of arXiv 2510.19796), or phi_query^ref (Eq. 2).

    Args:
        transcript: a transcript, or bare positions of shape (n,).
        scores: the suspect's log-likelihood of every example (higher is likelier), shape (n,),
            in the order of the transcript's rows.
        reference: log-likelihoods of a model that is independent of the order under test. With a
            transcript it must be a ``Reference``, which declares what that model has seen.
        **options: see ``QueryOptions``.

    Raises:
        TaintedReference: reference, covariates or weights depend on this very order.
        TooFewExamples: n < 20, or too few for the covariates.
        BadScores: NaN, infinite or constant scores, wrong length, undeclared reference.
        ProvenanceError: fewer than one permutation.
    """
    return query_family(transcript, {"suspect": scores}, reference, **options).results["suspect"]


def query_family(
    transcript: Transcript | ArrayLike,
    suspects: Mapping[str, ArrayLike],
    reference: Reference | ArrayLike | None = None,
    *,
    weights: PositionWeights | None = None,
    covariates: Covariates | None = None,
    adjustment: Adjustment = "difference",
    alternative: Alternative = "later-is-likelier",
    rank_scores: RankScores = "wilcoxon",
    permutations: int = 9_999,
    stop_after: int | None = None,
    resamples: int = 999,
    seed: int = 0,
) -> QueryFamily:
    """Test several suspects with the same permutations and adjust their p-values by Holm.

    Options and errors are those of ``query_test``; ``suspects`` maps names to scores (n,).
    """
    whole = transcript if isinstance(transcript, Transcript) else None
    table = _table(suspects)
    columns: NDArray[np.float64] | None = None
    names: tuple[str, ...] = ()
    if covariates is not None:
        columns, names = columns_of(whole, covariates)
    if reference is not None or columns is not None:
        known = None if reference is None else _reference_scores(transcript, reference)
        table = adjusted(table, known, columns, adjustment)
    if weights is not None and whole is not None:
        weights.require_untainted(whole)
    positions, strata = _order(transcript)
    fixed = None if weights is None else weights.at(positions)
    tests = rank_tests(
        positions,
        table,
        strata,
        weights=fixed,
        alternative=alternative,
        rank_scores=rank_scores,
        permutations=permutations,
        stop_after=stop_after,
        resamples=resamples,
        seed=seed,
    )
    results = {
        name: QueryResult(
            test=test,
            transcript=(whole.origin or whole.digest) if whole else None,
            reference=_name(reference),
            adjustment=adjustment,
            n_tokens=whole.n_tokens if whole else None,
            weights=weights.digest if weights else None,
            covariates=names,
        )
        for name, test in zip(suspects, tests, strict=True)
    }
    return QueryFamily(results, holm({name: r.p for name, r in results.items()}))


def _order(transcript: Transcript | ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if isinstance(transcript, Transcript):
        return transcript.positions, transcript.strata
    positions = np.asarray(transcript)
    if positions.ndim != 1 or positions.dtype.kind not in "iuf":
        raise BadScores(
            f"positions must be one number an example, got {positions.dtype} of shape"
            f" {positions.shape}"
        )
    return positions, np.zeros(len(positions), np.int64)


def _table(suspects: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """Return the scores of all suspects, shape (n, suspects)."""
    columns = [np.asarray(scores, dtype=float) for scores in suspects.values()]
    if not columns or len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        shapes = ", ".join(str(c.shape) for c in columns) or "none"
        raise BadScores(
            f"every suspect needs one score an example, at least one suspect; shapes: {shapes}"
        )
    return np.column_stack(columns)


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
