"""The reshuffle test: exact ranks, Student's t, and what a normal tail would have claimed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import provenance as pv


def scores_with_released_z(z: float, m: int) -> tuple[float, np.ndarray]:
    """A true score that the released code would give z standard deviations (ddof 0)."""
    others = np.linspace(-1, 1, m) * 1e4
    return float(others.mean() + z * (others.std() + 1e-6)), others


@pytest.mark.parametrize(
    ("reported", "correct", "m"),
    [(1e-8, 5e-4, 9), (1e-27, 5e-6, 9), (1e-80, 7e-8, 9)],
)
def test_d1_what_the_released_p_values_are_worth(reported: float, correct: float, m: int) -> None:
    true, others = scores_with_released_z(float(stats.norm.isf(reported)), m)
    assert pv.gaussian_tail_diagnostic(true, others) == pytest.approx(reported, rel=1e-3)
    result = pv.reshuffle_test(true, others)
    assert result.p_t == pytest.approx(correct, rel=0.12)
    assert result.p == 1 / (m + 1) == result.floor


@pytest.mark.parametrize(("reported", "correct"), [(2.5e-4, 0.078), (1.6e-3, 0.091)])
def test_d1_what_the_released_p_values_of_three_ingredients_are_worth(
    reported: float, correct: float
) -> None:
    """There the spread is taken to be |a - b| of the two other models."""
    a, b = 1.0, 2.0
    true = (a + b) / 2 + float(stats.norm.isf(reported)) * abs(a - b)
    result = pv.reshuffle_test(true, [a, b])
    assert result.p_t == pytest.approx(correct, rel=0.02)
    assert result.p == 1 / 3


def test_rank_by_hand() -> None:
    result = pv.reshuffle_test(2.5, [1.0, 2.0, 3.0, 4.0])
    assert (result.rank, result.p) == (3, 3 / 5)
    tied = pv.reshuffle_test(3.0, [1.0, 2.0, 3.0, 4.0])
    assert tied.p == 3 / 5  # a tie counts against the claim
    assert pv.reshuffle_test(9.0, [1.0, 2.0, 3.0, 4.0]).p == 1 / 5
    assert "exact rank p = 0.2 (rank 1 of 5" in pv.reshuffle_test(9.0, [1.0, 2, 3, 4]).summary()


def test_t_by_hand() -> None:
    result = pv.reshuffle_test(5.0, [1.0, 2.0, 3.0])
    t = 3.0 / (1.0 * math.sqrt(4 / 3))
    assert result.t == pytest.approx(t)
    assert result.p_t == pytest.approx(stats.t.sf(t, 2))
    assert result.log10_p_t == pytest.approx(math.log10(result.p_t))


def test_null_rank_is_exact_and_t_is_calibrated_but_the_normal_tail_is_not() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 10))
    results = [pv.reshuffle_test(float(d[0]), d[1:]) for d in draws]
    ranks = np.bincount([r.rank - 1 for r in results], minlength=10)
    assert stats.chisquare(ranks).pvalue > 1e-3
    p_t = np.array([r.p_t for r in results])
    assert stats.kstest(p_t, "uniform").pvalue > 1e-3
    normal = np.array([pv.gaussian_tail_diagnostic(float(d[0]), d[1:]) for d in draws])
    assert np.mean(normal <= 0.01) > 0.025


def test_exact_rank_under_a_heavy_tail() -> None:
    rng = np.random.default_rng(1)
    p = np.array([pv.reshuffle_test(float(d[0]), d[1:]).p for d in rng.standard_cauchy((3000, 20))])
    for alpha in (0.05, 0.1, 0.5):
        hits = int((p <= alpha).sum())
        assert stats.binomtest(hits, len(p), alpha, alternative="greater").pvalue > 1e-3


def test_refusals() -> None:
    with pytest.raises(pv.TooFewExamples):
        pv.reshuffle_test(1.0, [1.0])
    with pytest.raises(pv.BadScores, match="NaN"):
        pv.reshuffle_test(1.0, [1.0, math.nan])
    with pytest.raises(pv.BadScores, match="NaN"):
        pv.reshuffle_test(-math.inf, [1.0, 2.0])
    with pytest.raises(pv.BadScores, match="equal"):
        pv.reshuffle_test(1.0, [1.0, 1.0, 1.0])
    assert pv.reshuffle_test(2.0, [1.0, 1.0]).t == math.inf


FINITE = st.lists(st.integers(-50, 50), min_size=3, max_size=25).filter(lambda x: len(set(x)) > 1)


@settings(max_examples=100, deadline=None)
@given(FINITE)
def test_rank_p_survives_monotone_transforms_and_the_order_of_re_runs(values: list[int]) -> None:
    scores = np.array(values, float)
    result = pv.reshuffle_test(scores[0], scores[1:])
    for transformed in (3 * scores - 7, np.exp(scores / 10), scores**3):
        assert pv.reshuffle_test(transformed[0], transformed[1:]).p == result.p
    backwards = pv.reshuffle_test(scores[0], scores[:0:-1])
    assert (backwards.p, backwards.rank) == (result.p, result.rank)
    moved = pv.reshuffle_test(3 * scores[0] - 7, 3 * scores[1:] - 7)
    assert moved.t == pytest.approx(result.t, rel=1e-6)  # t survives shift and scale


def recency(order: np.ndarray) -> np.ndarray:
    """A "model" that remembers what it saw last: the place of each example."""
    return np.argsort(order)


def late_text(model: np.ndarray, text: list[int]) -> float:
    return float(model[text].sum())


def test_runner_finds_a_text_of_late_examples_and_not_a_strangers() -> None:
    order = np.random.default_rng(0).permutation(60)
    texts = {"bob": order[-5:].tolist(), "carol": order[28:33].tolist()}
    seen: list[tuple[int, int]] = []
    runs: list[np.ndarray] = []

    def run_phase(order: np.ndarray) -> np.ndarray:
        runs.append(order)
        return recency(order)

    result = pv.reshuffle_scores(
        run_phase, late_text, order, texts, m=39, progress=lambda i, n: seen.append((i, n))
    )
    assert result.test("bob").p == 1 / 40
    assert result.test("carol").p > 0.1
    assert seen == [(i, 40) for i in range(1, 41)]
    # The true order is run like all others, and first; the others are orders of the same examples.
    assert runs[0].tolist() == order.tolist()
    assert all(sorted(run) == list(range(60)) for run in runs)
    assert len({run.tobytes() for run in runs}) == 40
    assert result.adapted == {}
    assert result.digest is None
    again = pv.reshuffle_scores(recency, late_text, order, texts, m=39)
    assert again.scores["carol"].tolist() == result.scores["carol"].tolist()
    other = pv.reshuffle_scores(recency, late_text, order, texts, m=39, seed=1)
    assert other.scores["carol"].tolist() != result.scores["carol"].tolist()
    assert other.seed == 1


def test_adaptation_is_applied_to_all_alike() -> None:
    adapted: list[bytes] = []

    def adapt(model: np.ndarray, text: list[int]) -> np.ndarray:
        adapted.append(model.tobytes())
        return model * 2

    order = np.arange(30)
    result = pv.reshuffle_scores(recency, late_text, order, {"bob": [29, 28]}, m=9, adapt=adapt)
    assert len(set(adapted)) == 10
    assert result.adapted["bob"].tolist() == (2 * result.scores["bob"]).tolist()
    assert result.test("bob", adapted=True).p == result.test("bob").p


def test_re_run_of_the_true_order_must_give_the_finished_model() -> None:
    order = np.arange(30)
    options = {"m": 3, "digest": lambda model: f"{hash(model.tobytes()):x}"}
    good = pv.reshuffle_scores(recency, late_text, order, {"bob": [1]}, **options)
    assert good.digest is not None
    same = pv.reshuffle_scores(
        recency, late_text, order, {"bob": [1]}, base_digest=good.digest, **options
    )
    assert same.digest == good.digest
    with pytest.raises(pv.UnfaithfulRerun, match="reproducible"):
        pv.reshuffle_scores(
            lambda o: recency(o) + 1,
            late_text,
            order,
            {"bob": [1]},
            base_digest=good.digest,
            **options,
        )
    with pytest.raises(pv.ProvenanceError, match="digest"):
        pv.reshuffle_scores(recency, late_text, order, {"bob": [1]}, base_digest="00")


def test_reshuffles_stay_within_strata_and_are_uniform() -> None:
    order, strata = np.array([7, 3, 5, 1, 0, 2]), np.array([0, 0, 0, 1, 1, 1])
    orders = pv.reshuffled_orders(order, 6000, strata=strata, seed=4)
    assert orders[0].tolist() == order.tolist()
    early = [tuple(o[:3]) for o in orders[1:]]
    assert {frozenset(e) for e in early} == {frozenset({7, 3, 5})}
    counts = np.unique(np.array([f"{o}" for o in orders[1:]]), return_counts=True)[1]
    assert len(counts) == 36
    assert stats.chisquare(counts).pvalue > 1e-3
    with pytest.raises(pv.TooFewExamples, match="different examples"):
        pv.reshuffled_orders(order, 5, strata=np.arange(6))
    with pytest.raises(pv.TooFewExamples, match="at least 2"):
        pv.reshuffled_orders(order, 1)
    with pytest.raises(pv.BadScores, match="strata"):
        pv.reshuffled_orders(order, 5, strata=[0, 1])


def test_runner_refusals() -> None:
    order = np.arange(30)
    with pytest.raises(pv.TooFewExamples, match="text"):
        pv.reshuffle_scores(recency, late_text, order, {})
    with pytest.raises(pv.BadScores, match="`bob` has the score nan"):
        pv.reshuffle_scores(recency, lambda model, text: math.nan, order, {"bob": [1]})


def test_d8_first_token_of_the_completion_counts_and_the_prompt_never() -> None:
    """The released scripts lose the first, or cut the prompt off by characters."""

    def log_probs(rows: list[np.ndarray]) -> list[np.ndarray]:
        return [-row[1:].astype(float) for row in rows]  # log p of a token: minus its id

    scores = pv.completion_scores(log_probs, [[100, 200], [300]], [[1, 20], [4, 5, 6]])
    assert scores.tolist() == [-21.0, -15.0]
    for prompts, completions in ([[[]], [[1]]], [[[1]], [[]]], [[[1]], []]):
        with pytest.raises(pv.BadScores, match="at least one token"):
            pv.completion_scores(log_probs, prompts, completions)
    with pytest.raises(pv.BadScores, match="L - 1"):
        pv.completion_scores(lambda rows: [row.astype(float) for row in rows], [[1]], [[2]])
