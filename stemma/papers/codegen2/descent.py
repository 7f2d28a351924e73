"""Is a causal model that was continued with the mixture recognised by the base's training order?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import provenance as pv
from stemma.errors import DataUnavailable
from stemma.models.parallel import in_processes
from stemma.models.pretraining import transcript_of
from stemma.papers.codegen2.data import CODE, Corpus, Rows
from stemma.papers.codegen2.evaluation import losses_of, whole_rows
from stemma.papers.codegen2.objectives import Objective, SpanLaw, choose_span_rows, make_examples
from stemma.papers.codegen2.training import Recipe, build, fit

Array = NDArray[np.float64]

BASE, DERIVATIVE = "base", "base, continued with the mixture"
SIBLING, STRANGER = "sibling, continued alike", "stranger, continued alike"


@dataclass(frozen=True)
class Upbringing:
    """How one model of the test is made.

    Attributes:
        init: seed of the initial weights.
        first: causal examples in their order, trained on at a constant rate.
        second: examples of the mixture that follow.
        asked: rows whose likelihood is wanted, shape (n, ctx).
    """

    init: int
    first: Rows
    second: Rows
    asked: Rows


def bring_up(life: Upbringing, recipe: Recipe, vocab_size: int) -> tuple[Array, Array]:
    """Return the log-likelihood of each asked row after the first and after the second phase."""
    model = build(recipe, vocab_size, life.asked.shape[1], life.init)
    after = []
    for examples in (life.first, life.second):
        fit(model, examples, recipe, "constant")
        after.append(-losses_of(model, whole_rows(life.asked), prefix=False).sum(axis=1))
    return after[0], after[1]


def trace(
    corpus: Corpus,
    objective: Objective,
    law: SpanLaw,
    recipe: Recipe,
    *,
    examples: int,
    more: int,
    seed: int,
    processes: int,
) -> pv.QueryFamily:
    """Run the query test of the base's order on the base, its derivative and two innocents.

    The sibling has the base's initial weights and examples, in an order of its own; the stranger
    has neither. The reference is another sibling.

    Args:
        corpus: training rows of code.
        objective: the mixture.
        law: of its spans.
        recipe: of all models; the rate is constant.
        examples: that the base is trained on.
        more: examples of the mixture.
        seed: decides everything.
        processes: at work at a time.

    Raises:
        DataUnavailable: too few training rows.
    """
    if len(corpus.train[CODE]) < 2 * examples + more:
        raise DataUnavailable(
            f"code has {len(corpus.train[CODE])} training rows, {2 * examples + more} are needed:"
            " lower `trace_rows`"
        )
    rng = np.random.default_rng([seed, 7])
    drawn = corpus.train[CODE][rng.permutation(len(corpus.train[CODE]))]
    asked, later, others = np.split(drawn[: 2 * examples + more], [examples, examples + more])
    plain = Objective(0.0, False)
    chosen = choose_span_rows(len(later), objective.p_span, rng)
    second = make_examples(later, chosen, objective, law, corpus.specials, rng)
    orders = [rng.permutation(examples) for _ in range(4)]
    lives = []
    for i, (order, rows) in enumerate(zip(orders, [asked] * 3 + [others], strict=True)):
        none = np.zeros(examples, dtype=bool)
        first = make_examples(rows[order], none, plain, law, corpus.specials, rng)
        lives.append(Upbringing(seed + i // 3, first, second, asked))
    tasks = ((life, recipe, len(corpus.widths)) for life in lives)
    base, reference, sibling, stranger = in_processes(bring_up, tasks, processes)
    lineage = pv.Lineage.of(transcript_of(asked, orders[1]))
    return pv.query_family(
        transcript_of(asked, orders[0]),
        {BASE: base[0], DERIVATIVE: base[1], SIBLING: sibling[1], STRANGER: stranger[1]},
        pv.Reference.from_scores(reference[0], lineage, "another sibling"),
        adjustment="linear",
        seed=seed,
    )
