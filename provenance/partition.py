"""The partition test: does a text share more n-grams with what was trained on late?

Needs text alone: no likelihoods, no re-training (Algorithm 2 of arXiv 2510.19796 with n-gram
counts as the statistic of each part).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadScores, ProvenanceError, TooFewExamples
from provenance.ngrams import NgramIndex, longest
from provenance.ranks import MIN_EXAMPLES, Alternative, RankTest, max_statistic_p, rank_tests
from provenance.transcript import PAD, Transcript, pad_rows

Weighting = Literal["inverse", "count", "once"]
"""Weight of an occurrence in the transcript: 1 / (number of occurrences), 1, or 1 if the n-gram
occurs once and 0 otherwise. Any of them is valid if it is chosen before the text is seen; counting
every occurrence lets the commonest n-grams swamp the others."""

_SCALE_BITS = 40


@dataclass(frozen=True)
class PartitionResult:
    """Outcome of a partition test.

    Attributes:
        tests: the rank test of every weighting chosen beforehand.
        adjusted: their exact p-values with the choice among weightings paid for: the share of
            permutations in which the largest standardized statistic of all weightings reaches
            this one's (Westfall and Young 1993, single step). Exact like each p: the maximum is
            one statistic of the order. With one weighting it is that test's p.
        n_tokens: tokens of the text.
        matched: text positions that matched an n-gram of at least ``n_min`` tokens.
        parts: number of parts of the transcript.
        transcript: digest of the transcript.
        unknown: tokens of the text whose id never occurs in the transcript; many of them mean
            another tokenizer.
    """

    tests: dict[Weighting, RankTest]
    adjusted: dict[Weighting, float]
    n_tokens: int
    matched: int
    parts: int
    transcript: str
    unknown: int = 0

    @property
    def p(self) -> float:
        """Exact p-value of the whole test: the smallest adjusted one."""
        return min(self.adjusted.values())

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        each = "; ".join(f"{name}: {test.summary()}" for name, test in self.tests.items())
        return (
            f"exact p = {self.p:.3g} ({len(self.tests)} weighting(s), their choice paid for),"
            f" {self.matched} of {self.n_tokens} tokens matched, {self.unknown} unknown,"
            f" {self.parts} parts; {each}"
        )


def partition_test(
    transcript: Transcript,
    text: ArrayLike | Sequence[Sequence[int]],
    *,
    weightings: Sequence[Weighting] = ("inverse",),
    n_min: int = 2,
    n_max: int = 8,
    parts: int | None = None,
    index: NgramIndex | None = None,
    alternative: Alternative = "later-is-likelier",
    permutations: int = 9_999,
    resamples: int = 999,
    seed: int = 0,
) -> PartitionResult:
    """Test a text against a transcript; choose weightings and lengths before seeing the text.

    Args:
        transcript: token ids with positions.
        text: token ids of the suspect's text alone (prompts left out), ragged or padded.
        weightings: how occurrences count; several are joined by the
            largest statistic under common permutations.
        n_min: shortest n-gram that counts.
        n_max: longest n-gram looked for; the longest match at each text position counts.
        parts: number of consecutive parts of equal size (the earliest examples that are left over
            count in none); every example is a part of its own by default.
        index: the index of ``transcript.rows`` for at least ``n_max`` tokens, to use it again.
        alternative: direction of the test.
        permutations: m of the exact p-value over parts.
        resamples: bootstrap resamples for the interval of rho.
        seed: of permutations and bootstrap.

    Raises:
        TooFewExamples: fewer than 20 parts, a text without tokens or with none of ``n_min``
            tokens in a row, or no n-gram of it occurs in the transcript.
        BadScores: ``parts`` together with several strata or tied positions.
        ProvenanceError: unknown, repeated or no weightings, ``n_min`` and ``n_max`` that do not
            fit, or the index of another transcript.
    """
    _check_weightings(weightings)
    rows = pad_rows(text)
    _check_text(rows, n_min)
    built = index or NgramIndex.build(transcript.rows, n_max)
    if built.n_examples != len(transcript):
        raise ProvenanceError(
            f"the index has {built.n_examples} examples, the transcript {len(transcript)}"
        )
    found = _Found.of(built, rows, n_min, n_max)
    if found.matched == 0:
        raise TooFewExamples(
            f"no {n_min}-gram of the text occurs in the transcript ({found.unknown} of its tokens"
            " are unknown there: is it the same tokenizer?)"
        )
    tests, adjusted = counts_test(
        transcript,
        {weighting: _per_example(built, found, weighting) for weighting in weightings},
        parts=parts,
        alternative=alternative,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    return PartitionResult(
        tests=tests,
        adjusted=adjusted,
        n_tokens=int(np.count_nonzero(rows != PAD)),
        matched=found.matched,
        parts=parts or len(transcript),
        transcript=transcript.digest,
        unknown=found.unknown,
    )


def counts_test(
    transcript: Transcript,
    counts: Mapping[Weighting, NDArray[np.float64]],
    *,
    parts: int | None,
    alternative: Alternative,
    permutations: int,
    resamples: int,
    seed: int,
) -> tuple[dict[Weighting, RankTest], dict[Weighting, float]]:
    """Return the rank tests of what each example counted, and their p with the choice paid for.

    The last step of ``partition_test``, which needs no text: who has ``overlap`` of each weighting
    can repeat it from there. Of the transcript only positions and strata are read.

    Args:
        transcript: order of the examples.
        counts: ``overlap`` of the text under each weighting, shape (n,) each.
        parts: as in ``partition_test``, like all that follows.
        alternative: direction of the test.
        permutations: m of the exact p-value over parts.
        resamples: bootstrap resamples for the interval of rho.
        seed: of permutations and bootstrap.

    Raises:
        TooFewExamples: fewer than 20 parts.
        BadScores: ``parts`` together with several strata or tied positions; constant counts.
    """
    positions, strata, table = _in_parts(transcript, np.column_stack([*counts.values()]), parts)
    tests = rank_tests(
        positions,
        table,
        strata,
        alternative=alternative,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    adjusted = [tests[0].p]
    if len(tests) > 1:
        adjusted = max_statistic_p(
            positions, table, strata, alternative=alternative, permutations=permutations, seed=seed
        ).tolist()
    return dict(zip(counts, tests, strict=True)), dict(zip(counts, adjusted, strict=True))


def overlap(
    index: NgramIndex,
    text: ArrayLike | Sequence[Sequence[int]],
    weighting: Weighting = "inverse",
    n_min: int = 2,
    n_max: int = 8,
) -> NDArray[np.float64]:
    """Return the weighted number of longest matches of a text in each example, shape (n,).

    Sums are exact: weights are whole multiples of a power of two (1 / count to 12 decimals for
    texts of up to four million tokens), so that equal sums are ties whatever the order of rows.

    Raises:
        ProvenanceError: ``n_min`` and ``n_max`` that do not fit the index.
    """
    return _per_example(index, _Found.of(index, pad_rows(text), n_min, n_max), weighting)


Ints = NDArray[np.int64]


class _Places(NamedTuple):
    """Matches that occur in one part of the index: their numbers, first and end of their places."""

    number: Ints
    low: Ints
    high: Ints


class _Found(NamedTuple):
    """Longest matches of a text that are long enough, part by part of the index.

    Attributes:
        occurrences: in the whole transcript, of each match, shape (matches,).
        places: for each part of the index the matches that occur there.
        unknown: text tokens whose id the transcript does not have.
    """

    occurrences: Ints
    places: list[_Places]
    unknown: int

    @property
    def matched(self) -> int:
        """Number of text positions matched."""
        return len(self.occurrences)

    @classmethod
    def of(cls, index: NgramIndex, rows: NDArray[np.int64], n_min: int, n_max: int) -> "_Found":
        if not 1 <= n_min <= n_max <= index.n_max:
            raise ProvenanceError(f"need 1 <= n_min <= n_max <= {index.n_max}")
        empty = np.empty(0, np.int64)
        occurrences, unknown, done = [empty], 0, 0
        pieces = [[_Places(empty, empty, empty)] for _ in index.parts]
        for matches in index.match(rows, n_max):
            length, count = longest(matches)
            keep = length >= n_min
            number = done + np.cumsum(keep) - 1
            for piece, match in zip(pieces, matches, strict=True):
                here = keep & (match.length == length)
                piece.append(_Places(number[here], match.low[here], match.high[here]))
            occurrences.append(count[keep])
            unknown += int(np.count_nonzero(length == 0))
            done += int(keep.sum())
        joined = [
            _Places(*(np.concatenate(column) for column in zip(*piece, strict=True)))
            for piece in pieces
        ]
        return cls(np.concatenate(occurrences), joined, unknown)


def _per_example(index: NgramIndex, found: _Found, weighting: Weighting) -> NDArray[np.float64]:
    """Add the weight of each match to every example in which it occurs."""
    bits = min(_SCALE_BITS, 62 - max(1, found.matched).bit_length())
    weight = _whole_weights(found.occurrences, weighting, bits)
    total = np.zeros(index.n_examples, np.int64)
    for part, (number, low, high) in zip(index.parts, found.places, strict=True):
        # Occurrences are neighbours: a running sum of differences gives the weight of each place.
        place = np.zeros(len(part.suffixes) + 1, np.int64)
        np.add.at(place, low, weight[number])
        np.subtract.at(place, high, weight[number])
        np.cumsum(place, out=place)
        hit = np.flatnonzero(place[:-1])
        np.add.at(total, part.examples[hit], place[hit])
    return total / (2.0**bits if weighting == "inverse" else 1.0)


def _whole_weights(occurrences: Ints, weighting: Weighting, bits: int) -> Ints:
    """Weight of an occurrence of each match; 1 / occurrences as a multiple of 2^-bits."""
    if weighting == "inverse":
        return np.asarray(np.rint(2.0**bits / occurrences), np.int64)
    if weighting == "once":
        return np.asarray(occurrences == 1, np.int64)
    return np.ones_like(occurrences)


def _check_weightings(weightings: Sequence[Weighting]) -> None:
    known = get_args(Weighting)
    if not weightings or len(set(weightings)) < len(weightings) or set(weightings) - set(known):
        raise ProvenanceError(f"name each weighting once, out of {', '.join(known)}")


def _check_text(rows: NDArray[np.int64], n_min: int) -> None:
    lengths = (rows != PAD).sum(axis=1)
    if lengths.sum() == 0:
        raise TooFewExamples("the text holds no token")
    if lengths.max() < n_min:
        raise TooFewExamples(
            f"the longest text has {lengths.max()} tokens, fewer than n_min = {n_min}"
        )


def _in_parts(
    transcript: Transcript, table: NDArray[np.float64], parts: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    if parts is None:
        return transcript.positions, transcript.strata, table
    if np.ptp(transcript.strata) > 0:
        raise BadScores("with several strata every example must be a part of its own")
    if len(np.unique(transcript.positions)) < len(transcript):
        raise BadScores("tied positions: leave `parts` out")
    size = len(transcript) // parts
    if parts < MIN_EXAMPLES or size == 0:
        raise TooFewExamples(f"{parts} parts of {len(transcript)} examples: too few or too many")
    order = np.argsort(transcript.positions)[len(transcript) - parts * size :]
    summed = table[order].reshape(parts, size, -1).sum(axis=1)
    return np.arange(parts), np.zeros(parts, np.int64), summed
