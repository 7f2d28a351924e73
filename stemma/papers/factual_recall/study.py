"""The experiment: who is asked, what is known, which head and factor are chosen, and on what."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stemma.errors import ParameterError
from stemma.models import pretrained
from stemma.models.device import choose_device
from stemma.papers.factual_recall import prompts, scoring
from stemma.papers.factual_recall.facts import Fact, Pair, read_capitals
from stemma.papers.factual_recall.heads import Head, Scaling
from stemma.papers.factual_recall.prompts import Form
from stemma.papers.factual_recall.scoring import IN_CONTEXT, MEMORISED, Floats, Question

Codes = NDArray[np.int8]
Bools = NDArray[np.bool_]
Scoring = Literal["forced_logprob", "forced_first_token", "generate"]
Context = Literal["false", "twice", "true"]

RIVALS = 10
"""A capital is known if the model prefers it to each of at most this many other cities."""


class Knob(NamedTuple):
    """One head and the factor of its values."""

    head: Head
    alpha: float

    def __str__(self) -> str:
        return f"{self.head}, {self.alpha:g}"

    @property
    def scaling(self) -> Scaling:
        """The knob as an intervention."""
        return {self.head: self.alpha}


class Choice(NamedTuple):
    """The heads that attribution singles out: against the in-context answer, and for it."""

    memory: Head
    in_context: Head


@dataclass(frozen=True)
class Subject:
    """A model, and how it is asked and scored."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    form: Form = "qa"
    scoring: Scoring = "forced_logprob"
    batch_size: int = 32

    def question(self, pair: Pair, context: Context = "false") -> Question:
        """Return a pair as a question whose answers are the city and the true capital."""
        capital = pair.fact.capitals[0]
        answers = (pair.city, capital)
        prompt = self.prompt(pair, context)
        return prompts.to_question(self.tokenizer, prompt, answers, self.form)

    def prompt(self, pair: Pair, context: Context = "false") -> str:
        """Return the prompt with a false context, the same stated twice, or a true one."""
        country = pair.fact.country
        city = pair.fact.capitals[0] if context == "true" else pair.city
        prompt = prompts.ask(self.form, country, city, self.tokenizer)
        statement = f"The capital of {country} is {city}.\n"
        return prompt.replace(statement, 2 * statement, 1) if context == "twice" else prompt

    def knows(self, pairs: Sequence[Sequence[Pair]]) -> Bools:
        """Tell which facts the model knows, asked without any context; one list of pairs a fact."""
        questions = []
        for own in pairs:
            country, capitals = own[0].fact.country, own[0].fact.capitals
            prompt = prompts.ask(self.form, country, None, self.tokenizer)
            answers = (capitals[0], *(pair.city for pair in own[:RIVALS]))
            questions.append(prompts.to_question(self.tokenizer, prompt, answers, self.form))
        whole = scoring.log_probs(self.model, questions, batch_size=self.batch_size).whole[0]
        known: Bools = whole[:, 0] > whole[:, 1:].max(axis=1)
        return known

    def outcomes(
        self,
        pairs: Sequence[Pair],
        scalings: Sequence[Scaling] = ({},),
        context: Context = "false",
        scoring_by: Scoring | None = None,
    ) -> Codes:
        """Return what wins each pair under each intervention, shape (interventions, pairs)."""
        by = scoring_by or self.scoring
        if by == "generate":
            return np.stack([self._generated(pairs, scaling, context) for scaling in scalings])
        whole, first = self.margins(pairs, scalings, context)
        return forced_codes(whole if by == "forced_logprob" else first)

    def margins(
        self, pairs: Sequence[Pair], scalings: Sequence[Scaling], context: Context = "false"
    ) -> tuple[Floats, Floats]:
        """Return log p(city) - log p(capital) in nats: of all tokens, and of the first ones."""
        questions = [self.question(pair, context) for pair in pairs]
        found = scoring.log_probs(self.model, questions, scalings, self.batch_size)
        whole, first = (part[..., 0] - part[..., 1] for part in found)
        return whole, first

    def _generated(self, pairs: Sequence[Pair], scaling: Scaling, context: Context) -> Codes:
        texts = scoring.generate(
            self.model,
            self.tokenizer,
            [self.prompt(pair, context) for pair in pairs],
            scaling,
            self.batch_size,
        )
        codes = [
            scoring.judge(text, pair.fact.capitals, pair.city)
            for text, pair in zip(texts, pairs, strict=True)
        ]
        return np.array(codes, dtype=np.int8)


def load_subject(
    name: str, form: Form, scoring_by: Scoring, batch_size: int, device: str
) -> Subject:
    """Load a model onto a device (auto: a GPU if any).

    Args:
        name: ``smollm2``, ``toy`` (a small one of random weights), an id of the hub, or a folder.
        form: how it is asked.
        scoring_by: which answer wins.
        batch_size: prompts of a forward pass.
        device: cpu, cuda or auto.

    Raises:
        DataUnavailable: the model cannot be had.
    """
    if name == "toy":
        names = [" ".join([country, *capitals]) for country, capitals in read_capitals().items()]
        model, tokenizer = pretrained.stand_in(names, 0)
    else:
        model, tokenizer = pretrained.smollm2() if name == "smollm2" else pretrained.load(name)
    placed: Any = model
    return Subject(placed.to(choose_device(device)), tokenizer, form, scoring_by, batch_size)


