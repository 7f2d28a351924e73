"""The checks of ``verify``, one function each; a check is a sentence and whether it holds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from provenance.evidence import canonical
from provenance.evidence.commitments import opens_root, opens_seed
from provenance.evidence.envelope import SignedEvidence
from provenance.evidence.inclusion import root_of
from provenance.evidence.schema import (
    Commitment,
    Examples,
    Model,
    PartitionPredicate,
    Predicate,
    Subject,
    Weights,
)
from provenance.evidence.software import this_software
from provenance.evidence.subjects import text_digest
from provenance.merkle import leaf_hash
from provenance.store import StoredTranscript
from provenance.transcript import example_leaf, token_digest

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

    from provenance.evidence.parts import Provable

Status = Literal["passed", "failed", "asserted"]


@dataclass(frozen=True)
class Check:
    """One thing checked.

    Attributes:
        name: of the check.
        status: ``asserted`` is what only the signer's word stands for.
        sentence: what was found, in plain words.
    """

    name: str
    status: Status
    sentence: str


def passed(name: str, sentence: str) -> Check:
    """Return a check that holds."""
    return Check(name, "passed", sentence)


def decided(name: str, holds: bool, yes: str, no: str) -> Check:
    """Return a check with the sentence that fits."""
    return Check(name, "passed", yes) if holds else Check(name, "failed", no)


def asserted(name: str, sentence: str) -> Check:
    """Return what cannot be checked from the file."""
    return Check(name, "asserted", sentence)


def signature(signed: SignedEvidence, predicate: Predicate, key: "SSlibKey | None") -> list[Check]:
    """Check the signature under the given key, or under the one that the file names."""
    named = _named_key(predicate.signer)
    if key is not None:
        same = predicate.signer == key.keyval["public"]
        return [
            decided(
                "signature",
                same and signed.signed_by(key),
                "valid under the key given: unchanged since its holder signed",
                "not a valid signature of the key given: changed, or signed by somebody else",
            )
        ]
    if named is None or not signed.signed_by(named):
        return [Check("signature", "failed", "not valid: the file was changed after signing")]
    return [
        passed("signature", "valid under the key that the file names: unchanged since signing"),
        asserted("signer", f"no key was given: whose key {predicate.signer[:16]} is, is unknown"),
    ]


def all_shown(examples: Examples) -> Check:
    """Check that no example of the transcript was left out."""
    return decided(
        "completeness",
        len(examples.index) == examples.size,
        f"all {examples.size} examples of the transcript are shown",
        f"only {len(examples.index)} of {examples.size} examples are shown",
    )


def text(predicate: PartitionPredicate) -> Check:
    """Check a disclosed text against its digest."""
    if predicate.text is None:
        return asserted("text", "not disclosed; the subject's digest stands for its token ids")
    found = (text_digest(predicate.text), sum(map(len, predicate.text)))
    return decided(
        "text",
        found == (predicate.subject.sha256, predicate.n_tokens),
        f"the {predicate.n_tokens} tokens disclosed are those of the subject's digest",
        "the text disclosed is not the one of the subject's digest",
    )


_WHAT = {
    "model": "the sha256 of its weights is",
    "text": "the sha256 of its tokens is",
    "endpoint": "the sha256 of its address and model name is",
    "scores": "the sha256 of the file of its scores is",
}


def subject(suspect: Subject) -> Check:
    """Name the suspect by its digest: whoever has it can compare."""
    what = _WHAT[suspect.what]
    return asserted("subject", f"that `{suspect.name}` was tested: {what} {suspect.sha256}")


def inclusion(examples: Examples, commitment: Commitment) -> Check:
    """Check that the tree under the committed root holds every example where it is shown."""
    columns = (examples.index, examples.stratum, examples.position, examples.tokens_sha256)
    fits = len({len(column) for column in columns}) == 1
    ordered = bool(np.all(np.diff(examples.index) > 0)) and examples.size == commitment.size
    if not (fits and ordered):
        return Check("inclusion", "failed", "the examples' columns do not fit together")
    leaves = {
        index: leaf_hash(example_leaf(stratum, position, bytes.fromhex(digest)))
        for index, stratum, position, digest in zip(*columns, strict=True)
    }
    root = root_of(leaves, examples.size, [bytes.fromhex(node) for node in examples.nodes])
    return decided(
        "inclusion",
        root.hex() == commitment.root,
        f"{len(leaves)} examples stand in the committed order of {examples.size} where shown",
        "the examples shown do not lead to the committed root: position, tokens or proof changed",
    )


def tokens(examples: Examples) -> list[Check]:
    """Check disclosed token ids against their digests."""
    if examples.tokens is None:
        return [asserted("tokens", "not disclosed; their digests are part of the committed root")]
    digests = [token_digest(row).hex() for row in examples.tokens]
    return [
        decided(
            "tokens",
            digests == examples.tokens_sha256,
            "disclosed, and they are those of the committed examples",
            "the tokens disclosed are not those of the committed examples",
        )
    ]


def reference(model: Model | None, commitment: Commitment) -> list[Check]:
    """Check that the reference is not declared to have seen the order under test."""
    if model is None:
        return []
    return [
        decided(
            "reference",
            commitment.root not in model.lineage,
            f"`{model.name}` is not declared to have seen this order",
            f"`{model.name}` has seen the order under test: an innocent suspect would look guilty",
        ),
        asserted("lineage", f"what `{model.name}` was trained on, and its scores"),
    ]


def covariates(models: list[Model] | None, commitment: Commitment) -> list[Check]:
    """Check each covariate as a reference is checked."""
    return [check for model in models or [] for check in reference(model, commitment)]


def weights(fixed: Weights | None, commitment: Commitment) -> list[Check]:
    """Check that the weights of the positions are not declared to depend on the order."""
    if fixed is None:
        return []
    return [
        decided(
            "weights",
            commitment.root not in fixed.lineage,
            f"the weights ({fixed.source}) are not declared to depend on this order",
            "the weights were fitted along the order under test",
        ),
        asserted("weights", "that they were fixed without the order under test"),
    ]


def commitment(published: Commitment) -> list[Check]:
    """Check what has been opened of the commitment."""
    found = [
        decided(
            name,
            opens,
            f"{what} and nonce open the published hash",
            f"{what} and nonce do not open a published hash",
        )
        for name, what, opens in (
            ("opening", "root", opens_root(published)),
            ("seed", "seed", opens_seed(published)),
        )
        if opens is not None
    ]
    for name, value, opened in (
        ("opening", published.value, published.nonce),
        ("seed", published.seed_commitment, published.seed_nonce),
    ):
        if value is not None and opened is None:
            found.append(asserted(name, f"the published hash {value[:16]} is not opened"))
    where = published.published_at or "nowhere that the file names"
    return [
        *found,
        asserted(
            "time",
            f"committed at {published.time}, published at {where}: look it up there; a hash"
            " published after training proves nothing of the order",
        ),
    ]


def software(predicate: Predicate) -> list[Check]:
    """Compare the code that made the evidence with the code that checks it."""
    ours, theirs = this_software(), predicate.software
    same = ours.sources_sha256 == theirs.sources_sha256
    return [
        asserted(
            "software",
            f"made {predicate.time} with version {theirs.version} on python {theirs.python}, numpy"
            f" {theirs.numpy}, scipy {theirs.scipy}, {theirs.platform}; its sources are"
            f" {'the same as' if same else 'not those of'} this verifier",
        )
    ]


def whole(transcript: "Provable", commitment: Commitment) -> Check:
    """Check that the transcript disclosed is the one committed to, a stored one row by row.

    Raises:
        BadTranscript: the files of a stored one do not fit its manifest.
    """
    if isinstance(transcript, StoredTranscript) and transcript.manifest is not None:
        transcript.verify()
    return decided(
        "transcript",
        (transcript.digest, len(transcript)) == (commitment.root, commitment.size),
        f"the transcript given has the committed root and {commitment.size} examples",
        f"the transcript given is another one: root {transcript.digest[:12]}",
    )


def same(name: str, stated: dict[str, Any], found: dict[str, Any]) -> Check:
    """Check that a stated result is the one computed again."""
    places = canonical.differences(stated, found)
    return decided(
        name,
        not places,
        f"computed again and found equal (exact p to the bit, the rest to {canonical.TOLERANCE})",
        f"computed again and found different: {', '.join(places[:5])}",
    )


def _named_key(public: str) -> "SSlibKey | None":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    try:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError:
        return None
