"""Making evidence: results with all that is needed to compute them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from provenance.errors import BadEvidence
from provenance.evidence import canonical, envelope, recompute
from provenance.evidence.parts import (
    Provable,
    checked_commitment,
    column,
    covariate_models,
    defaults_of,
    reference_model,
    show,
    weights_model,
)
from provenance.evidence.schema import (
    Commitment,
    Kind,
    PartitionPredicate,
    Predicate,
    QueryPredicate,
    ReshufflePredicate,
    Selection,
    SequentialPredicate,
    Subject,
    Suspect,
)
from provenance.evidence.software import this_software
from provenance.evidence.subjects import subject_of_tokens
from provenance.lineage import Reference
from provenance.ngrams import NgramIndex
from provenance.partition import PartitionResult, overlap, partition_test
from provenance.query import QueryFamily, QueryResult, query_family
from provenance.reshuffle import ReshuffleResult
from provenance.sequential import SequentialQueryTest
from provenance.transcript import PAD, Transcript, pad_rows

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


QUERY_DEFAULTS = defaults_of(query_family, frozenset({"weights", "covariates"}))
PARTITION_DEFAULTS = defaults_of(partition_test, frozenset({"index"}))


@dataclass(frozen=True)
class Evidence:
    """A result and everything that it follows from; not yet signed.

    Attributes:
        kind: of test.
        predicate: what will be signed.
    """

    kind: Kind
    predicate: Predicate

    @classmethod
    def of_query(
        cls,
        result: QueryResult | QueryFamily,
        transcript: Provable,
        rows: ArrayLike,
        scores: ArrayLike | Mapping[str, ArrayLike],
        reference: Reference | None = None,
        *,
        suspect: Subject | Sequence[Subject],
        commitment: Commitment | None = None,
        options: Mapping[str, Any] | None = None,
        selection: Selection | None = None,
        disclose_tokens: bool = False,
    ) -> "Evidence":
        """Make evidence of a query test of one suspect, or of a family with Holm.

        Args:
            result: what ``query_test`` or ``query_family`` returned.
            transcript: the whole transcript that was committed to.
            rows: the rows of it that were asked, shape (n,), as given to ``take``.
            scores: the suspect's scores of these rows, or those of each suspect by name.
            reference: as given to the test.
            suspect: the subject, or the subjects of a family, named as in ``scores``.
            commitment: what was published; the root and "not published" by default.
            options: the keyword arguments of the test; covariates as ``Reference`` objects.
            selection: how the rows were chosen.
            disclose_tokens: show the token ids, not only their digests.

        Raises:
            BadEvidence: the result does not follow from the scores and options given, or the
                commitment is to another transcript.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        examples, order = show(transcript, chosen, disclose_tokens)
        subjects = [suspect] if isinstance(suspect, Subject) else list(suspect)
        by_name = _results(result, subjects)
        columns = scores if isinstance(scores, Mapping) else {subjects[0].name: scores}
        if columns.keys() != by_name.keys():
            raise BadEvidence(f"scores of {sorted(columns)} but results of {sorted(by_name)}")
        given = dict(options or {})
        weights, covariates = given.pop("weights", None), given.pop("covariates", None)
        for source in (reference, weights, *(covariates or ())):
            if source is not None:
                source.require_untainted(transcript.take(chosen))
        predicate = QueryPredicate(
            commitment=checked_commitment(commitment, transcript),
            software=this_software(),
            time=now(),
            examples=examples,
            selection=selection or Selection(method="stated", n=len(chosen)),
            suspects=[
                Suspect(
                    subject=s,
                    scores=column(columns[s.name], order),
                    result=recompute.result_of(by_name[s.name]),
                )
                for s in subjects
            ],
            reference=reference_model(reference, order),
            covariates=covariate_models(covariates, order),
            weights=weights_model(weights),
            options=canonical.plain(QUERY_DEFAULTS | given),
            holm={},
        )
        results, adjusted = recompute.query(predicate)
        for s in predicate.suspects:
            require_same(s.result, results[s.subject.name], s.subject.name)
        return cls("query", predicate.model_copy(update={"holm": adjusted}))

    @classmethod
    def of_sequential(
        cls,
        result: SequentialQueryTest,
        transcript: Provable,
        rows: ArrayLike,
        scores: ArrayLike,
        reference: Reference | None = None,
        *,
        suspect: Subject,
        commitment: Commitment | None = None,
        selection: Selection | None = None,
        disclose_tokens: bool = False,
    ) -> "Evidence":
        """Make evidence of an anytime-valid query test, stopped wherever it was.

        Args:
            result: the test after its last answer.
            transcript: the whole transcript that was committed to.
            rows: the rows asked, in the order of asking, shape (n,).
            scores: the suspect's, in the same order, shape (n,).
            reference: whose scores were subtracted, in the same order.
            suspect: the subject.
            commitment: what was published; the root and "not published" by default.
            selection: the draw whose first rows were asked.
            disclose_tokens: show the token ids, not only their digests.

        Raises:
            BadEvidence: the result does not follow from rows and scores, or the commitment is to
                another transcript.
            TaintedReference: reference or weights depend on this very order.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        for source in (reference, result.weights):
            if source is not None:
                source.require_untainted(transcript.take(chosen))
        examples, order = show(transcript, chosen, disclose_tokens)
        predicate = SequentialPredicate(
            commitment=checked_commitment(commitment, transcript),
            software=this_software(),
            time=now(),
            examples=examples,
            asked=np.argsort(order).tolist(),
            selection=selection or Selection(method="stated", n=len(chosen)),
            suspect=Suspect(
                subject=suspect,
                scores=column(scores, order),
                result=recompute.sequential_result(result),
            ),
            reference=reference_model(reference, order),
            weights=weights_model(result.weights),
            options={
                "spread": float(result.spread),
                "alternative": result.alternative,
                "seed": result.seed,
            },
        )
        require_same(predicate.suspect.result, recompute.sequential(predicate), suspect.name)
        return cls("sequential", predicate)

    @classmethod
    def of_partition(
        cls,
        result: PartitionResult,
        transcript: Transcript,
        text: ArrayLike | Sequence[Sequence[int]],
        *,
        suspect: str,
        commitment: Commitment | None = None,
        options: Mapping[str, Any] | None = None,
        index: NgramIndex | None = None,
        disclose_text: bool = True,
    ) -> "Evidence":
        """Make evidence of a partition test, with what every example counted: no index is needed.

        Args:
            result: what ``partition_test`` returned.
            transcript: the whole transcript, in memory.
            text: token ids of the suspect's text.
            suspect: name of the text; it is identified by the digest of its tokens.
            commitment: what was published; the root and "not published" by default.
            options: the keyword arguments of the test, without ``index``.
            index: to use it again.
            disclose_text: put the token ids into the evidence.

        Raises:
            BadEvidence: the result does not follow from text and options, or the commitment is
                to another transcript.
        """
        rows = [row[row != PAD].tolist() for row in pad_rows(text)]
        given = PARTITION_DEFAULTS | dict(options or {})
        n_min, n_max = given.pop("n_min"), given.pop("n_max")
        weightings = given.pop("weightings")
        built = index or NgramIndex.build(transcript.rows, n_max)
        examples, order = show(transcript, np.arange(len(transcript)))
        counts = {w: overlap(built, text, w, n_min, n_max)[order].tolist() for w in weightings}
        predicate = PartitionPredicate(
            commitment=checked_commitment(commitment, transcript),
            software=this_software(),
            time=now(),
            examples=examples,
            subject=subject_of_tokens(suspect, rows),
            text=rows if disclose_text else None,
            n_tokens=sum(map(len, rows)),
            counts=counts,
            n_min=n_min,
            n_max=n_max,
            options=canonical.plain(given),
            result={
                "tests": canonical.plain(result.tests),
                "adjusted": canonical.plain(result.adjusted),
            },
        )
        require_same(predicate.result, recompute.partition(predicate), suspect)
        return cls("partition", predicate)

    @classmethod
    def of_reshuffle(
        cls,
        result: ReshuffleResult,
        true_score: float,
        reshuffled_scores: ArrayLike,
        *,
        suspect: Subject,
        commitment: Commitment,
        orders_seed: int | None = None,
        true_order_sha256: str | None = None,
        adapted: bool = False,
    ) -> "Evidence":
        """Make evidence of a reshuffle test.

        Args:
            result: what ``reshuffle_test`` returned.
            true_score: score of the text under the true order.
            reshuffled_scores: scores under the m re-runs, shape (m,).
            suspect: the text.
            commitment: to the transcript whose last phase was run again.
            orders_seed: from which ``reshuffled_orders`` drew the m orders.
            true_order_sha256: digest of the true order of the last phase.
            adapted: whether every candidate was first trained on the text.

        Raises:
            BadEvidence: the result does not follow from the scores.
        """
        predicate = ReshufflePredicate(
            commitment=commitment,
            software=this_software(),
            time=now(),
            subject=suspect,
            true_score=float(true_score),
            reshuffled_scores=np.asarray(reshuffled_scores, dtype=float).tolist(),
            orders_seed=orders_seed,
            true_order_sha256=true_order_sha256,
            adapted=adapted,
            result=recompute.result_of(result),
        )
        require_same(predicate.result, recompute.reshuffle(predicate), suspect.name)
        return cls("reshuffle", predicate)

    def sign(self, key: "CryptoSigner") -> envelope.SignedEvidence:
        """Return the signed envelope."""
        return envelope.sign(self.kind, self.predicate, key)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def require_same(stated: dict[str, Any], found: dict[str, Any], name: str) -> None:
    """Raise BadEvidence if a result does not follow from what is to be signed with it."""
    if places := canonical.differences(stated, found):
        raise BadEvidence(
            f"`{name}`: {', '.join(places[:3])} does not follow from the scores and options given;"
            " pass the very rows, scores and keyword arguments of the test"
        )


def _results(
    result: QueryResult | QueryFamily, subjects: Sequence[Subject]
) -> dict[str, QueryResult]:
    if isinstance(result, QueryFamily):
        names = [s.name for s in subjects]
        if sorted(names) != sorted(result.results):
            raise BadEvidence(f"subjects {names} but results of {sorted(result.results)}")
        return result.results
    if len(subjects) != 1:
        raise BadEvidence("one result has one subject; give a family's result for several")
    return {subjects[0].name: result}
