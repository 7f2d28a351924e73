"""The partition test against brute force, its null, and the effect of weighting."""

import re
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import provenance as pv
from provenance.partition import overlap

Rows = list[list[int]]


def brute_force(
    transcript: Rows, text: Rows, weighting: str, n_min: int, n_max: int
) -> list[float]:
    """Longest match with back-off at every text position, by Python dictionaries."""
    where: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(transcript):
        for k in range(1, n_max + 1):
            for s in range(len(row) - k + 1):
                where.setdefault(tuple(row[s : s + k]), []).append(i)
    total = [0.0] * len(transcript)
    for row in text:
        for s in range(len(row)):
            for k in range(min(n_max, len(row) - s), n_min - 1, -1):
                hits = where.get(tuple(row[s : s + k]))
                if hits is None:
                    continue
                weight = {"inverse": 1 / len(hits), "count": 1, "once": float(len(hits) == 1)}
                for i in hits:
                    total[i] += weight[weighting]
                break
    return total


ROWS = st.lists(st.lists(st.integers(0, 4), min_size=0, max_size=9), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    ROWS, ROWS, st.sampled_from(["inverse", "count", "once"]), st.integers(1, 3), st.integers(1, 90)
)
def test_matching_equals_brute_force(
    transcript: Rows, text: Rows, weighting: str, n_min: int, part_tokens: int
) -> None:
    if not any(transcript):
        return
    rows = pv.Transcript.of(transcript, np.arange(len(transcript))).rows
    index = pv.NgramIndex.build(rows, 5, part_tokens)
    ours = overlap(index, text, weighting, n_min, 5)  # type: ignore[arg-type]
    assert ours == pytest.approx(brute_force(transcript, text, weighting, n_min, 5), abs=1e-9)


def test_unknown_tokens_match_nothing() -> None:
    transcript = pv.Transcript.in_training_order(np.arange(60).reshape(20, 3))
    with pytest.raises(pv.TooFewExamples, match="no 2-gram"):
        pv.partition_test(transcript, [[1000, 1001, 1002]])