def forced_codes(margin: Floats) -> Codes:
    """Return what wins a forced choice, given log p(city) - log p(capital)."""
    return np.where(margin > 0, IN_CONTEXT, MEMORISED).astype(np.int8)


def fair_pairs(subject: Subject, pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs whose two answers begin with different tokens."""
    return [pair for pair in pairs if prompts.differ_at_once(subject.question(pair))]


def tuning_halves(facts: Sequence[Fact], n_splits: int, seed: int) -> list[frozenset[str]]:
    """Return, for each split, the countries on which heads and factors may be chosen: a half."""
    rng = np.random.default_rng([seed, len(facts)])
    names = [fact.country for fact in facts]
    half = len(names) // 2
    return [frozenset(rng.permutation(names)[:half].tolist()) for _ in range(n_splits)]


def rows_of(pairs: Sequence[Pair], countries: frozenset[str]) -> Bools:
    """Tell which pairs ask about one of ``countries``."""
    return np.array([pair.fact.country in countries for pair in pairs], dtype=bool)


def choose_heads(attribution: Floats) -> Choice:
    """Return the heads of the most negative and the most positive mean of (n, layers, heads)."""
    mean = attribution.mean(axis=0)
    low, high = (np.unravel_index(i, mean.shape) for i in (mean.argmin(), mean.argmax()))
    return Choice(Head(int(low[0]), int(low[1])), Head(int(high[0]), int(high[1])))


def tune(
    codes: Mapping[Knob, Codes], allowed: Callable[[Knob], bool], rows: Bools, want: int
) -> Knob:
    """Return the allowed knob with the largest share of ``want`` on ``rows``; ties: nearest to 1.

    Raises:
        ParameterError: no knob is allowed.
    """
    knobs = [knob for knob in codes if allowed(knob)]
    if not knobs:
        raise ParameterError("factual-recall: `alphas` needs a factor below 0 and one above 1")
    return max(knobs, key=lambda knob: (np.mean(codes[knob][rows] == want), -abs(knob.alpha - 1)))


class Tuned(NamedTuple):
    """What one split chose on its tuning countries.

    Attributes:
        heads: the heads singled out by attribution.
        context: the memory head scaled below zero, for the in-context answer (C5).
        memory: the knob for the memorised answer: memory head up or in-context head down (C6).
        amplified: the in-context head scaled up, for the in-context answer.
    """

    heads: Choice
    context: Knob
    memory: Knob
    amplified: Knob


def tune_split(heads: Choice, codes: Mapping[Knob, Codes], rows: Bools) -> Tuned:
    """Choose every knob of one split; ``rows`` are the pairs of its tuning countries."""

    def up(knob: Knob) -> bool:
        return knob.head == heads.in_context and knob.alpha > 1

    def back(knob: Knob) -> bool:
        return (knob.head == heads.memory and knob.alpha > 1) or (
            knob.head == heads.in_context and knob.alpha < 1
        )

    def negative(knob: Knob) -> bool:
        return knob.head == heads.memory and knob.alpha < 0

    return Tuned(
        heads,
        tune(codes, negative, rows, IN_CONTEXT),
        tune(codes, back, rows, MEMORISED),
        tune(codes, up, rows, IN_CONTEXT),
    )


def country_means(
    pairs: Sequence[Pair], values: Sequence[Floats | Bools], tests: Sequence[Bools]
) -> Floats:
    """Average each country's pairs over the splits that held it out.

    Args:
        pairs: the pairs.
        values: what each split measured, each of shape (pairs,).
        tests: which pairs each split holds out, each of shape (pairs,).

    Returns:
        One mean for each country that was ever held out, in the order of ``pairs``.
    """
    _, first, index = np.unique(
        [pair.fact.country for pair in pairs], return_index=True, return_inverse=True
    )
    total = np.bincount(index, np.sum([v * t for v, t in zip(values, tests, strict=True)], axis=0))
    weight = np.bincount(index, np.sum(tests, axis=0, dtype=float))
    order = np.argsort(first)
    means: Floats = (total[order] / np.maximum(weight[order], 1))[weight[order] > 0]
    return means


def mean_change(base: Codes, ours: Sequence[Codes], tests: Sequence[Bools], want: int) -> float:
    """Return the change of the share of ``want`` over all held-out pairs of all splits."""
    changes = [
        (o[t] == want).astype(float) - (base[t] == want) for o, t in zip(ours, tests, strict=True)
    ]
    return float(np.concatenate(changes).mean())


def most_common(tuned: Sequence[Tuned]) -> Tuned:
    """Return the knobs that most splits chose (the earliest of them if there are several)."""
    return Counter(tuned).most_common(1)[0][0]
