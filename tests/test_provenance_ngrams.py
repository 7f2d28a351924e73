"""The n-gram index: exact, whole, and unchanged by look-ups."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import provenance as pv
from provenance.ngrams import longest

ROWS = st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=9)


def found(index: pv.NgramIndex, text: list[list[int]]) -> tuple[list[int], list[int]]:
    """Length of the longest match and its occurrences, for every token of the text."""
    rows = pv.Transcript.of(text, np.arange(len(text))).rows
    chunks = [longest(matches) for matches in index.match(rows)]
    return (
        [int(k) for length, _ in chunks for k in length],
        [int(n) for _, count in chunks for n in count],
    )


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(1, 9), st.integers(1, 60))
def test_suffixes_stand_in_lexicographic_order(
    rows: list[list[int]], n_max: int, part_tokens: int
) -> None:
    if not any(rows):
        return
    table = pv.Transcript.of(rows, np.arange(len(rows))).rows
    index = pv.NgramIndex.build(table, n_max, part_tokens)
    total = 0
    for part in index.parts:
        flat = part.tokens.tolist()
        prefixes = []
        for place, example in zip(part.suffixes.tolist(), part.examples.tolist(), strict=True):
            end = flat.index(0, place)
            prefixes.append(flat[place:end][:n_max])
            tail = [token - 1 for token in flat[place:end]]
            assert rows[example][len(rows[example]) - len(tail) :] == tail
        assert prefixes == sorted(prefixes)
        total += len(prefixes)
    assert total == sum(map(len, rows))


def test_d6_n_means_n_tokens_and_the_end_of_a_text_counts() -> None:
    """The released index takes n + 1 tokens for n and skips the last positions of a text."""
    index = pv.NgramIndex.build(np.array([[1, 2, 3, 4], [5, 6, 7, 1]]), n_max=2)
    assert found(index, [[1, 2, 3]]) == ([2, 2, 1], [1, 1, 1])
    assert found(index, [[4], [7, 1]]) == ([1, 2, 1], [1, 1, 2])
    # Longest length left to the index: every position is still matched.
    assert found(pv.NgramIndex.build(np.array([[1, 2, 3]]), n_max=5), [[1, 2, 3]])[0] == [3, 2, 1]


def test_d6_lookups_change_nothing_and_do_not_depend_on_the_clock() -> None:
    """There look-ups grew the index, and gave up silently after 10 ms in the main thread only."""
    rng = np.random.default_rng(0)
    index = pv.NgramIndex.build(rng.integers(0, 50, (2000, 20)), n_max=4)
    before = [a.tobytes() for p in index.parts for a in (p.tokens, p.suffixes, p.examples, p.first)]
    texts = [rng.integers(0, 80, (300, 20)).tolist() for _ in range(4)]
    alone = [found(index, text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: found(index, text), texts)) == alone
    after = [a.tobytes() for p in index.parts for a in (p.tokens, p.suffixes, p.examples, p.first)]
    assert before == after


def test_ngrams_end_with_their_example_and_unknown_ids_match_nothing() -> None:
    index = pv.NgramIndex.build(np.array([[1, 2], [3, pv.PAD]]), n_max=3)
    assert found(index, [[1, 2, 3]])[0] == [2, 1, 1]
    assert found(index, [[9, 1, 2**40, 2]])[0] == [0, 1, 0, 1]
    assert found(index, [[]]) == ([], [])


def test_duplicates_count_as_often_as_they_occur() -> None:
    index = pv.NgramIndex.build(np.array([[1, 2], [1, 2], [2, 1]]), n_max=2, part_tokens=3)
    assert len(index.parts) == 3
    assert found(index, [[1, 2]]) == ([2, 1], [2, 3])
