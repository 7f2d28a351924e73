"""The experiment: samples and policies of every replicate, and how they branch.

A *replicate* is one seed with programs of its own for every use. Its arms are trained with equal
gradient steps: ``homogeneous`` on N programs of one domain, ``mixed`` on N of every domain (the
paper's), ``mixed in total`` on N of all domains together, ``without`` on N of all but one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stemma.papers.distributional_miplib.families import Family, Use
from stemma.papers.distributional_miplib.imitation import (
    Accuracy,
    Training,
    accuracy,
    sample_expert,
    train,
)
from stemma.papers.distributional_miplib.milp import Milp
from stemma.papers.distributional_miplib.policy import Policy
from stemma.papers.distributional_miplib.rules import (
    Branching,
    PolicyBranching,
    Sample,
    StrongBranching,
)
from stemma.papers.distributional_miplib.solver import Limits, Outcome, solve
from stemma.papers.distributional_miplib.state import State
from stemma.stats import Array

HOMOGENEOUS, MIXED, TOTAL, WITHOUT = "homogeneous", "mixed", "mixed in total", "without"
STRONG = "strong"
"""Our strong branching at every node (SCIP's own rules go by SCIP's names)."""


class Asking(NamedTuple):
    """How the expert is asked: at each node with a probability, so many samples a program."""

    probability: float
    samples: int
    limits: Limits


class Counts(NamedTuple):
    """How many programs of a domain a replicate has for each use."""

    train: int
    validate: int
    test: int


@dataclass(frozen=True)
class Corpus:
    """One domain in one replicate.

    Attributes:
        domain: its name.
        seed: the replicate.
        train: samples of each training program.
        validate: samples of the validation programs.
        test: samples of the test programs, never seen in training.
        programs: digests of the programs of each use.
    """

    domain: str
    seed: int
    train: list[list[Sample]]
    validate: list[Sample]
    test: list[Sample]
    programs: dict[Use, list[str]]


class Arm(NamedTuple):
    """What a policy learns from: the kind, N programs, and the domain (empty for all)."""

    kind: str
    programs: int
    domain: str = ""


class Fitted(NamedTuple):
    """A trained policy and its accuracy on each domain's test samples.

    Attributes:
        arm: what it learned from.
        seed: the replicate.
        samples: how many it learned from.
        best_step: the gradient step whose weights it has.
        policy: the network.
        accuracies: by domain.
    """

    arm: Arm
    seed: int
    samples: int
    best_step: int
    policy: Policy
    accuracies: dict[str, Accuracy]


class Solution(NamedTuple):
    """One program solved with one rule."""

    domain: str
    seed: int
    use: Use
    size: float
    program: int
    rule: str
    outcome: Outcome


def collect(family: Family, seed: int, counts: Counts, asking: Asking) -> Corpus:
    """Ask the expert on all programs of one domain and replicate."""

    def ask(milp: Milp, number: int, use: Use) -> list[Sample]:
        key = int(np.random.SeedSequence([seed, int(use), number]).generate_state(1)[0] % 2**31)
        return sample_expert(milp, key, asking.probability, asking.samples, asking.limits)

    uses = dict(zip((Use.TRAIN, Use.VALIDATE, Use.TEST), counts, strict=True))
    drawn = {use: family.draw(seed, use, count) for use, count in uses.items()}
    asked = {use: [ask(m, i, use) for i, m in enumerate(ms)] for use, ms in drawn.items()}
    return Corpus(
        family.name,
        seed,
        asked[Use.TRAIN],
        [s for samples in asked[Use.VALIDATE] for s in samples],
        [s for samples in asked[Use.TEST] for s in samples],
        {use: [m.digest for m in ms] for use, ms in drawn.items()},
    )


def arms(domains: Sequence[str], sizes: Sequence[int], *, leave_out: bool) -> list[Arm]:
    """Return the arms of one replicate; ``leave_out`` adds those without one domain.

    Raises:
        ValueError: a size is no multiple of the number of domains, so that ``mixed in total``
            cannot take equally many programs of each.
    """
    if any(size % len(domains) for size in sizes):
        raise ValueError(f"training sizes must be multiples of {len(domains)}, the domains")
    found = []
    for size in sizes:
        found += [Arm(HOMOGENEOUS, size, domain) for domain in domains]
        found += [Arm(MIXED, size), Arm(TOTAL, size)]
    left = [Arm(WITHOUT, max(sizes), domain) for domain in domains] if leave_out else []
    return found + left


def lessons(arm: Arm, corpora: Mapping[str, Corpus]) -> tuple[list[Sample], list[Sample]]:
    """Return the training and validation samples of an arm, of the training domains' corpora."""
    match arm.kind:
        case "homogeneous":
            chosen, programs = [arm.domain], arm.programs
        case "mixed":
            chosen, programs = list(corpora), arm.programs
        case "mixed in total":
            chosen, programs = list(corpora), arm.programs // len(corpora)
        case _:
            chosen, programs = [d for d in corpora if d != arm.domain], arm.programs
    samples = [s for d in chosen for program in corpora[d].train[:programs] for s in program]
    return samples, [s for d in chosen for s in corpora[d].validate]


def fit(
    arm: Arm,
    samples: tuple[list[Sample], list[Sample]],
    tests: Mapping[str, list[Sample]],
    seed: int,
    training: Training,
) -> Fitted:
    """Train one arm and measure its accuracy on each domain's test samples."""
    policy, best_step = train(*samples, seed, training)
    found = {domain: accuracy(policy, test) for domain, test in tests.items()}
    return Fitted(arm, seed, len(samples[0]), best_step, policy, found)


def turned_round(policy: Policy) -> Branching:
    """Return a rule that branches where the policy least would."""

    def least(state: State) -> Array:
        return -policy.score(state)

    return PolicyBranching(least)


def branch(
    family: Family,
    seed: int,
    use: Use,
    count: int,
    rules: Mapping[str, Policy | str],
    limits: Limits,
    size: float = 1.0,
) -> list[Solution]:
    """Solve ``count`` programs of a domain with every rule, one rule after the other.

    ``rules`` names policies, SCIP's own rules and :data:`STRONG`; a name that ends in
    "turned round" is a policy asked for its worst choice.
    """
    solutions = []
    for number, milp in enumerate(family.scaled(size).draw(seed, use, count)):
        for name, rule in rules.items():
            outcome = solve(milp, _branching(name, rule), seed + number, limits)
            solutions.append(Solution(family.name, seed, use, size, number, name, outcome))
    return solutions


def _branching(name: str, rule: Policy | str) -> Branching | str:
    if isinstance(rule, str):
        return StrongBranching() if rule == STRONG else rule
    return turned_round(rule) if name.endswith("turned round") else PolicyBranching(rule.score)
