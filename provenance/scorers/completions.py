"""Scoring by an end point that returns the log-probabilities of its prompt (echo + logprobs)."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.scorers.alignment import (
    PROBES,
    Alignment,
    Comparison,
    Echo,
    align,
    prefix_positions,
    read_echo,
    read_generated,
    realigned,
)
from provenance.scorers.base import EndpointError, LogProbs, Progress, Row, checked_rows
from provenance.scorers.endpoint import Body, Choice, Endpoint, Estimate, announce
from provenance.scorers.spans import byte_offsets, decoder, project, token_boundaries


class _Example(NamedTuple):
    """One row: its ids, its text, and the bytes at which its tokens begin."""

    row: Row
    text: str
    boundaries: NDArray[np.int64]


class CompletionsScorer:
    """Scores with an OpenAI-compatible completions end point.

    Before the first real query the alignment of the end point's log-probabilities is calibrated
    with at most 15 short requests; a shifted end point is set right where that is possible, and
    refused otherwise.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tokenizer: Any,
        *,
        prompt: Literal["text", "ids"] = "text",
        top_logprobs: int = 5,
        max_tokens: int = 1,
        bos: str = "",
        other_tokenizer: bool = False,
        censor: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Describe how to ask; nothing is sent yet.

        Args:
            endpoint: where to ask.
            tokenizer: the transcript's (transformers).
            prompt: ``ids`` sends token ids, which is exact where the end point takes them;
                ``text`` sends the decoded example and checks that it is split as it was.
            top_logprobs: likeliest tokens to return at each position; many servers allow 5.
            max_tokens: 1 works everywhere; 0, which saves the generated token, means *unlimited*
                to some servers.
            bos: text of a beginning-of-sequence token to put before each prompt.
            other_tokenizer: the end point may split the text into other tokens; values are then
                carried over by spans of bytes.
            censor: on a shifted end point, take the smallest top log-probability, an upper bound,
                for a token outside the top.
            progress: called with requests answered and all requests.
        """
        self._endpoint, self._tokenizer = endpoint, tokenizer
        self._decode = decoder(tokenizer)
        self._ids, self._top, self._max_tokens = prompt == "ids", top_logprobs, max_tokens
        self._bos, self._other, self._censor = bos, other_tokenizer, censor
        self._progress = progress
        self._alignment: Alignment | None = None
        self.name = f"{endpoint.model} at {endpoint.url}"
        if self._ids and (bos or other_tokenizer):
            raise EndpointError("bos and other_tokenizer need prompt='text'")

    @property
    def note(self) -> str:
        """What a reader of the result must know of how it was scored."""
        parts = ["Log-probabilities by an end point, alignment calibrated against generation."]
        if self._alignment is not None and self._alignment.shift:
            parts.append("They were shifted by one token and set right from the top ones.")
            if self._censor:
                parts.append(f"Tokens outside the top {self._top} got its last value.")
        if self._other:
            parts.append("Another tokenizer: values carried over by spans of bytes.")
        return " ".join(parts)

    def estimate(self, rows: Sequence[Row]) -> Estimate:
        """Return what scoring the rows will cost, calibration apart; nothing is sent."""
        tokens = checked_rows(rows)
        return self._endpoint.estimate(
            [self._body(example) for example in self._examples(tokens)],
            [len(row) for row in tokens],
        )

    def calibrate(self) -> Alignment:
        """Establish which token the end point's log-probabilities belong to.

        Raises:
            EndpointError: it cannot be established; the reason is given.
        """
        if self._alignment is None:
            self._alignment = align([c for text in PROBES for c in self._compare(text)])
        return self._alignment

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return log p of each token but the first, in nats; see ``Scorer``.

        The estimate is logged first, then the alignment calibrated, then the rows asked. What an
        end point cannot score (the first token, two on a shifted one) counts 0.

        Raises:
            EndpointError: no answer, or one that cannot be used; answers before it are kept.
        """
        examples = self._examples(checked_rows(rows))
        announce(self._endpoint, self.estimate(rows))
        alignment = self.calibrate()
        requests = [
            (self._body(example), partial(self._read, example, alignment)) for example in examples
        ]
        return self._endpoint.ask_all(requests, self._progress)

    def _examples(self, rows: Sequence[Row]) -> list[_Example]:
        return [_Example(row, *token_boundaries(self._decode, row)) for row in rows]

    def _body(self, example: _Example) -> Body:
        return self._request(example.row.tolist() if self._ids else example.text, echo=True)

    def _request(self, prompt: str | list[int], *, echo: bool) -> Body:
        return {
            "prompt": self._bos + prompt if isinstance(prompt, str) else prompt,
            "max_tokens": self._max_tokens if echo else 1,
            "temperature": 1.0,
            "logprobs": self._top,
            "echo": echo,
        }

    def _read(self, example: _Example, alignment: Alignment, choices: list[Choice]) -> LogProbs:
        echo, theirs = read_echo(choices), example.boundaries
        if self._ids:
            echo = _first_tokens(echo, len(example.row))
        elif self._other:
            echo, starts = within_prompt(echo, self._bos, example.text)
            theirs = byte_offsets(example.text)[[*starts, len(example.text)]]
        else:
            echo = _same_tokens(echo, self._bos, [self._decode([int(i)]) for i in example.row])
        first, values = realigned(echo, alignment, censor=self._censor)
        if self._other:
            return project(values, theirs[first:], example.boundaries[1:])
        return np.array([0.0] * (first - 1) + values)

    def _compare(self, text: str) -> list[Comparison]:
        """Ask for a probe, and for the distribution after some of its prefixes."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"] if self._ids else []
        echo = self._endpoint.ask(self._request(ids or text, echo=True), read_echo)
        if self._ids:
            echo = _first_tokens(echo, len(ids))
            ends = list(range(len(ids)))
        else:
            echo, ends = within_prompt(echo, self._bos, text)
        positions = prefix_positions(echo.tokens)
        prefixes = [ids[: ends[j]] if self._ids else text[: ends[j]] for j in positions]
        generated = self._endpoint.ask_all(
            [(self._request(prefix, echo=False), read_generated) for prefix in prefixes]
        )
        return [Comparison(echo, j, found) for j, found in zip(positions, generated, strict=True)]


def within_prompt(echo: Echo, bos: str, text: str) -> tuple[Echo, list[int]]:
    """Cut off what is not the example: a leading ``bos``, and the generated token.

    Returns:
        The tokens of the text, and the character of it at which each begins.

    Raises:
        EndpointError: the tokens cannot be found in the text.
    """
    starts = _starts(echo, bos, text)
    keep = [i for i, start in enumerate(starts) if 0 <= start < len(text)]
    if not keep or starts[keep[0]] != 0 or keep != list(range(keep[0], keep[-1] + 1)):
        raise EndpointError("the end point's tokens do not make up the prompt that was sent")
    return _cut(echo, keep[0], keep[-1] + 1), [starts[i] for i in keep]


def _starts(echo: Echo, bos: str, text: str) -> list[int]:
    """Return where in ``text`` each token begins; those of ``bos`` begin before 0."""
    joined = "".join(echo.tokens)
    sums = np.cumsum([0, *(len(token) for token in echo.tokens)])[:-1]
    for lead in dict.fromkeys([bos, ""]):
        if joined.startswith(lead + text):
            return [int(start) - len(lead) for start in sums]
    if echo.offsets is None:
        raise EndpointError("the end point's tokens do not make up the prompt that was sent")
    if any(a > b for a, b in zip(echo.offsets, echo.offsets[1:], strict=False)):
        raise EndpointError("the end point's text_offset is not in order")
    # Tokens that are parts of a character have no text of their own; offsets still place them.
    lead_tokens = 1 if bos and echo.tokens[0] == bos else 0
    base = echo.offsets[min(lead_tokens, len(echo.offsets) - 1)]
    return [offset - base for offset in echo.offsets]


def _same_tokens(echo: Echo, bos: str, ours: list[str]) -> Echo:
    """Return the example's tokens if they are the transcript's, one by one.

    Tokens that are parts of a character have no text to compare, and end points show them each in
    a way of its own; the first token may have lost its leading space.

    Raises:
        EndpointError: the end point splits the text into other tokens.
    """
    lead = int(bool(bos) and echo.tokens[0] == bos)
    theirs = echo.tokens[lead : lead + len(ours)]
    same = len(theirs) == len(ours) and len(echo.tokens) - lead - len(ours) in (0, 1)
    for j, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        whole = "\ufffd" not in our and "\ufffd" not in their and their != ""
        same &= not whole or their == our or (j == 0 and their == our.lstrip())
    if not same:
        raise EndpointError(
            f"the end point splits an example of {len(ours)} tokens into other ones,"
            f" {len(echo.tokens) - lead} with the generated: another tokenizer than the"
            " transcript's; pass other_tokenizer=True to carry values over by spans of bytes"
        )
    return _cut(echo, lead, lead + len(ours))


def _first_tokens(echo: Echo, count: int) -> Echo:
    """Return the prompt's tokens; one more is the generated one.

    Raises:
        EndpointError: another number came back.
    """
    if len(echo.tokens) not in (count, count + 1):
        raise EndpointError(
            f"{count} token ids were sent, log-probabilities of {len(echo.tokens)} came back"
        )
    return _cut(echo, 0, count)


def _cut(echo: Echo, start: int, stop: int) -> Echo:
    offsets = echo.offsets[start:stop] if echo.offsets is not None else None
    return Echo(echo.tokens[start:stop], echo.log_probs[start:stop], echo.tops[start:stop], offsets)
