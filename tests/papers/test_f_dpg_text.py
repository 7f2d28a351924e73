"""f-DPG on language models: exact enumeration of a tiny one, features, fakes, descent."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from tiny_alice import TINY

from stemma.models import lm
from stemma.models.alice import load_or_train
from stemma.models.weights import weights_digest
from stemma.papers.f_dpg import descent, jobs, text
from stemma.papers.f_dpg.divergences import exact_divergence
from stemma.papers.f_dpg.features import Pleased, Word, choose_words, distinct
from stemma.papers.f_dpg.toy import FILTERED

WORDS = ("the", "happy", "calm", "dog", "runs")
LENGTH = 3
EVERY = np.array(list(product(range(len(WORDS)), repeat=LENGTH)))


class Speller:
    """What is needed of a tokenizer: each token is a word."""

    def batch_decode(self, sequences):
        return [" ".join(WORDS[token] for token in row) for row in sequences]


@pytest.fixture(scope="module")
def base():
    config = lm.small_config(vocab_size=len(WORDS), hidden=16, layers=1, heads=2, positions=8)
    model = lm.build(config, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)  # far from uniform
    return text.Base(model, Speller(), LENGTH, (0, 2))


@pytest.fixture(scope="module")
def pool(base):
    return text.draw_pool(base, 8000, 1)


FEATURE = Word("happy")


@pytest.fixture(scope="module")
def goal(pool):
    return text.target_sample(pool, FEATURE, 2)


def exact_target(base, feature):
    """Return log a and log p of every sequence, and log Z."""
    log_a = base.log_probability(base.model, EVERY)
    log_target = log_a + feature.score(feature.values(base.texts(EVERY)))
    log_z = np.logaddexp.reduce(log_target)
    return log_a, log_target - log_z, log_z


# Whole sequences


def test_log_probabilities_are_of_whole_sequences_and_add_up(base):
    log_a = base.log_probability(base.model, EVERY)
    assert np.exp(log_a).sum() == pytest.approx(1, abs=1e-5)
    row = torch.tensor([[*base.beginning, *EVERY[17]]])
    with torch.no_grad():
        logs = base.model(input_ids=row).logits[0].log_softmax(dim=1)
    by_hand = sum(logs[1 + i, token].item() for i, token in enumerate(EVERY[17]))
    assert log_a[17] == pytest.approx(by_hand, abs=1e-5)


def test_a_pool_follows_the_base_model(base, pool):
    log_a = base.log_probability(base.model, EVERY)
    counts = np.zeros(len(EVERY))
    np.add.at(counts, pool.sequences @ [25, 5, 1], 1)
    expected = np.exp(log_a) * len(pool.texts)
    z = (counts - expected) / np.sqrt(expected.clip(1e-9))
    assert np.abs(z[expected > 5]).max() < 4.5
    some = pool.part(10, 20)
    assert some.texts == pool.texts[10:20]
    np.testing.assert_array_equal(some.log_a, pool.log_a[10:20])


@pytest.fixture
def pleased():
    pytest.importorskip("vaderSentiment")
    return Pleased(0.2)


@pytest.mark.parametrize("name", ["word", "reward"])
def test_the_target_sample_is_exact(base, pool, name, request):
    feature = FEATURE if name == "word" else request.getfixturevalue("pleased")
    _, log_p, log_z = exact_target(base, feature)
    goal = text.target_sample(pool, feature, 2)
    p, phi = np.exp(log_p), feature.values(base.texts(EVERY))
    standard = 4 / math.sqrt(len(goal.log_p))
    assert goal.log_z == pytest.approx(log_z, abs=standard)
    assert goal.alignment == pytest.approx(p @ phi, abs=standard)
    assert feature.values(base.texts(goal.sequences)).mean() == pytest.approx(p @ phi, abs=standard)
    inside = p > 0
    entropy = -(p[inside] @ log_p[inside])
    assert goal.entropy == pytest.approx(entropy, abs=4 * standard)
    place = goal.sequences @ [25, 5, 1]
    np.testing.assert_allclose(goal.log_p, log_p[place] + log_z - goal.log_z, atol=1e-4)


def test_a_target_that_nothing_meets_is_refused(pool):
    with pytest.raises(ValueError, match="draw a larger pool"):
        text.target_sample(pool, Word("absent"), 0)


# Tuning


def test_tuning_approaches_every_divergence_s_target(base):
    _, log_p, log_z = exact_target(base, FEATURE)
    before = weights_digest(base.model)
    log_p = torch.from_numpy(log_p)

    def distance(model):
        log_pi = torch.from_numpy(base.log_probability(model, EVERY))
        return exact_divergence("JS", log_pi, log_p).item()

    start = distance(base.model)
    for objective in ("KL", "JS", "TV"):
        policy = text.tune(base, FEATURE, objective, text.Tuning(40, 64, 5e-3), 3)
        assert distance(policy.model) < start / 2, objective
        assert policy.log_z == pytest.approx(log_z, abs=0.3)
        assert policy.alignment.shape == (40,)
        assert policy.alignment[-5:].mean() > policy.alignment[:5].mean()
    assert weights_digest(base.model) == before, "the base model is only copied"


def test_objectives_start_from_the_same_samples_and_runs_repeat(base):
    tuning = text.Tuning(2, 32, 1e-3)
    runs = [text.tune(base, FEATURE, name, tuning, 4) for name in ("KL", "JS", "JS")]
    assert len({run.alignment[0] for run in runs}) == 1
    digests = [weights_digest(run.model) for run in runs]
    assert digests[0] != digests[1]
    assert digests[1] == digests[2]


def test_filtered_tuning_uses_hits_only_and_needs_one(base, pool):
    tuning = text.Tuning(60, 32, 5e-3)
    model = text.filtered_tuning(base, FEATURE, pool, tuning, 0)
    drawn = base.texts(base.draw(model, 400, 9))
    assert FEATURE.values(drawn).mean() > FEATURE.values(pool.texts).mean() + 0.1
    unchanged = text.filtered_tuning(base, Word("absent"), pool, tuning, 0)
    assert weights_digest(unchanged) == weights_digest(base.model)


def test_measurements_of_the_base_model_have_closed_forms(base, goal):
    log_a, _, log_z = exact_target(base, FEATURE)
    measured = text.measure(base, base.model, FEATURE, goal, 4000, 5)
    a = np.exp(log_a)
    assert measured.from_base == pytest.approx(0, abs=1e-6)
    assert measured.forward_kl == pytest.approx(-goal.log_z, abs=1e-4)  # KL(p || a) = -log P_a(b)
    assert measured.alignment == pytest.approx(math.exp(log_z), abs=0.03)
    assert measured.entropy == pytest.approx(-(a @ log_a), abs=0.1)
    assert len(measured.texts) == 5


def test_jobs_measure_the_model_that_they_tuned(base, pool, goal):
    wish = jobs.Wish(base, FEATURE, goal, pool, 200, 6)
    tuning = text.Tuning(3, 16, 1e-3)
    for objective, steps in (("JS", 3), (FILTERED, 0)):
        outcome = jobs.tune_and_measure(wish, objective, tuning, 7)
        assert outcome.curve.shape == (steps,)
        again = text.measure(base, outcome.model, FEATURE, goal, 200, 6)
        assert outcome.measured == again


# Features


def test_a_word_is_whole_and_of_any_case():
    values = Word("sure").values(["Sure.", "be sure", "assured", "measure", "un-sure!", ""])
    assert values.tolist() == [1, 1, 0, 0, 1, 0]
    assert Word("sure").score(values).tolist() == [0, 0, -np.inf, -np.inf, 0, -np.inf]


def test_the_reward_is_a_bounded_log_probability(pleased):
    values = pleased.values(["I love this wonderful day", "the table", "a horrible, sad death"])
    assert values[0] > 0.9 > values[1] == 0.5 > 0.1 > values[2] >= 0
    np.testing.assert_allclose(pleased.score(values), np.log(values) / 0.2)
    assert (pleased.score(values) <= 0).all(), "rejection needs exp(score) <= 1"


def test_words_are_chosen_by_rate_alone():
    texts = ["plain words"] * 80 + ["early riser"] * 2 + ["tiny early"] * 1 + ["a b c"] * 17
    assert choose_words(texts, [0.02], low=0.005, high=0.05) == ["riser"]
    assert choose_words(texts, [0.01, 0.01], low=0.005, high=0.05) == ["tiny", "riser"]
    with pytest.raises(ValueError, match="only 0 words"):
        choose_words(texts, [0.02], low=0.2, high=0.3)


def test_distinct_n_is_a_share_of_n_grams():
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a", "b"], 2) == 0


# Descent


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_or_train(replace(TINY, hidden=48, learning_rate=1e-2), 0)


def test_relatives_are_innocent_and_alice_is_not(own):
    sibling, reference = (descent.relative(own, seed, True) for seed in (1, 2))
    stranger = descent.relative(own, 3, False)
    assert sorted(sibling.order) == sorted(own.run.order)
    assert (sibling.order != own.run.order).any()
    family = descent.query_all(
        own,
        {"Alice": own.model, "sibling": sibling.model, "stranger": stranger.model},
        reference,
        asked=320,
        permutations=999,
        seed=0,
    )
    adjusted = family.family.adjusted
    assert adjusted["Alice"] < 0.01
    assert min(adjusted["sibling"], adjusted["stranger"]) > 0.01


def test_innocent_p_values_are_calibrated(own):
    """Null: over siblings, p-values are spread as uniform ones are."""
    reference = descent.relative(own, 50, True)
    siblings = {str(seed): descent.relative(own, seed, True).model for seed in range(51, 63)}
    family = descent.query_all(own, siblings, reference, asked=320, permutations=99, seed=0)
    p = np.sort([10**result.test.log10_p_asymptotic for result in family.results.values()])
    assert p[0] > 0.002
    assert 0.15 < p.mean() < 0.85