def corpus(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice(60, size=(n, 12), p=np.arange(60, 0, -1) / 1830)


def test_text_from_late_examples_is_found() -> None:
    rng = np.random.default_rng(1)
    rows = corpus(rng, 400)
    positions = rng.permutation(400)
    transcript = pv.Transcript.of(rows, positions)
    late = rng.choice(np.flatnonzero(positions >= 200), 60)
    result = pv.partition_test(transcript, rows[late][:, 3:9], permutations=999)
    assert result.p == 1 / 1000
    assert result.tests["inverse"].rho > 0
    assert result.summary().startswith("exact p = 0.001")
    parts = pv.partition_test(transcript, rows[late][:, 3:9], permutations=999, parts=30)
    assert parts.p <= 0.005
    assert parts.parts == 30


def test_null_is_uniform() -> None:
    rng = np.random.default_rng(2)
    rows = corpus(rng, 100)
    index = pv.NgramIndex.build(rows, 3)
    p, coarse = [], []
    for i in range(300):
        text = rows[rng.integers(0, 100, 10)][:, 2:10]  # the same data, independent of the order
        transcript = pv.Transcript.of(rows, rng.permutation(100))
        options = {"n_max": 3, "index": index, "permutations": 199, "resamples": 0, "seed": i}
        p.append(pv.partition_test(transcript, text, **options).p)
        coarse.append(pv.partition_test(transcript, text, parts=20, **options).p)
    for values in (np.array(p), np.array(coarse)):
        for alpha in (0.01, 0.05, 0.1, 0.5):
            hits = int((values <= alpha).sum())
            assert stats.binomtest(hits, 300, alpha, alternative="greater").pvalue > 1e-3
        assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_several_weightings_pay_for_the_choice_exactly() -> None:
    rng = np.random.default_rng(3)
    rows = corpus(rng, 200)
    transcript = pv.Transcript.of(rows, rng.permutation(200))
    names = ("inverse", "count", "once")
    joint = pv.partition_test(transcript, rows[:20], weightings=names, permutations=499)
    raw = {name: joint.tests[name].p for name in names}
    assert joint.p == min(joint.adjusted.values())
    for name in names:
        # The largest of three is reached at least as often as each, and at most as often as all.
        assert raw[name] <= joint.adjusted[name] <= min(1.0, sum(raw.values())) or raw[name] > 0.3
    single = pv.partition_test(transcript, rows[:20], permutations=499)
    assert single.adjusted == {"inverse": single.tests["inverse"].p}


def test_shuffled_rows_give_the_same_result() -> None:
    rng = np.random.default_rng(4)
    rows, positions = corpus(rng, 120), rng.permutation(120)
    order = rng.permutation(120)
    a = pv.partition_test(pv.Transcript.of(rows, positions), rows[:9], permutations=99)
    b = pv.partition_test(
        pv.Transcript.of(rows[order], positions[order]), rows[:9], permutations=99
    )
    assert a.transcript == b.transcript
    assert a.p == b.p
    assert a.tests["inverse"].rho == pytest.approx(b.tests["inverse"].rho, abs=1e-12)


def test_refusals() -> None:
    rng = np.random.default_rng(5)
    rows = corpus(rng, 60)
    transcript = pv.Transcript.of(rows, rng.permutation(60))
    with pytest.raises(pv.TooFewExamples, match="parts"):
        pv.partition_test(transcript, rows[:5], parts=10)
    with pytest.raises(pv.ProvenanceError, match="n_min"):
        pv.partition_test(transcript, rows[:5], n_min=5, n_max=3)
    with pytest.raises(pv.TooFewExamples, match="no token"):
        pv.partition_test(transcript, [[], []])
    with pytest.raises(pv.TooFewExamples, match="longest text has 3 tokens"):
        pv.partition_test(transcript, rows[:5, :3], n_min=4)
    for weightings in ((), ("inverse", "inverse"), ("tf-idf",)):
        with pytest.raises(pv.ProvenanceError, match="each weighting once"):
            pv.partition_test(transcript, rows[:5], weightings=weightings)  # type: ignore[arg-type]
    with pytest.raises(pv.ProvenanceError, match="index has 59 examples"):
        pv.partition_test(transcript, rows[:5], index=pv.NgramIndex.build(rows[:59], 8))
    with pytest.raises(pv.ProvenanceError, match="no token"):
        pv.NgramIndex.build(np.full((3, 2), pv.PAD), 2)
    with pytest.raises(pv.ProvenanceError, match="below 2"):
        pv.NgramIndex.build(np.array([[2**31 - 2]]), 2)
    staged = pv.Transcript.of(rows, np.arange(60), np.arange(60) // 30)
    with pytest.raises(pv.BadScores, match="strata"):
        pv.partition_test(staged, rows[:5], parts=20)
    assert pv.partition_test(staged, rows[:5], permutations=99).tests["inverse"].strata == 2
    with pytest.raises(pv.ProvenanceError, match="n_max"):
        pv.NgramIndex.build(rows, 0)


def real_rows(width: int = 16) -> np.ndarray:
    """Words of Python's own documentation as ids, in rows."""
    words = re.findall(r"[a-z]+|[^a-z\\s]", " ".join(topics.values()).lower())
    known = {word: i for i, word in enumerate(sorted(set(words)))}
    ids = np.array([known[word] for word in words])
    return ids[: len(ids) // width * width].reshape(-1, width)


def test_d5_parts_and_lengths_are_different_things() -> None:
    """In the released script k is both, and the script cannot run."""
    rng = np.random.default_rng(6)
    rows = real_rows()[:600]
    transcript = pv.Transcript.of(rows, rng.permutation(600))
    text = rows[rng.choice(600, 40)].tolist()
    for parts, n_max in ((20, 3), (50, 3), (20, 8)):
        result = pv.partition_test(transcript, text, parts=parts, n_max=n_max, permutations=99)
        assert (result.parts, result.n_tokens) == (parts, 640)
        assert result.tests["inverse"].n == parts
        assert 0 < result.matched <= 640


def test_d7_frequent_ngrams_swamp_a_count_of_every_occurrence() -> None:
    """Real text, a third of it copied from late examples: one weighting sees it, one does not."""
    rng = np.random.default_rng(7)
    rows = rng.permutation(real_rows())[:4000]
    train, held = rows[:3000], rows[3000:]
    index = pv.NgramIndex.build(train, 4)
    z: dict[str, list[float]] = {"inverse": [], "count": []}
    for _ in range(5):
        positions = rng.permutation(3000)
        late = rng.choice(np.flatnonzero(positions >= 1500), 130, replace=False)
        text = np.concatenate([held[rng.choice(1000, 260, replace=False)], train[late]])
        result = pv.partition_test(
            pv.Transcript.of(train, positions),
            text[:, 6:10],
            weightings=("inverse", "count"),
            n_max=4,
            index=index,
            permutations=99,
            resamples=0,
        )
        for name, test in result.tests.items():
            z[name].append(test.z)
    assert np.median(z["inverse"]) > 2, z
    assert np.median(z["inverse"]) > np.median(z["count"]) + 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_relabelling_tokens_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, positions = corpus(rng, 60), rng.permutation(60)
    names = rng.permutation(1000)[:60]
    text = rows[rng.choice(60, 6)][:, :7]
    options = {"permutations": 49, "weightings": ("inverse", "count"), "resamples": 0}
    a = pv.partition_test(pv.Transcript.of(rows, positions), text, **options)
    b = pv.partition_test(pv.Transcript.of(names[rows], 5 + 3 * positions), names[text], **options)
    assert a.adjusted == b.adjusted
    assert [t.rho for t in a.tests.values()] == [t.rho for t in b.tests.values()]
    shuffled = rng.permutation(len(text))
    c = pv.partition_test(pv.Transcript.of(rows, positions), text[shuffled], **options)
    assert c.adjusted == a.adjusted
