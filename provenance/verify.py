"""Checking evidence without the model: everything that can be recomputed is, the rest is named.

``verify`` never trusts a stated result. What it can not see (who really answered, when a hash was
published) is listed as *asserted*, so that a reader knows whose word is being taken.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.errors import BadEvidence, ProvenanceError
from provenance.evidence import checks, explain
from provenance.evidence.envelope import SignedEvidence, subjects_of
from provenance.evidence.schema import Kind
from provenance.evidence.steps import steps

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

    from provenance.evidence.parts import Provable

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What verification found.

    Attributes:
        file: what was checked.
        kind: of test; None if the file cannot be read.
        subjects: names of the suspects.
        findings: every check, in order.
        conclusion: the result in words; empty unless all checks passed.
        proved: what follows, a sentence each.
        not_proved: what does not follow, or rests on the signer's word.
    """

    file: str
    kind: Kind | None
    subjects: list[str]
    findings: list[checks.Check]
    conclusion: list[str]
    proved: list[str]
    not_proved: list[str]

    @property
    def ok(self) -> bool:
        """Say whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> list[checks.Check]:
        """The checks that failed."""
        return [check for check in self.findings if check.status == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {"ok": self.ok, **asdict(self)}

    def text(self) -> str:
        """Return the report in words: the verdict first."""
        verdict = "VERIFIED" if self.ok else "NOT VERIFIED"
        what = f"{self.kind} test of {', '.join(self.subjects)}" if self.kind else "unreadable"
        lines = [f"{verdict}: {self.file} ({what})", ""]
        lines += [f"  {check.status:<8}  {check.name}: {check.sentence}" for check in self.findings]
        for title, sentences in (
            ("Result", self.conclusion),
            ("What this proves", self.proved),
            ("What this does not prove", self.not_proved),
        ):
            if sentences:
                lines += ["", title, *(f"  - {sentence}" for sentence in sentences)]
        return "\n".join(lines)


def verify(
    path: str | Path,
    key: "SSlibKey | None" = None,
    transcript: "Provable | None" = None,
    progress: Progress | None = None,
) -> Report:
    """Check a file of evidence.

    Args:
        path: of the envelope.
        key: public key of whom the evidence should be from; without it the signature is checked
            against the key in the file, which proves that nothing was changed since that key
            signed, not whose key it is.
        transcript: the disclosed transcript, whole; with it the root is recomputed and the choice
            of examples is drawn again.
        progress: called with the name of each step.

    Raises:
        BadEvidence: there is no such file.
    """
    if not Path(path).is_file():
        raise BadEvidence(f"{path}: no such file")
    step = progress or (lambda name: None)
    try:
        step("reading")
        signed = SignedEvidence.load(path)
        kind, predicate = signed.read()
    except BadEvidence as error:
        unreadable = checks.Check("format", "failed", str(error))
        return Report(str(path), None, [], [unreadable], [], [], [])
    findings = [
        checks.passed("format", "in-toto Statement v1 in a DSSE envelope, every field known"),
        *checks.signature(signed, predicate, key),
    ]
    for name, check in steps(predicate, transcript):
        step(name)
        findings += _guarded(name, check)
    names = [subject.name for subject in subjects_of(predicate)]
    ok = all(check.status != "failed" for check in findings)
    return Report(
        file=str(path),
        kind=kind,
        subjects=names,
        findings=findings,
        conclusion=explain.conclusion(predicate) if ok else [],
        proved=explain.proved(kind) if ok else [],
        not_proved=explain.not_proved(kind, key is not None, transcript is not None),
    )


def _guarded(name: str, check: Callable[[], list[checks.Check]]) -> list[checks.Check]:
    """Run a check; input that the tests themselves refuse is a failed check, not a crash."""
    try:
        return check()
    except (ProvenanceError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        return [checks.Check(name, "failed", f"cannot be recomputed: {error}")]
