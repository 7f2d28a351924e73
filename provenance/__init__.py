"""Tests of descent by palimpsestic membership inference; knows nothing of stemma.

Null hypothesis of every test: the suspect (a model or a text) is independent of the *order* in
which the examples of a training run were seen. It says nothing of quality, overlap of data or
likeness. A suspect that independently re-ran the same published order counts as dependent; one
that trained on the same data in an order of its own does not.

Source: Kuditipudi et al., "Blackbox Model Provenance via Palimpsestic Membership Inference",
arXiv 2510.19796.
"""

from provenance.errors import (
    BadScores,
    BadTranscript,
    ProvenanceError,
    TaintedReference,
    TooFewExamples,
)
from provenance.families import Family, holm
from provenance.lineage import Lineage, Reference
from provenance.ngrams import NgramIndex
from provenance.partition import PartitionResult, partition_test
from provenance.planning import Plan, choose_positions, plan_queries
from provenance.query import QueryFamily, QueryResult, query_family, query_test
from provenance.ranks import RankTest
from provenance.reshuffle import (
    ReshuffleResult,
    ReshuffleScores,
    UnfaithfulRerun,
    completion_scores,
    gaussian_tail_diagnostic,
    reshuffle_scores,
    reshuffle_test,
    reshuffled_orders,
)
from provenance.sequential import SequentialQueryTest
from provenance.transcript import PAD, Proof, Transcript
from provenance.weights import PositionWeights, fit_forgetting

__all__ = [
    "PAD",
    "BadScores",
    "BadTranscript",
    "Family",
    "Lineage",
    "NgramIndex",
    "PartitionResult",
    "Plan",
    "PositionWeights",
    "Proof",
    "ProvenanceError",
    "QueryFamily",
    "QueryResult",
    "RankTest",
    "Reference",
    "ReshuffleResult",
    "ReshuffleScores",
    "SequentialQueryTest",
    "TaintedReference",
    "TooFewExamples",
    "Transcript",
    "UnfaithfulRerun",
    "choose_positions",
    "completion_scores",
    "fit_forgetting",
    "gaussian_tail_diagnostic",
    "holm",
    "partition_test",
    "plan_queries",
    "query_family",
    "query_test",
    "reshuffle_scores",
    "reshuffle_test",
    "reshuffled_orders",
]
