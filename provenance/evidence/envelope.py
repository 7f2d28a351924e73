"""Evidence as an in-toto Statement v1 in a DSSE envelope, signed with ed25519."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from provenance.errors import BadEvidence
from provenance.evidence import canonical
from provenance.evidence.schema import (
    PAYLOAD_TYPE,
    PREDICATE_PREFIX,
    PREDICATES,
    STATEMENT_TYPE,
    Kind,
    PartitionPredicate,
    Predicate,
    QueryPredicate,
    ReshufflePredicate,
    SequentialPredicate,
    Subject,
    predicate_type,
)

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, Key


def subjects_of(predicate: Predicate) -> list[Subject]:
    """Return the suspects that a predicate speaks of."""
    match predicate:
        case QueryPredicate():
            return [suspect.subject for suspect in predicate.suspects]
        case SequentialPredicate():
            return [predicate.suspect.subject]
        case PartitionPredicate() | ReshufflePredicate():
            return [predicate.subject]
    raise BadEvidence(f"{type(predicate).__name__} has no subject")


def payload(kind: Kind, predicate: Predicate) -> bytes:
    """Return the in-toto Statement v1 as canonical JSON.

    Raises:
        BadEvidence: a value that JSON cannot hold.
    """
    subjects = [{"name": s.name, "digest": {"sha256": s.sha256}} for s in subjects_of(predicate)]
    return canonical.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": predicate_type(kind),
            "predicate": predicate.model_dump(mode="json"),
        }
    )


@dataclass(frozen=True)
class SignedEvidence:
    """A signed envelope; ``load`` reads one without believing it, ``verify`` checks it."""

    envelope: "Envelope"

    def save(self, path: str | Path) -> Path:
        """Write the envelope as JSON and return where."""
        target = Path(path)
        target.write_text(json.dumps(self.envelope.to_dict(), indent=1) + "\n")
        return target

    @classmethod
    def load(cls, path: str | Path) -> "SignedEvidence":
        """Read an envelope; nothing is verified yet.

        Raises:
            BadEvidence: no such file, or no DSSE envelope.
        """
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import FormatError

        try:
            return cls(Envelope.from_dict(json.loads(Path(path).read_text())))
        except OSError as error:
            raise BadEvidence(f"{path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, FormatError) as error:
            raise BadEvidence(
                f"{path}: no DSSE envelope ({type(error).__name__}: {error})"
            ) from None

    def signed_by(self, key: "Key") -> bool:
        """Say whether a signature in the envelope is valid under ``key``."""
        from securesystemslib.exceptions import VerificationError

        try:
            self.envelope.verify([key], threshold=1)
        except VerificationError:
            return False
        return self.envelope.payload_type == PAYLOAD_TYPE

    def read(self) -> tuple[Kind, Predicate]:
        """Return the kind and the predicate.

        Raises:
            BadEvidence: the payload is no in-toto Statement v1 of a kind known here, its
                subjects are not those of the predicate, or fields are missing, unknown or wrong.
        """
        statement = _validated(self.envelope.payload)
        kind = str(statement["predicateType"]).removeprefix(PREDICATE_PREFIX).removesuffix(":v1")
        model = PREDICATES.get(kind)
        if model is None or statement["predicateType"] != predicate_type(kind):  # type: ignore[arg-type]
            raise BadEvidence(f"predicate type {statement['predicateType']!r} is not known here")
        try:
            predicate = model.model_validate(statement["predicate"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadEvidence(f"predicate.{where}: {first['msg']}") from None
        if payload(kind, predicate) != self.envelope.payload:  # type: ignore[arg-type]
            raise BadEvidence("the payload is not the canonical JSON of what it says")
        return kind, predicate  # type: ignore[return-value]


def sign(kind: Kind, predicate: Predicate, key: "CryptoSigner") -> SignedEvidence:
    """Sign a predicate as a Statement; the signer's public key is stored in it."""
    from securesystemslib.dsse import Envelope

    signed = predicate.model_copy(update={"signer": key.public_key.keyval["public"]})
    envelope = Envelope(payload(kind, signed), PAYLOAD_TYPE, {})
    envelope.sign(key)
    return SignedEvidence(envelope)


def _validated(data: bytes) -> dict[str, Any]:
    """Parse a payload and let in-toto's own library check that it is a Statement v1."""
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement

    try:
        parsed = json.loads(data)
        subjects = [
            ResourceDescriptor(name=s["name"], digest=s["digest"]).pb for s in parsed["subject"]
        ]
        # The numbers of the predicate are checked by our own models: protobuf would turn every
        # integer into a float.
        statement = Statement(
            subjects, parsed["predicateType"], {"fields": len(parsed["predicate"])}
        )
        statement.validate()
        if parsed["_type"] != STATEMENT_TYPE:
            raise BadEvidence(f"statement type {parsed['_type']!r} instead of {STATEMENT_TYPE}")
    except BadEvidence:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadEvidence(f"no in-toto Statement v1 ({type(error).__name__}: {error})") from None
    return dict(parsed)
