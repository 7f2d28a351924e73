"""Errors of the provenance tests: each says what to do about it."""


class ProvenanceError(ValueError):
    """Base of every error that a caller's input causes."""


class TooFewExamples(ProvenanceError):
    """Fewer examples (or re-runs) than the test needs to mean anything."""


class BadScores(ProvenanceError):
    """Scores that cannot be ranked: NaN, infinite, constant, or of the wrong length."""


class BadTranscript(ProvenanceError):
    """A transcript whose rows, positions and strata do not fit together."""


class TaintedReference(ProvenanceError):
    """A reference model that has itself seen the order under test.

    Such a reference makes an innocent suspect look guilty: the difference of the two scores
    depends on the order through the reference.
    """


class BadEvidence(ProvenanceError):
    """Evidence that cannot be made, signed or read as asked."""
