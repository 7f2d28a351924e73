"""Two tokenizers, one text: log-probabilities carried over by spans of bytes.

The suspect reads the text of an example in tokens of its own. Along the text its log-probability
adds up; the sum is taken as linear within each of its tokens, and a token of the transcript gets
what the sum gains over its bytes. Where both tokenizers have a boundary the sum is exact, so the
score of a whole example is the log-probability of its text in the suspect's own tokenization (and
misses that of other tokenizations of the same text, Cao and Rimell, 2021). The score is a fixed
function of the text and the suspect, so the permutation test stays exact.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.scorers.base import LogProbs, Row, Scorer, ScorerError, checked_rows

Decode = Callable[[Sequence[int]], str]


def byte_offsets(text: str) -> NDArray[np.int64]:
    """Return the UTF-8 byte at which each character begins, and the end, shape (chars + 1,)."""
    sizes = [0, *(len(character.encode("utf-8", "surrogatepass")) for character in text)]
    return np.cumsum(sizes, dtype=np.int64)


def token_boundaries(decode: Decode, row: Row) -> tuple[str, NDArray[np.int64]]:
    """Return the text of a row and the byte at which each of its tokens begins, and the end.

    A token that ends within a character is taken to end before it.

    Args:
        decode: token ids to text.
        row: token ids, shape (length,).

    Returns:
        The text, and shape (length + 1,).
    """
    ids = [int(i) for i in row]
    text = decode(ids)
    whole = text.encode("utf-8", "surrogatepass")
    ends = [
        _common(decode(ids[:stop]).encode("utf-8", "surrogatepass"), whole)
        for stop in range(len(ids))
    ]
    return text, np.maximum.accumulate(np.array([*ends, len(whole)], dtype=np.int64))


def project(values: ArrayLike, theirs: ArrayLike, ours: ArrayLike) -> LogProbs:
    """Carry log-probabilities from one division of a text into spans over to another.

    Args:
        values: log-probability of each span of the first division, shape (m,), in nats.
        theirs: its boundaries in bytes, not falling, shape (m + 1,).
        ours: boundaries of the other division, shape (n + 1,).

    Returns:
        Shape (n,). What lies outside the first division counts 0.
    """
    boundaries = np.asarray(theirs, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    # A span without bytes is the inner part of a character: it counts to the span after it.
    first = np.append(True, np.diff(boundaries) > 0)
    sums = total[first]
    sums[-1] = total[-1]
    result: LogProbs = np.diff(np.interp(np.asarray(ours, np.float64), boundaries[first], sums))
    return result


def decoder(tokenizer: Any) -> Decode:
    """Return the exact decoding of a transformers tokenizer: nothing skipped, nothing tidied."""

    def decode(ids: Sequence[int]) -> str:
        return str(
            tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    return decode


class TextScorer:
    """Scores rows of one tokenizer with a model of another, by their text."""

    def __init__(self, scorer: Scorer, ours: Any, theirs: Any) -> None:
        """Wrap a scorer.

        Args:
            scorer: of the suspect; takes ids of the suspect's tokenizer, without a window.
            ours: the transcript's tokenizer (transformers).
            theirs: the suspect's, a fast one, since it must tell where in the text its tokens lie.

        Raises:
            ScorerError: the suspect's tokenizer cannot tell that.
        """
        if not getattr(theirs, "is_fast", False):
            raise ScorerError("the suspect's tokenizer must be a fast one, to give offsets")
        self._scorer, self._decode, self._theirs = scorer, decoder(ours), theirs
        self.name = scorer.name
        self.note = (
            "The suspect has another tokenizer than the transcript: examples were decoded to text"
            " and tokenized again, and log-probabilities carried over by spans of bytes."
            " What the suspect's first token covers is not scored."
        )

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return the suspect's log-probability over the bytes of each token but the first.

        Raises:
            ScorerError: the text of a row is fewer than two tokens for the suspect.
        """
        texts = [token_boundaries(self._decode, row) for row in checked_rows(rows)]
        encoded = [self._encode(number, text) for number, (text, _) in enumerate(texts)]
        values = self._scorer.log_probs([ids for ids, _ in encoded])
        return [
            project(found, theirs[1:], ours[1:])
            for found, (_, theirs), (_, ours) in zip(values, encoded, texts, strict=True)
        ]

    def _encode(self, number: int, text: str) -> tuple[Row, NDArray[np.int64]]:
        """Return the suspect's ids of a text and the byte boundaries of its tokens."""
        encoding = self._theirs(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = np.array(encoding["input_ids"], dtype=np.int64)
        if len(ids) < 2:
            raise ScorerError(f"the text of row {number} is one token or none for {self.name}")
        starts = [start for start, _ in encoding["offset_mapping"]]
        boundaries = byte_offsets(text)[np.array([*starts, len(text)])]
        return ids, np.maximum.accumulate(boundaries)


def _common(left: bytes, right: bytes) -> int:
    """Return the length of the longest common prefix."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    differ = np.frombuffer(left[:size], np.uint8) != np.frombuffer(right[:size], np.uint8)
    return int(np.argmax(differ))
