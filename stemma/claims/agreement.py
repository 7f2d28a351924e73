"""What runs with different seeds say together: a verdict counts where all of them give it."""

from collections.abc import Mapping, Sequence

from stemma.claims.results import ClaimResult, Verdict


def agree(runs: Mapping[str, Sequence[ClaimResult]]) -> list[ClaimResult]:
    """Return the first run's claims, inconclusive where another run's verdict is not the same.

    "All runs give it" is an intersection-union test, for holding as for contradicting, and needs no
    correction (Berger 1982). Intervals stay those of the first run.

    Args:
        runs: what tells a run from the others (its seed), and its judged claims; one run at least.
    """
    first, *_ = runs.values()
    verdicts = {
        name: {claim.claim: claim.verdict for claim in claims} for name, claims in runs.items()
    }
    return [
        _agreed(claim, {name: found.get(claim.claim) for name, found in verdicts.items()})
        for claim in first
    ]


def _agreed(claim: ClaimResult, verdicts: Mapping[str, Verdict | None]) -> ClaimResult:
    if set(verdicts.values()) == {claim.verdict}:
        return claim
    reason = ", ".join(f"{name}: {verdict or 'no verdict'}" for name, verdict in verdicts.items())
    update = {"verdict": Verdict.INCONCLUSIVE, "reason": f"the seeds disagree: {reason}"}
    return claim.model_copy(update=update)
