"""Which checks each kind of evidence goes through, and what they compute again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from provenance.evidence import checks, recompute
from provenance.evidence.checks import Check, asserted, decided, passed, same
from provenance.evidence.envelope import subjects_of
from provenance.evidence.schema import (
    Examples,
    PartitionPredicate,
    Predicate,
    QueryPredicate,
    ReshufflePredicate,
    Selection,
    SequentialPredicate,
    Weights,
)
from provenance.ngrams import NgramIndex
from provenance.partition import overlap
from provenance.planning import choose_positions
from provenance.store import StoredTranscript, uniform_rows
from provenance.transcript import Transcript

if TYPE_CHECKING:
    from provenance.evidence.parts import Provable

Step = tuple[str, Callable[[], list[Check]]]

_SCORES = asserted(
    "scores",
    "the scores are as the signer reports them: no model was asked by this check",
)


def steps(predicate: Predicate, transcript: "Provable | None") -> list[Step]:
    """Return the checks of a predicate with their names."""
    published = predicate.commitment
    found: list[Step] = []
    if transcript is not None and not isinstance(predicate, ReshufflePredicate):
        found.append(("transcript", lambda: [checks.whole(transcript, published)]))
    match predicate:
        case QueryPredicate():
            found += _query_steps(predicate, transcript)
        case SequentialPredicate():
            found += _sequential_steps(predicate)
        case PartitionPredicate():
            found += _partition_steps(predicate, transcript)
        case ReshufflePredicate():
            found += [("result", lambda: _reshuffle_result(predicate))]
    return [
        *found,
        ("subject", lambda: [checks.subject(s) for s in subjects_of(predicate)]),
        ("commitment", lambda: checks.commitment(published)),
        ("software", lambda: checks.software(predicate)),
    ]


def _query_steps(predicate: QueryPredicate, transcript: "Provable | None") -> list[Step]:
    shown, published = predicate.examples, predicate.commitment
    chosen, fixed = predicate.selection, predicate.weights
    return [
        ("inclusion", lambda: [checks.inclusion(shown, published)]),
        ("tokens", lambda: checks.tokens(shown)),
        ("selection", lambda: [selection(chosen, shown, fixed, transcript)]),
        ("reference", lambda: checks.reference(predicate.reference, published)),
        ("covariates", lambda: checks.covariates(predicate.covariates, published)),
        ("weights", lambda: checks.weights(fixed, published)),
        ("result", lambda: query_result(predicate)),
        ("scores", lambda: [_SCORES]),
    ]


def _sequential_steps(predicate: SequentialPredicate) -> list[Step]:
    shown, published, suspect = predicate.examples, predicate.commitment, predicate.suspect
    return [
        ("inclusion", lambda: [checks.inclusion(shown, published)]),
        ("tokens", lambda: checks.tokens(shown)),
        ("selection", lambda: [asked_in_order(predicate)]),
        ("reference", lambda: checks.reference(predicate.reference, published)),
        ("weights", lambda: checks.weights(predicate.weights, published)),
        (
            "result",
            lambda: [
                same(
                    f"result of {suspect.subject.name}",
                    suspect.result,
                    recompute.sequential(predicate),
                )
            ],
        ),
        ("scores", lambda: [_SCORES]),
    ]


def _partition_steps(predicate: PartitionPredicate, transcript: "Provable | None") -> list[Step]:
    shown, published = predicate.examples, predicate.commitment
    return [
        ("inclusion", lambda: [checks.inclusion(shown, published), checks.all_shown(shown)]),
        ("text", lambda: [checks.text(predicate)]),
        ("result", lambda: [same("result", predicate.result, recompute.partition(predicate))]),
        ("counts", lambda: [counts(predicate, transcript)]),
    ]


def _reshuffle_result(predicate: ReshufflePredicate) -> list[Check]:
    return [
        same("result", predicate.result, recompute.reshuffle(predicate)),
        asserted(
            "re-runs",
            "that the true order and the re-runs went through the same code from the same"
            " checkpoint, and scored the text as stated, is the signer's word",
        ),
    ]


def query_result(predicate: QueryPredicate) -> list[Check]:
    """Compute every suspect's test and Holm's adjustment again."""
    results, adjusted = recompute.query(predicate)
    found = [
        same(f"result of {s.subject.name}", s.result, results[s.subject.name])
        for s in predicate.suspects
    ]
    return [*found, same("Holm", dict(predicate.holm), adjusted)]


def selection(
    chosen: Selection,
    examples: Examples,
    fixed: Weights | None,
    transcript: "Provable | None",
) -> Check:
    """Check the number of examples and make a seeded choice again."""
    n, size = len(examples.index), examples.size
    if chosen.n != n or (chosen.method == "all" and n != size):
        return Check("selection", "failed", f"{chosen.n} examples were to be shown, not {n}")
    if (chosen.method in ("uniform", "extreme")) != (chosen.seed is not None):
        return Check("selection", "failed", "a seed belongs to a choice by chance, to no other")
    if chosen.method == "all":
        return passed("selection", "every example of the transcript was used: nothing was chosen")
    if chosen.method == "stated":
        return asserted("selection", "that the examples were chosen before any score was seen")
    if chosen.method == "uniform":
        again = uniform_rows(size, n, chosen.seed or 0)
    elif transcript is None:
        told = "chosen by position; give the transcript, which has all positions, to repeat it"
        return asserted("selection", told)
    else:
        again = extreme_leaves(transcript, n, fixed, chosen.seed or 0)
    return decided(
        "selection",
        np.sort(again).tolist() == examples.index,
        f"the examples are those that seed {chosen.seed} chooses from {size}",
        f"the examples are not those that seed {chosen.seed} chooses from {size}",
    )


def asked_in_order(predicate: SequentialPredicate) -> Check:
    """Check that the examples were asked in the order of a seeded draw, none left out."""
    shown, chosen, n = predicate.examples, predicate.selection, len(predicate.asked)
    if sorted(predicate.asked) != list(range(len(shown.index))):
        return Check("selection", "failed", "the order of asking does not name each example once")
    if chosen.method == "stated" and chosen.seed is None and chosen.n == n:
        return asserted("selection", "that the order of asking did not depend on any score")
    if chosen.method != "uniform" or chosen.seed is None or chosen.n < n:
        return Check("selection", "failed", "an order of asking is drawn from a seed, or stated")
    drawn = uniform_rows(shown.size, chosen.n, chosen.seed)[:n].tolist()
    return decided(
        "selection",
        drawn == [shown.index[i] for i in predicate.asked],
        f"asked in the order that seed {chosen.seed} draws, none left out before the stop",
        f"not the order of asking that seed {chosen.seed} draws",
    )


def extreme_leaves(transcript: "Provable", n: int, fixed: Weights | None, seed: int) -> np.ndarray:
    """Return the leaves that the extreme design chooses from a whole transcript."""
    everything = in_leaf_order(transcript)
    return choose_positions(
        everything.positions,
        n,
        recompute.weights_of(fixed) if fixed else None,
        design="extreme",
        strata=everything.strata,
        seed=seed,
    )


def in_leaf_order(transcript: "Provable") -> Transcript:
    """Return a whole transcript in memory with its rows in the order of its leaves."""
    rows = np.arange(len(transcript))
    if isinstance(transcript, StoredTranscript) and transcript.manifest is not None:
        return transcript.read()
    return transcript.take(rows[np.argsort([proof.index for proof in transcript.prove(rows)])])


def counts(predicate: PartitionPredicate, transcript: "Provable | None") -> Check:
    """Count the n-grams of the text in the transcript again."""
    if transcript is None:
        told = "the counts are as the signer reports them; give the transcript to make them again"
        return asserted("counts", told)
    if predicate.text is None:
        return asserted("counts", "cannot be made again: the text is not disclosed")
    index = NgramIndex.build(in_leaf_order(transcript).rows, predicate.n_max)
    again = {
        name: overlap(index, predicate.text, name, predicate.n_min, predicate.n_max).tolist()  # type: ignore[arg-type]
        for name in predicate.counts
    }
    return decided(
        "counts",
        again == predicate.counts,
        "counted again from text and transcript, and found equal",
        "counted again from text and transcript, and found different",
    )
