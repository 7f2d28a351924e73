"""Which token does an echoed log-probability belong to? Asked of the end point itself.

Under OpenAI's meaning entry i of ``token_logprobs`` is log p(token i | tokens before i). Some
servers score token i with the logits *after* token i (abetlen/llama-cpp-python#1983): the answer
looks well, and sums of it are wrong. The calibration compares the entries of an echoed prompt with
what the same end point reports when it *generates* one token after a prefix of that prompt: the
distribution at j that follows from the prefix must be found at entry j; if it is found at entry
j - 1, the end point is shifted, and entries can be set right only where the true next token is
among the ``top_logprobs``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from provenance.scorers.base import EndpointError
from provenance.scorers.endpoint import Choice

PROBES = (
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14",
    "red green blue red green blue red green blue red green blue red green",
    "The committee met on Tuesday to discuss the new budget for the public schools.",
)
"""Strongly predictable, repeated, and plain text."""

_POSITIONS = 4  # prefixes asked of each probe
_CLOSE = 0.3  # nats; one server's prompt and generation passes differ by rounding, less than this
_APART = 3.0  # how many times nearer the best shift must be than the second best
_SHIFTS = (0, -1, 1)


class Echo(NamedTuple):
    """The log-probabilities that came back with a prompt.

    Attributes:
        tokens: the end point's tokens as text.
        log_probs: one a token in nats; None where the end point gave null.
        tops: likeliest tokens and their log-probabilities, one mapping a token; None for null.
        offsets: where each token begins, in characters, if the end point said so.
    """

    tokens: list[str]
    log_probs: list[float | None]
    tops: list[Mapping[str, float] | None]
    offsets: list[int] | None


class Alignment(NamedTuple):
    """What the calibration found.

    Attributes:
        shift: entry j + shift speaks of token j; 0 is OpenAI's meaning, -1 llama-cpp-python's.
        distance: median difference in nats to the generated distributions at that shift.
        runner_up: the smallest such difference at another shift.
        probes: number of prefixes compared.
    """

    shift: int
    distance: float
    runner_up: float
    probes: int


class Comparison(NamedTuple):
    """The distribution generated after the first ``position`` tokens of an echoed probe."""

    echo: Echo
    position: int
    generated: Mapping[str, float]


def read_echo(choices: Sequence[Choice]) -> Echo:
    """Read the log-probabilities of one choice.

    Raises:
        EndpointError: there are none, or lists of different lengths.
    """
    if len(choices) != 1:
        raise EndpointError(f"expected one choice, the end point gave {len(choices)}")
    found = choices[0].get("logprobs")
    if not found or not found.get("tokens") or not found.get("token_logprobs"):
        raise EndpointError(
            "the end point returned no log-probabilities: it does not offer them (any more), or"
            " must be started with them switched on; SamplingScorer works without"
        )
    tokens, values = found["tokens"], found["token_logprobs"]
    tops = found.get("top_logprobs") or [None] * len(tokens)
    offsets = found.get("text_offset") or None
    lengths = {len(tokens), len(values), len(tops), len(offsets or tokens)}
    if len(lengths) != 1:
        raise EndpointError(
            "the end point's lists of tokens and log-probabilities differ in length"
        )
    return Echo(tokens, values, tops, offsets)


def read_generated(choices: Sequence[Choice]) -> Mapping[str, float]:
    """Read the distribution of the one generated token.

    Raises:
        EndpointError: the end point gave none.
    """
    top = read_echo(choices).tops[0]
    if not top:
        raise EndpointError("the end point returned no top_logprobs for a generated token")
    return top


def prefix_positions(tokens: Sequence[str]) -> list[int]:
    """Choose where to cut a probe: evenly, before tokens that begin with a space if there are any.

    A prefix that ends at a word is most likely to be tokenized as it was within the whole.
    """
    inner = range(2, len(tokens) - 1)
    words = [j for j in inner if tokens[j].startswith(" ")] or list(inner)
    if not words:
        return []
    chosen = np.unique(np.linspace(0, len(words) - 1, _POSITIONS).round().astype(int))
    return [words[i] for i in chosen]


def align(comparisons: Sequence[Comparison]) -> Alignment:
    """Find the shift at which the echoed entries agree with the generated distributions.

    Raises:
        EndpointError: no shift agrees, or two agree about equally well.
    """
    if len(comparisons) < 3:
        raise EndpointError(
            f"only {len(comparisons)} prefixes could be compared: the alignment of the end point's"
            " log-probabilities cannot be established, so they are not used"
        )
    medians = {
        shift: float(np.median([_distance(c, shift) for c in comparisons])) for shift in _SHIFTS
    }
    best, second = sorted(medians, key=lambda shift: medians[shift])[:2]
    if medians[best] > _CLOSE or medians[second] <= _APART * medians[best] + 1e-3:
        raise EndpointError(
            "the end point's echoed log-probabilities agree with what it generates at no shift"
            f" (median difference in nats by shift: {_show(medians)}), so they are not used;"
            " SamplingScorer does not need them"
        )
    return Alignment(best, medians[best], medians[second], len(comparisons))


def realigned(echo: Echo, alignment: Alignment, *, censor: bool) -> tuple[int, list[float]]:
    """Return the index of the first token with a value, and the values from there on.

    Args:
        echo: of one prompt, prompt tokens only.
        alignment: of the end point.
        censor: give a token outside the top the last log-probability within, an upper bound.

    Raises:
        EndpointError: a value is null, NaN, infinite or positive, or a token of a shifted end
            point is not among the top.
    """
    if alignment.shift == 0:
        values = [_finite(value, j) for j, value in enumerate(echo.log_probs) if j > 0]
        return 1, values
    if alignment.shift > 0:
        raise EndpointError(
            "the end point's log-probabilities are one token late, which cannot be set right"
        )
    first = 1 - alignment.shift  # the first entry is null, as there is nothing before token 0
    values = []
    for j in range(first, len(echo.tokens)):
        values.append(_from_top(echo, j, j + alignment.shift, censor))
    return first, values


def _from_top(echo: Echo, token: int, entry: int, censor: bool) -> float:
    found, text = echo.tops[entry], echo.tokens[token]
    if not found:
        raise EndpointError(f"entry {entry} has no top_logprobs, needed to set the shift right")
    if text and "\ufffd" not in text and text in found:
        return _finite(found[text], token)
    if not censor:
        raise EndpointError(
            f"the end point's log-probabilities are shifted by one token, and token {token}"
            f" ({text!r}) is not among the {len(found)} top ones from which it could be set right:"
            " ask for more top_logprobs, try bos=, allow censor=True, or use SamplingScorer"
        )
    # An entry holds its own token besides the top, which is no bound.
    others = [value for other, value in found.items() if other != echo.tokens[entry]]
    return _finite(min(others, default=None), token)


def _finite(value: float | None, token: int) -> float:
    if value is None or not np.isfinite(value) or value > 1e-3:
        raise EndpointError(f"the end point's log-probability of token {token} is {value}")
    return float(value)


def _distance(comparison: Comparison, shift: int) -> float:
    """Return the mean difference over tokens in both distributions, in nats; inf if none is."""
    echo, position, generated = comparison
    entry = position + shift
    if not 0 <= entry < len(echo.tokens):
        return np.inf
    there = dict(echo.tops[entry] or {})
    own = echo.log_probs[entry]
    if own is not None:
        there[echo.tokens[entry]] = own
    likeliest = max(generated, key=lambda token: generated[token])
    if len(there) > 1 and likeliest not in there:
        return np.inf
    common = [abs(there[token] - generated[token]) for token in there if token in generated]
    return float(np.mean(common)) if common else np.inf


def _show(medians: Mapping[int, float]) -> str:
    return ", ".join(f"{shift:+d}: {value:.2f}" for shift, value in medians.items())
