"""From what stands in a predicate to the results, without the model and without the tokens.

The same functions make evidence and check it: evidence that would not verify is not made.
"""

from typing import Any

import numpy as np

from provenance.evidence import canonical
from provenance.evidence.schema import (
    Examples,
    Model,
    PartitionPredicate,
    QueryPredicate,
    ReshufflePredicate,
    SequentialPredicate,
    Weights,
)
from provenance.lineage import Lineage, Reference
from provenance.partition import counts_test
from provenance.query import query_family
from provenance.reshuffle import reshuffle_test
from provenance.sequential import SequentialQueryTest
from provenance.transcript import Transcript
from provenance.weights import PositionWeights

NOT_RECOMPUTED = frozenset({"transcript", "n_tokens"})
"""Fields of a result that need the tokens; the Merkle proof stands for them."""


def order_of(examples: Examples) -> Transcript:
    """Return positions and strata as a transcript whose rows are mere numbers."""
    return Transcript.of(np.arange(len(examples.index)), examples.position, examples.stratum)


def result_of(result: Any) -> dict[str, Any]:
    """Return a result as plain values, without the fields that need the tokens."""
    values = canonical.plain(result)
    return {name: value for name, value in values.items() if name not in NOT_RECOMPUTED}


def reference_of(model: Model) -> Reference:
    """Return a reference or covariate as the test takes it; its lineage is checked apart."""
    return Reference.from_scores(model.scores, name=model.name)


def weights_of(weights: Weights) -> PositionWeights:
    """Return the weights as the test takes them."""
    return PositionWeights(
        np.array(weights.points, dtype=float),
        np.array(weights.values, dtype=float),
        weights.source,
        Lineage(frozenset(weights.lineage)),
    )


def query(predicate: QueryPredicate) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Return the result of every suspect and the exact p-values after Holm."""
    reference, covariates = predicate.reference, predicate.covariates
    family = query_family(
        order_of(predicate.examples),
        {s.subject.name: np.array(s.scores, dtype=float) for s in predicate.suspects},
        reference_of(reference) if reference else None,
        weights=weights_of(predicate.weights) if predicate.weights else None,
        covariates=[reference_of(c) for c in covariates] if covariates else None,
        **predicate.options,
    )
    results = {name: result_of(result) for name, result in family.results.items()}
    return results, family.family.adjusted


def sequential(predicate: SequentialPredicate) -> dict[str, Any]:
    """Return what an anytime-valid test says of the answers on file, in the order of asking."""
    weights = weights_of(predicate.weights) if predicate.weights else None
    test = SequentialQueryTest(weights=weights, **predicate.options)
    shown, reference = predicate.examples, predicate.reference
    for i in predicate.asked:
        test.update(
            shown.position[i],
            predicate.suspect.scores[i],
            reference.scores[i] if reference else 0.0,
            stratum=shown.stratum[i],
        )
    return sequential_result(test)


def sequential_result(test: SequentialQueryTest) -> dict[str, Any]:
    """Return the state of an anytime-valid test as plain values.

    Its p-value is no ratio of whole numbers, so that it is held to the tolerance, not to the bit.
    """
    return {"p_anytime": test.p, "n": test.n, "log_e": test.log_e, "largest_log_e": test.largest}


def reshuffle(predicate: ReshufflePredicate) -> dict[str, Any]:
    """Return the result of the reshuffle test of the scores on file."""
    return result_of(reshuffle_test(predicate.true_score, predicate.reshuffled_scores))


def partition(predicate: PartitionPredicate) -> dict[str, Any]:
    """Return tests and adjusted p-values, by weighting, of the counts on file."""
    counts = {name: np.array(column, dtype=float) for name, column in predicate.counts.items()}
    tests, adjusted = counts_test(order_of(predicate.examples), counts, **predicate.options)  # type: ignore[arg-type]
    return {"tests": canonical.plain(tests), "adjusted": canonical.plain(adjusted)}
