"""The partition test: does a text share more n-grams with what was trained on late?

Needs text alone: no likelihoods, no re-training (Algorithm 2 of arXiv 2510.19796 with n-gram
counts as the statistic of each part).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from provenance.errors import BadScores, TooFewExamples
from provenance.families import holm
from provenance.ngrams import Level, NgramIndex
from provenance.ranks import MIN_EXAMPLES, Alternative, RankTest, rank_tests
from provenance.transcript import PAD, Transcript, pad_rows

Weighting = Literal["inverse", "count", "once"]
"""Weight of an occurrence in the transcript: 1 / (number of occurrences), 1, or 1 if the n-gram
occurs once and 0 otherwise."""


@dataclass(frozen=True)
class PartitionResult:
    """Outcome of a partition test.

    Attributes:
        tests: the rank test of every weighting chosen beforehand.
        adjusted: their exact p-values after Holm.
        n_tokens: tokens of the text.
        matched: text positions that matched an n-gram of at least ``n_min`` tokens.
        parts: number of parts of the transcript.
        transcript: digest of the transcript.
    """

    tests: dict[Weighting, RankTest]
    adjusted: dict[Weighting, float]
    n_tokens: int
    matched: int
    parts: int
    transcript: str

    @property
    def p(self) -> float:
        """Exact p-value of the whole test: the smallest after Holm."""
        return min(self.adjusted.values())

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        each = "; ".join(f"{name}: {test.summary()}" for name, test in self.tests.items())
        return (
            f"exact p = {self.p:.3g} (Holm over {len(self.tests)} weightings), {self.matched} of"
            f" {self.n_tokens} tokens matched, {self.parts} parts; {each}"
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
        weightings: how occurrences count; several are joined by Holm.
        n_min: shortest n-gram that counts.
        n_max: longest n-gram looked for; the longest match at each text position counts.
        parts: number of consecutive parts of equal size (the earliest examples that are left over
            count in none); every example is a part of its own by default.
        index: the index of ``transcript.rows`` with at least ``n_max`` levels, to use it again.
        alternative: direction of the test.
        permutations: m of the exact p-value over parts.
        resamples: bootstrap resamples for the interval of rho.
        seed: of permutations and bootstrap.

    Raises:
        TooFewExamples: fewer than 20 parts, or no n-gram of the text occurs in the transcript.
        BadScores: ``parts`` together with several strata.
    """
    rows = pad_rows(text)
    built = index or NgramIndex.build(transcript.rows, n_max)
    found = _kept(built, rows, n_min, n_max)
    matched = sum(len(grams) for _, grams in found)
    if matched == 0:
        raise TooFewExamples(f"no {n_min}-gram of the text occurs in the transcript")
    columns = [_per_example(built, found, weighting) for weighting in weightings]
    positions, strata, table = _in_parts(transcript, np.column_stack(columns), parts)
    tests = rank_tests(
        positions,
        table,
        strata,
        alternative=alternative,
        permutations=permutations,
        resamples=resamples,
        seed=seed,
    )
    by_name = dict(zip(weightings, tests, strict=True))
    adjusted = holm({name: test.p for name, test in by_name.items()}).adjusted
    return PartitionResult(
        tests=by_name,
        adjusted={name: adjusted[name] for name in weightings},
        n_tokens=int(np.count_nonzero(rows != PAD)),
        matched=matched,
        parts=len(positions),
        transcript=transcript.digest,
    )


def overlap(
    index: NgramIndex,
    text: ArrayLike | Sequence[Sequence[int]],
    weighting: Weighting = "inverse",
    n_min: int = 2,
    n_max: int = 8,
) -> NDArray[np.float64]:
    """Return the weighted number of longest matches of a text in each example, shape (n,)."""
    return _per_example(index, _kept(index, pad_rows(text), n_min, n_max), weighting)


def _kept(
    index: NgramIndex, rows: NDArray[np.int64], n_min: int, n_max: int
) -> list[tuple[int, NDArray[np.int64]]]:
    if not 1 <= n_min <= n_max <= len(index.levels):
        raise TooFewExamples(f"need 1 <= n_min <= n_max <= {len(index.levels)}")
    shallow = NgramIndex(index.levels[:n_max], index.vocabulary, index.n_examples)
    return [(k, grams) for k, grams in shallow.match(rows) if k >= n_min]


def _per_example(
    index: NgramIndex, found: list[tuple[int, NDArray[np.int64]]], weighting: Weighting
) -> NDArray[np.float64]:
    total = np.zeros(index.n_examples)
    for k, grams in found:
        level = index.levels[k - 1]
        number, times = np.unique(grams, return_counts=True)
        _spread(total, level, number, times.astype(float), weighting)
    return total


def _spread(
    total: NDArray[np.float64],
    level: Level,
    number: NDArray[np.int64],
    times: NDArray[np.float64],
    weighting: Weighting,
) -> None:
    """Add the weight of each matched gram to every example in which it occurs."""
    start, stop = level.offsets[number], level.offsets[number + 1]
    occurrences = stop - start
    weight = {
        "inverse": times / occurrences,
        "count": times,
        "once": times * (occurrences == 1),
    }[weighting]
    # Positions start[i] .. stop[i] of all grams, one after the other.
    within = np.arange(occurrences.sum()) - np.repeat(
        np.cumsum(occurrences) - occurrences, occurrences
    )
    examples = level.examples[np.repeat(start, occurrences) + within]
    total += np.bincount(examples, np.repeat(weight, occurrences), minlength=len(total))


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
