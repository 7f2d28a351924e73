"""What the model answers: margins between two concepts, calibrated on prompts without content."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stemma.papers.semantics_tracing import items as it
from stemma.papers.semantics_tracing.items import Item, Noun, Question
from stemma.papers.semantics_tracing.subject import Reading, Subject

Array = NDArray[np.float64]


def usable_nouns(subject: Subject, nouns: Sequence[Noun]) -> list[Noun]:
    """Return the nouns both of whose concepts are one token of the model, and different ones.

    The next token then is the whole answer, and both answers are equally long.
    """
    return [
        noun for noun in nouns if all(subject.is_one_token(sense.concept) for sense in noun.senses)
    ]


def pair_margins(subject: Subject, reading: Reading, items: Sequence[Item]) -> Array:
    """Return log P(gold concept) - log P(other concept) at each item's next token, shape (n,)."""
    gold = [subject.token(item.gold.concept) for item in items]
    other = [subject.token(item.other.concept) for item in items]
    rows = np.arange(len(items))
    log_probs = reading.log_probs.numpy()
    return np.asarray(log_probs[rows, gold] - log_probs[rows, other], dtype=float)


def biases(subject: Subject, items: Sequence[Item]) -> Array:
    """Return the margin that each item's concepts have without content, shape (n,).

    The mean over eight prompts with an empty context and the noun "thing": how much likelier one
    concept's word is than the other's, whatever is talked of.
    """
    values = np.zeros(len(items))
    for template in {item.template for item in items}:
        mean = subject.answers(it.empty_prompts(template)).log_probs.mean(dim=0).numpy()
        for i, item in enumerate(items):
            if item.template == template:
                gold, other = subject.token(item.gold.concept), subject.token(item.other.concept)
                values[i] = mean[gold] - mean[other]
    return values


def answer_table(subject: Subject, items: Sequence[Item], reading: Reading) -> pd.DataFrame:
    """Return a row for each item.

    Columns: noun, template, gold, other; raw and bias (log-odds of gold against other), margin =
    raw - bias, error = margin < 0; association (log-odds of the *other* concept without the
    context, calibrated); entropy of the next token in nats.
    """
    bias = biases(subject, items)
    raw = pair_margins(subject, reading, items)
    bare = pair_margins(subject, subject.answers([item.bare for item in items]), items)
    log_probs = reading.log_probs
    return pd.DataFrame(
        {
            "noun": [item.noun for item in items],
            "template": [item.template for item in items],
            "gold": [item.gold.concept for item in items],
            "other": [item.other.concept for item in items],
            "raw": raw,
            "bias": bias,
            "margin": raw - bias,
            "error": raw - bias < 0,
            "association": bias - bare,
            "entropy": -(log_probs.exp() * log_probs).sum(dim=1).double().numpy(),
        }
    )


def yes_odds(subject: Subject, reading: Reading) -> Array:
    """Return log P(Yes) - log P(No) of each prompt, shape (n,)."""
    yes, no = subject.token("Yes"), subject.token("No")
    return np.asarray(reading.log_probs[:, yes] - reading.log_probs[:, no], dtype=float)


def question_table(
    subject: Subject, questions: Sequence[Question], reading: Reading
) -> pd.DataFrame:
    """Return a row for each question: noun, answer, raw log-odds of yes, bias, margin, error.

    ``margin`` is the calibrated log-odds of the right answer.
    """
    bias = yes_odds(subject, subject.answers(it.empty_questions())).mean()
    raw = yes_odds(subject, reading)
    answer = np.array([question.answer for question in questions])
    margin = np.where(answer, 1, -1) * (raw - bias)
    return pd.DataFrame(
        {
            "noun": [question.noun for question in questions],
            "context": [question.gold.concept for question in questions],
            "answer": answer,
            "raw": raw,
            "bias": bias,
            "margin": margin,
            "error": margin < 0,
        }
    )


def question_association(subject: Subject, nouns: Sequence[Noun]) -> dict[tuple[str, str], float]:
    """Return, by noun and concept, the log-odds of yes to "Is a NOUN a CONCEPT?"."""
    pairs = [(noun.noun, sense.concept) for noun in nouns for sense in noun.senses]
    texts = [f"Is a {noun} {it.with_article(concept)}?\nAnswer:" for noun, concept in pairs]
    odds = yes_odds(subject, subject.answers(texts))
    return dict(zip(pairs, (float(value) for value in odds), strict=True))


def pick_one(
    nouns: Sequence[Noun], items: Sequence[Item], count: int, template: int = 0
) -> list[int]:
    """Return the indices of ``count`` items of one template, one a noun, senses alternating."""
    chosen = []
    for place, noun in enumerate(nouns[:count]):
        mine = [i for i, x in enumerate(items) if x.noun == noun.noun and x.template == template]
        chosen.append(mine[place % 2])
    return chosen


def accuracy_rows(answers: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of both forms, raw and calibrated, by half and paired."""
    sides = answers.pivot_table(index=["noun", "template"], values="margin", aggfunc="sum").margin
    asked = questions.groupby(["noun", "context"]).margin.sum()
    moves = [
        ("continuation, raw", (answers.raw > 0).mean(), len(answers)),
        ("continuation, calibrated (main)", (answers.margin > 0).mean(), len(answers)),
        ("continuation, context moves the choice the right way", (sides > 0).mean(), len(sides)),
        ("question, raw", ((questions.raw > 0) == questions.answer).mean(), len(questions)),
        ("question, calibrated", 1 - questions.error.mean(), len(questions)),
        ("question, gold yes", 1 - questions[questions.answer].error.mean(), len(questions) // 2),
        ("question, gold no", 1 - questions[~questions.answer].error.mean(), len(questions) // 2),
        ("question, both of one context paired", (asked > 0).mean(), len(asked)),
    ]
    return pd.DataFrame(moves, columns=["form", "accuracy", "n"])
