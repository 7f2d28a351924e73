"""The test items: nouns of two senses, each in a context that decides between them.

``nouns.jsonl`` was written before any model was run. A noun's line holds two senses; each has a
context sentence, the context's word that decides, one concept (the answer), and six words.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATES = (
    "{context} I see a {noun}. The {noun} is a kind of",
    "{context} There is a {noun} here. This {noun} is a kind of",
    "{context} Look at the {noun}. It is a kind of",
    "{context} Here is a {noun}. A {noun} like this is a type of",
)
"""Prompts of the continuation form: the next token names the concept."""

QUESTION = "{context} I see a {noun}. Is it {concept}?\nAnswer:"
"""The paper's form: a question to be answered by `` Yes`` or `` No``."""

EMPTY_CONTEXTS = (
    "I am at N/A.",
    "I am here.",
    "I am there.",
    "This is N/A.",
    "I am in a place.",
    "It is a day.",
    "There is something.",
    "Here we are.",
)
"""Contexts without content, for calibration (Zhao et al. 2021, "Calibrate Before Use")."""

THING = "thing"
"""The noun without content."""


@dataclass(frozen=True)
class Sense:
    """One sense of a noun: its concept, a context sentence, that one's word, and six words."""

    concept: str
    context: str
    context_word: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Noun:
    """A noun and its two senses."""

    noun: str
    senses: tuple[Sense, Sense]


@dataclass(frozen=True)
class Item:
    """A prompt in continuation form; ``gold`` is the sense of its context."""

    noun: str
    gold: Sense
    other: Sense
    template: int

    @property
    def prompt(self) -> str:
        """The prompt; its last token is the answer position."""
        return TEMPLATES[self.template].format(context=self.gold.context, noun=self.noun)

    @property
    def bare(self) -> str:
        """The prompt without its context."""
        return bare_prompt(self.template, self.noun)

    def told(self, concept: str) -> str:
        """The prompt after a sentence that says which concept the noun is (donor of patches)."""
        return f"A {self.noun} is {with_article(concept)} here. {self.prompt}"


@dataclass(frozen=True)
class Question:
    """A prompt in the paper's form: is the noun, in the context of ``gold``, of sense ``asked``?"""

    noun: str
    gold: Sense
    asked: Sense

    @property
    def answer(self) -> bool:
        """Whether the right answer is yes."""
        return self.asked == self.gold

    @property
    def prompt(self) -> str:
        """The prompt; its last token is the answer position."""
        concept = with_article(self.asked.concept)
        return QUESTION.format(context=self.gold.context, noun=self.noun, concept=concept)


def with_article(word: str) -> str:
    """Put ``a`` or ``an`` before a word (by its first letter, but "a unit")."""
    vowel = word[0] in "aeiou" and not word.startswith("uni")
    return f"{'an' if vowel else 'a'} {word}"


def read_nouns(limit: int = 0, path: Path | None = None) -> list[Noun]:
    """Read the nouns in the file's order, the first ``limit`` of them (0: all)."""
    path = path or Path(__file__).with_name("nouns.jsonl")
    nouns = [_noun(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return nouns[:limit] if limit else nouns


def _noun(record: dict[str, Any]) -> Noun:
    first, second = (Sense(**{**s, "words": tuple(s["words"])}) for s in record["senses"])
    return Noun(record["noun"], (first, second))


def make_items(nouns: Sequence[Noun], templates: int) -> list[Item]:
    """Return two items a noun and template, one for either context."""
    return [
        Item(noun.noun, gold, other, template)
        for noun in nouns
        for template in range(templates)
        for gold, other in (noun.senses, noun.senses[::-1])
    ]


def make_questions(nouns: Sequence[Noun]) -> list[Question]:
    """Return four questions a noun: both concepts asked in both contexts, so half are yes."""
    return [
        Question(noun.noun, gold, asked)
        for noun in nouns
        for gold in noun.senses
        for asked in noun.senses
    ]


def bare_prompt(template: int, noun: str) -> str:
    """Return a template filled without any context."""
    return TEMPLATES[template].format(context="", noun=noun).strip()


def empty_prompts(template: int) -> list[str]:
    """Return a template filled with contexts and a noun without content (8 prompts)."""
    return [TEMPLATES[template].format(context=c, noun=THING) for c in EMPTY_CONTEXTS]


def empty_questions() -> list[str]:
    """Return the questions without content (8 prompts)."""
    concept = with_article(THING)
    return [QUESTION.format(context=c, noun=THING, concept=concept) for c in EMPTY_CONTEXTS]


def all_words(nouns: Sequence[Noun]) -> list[str]:
    """Return every word of every list, sorted, each once."""
    return sorted({word for noun in nouns for sense in noun.senses for word in sense.words})


def all_texts(nouns: Sequence[Noun]) -> Iterator[str]:
    """Yield every sentence and word of the items (for the tokenizer of a toy model)."""
    for noun in nouns:
        for sense in noun.senses:
            yield from (sense.context, *(f" {word}" for word in sense.words))
            yield f" {sense.concept} {noun.noun}"
    for template in range(len(TEMPLATES)):
        yield from (bare_prompt(template, THING), *empty_prompts(template))
    yield from (*empty_questions(), " Yes No something .")
