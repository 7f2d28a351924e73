"""What is wanted of a text: that it contains a word, or that it sounds pleased."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stemma.errors import DataUnavailable

Array = NDArray[np.float64]

MIN_LETTERS = 4
_WORD = re.compile(rf"[a-z]{{{MIN_LETTERS},}}")


class Feature(Protocol):
    """A target's kind on text: p(x) is proportional to a(x) exp(score(x))."""

    @property
    def name(self) -> str:
        """What it asks for."""

    def values(self, texts: Sequence[str]) -> Array:
        """Return phi of each text, in [0, 1]; its mean is the alignment."""

    def score(self, values: Array) -> Array:
        """Return log P(x) - log a(x) of texts with these values of phi."""


class Word:
    """Pointwise target: b(x) = 1 if the text contains a whole word, whatever its case."""

    def __init__(self, word: str) -> None:
        """Ask for ``word``, given in lower-case letters."""
        self.name = f"word `{word}`"
        self._pattern = re.compile(rf"(?<![a-z]){re.escape(word)}(?![a-z])")

    def values(self, texts: Sequence[str]) -> Array:
        """See ``Feature``."""
        return np.array([bool(self._pattern.search(t.lower())) for t in texts], dtype=float)

    def score(self, values: Array) -> Array:
        """See ``Feature``."""
        with np.errstate(divide="ignore"):
            return np.log(values)


class Pleased:
    """Scalar reward: r(x) = log phi(x) and P = a exp(r / beta), phi = (1 + VADER's compound) / 2.

    VADER (Hutto and Gilbert 2014) rates sentiment by a lexicon and a few rules, in [-1, 1].
    """

    def __init__(self, beta: float) -> None:
        """Set the temperature ``beta``.

        Raises:
            DataUnavailable: the package that holds the lexicon is not installed.
        """
        try:
            from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
        except ImportError as error:
            raise DataUnavailable(
                "data unavailable: vader-lexicon: pip install 'stemma-suite[text]'"
            ) from error
        self.name = "VADER reward"
        self._beta = beta
        self._polarity = SentimentIntensityAnalyzer().polarity_scores

    def values(self, texts: Sequence[str]) -> Array:
        """See ``Feature``."""
        return np.array([(1 + self._polarity(text)["compound"]) / 2 for text in texts])

    def score(self, values: Array) -> Array:
        """See ``Feature``."""
        with np.errstate(divide="ignore"):
            return np.log(values) / self._beta


def choose_words(
    texts: Sequence[str], rates: Sequence[float], low: float = 0.005, high: float = 0.03
) -> list[str]:
    """Return, for each wanted rate, the word whose share of texts is nearest (in logarithm).

    Words have at least ``MIN_LETTERS`` letters and a share between ``low`` and ``high``; none is
    returned twice, and of equals the first in the alphabet is taken. The texts must be samples
    that nothing else is measured on.

    Raises:
        ValueError: too few such words.
    """
    counts = Counter(word for text in texts for word in set(_WORD.findall(text.lower())))
    shares = {word: n / len(texts) for word, n in sorted(counts.items())}
    left = {word: share for word, share in shares.items() if low <= share <= high}
    if len(left) < len(rates):
        raise ValueError(f"only {len(left)} words have a rate in [{low:g}, {high:g}]")
    chosen = []
    for rate in rates:
        chosen.append(min(left, key=lambda word: abs(np.log(left[word] / rate))))
        del left[chosen[-1]]
    return chosen


def distinct(texts: Sequence[str], n: int) -> float:
    """Return distinct-n: different n-grams of words over all n-grams, of all texts together."""
    grams = [
        tuple(words[i : i + n])
        for words in (text.split() for text in texts)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / max(1, len(grams))
