"""Exposures, validation and control sentences, built from the project's own lexicon.

The factorial design follows the paper (README of its code): each argument is one of twelve kinds,
from pronominality, animacy, definiteness and length; pronouns are never long.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

VERB = "[verb]"
"""The new word."""

Form = Literal["DO", "PO"]
FORMS: tuple[Form, ...] = ("DO", "PO")
FEATURES = ("pronoun", "definite", "short", "animacy")
"""Features of an argument; animacy is coded as the prototype of its role."""

_NOT_CONTENT = ENGLISH_STOP_WORDS | {"ll", "ve", "re", "don", "didn", "isn", "em", "oh", "verb"}


class Kind(NamedTuple):
    """A kind of noun phrase."""

    pronoun: bool
    animate: bool
    definite: bool
    short: bool


KINDS = tuple(
    Kind(*flags) for flags in product((True, False), repeat=4) if flags[3] or not flags[0]
)
"""The twelve kinds: four of pronouns, eight of nouns."""

# Shifts between first and second kinds, in an order whose beginnings are evenly spread: features of
# the two arguments then hardly correlate.
_SPREAD = (0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11)


class Phrase(NamedTuple):
    """A noun phrase in words."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Exposure:
    """The one sentence from which a new verb is learnt.

    Attributes:
        form: DO (double object) or PO (prepositional).
        agent: subject.
        recipient: who is given something.
        theme: what is given.
    """

    form: Form
    agent: str
    recipient: Phrase
    theme: Phrase

    @property
    def text(self) -> str:
        """The sentence, with ``[verb]`` for the new word."""
        if self.form == "DO":
            return f"{self.agent} {VERB} {self.recipient.text} {self.theme.text}."
        return f"{self.agent} {VERB} {self.theme.text} to {self.recipient.text}."

    @property
    def direction(self) -> str:
        """From the form heard to the form tested."""
        return "DO->PO" if self.form == "DO" else "PO->DO"

    @property
    def arguments(self) -> tuple[Phrase, Phrase]:
        """The first and the second argument after the verb."""
        pair = (self.recipient, self.theme)
        return pair if self.form == "DO" else (pair[1], pair[0])

    def prominent(self, position: int) -> dict[str, bool]:
        """Return the features of the first (0) or second (1) argument after the verb.

        ``animacy`` is true where it is that of the role's prototype: an animate recipient, an
        inanimate theme.
        """
        kind = self.arguments[position].kind
        is_recipient = (position == 0) == (self.form == "DO")
        return {
            "pronoun": kind.pronoun,
            "definite": kind.definite,
            "short": kind.short,
            "animacy": kind.animate == is_recipient,
        }

    @property
    def alignment(self) -> int:
        """Harmonic alignment, 0 to 6: features that are aligned with the form's prototype.

        As in the authors' analysis, without discourse givenness: a pronominal and definite first
        argument, a nominal and indefinite second one, an animate recipient, an inanimate theme.
        """
        first, second = self.prominent(0), self.prominent(1)
        aligned = [first[f] for f in ("pronoun", "definite", "animacy")]
        aligned += [not second["pronoun"], not second["definite"], second["animacy"]]
        return sum(aligned)


@cache
def lexicon() -> dict[str, Any]:
    """Return ``lexicon.yaml``."""
    text = Path(__file__).with_name("lexicon.yaml").read_text(encoding="utf-8")
    words: dict[str, Any] = yaml.safe_load(text)
    return words


def design(n: int, seed: int) -> list[Exposure]:
    """Draw ``n`` exposures, half of each form, balanced over the kinds of both arguments.

    Each form's pairs of kinds are cyclic shifts (kind i before kind i + s): among any twelve
    consecutive exposures of one form each kind stands once in either place. Up to 288 exposures
    no pair of kinds comes twice.

    Args:
        n: number of exposures, even.
        seed: decides the order of the pairs and the words.
    """
    if n % 2:
        raise ValueError(f"n must be even, got {n}")
    drawn: list[Exposure] = []
    for number, form in enumerate(FORMS):
        rng = np.random.default_rng([seed, number])
        shifts = [
            (first + s) % 12 for first in rng.integers(12, size=-(-n // 288)) for s in _SPREAD
        ]
        pairs = [(i, (i + s) % 12) for s in shifts for i in rng.permutation(12)][: n // 2]
        drawn += [_exposure(form, KINDS[i], KINDS[j], rng) for i, j in pairs]
    return drawn


def _exposure(form: Form, first: Kind, second: Kind, rng: np.random.Generator) -> Exposure:
    one = _phrase(first, rng)
    # The same word twice would be a repetition, not a second argument.
    said = set(one.text.split()) - {"the", "a"}
    two = _phrase(second, rng)
    while said & set(two.text.split()):
        two = _phrase(second, rng)
    recipient, theme = (one, two) if form == "DO" else (two, one)
    return Exposure(form, str(rng.choice(lexicon()["agents"])), recipient, theme)


def _phrase(kind: Kind, rng: np.random.Generator) -> Phrase:
    words = lexicon()
    animacy = "animate" if kind.animate else "inanimate"
    if kind.pronoun:
        name = f"{animacy} {'definite' if kind.definite else 'indefinite'}"
        return Phrase(kind, str(rng.choice(words["pronouns"][name])))
    parts = ["the" if kind.definite else "a"]
    if not kind.short:
        parts.append(str(rng.choice(words["adjectives"])))
    parts.append(str(rng.choice(words["nouns"][animacy])))
    return Phrase(kind, " ".join(parts))


def words(text: str) -> list[str]:
    """Return the lower-case words of a sentence."""
    return re.findall(r"[a-z]+", text.lower())


def content_words(texts: Iterable[str]) -> set[str]:
    """Return the words of the texts that are no function words."""
    return {w for text in texts for w in words(text) if w not in _NOT_CONTENT}


def own_words() -> dict[str, set[str]]:
    """Return the content words of the exposures, the validation and the control sentences."""
    known = lexicon()
    nouns = [noun for group in known["nouns"].values() for noun in group]
    return {
        "exposures": content_words([*known["agents"], *nouns, *known["adjectives"]]),
        "validation": content_words([*known["good"], *known["bad"]]),
        "control": content_words(known["intransitive"]),
    }


def overlap(exposure: Exposure, tests: Sequence[str]) -> float:
    """Return the share of test sentences that contain a word of the exposure's arguments.

    Articles and ``to`` do not count; pronouns do.
    """
    own = {w for p in exposure.arguments for w in words(p.text)} - {"the", "a"}
    return float(np.mean([bool(own & set(words(test))) for test in tests]))
