"""The deletion test of explanations: does the answer fall when the named words are replaced?"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stemma.papers.semantics_tracing.attributions import (
    METHODS,
    Case,
    Setting,
    make_case,
    text_margins,
    without,
)
from stemma.papers.semantics_tracing.items import Item
from stemma.papers.semantics_tracing.subject import Subject

Array = NDArray[np.float64]

COUNTS = (1, 2)
"""How many of the best words are replaced."""


def choose_case(subject: Subject, item: Item) -> Case:
    """Return the item's prompt with the answer that the model itself gives, right or wrong."""
    gold, other = subject.token(item.gold.concept), subject.token(item.other.concept)
    logits = subject.next_logits([subject.encode(item.prompt)])[0]
    pair = (gold, other) if logits[gold] > logits[other] else (other, gold)
    return make_case(item.prompt, *pair)


def drops(subject: Subject, case: Case, choices: Sequence[Sequence[int]]) -> Array:
    """Return how far the margin falls when each choice of words is replaced, shape (choices,)."""
    texts = [case.prompt, *(without(case, words) for words in choices)]
    margins = text_margins(subject, case, texts)
    return np.asarray(margins[0] - margins[1:])


def best_words(scores: Array, count: int) -> list[int]:
    """Return the indices of the ``count`` best-scored words; ties go to the earlier one."""
    return [int(word) for word in np.argsort(-scores, kind="stable")[:count]]


def deletion_rows(
    subject: Subject,
    items: Sequence[Item],
    methods: Sequence[str],
    setting: Setting,
    *,
    draws: int,
    seed: int,
) -> Iterator[list[dict[str, object]]]:
    """Yield, for each item, a row for each method and number of words.

    Columns: noun, method, count, drop, random (mean drop of ``draws`` random choices), words (those
    named, joined). The drop of the method ``random`` is that mean.
    """
    for place, item in enumerate(items):
        case = choose_case(subject, item)
        rng = np.random.default_rng([seed, place])
        scores = {m: METHODS[m](subject, case, setting, rng) for m in methods if m != "random"}
        rows: list[dict[str, object]] = []
        for count in COUNTS:
            named = {m: best_words(values, count) for m, values in scores.items()}
            random = [
                rng.choice(len(case.spans), count, replace=False).tolist() for _ in range(draws)
            ]
            fallen = drops(subject, case, [*named.values(), *random])
            chance = float(fallen[len(named) :].mean())
            by_method = dict(zip(named, fallen[: len(named)].tolist(), strict=True))
            for method in methods:
                words = [case.prompt[slice(*case.spans[w])] for w in named.get(method, [])]
                rows.append(
                    {
                        "noun": item.noun,
                        "method": method,
                        "count": count,
                        "drop": by_method.get(method, chance),
                        "random": chance,
                        "words": " ".join(words),
                    }
                )
        yield rows


def drop_matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the excess over random words, mean over top-1 and top-2: nouns by methods."""
    excess = rows.assign(excess=rows["drop"] - rows["random"])
    return excess.pivot_table(index="noun", columns="method", values="excess", aggfunc="mean")
