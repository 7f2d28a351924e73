"""What a verified file proves and what it does not, in plain words."""

from provenance.evidence.schema import (
    Kind,
    PartitionPredicate,
    Predicate,
    QueryPredicate,
    ReshufflePredicate,
    SequentialPredicate,
)

NULL_HYPOTHESIS = (
    "The p-value is about one hypothesis: that the suspect has nothing to do with the order in"
    " which this run saw its examples. It is exact whatever the data are, because the order was"
    " drawn at random."
)
SAME_ORDER = (
    "Sharing weights: whoever independently trained on the same published order depends on it"
    " too, and is flagged without having copied any weight."
)
SAME_DATA = (
    "Innocence of data: a suspect that trained on the same data in an order of its own is"
    " correctly not flagged; a large p-value clears nobody of having used the data."
)
RANDOM_ORDER = (
    "That the order was drawn uniformly at random (within each stratum): the signer says so; an"
    " opened seed commitment lets anyone draw it again."
)
CHOICES = (
    "That the number of examples, the seeds, the reference and the options were fixed before any"
    " result was seen, and that no other suspect was tried and left out."
)
REPORTED = (
    "That these are the suspect's scores: no model was consulted by the check. Ask the same"
    " examples of the suspect to see for yourself."
)
TIME = "When the commitment was made: its time is only as good as the place where it was published."


def proved(kind: Kind) -> list[str]:
    """Return what follows from a file of which every check passed."""
    common = ["Nothing in the file was changed since it was signed."]
    if kind == "reshuffle":
        return [*common, "The p-values follow from the scores on file.", NULL_HYPOTHESIS]
    return [
        *common,
        "The examples stood in the committed order at the positions shown.",
        "The p-values follow from these positions and the scores on file.",
        NULL_HYPOTHESIS,
    ]


def not_proved(kind: Kind, with_key: bool, with_transcript: bool) -> list[str]:
    """Return what does not follow, the two consequences of the null hypothesis first."""
    sentences = [SAME_ORDER, SAME_DATA, REPORTED, TIME, RANDOM_ORDER, CHOICES]
    if kind == "reshuffle":
        sentences.append("That the re-runs were made as described: only their scores are on file.")
    if kind == "partition" and not with_transcript:
        sentences.append(
            "That the counts are those of the text: give the transcript to have them made again."
        )
    if not with_key:
        sentences.append("Who signed: give the signer's public key to check that.")
    return sentences


def conclusion(predicate: Predicate) -> list[str]:
    """Return the result in words, a sentence a suspect."""
    match predicate:
        case QueryPredicate():
            return [in_words(name, p) for name, p in predicate.holm.items()]
        case SequentialPredicate():
            return [in_words(predicate.suspect.subject.name, predicate.suspect.result["p_anytime"])]
        case PartitionPredicate():
            return [in_words(predicate.subject.name, min(predicate.result["adjusted"].values()))]
        case ReshufflePredicate():
            return [in_words(predicate.subject.name, predicate.result["p"])]
    return []


def in_words(name: str, p: float) -> str:
    """Return what a p-value says of a suspect.

    Args:
        name: of the suspect.
        p: exact p-value, of a family after Holm; or anytime-valid p-value.
    """
    often = f"under a share of at most {p:.3g} of all orders"
    strength = (
        "strong evidence of dependence"
        if p <= 1e-3
        else "some evidence of dependence"
        if p <= 0.05
        else "no evidence of dependence"
    )
    return (
        f"{name}: p = {p:.3g}, {strength}. If it had nothing to do with the order, scores so tied"
        f" to it would come up {often}."
    )


def consequences() -> list[str]:
    """Return the two consequences that stand next to every result."""
    return [SAME_ORDER, SAME_DATA]
