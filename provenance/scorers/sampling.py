"""Scoring by an end point that gives no log-probabilities of its prompt: by counting samples.

At chosen positions the end point continues the text before it r times by one token; the share of
continuations that are the true token estimates its probability (the paper's authors report that
such estimates suffice). The estimate is a function of the example, the suspect and fresh
randomness, none of which knows the order under test, so the permutation test stays exact; only
power is lost.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from provenance.scorers.base import (
    EndpointError,
    LogProbs,
    Progress,
    Row,
    ScorerError,
    Window,
    checked_rows,
)
from provenance.scorers.endpoint import Body, Choice, Endpoint, Estimate, announce
from provenance.scorers.spans import Decode, decoder


class Question(NamedTuple):
    """A prefix of an example, the text of its next token, and the number of prefix tokens."""

    prefix: str
    target: str
    tokens: int


def smoothed_log(hits: int, samples: int) -> float:
    """Return log((hits + 1/2) / (samples + 1)), finite also without a hit (Krichevsky-Trofimov)."""
    return math.log((hits + 0.5) / (samples + 1))


def questions(decode: Decode, row: Row, window: Window, count: int) -> list[Question]:
    """Choose ``count`` positions of a row, evenly spaced over the window.

    The choice depends on the example alone. Tokens that are no text of their own (parts of a
    character) are left out.

    Raises:
        ScorerError: fewer positions than that.
    """
    start, stop = window.bounds(len(row))
    ids = [int(i) for i in row]
    texts = {j: decode(ids[:j]) for j in range(start, stop + 1)}
    usable = [
        j
        for j in range(start, stop)
        if texts[j + 1].startswith(texts[j])
        and len(texts[j + 1]) > len(texts[j])
        and "\ufffd" not in texts[j + 1][len(texts[j]) :]
        and texts[j]
    ]
    if len(usable) < count:
        raise ScorerError(f"a row has {len(usable)} positions to ask about, {count} are wanted")
    chosen = np.linspace(0, len(usable) - 1, count).round().astype(int)
    at = [usable[i] for i in chosen]
    return [Question(texts[j], texts[j + 1][len(texts[j]) :], j) for j in at]


class SamplingScorer:
    """Estimates log-probabilities at a few positions of each example from samples."""

    def __init__(
        self,
        endpoint: Endpoint,
        tokenizer: Any,
        *,
        positions: int = 4,
        samples: int = 16,
        window: Window | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Describe what to ask; nothing is sent yet.

        Args:
            endpoint: where to ask; give ``extra={"top_k": 0, "min_p": 0}`` to a llama.cpp server,
                whose defaults cut the distribution.
            tokenizer: the transcript's (transformers).
            positions: tokens of an example to ask about.
            samples: continuations at each.
            window: where the positions may lie.
            seed: of the first sample; further ones count on.
            progress: called with requests answered and all requests.
        """
        self._endpoint, self._decode = endpoint, decoder(tokenizer)
        self._positions, self._samples = positions, samples
        self._window, self._seed = window or Window(), seed
        self._progress = progress
        self._batched: bool | None = None
        self.name = f"{endpoint.model} at {endpoint.url}"
        self.note = (
            f"Log-probabilities estimated from {samples} sampled tokens at {positions} positions"
            " of each example."
        )

    def estimate(self, rows: Sequence[Row]) -> Estimate:
        """Return what scoring the rows will cost, if ``n`` is honoured as far as known.

        One request says whether the end point answers ``n`` samples at once; until it was sent, by
        ``log_probs``, the estimate takes one request a sample.
        """
        asked = [q for row in self._questions(rows) for q in row]
        bodies = [body for q in asked for body in self._bodies(q)]
        each = len(bodies) // max(1, len(asked))
        return self._endpoint.estimate(bodies, [q.tokens for q in asked for _ in range(each)])

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return the estimated log p at the chosen positions of each row, shape (positions,).

        Raises:
            EndpointError: no answer, or fewer samples than asked for.
            ScorerError: a row is too short.
        """
        asked = self._questions(rows)
        flat = [question for row in asked for question in row]
        if not flat:
            return []
        self._find_batching(flat[0])
        announce(self._endpoint, self.estimate(rows))
        requests = [
            (body, partial(_hits, question.target, body["n"]))
            for question in flat
            for body in self._bodies(question)
        ]
        hits = np.array(self._endpoint.ask_all(requests, self._progress))
        counts = hits.reshape(len(rows), self._positions, -1).sum(axis=2)
        return [np.array([smoothed_log(int(k), self._samples) for k in row]) for row in counts]

    def _questions(self, rows: Sequence[Row]) -> list[list[Question]]:
        return [
            questions(self._decode, row, self._window, self._positions)
            for row in checked_rows(rows)
        ]

    def _find_batching(self, question: Question) -> None:
        """Ask for two samples at once: some servers ignore ``n`` and return one."""
        if self._batched is None:
            body = self._body(question, 2, self._seed)
            self._batched = self._endpoint.ask(body, _count) == 2

    def _bodies(self, question: Question) -> list[Body]:
        if self._batched:
            return [self._body(question, self._samples, self._seed)]
        return [self._body(question, 1, self._seed + i) for i in range(self._samples)]

    def _body(self, question: Question, n: int, seed: int) -> Body:
        return {
            "prompt": question.prefix,
            "max_tokens": 1,
            "temperature": 1.0,
            "top_p": 1.0,
            "n": n,
            "seed": seed,
        }


def _count(choices: list[Choice]) -> int:
    if not choices:
        raise EndpointError("the end point returned no sample")
    return len(choices)


def _hits(target: str, n: int, choices: list[Choice]) -> int:
    texts = [choice.get("text") for choice in choices]
    if len(texts) != n or not all(isinstance(text, str) for text in texts):
        raise EndpointError(f"{n} samples were asked for, {len(texts)} came back, or without text")
    return sum(text == target for text in texts)
