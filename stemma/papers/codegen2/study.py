"""All models of the notebook: which rows, in which order, with which objective."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemma.models.parallel import in_processes
from stemma.papers.codegen2.data import CODE, TEXT, Corpus, Rows
from stemma.papers.codegen2.evaluation import probe_rows
from stemma.papers.codegen2.objectives import (
    Objective,
    SpanLaw,
    choose_span_rows,
    make_examples,
)
from stemma.papers.codegen2.training import Exam, Job, Recipe, run_job

CAUSAL, PREFIX = "causal", "prefix"
MIXTURE, PREFIX_MIXTURE = "mixture", "prefix mixture"
SPANS, PREFIX_SPANS = "spans only", "prefix spans only"
TARGETS = "mixture, loss on spans"
SAME_CAUSAL = "causal, mixture's causal rows"
TEXT_ONLY, CODE_AND_TEXT = "text", "code and text"

_PROBE_ROWS = 40  # of a module at most


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        steps: of each full run.
        p_span: share of span corruption in a mixture.
        law: of the spans.
        text_share: share of text in the mix of domains.
        epochs: how often the small corpus of C5 is repeated; the last, the most often, takes half
            the steps of a full run.
    """

    steps: int
    p_span: float
    law: SpanLaw
    text_share: float
    epochs: tuple[int, ...]

    def objectives(self) -> dict[str, Objective]:
        """Return the objectives that the claims compare, on the same rows."""
        return {
            CAUSAL: Objective(0.0, False),
            PREFIX: Objective(0.0, True),
            MIXTURE: Objective(self.p_span, False),
            PREFIX_MIXTURE: Objective(self.p_span, True),
        }

    def ablations(self) -> dict[str, Objective]:
        """Return further objectives on the same rows, for the tables."""
        return {
            TARGETS: Objective(self.p_span, False, targets_only=True),
            SPANS: Objective(1.0, False),
            PREFIX_SPANS: Objective(1.0, True),
        }


def draw_rows(pool: Rows, n: int, rng: np.random.Generator) -> Rows:
    """Return n rows in random order; a pool that is too small is gone through again and again."""
    orders = [rng.permutation(len(pool)) for _ in range(-(-n // len(pool)))]
    return pool[np.concatenate(orders)[:n]]


def replicate(
    corpus: Corpus, plan: Plan, batch: int, seed: int, *, ablations: bool = False
) -> list[Job]:
    """Return the jobs of one replicate, which share initial weights, rows and their order.

    Args:
        corpus: training rows of both domains.
        plan: what is trained.
        batch: examples a step.
        seed: decides weights, rows, order, spans and prefixes.
        ablations: whether the further objectives are trained too.
    """
    rng = np.random.default_rng([seed, 1])
    total = plan.steps * batch
    code = draw_rows(corpus.train[CODE], total, rng)
    text = draw_rows(corpus.train[TEXT], total, rng)
    objectives = plan.objectives() | (plan.ablations() if ablations else {})
    jobs = [_job(corpus, plan, name, o, code, seed) for name, o in objectives.items()]
    plain = objectives[CAUSAL]
    kept = code[~choose_span_rows(total, plan.p_span, np.random.default_rng([seed, 2]))]
    jobs.append(_job(corpus, plan, SAME_CAUSAL, plain, kept, seed))
    is_text = choose_span_rows(total, plan.text_share, np.random.default_rng([seed, 4]))
    mixed = np.where(is_text[:, None], text, code)
    jobs.append(_job(corpus, plan, TEXT_ONLY, plain, text, seed))
    jobs.append(_job(corpus, plan, CODE_AND_TEXT, plain, mixed, seed))
    few = code[: total // (2 * plan.epochs[-1])]
    for count in plan.epochs:
        repeated = draw_rows(few, count * len(few), np.random.default_rng([seed, 5]))
        jobs.append(_job(corpus, plan, epoch_name(count), plain, repeated, seed))
    return jobs


def epoch_name(count: int) -> str:
    """Return the name of the run that sees the small corpus ``count`` times."""
    return f"{count} epoch" + "s" * (count > 1)


def _job(corpus: Corpus, plan: Plan, name: str, objective: Objective, rows: Rows, seed: int) -> Job:
    chosen = choose_span_rows(len(rows), objective.p_span, np.random.default_rng([seed, 2]))
    rng = np.random.default_rng([seed, 3])
    examples = make_examples(rows, chosen, objective, plan.law, corpus.specials, rng)
    return Job(name, seed, objective, examples, name in plan.objectives() | plan.ablations())


def make_exam(corpus: Corpus, *, rows: int, answered: int, classes: int, seed: int) -> Exam:
    """Draw what every model is measured on.

    Args:
        corpus: held-out rows and holes.
        rows: rows of each domain that are scored.
        answered: holes that are filled by greedy decoding.
        classes: modules that the probe tells apart, each with at most 40 rows.
        seed: decides the rows.
    """
    rng = np.random.default_rng([seed, 6])
    drawn = {d: r[rng.permutation(len(r))[:rows]] for d, r in corpus.held_out.items()}
    probe = probe_rows(corpus, classes, _PROBE_ROWS)
    return Exam(replace(corpus, train={}), drawn, answered, probe)


def run_all(
    corpus: Corpus,
    plan: Plan,
    recipe: Recipe,
    exam: Exam,
    seeds: Sequence[int],
    ablated: int,
    processes: int,
) -> Iterator[dict[str, Any]]:
    """Train all models of all replicates; yield a row of measurements of each.

    Args:
        corpus: training rows.
        plan: what is trained.
        recipe: how.
        exam: what the models are measured on.
        seeds: of the replicates.
        ablated: how many of the replicates train the further objectives too.
        processes: at work at a time; no number depends on it.
    """
    jobs = [
        job
        for i, seed in enumerate(seeds)
        for job in replicate(corpus, plan, recipe.batch, seed, ablations=i < ablated)
    ]
    yield from in_processes(run_job, ((job, recipe, exam) for job in jobs), processes)


def count_jobs(plan: Plan, seeds: int, ablated: int) -> int:
    """Return how many models ``run_all`` trains."""
    every = len(plan.objectives()) + 3 + len(plan.epochs)
    return seeds * every + min(seeds, ablated) * len(plan.ablations())
