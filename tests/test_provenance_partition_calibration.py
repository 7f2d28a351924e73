"""1,000 null replicates of the partition and the reshuffle test on real text and real models.

One corpus (words of Python's own documentation), tiny transformers trained on it here, and for
both forms of p-value the one-sided binomial 99 % bound at .01, .05 and .1.
"""

import numpy as np
import pytest
import torch
from real_text import documentation, within_bounds
from scipy import stats
from transformers import PreTrainedModel

import provenance as pv
from stemma.models import lm
from stemma.models.sampling import sample
from stemma.models.scoring import token_losses
from stemma.models.training import Recipe
from stemma.models.weights import clone, weights_digest

VOCABULARY, WIDTH, REPLICATES = 400, 16, 1000
RECIPE = Recipe(batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).permutation(documentation(VOCABULARY, WIDTH))


def untrained(seed: int = 0) -> PreTrainedModel:
    return lm.build(
        lm.small_config(vocab_size=VOCABULARY, hidden=16, layers=1, heads=2, positions=64), seed
    )


@pytest.mark.slow
def test_partition_null(rows: np.ndarray) -> None:
    """Texts by models of the same examples in other orders, against freshly drawn orders."""
    train = rows[:400]
    index = pv.NgramIndex.build(train, 5)
    texts = []
    for seed in range(5):
        innocent = untrained(seed)
        RECIPE.fit(innocent, train, np.random.default_rng(seed).permutation(400))
        texts.append(sample(innocent, train[:40, :2], WIDTH, seed=seed))
    texts += [rows[400:440], rows[440:480]]  # and real text that is no model's
    rng = np.random.default_rng(1)
    exact, asymptotic, joint, coarse = [], [], [], []
    for i in range(REPLICATES):
        transcript = pv.Transcript.of(train, rng.permutation(400))
        text, options = texts[i % len(texts)], {"n_max": 5, "index": index, "resamples": 0}
        result = pv.partition_test(
            transcript,
            text,
            weightings=("inverse", "count", "once"),
            permutations=199,
            seed=i,
            **options,
        )
        exact.append(result.tests["inverse"].p)
        asymptotic.append(10 ** result.tests["inverse"].log10_p_asymptotic)
        joint.append(result.p)
        parts = pv.partition_test(transcript, text, parts=40, permutations=199, seed=i, **options)
        coarse.append(parts.p)
    for values in (exact, asymptotic, joint, coarse):
        within_bounds(np.array(values))
        assert stats.kstest(values, "uniform").pvalue > 1e-3  # nor conservative


@pytest.mark.slow
def test_reshuffle_null(rows: np.ndarray) -> None:
    """120 true re-runs of one last phase in random orders, 1,000 real texts.

    A replicate takes one text and lets one re-run, chosen at random, play the true order. Given the
    scores the ranks are uniform by that choice, so that the exact p checks the code from the runner
    to the p-value, not the exchangeability of re-runs, which the runner has by construction. Of t
    it is a real check: whether scores of real re-runs are near enough to normal.
    """
    base, train = untrained(), rows[:480]
    _, state = RECIPE.fit(base, train, np.arange(320))
    texts = rows[480:1480]

    def run_phase(order: np.ndarray) -> np.ndarray:
        model = clone(base)
        RECIPE.fit(model, train, order, state)
        return -token_losses(model, texts, 500).sum(axis=1)

    names = {str(i): i for i in range(REPLICATES)}
    result = pv.reshuffle_scores(
        run_phase, lambda all_scores, i: float(all_scores[i]), np.arange(320, 480), names, m=119
    )
    rng = np.random.default_rng(2)
    exact, t, coarse = [], [], []
    for scores in result.scores.values():
        chosen = rng.permutation(scores)
        exact.append(pv.reshuffle_test(chosen[0], chosen[1:100]).p)
        few = pv.reshuffle_test(chosen[0], chosen[1:20])
        t.append(few.p_t)
        coarse.append(few.p)
    for values in (exact, t, coarse):
        within_bounds(np.array(values))
    assert stats.kstest(t, "uniform").pvalue > 1e-3
    assert min(exact) == 0.01


def test_re_run_of_the_true_order_equals_the_finished_model_to_the_bit(rows: np.ndarray) -> None:
    model, order = untrained(), np.random.default_rng(3).permutation(64)
    _, state = RECIPE.fit(model, rows, order[:32])
    checkpoint = clone(model)
    RECIPE.fit(model, rows, order[32:], state)  # Alice goes on; the runner starts over

    def run_phase(tail: np.ndarray) -> PreTrainedModel:
        again = clone(checkpoint)
        RECIPE.fit(again, rows, tail, state)
        return again

    def score(candidate: PreTrainedModel, text: np.ndarray) -> float:
        return float(-token_losses(candidate, text).mean())

    def adapt(candidate: PreTrainedModel, text: np.ndarray) -> PreTrainedModel:
        tuned = clone(candidate)
        RECIPE.fit(tuned, text, np.arange(len(text)))
        return tuned

    result = pv.reshuffle_scores(
        run_phase,
        score,
        order[32:],
        {"late": rows[order[-8:]]},
        m=3,
        adapt=adapt,
        digest=weights_digest,
        base_digest=weights_digest(model),
    )
    assert result.digest == weights_digest(model)
    assert result.scores["late"][0] == score(model, rows[order[-8:]])
    assert (result.adapted["late"] > result.scores["late"]).all()
    with pytest.raises(pv.UnfaithfulRerun):  # the released model went through something else
        pv.reshuffle_scores(
            run_phase,
            score,
            order[32:],
            {"late": rows[:2]},
            digest=weights_digest,
            base_digest=weights_digest(checkpoint),
        )
