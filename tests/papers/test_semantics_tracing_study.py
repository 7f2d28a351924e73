"""semantics-tracing: explanations, statistics, and the ways in which a result could be faked."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats as sps

from stemma.papers.semantics_tracing import (
    answers,
    attributions,
    concepts,
    deletion,
    inference,
    items,
    study,
)
from stemma.papers.semantics_tracing.attributions import METHODS, Case, Setting
from stemma.papers.semantics_tracing.subject import Subject, open_subject

NOUNS = items.read_nouns()
SETTING = Setting(layers=(2, 5), nodes=10, normed=False, steps=64, samples=200)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return open_subject("toy", seed=1)


@pytest.fixture(scope="module")
def case(subject: Subject) -> Case:
    return deletion.choose_case(subject, items.make_items(NOUNS[:1], 1)[0])


def test_a_case_explains_the_models_own_answer(subject: Subject, case: Case) -> None:
    (margin,) = attributions.text_margins(subject, case, [case.prompt])
    assert margin > 0
    words = [case.prompt[slice(*span)] for span in case.spans]
    assert words[:5] == ["I", "am", "at", "a", "lake"]
    assert words[-1] == "kind"
    text = attributions.without(case, [4, 8])
    assert text == "I am at a thing. I see a thing. The bass is a kind of"


def test_integrated_gradients_are_complete(subject: Subject, case: Case) -> None:
    ids = subject.encode(case.prompt)
    both = torch.stack(
        [
            attributions.embeddings(subject, row)
            for row in (ids, attributions.dots(subject, len(ids)))
        ]
    )
    logits = attributions.embedded_logits(subject, both)
    ends = (logits[:, case.chosen] - logits[:, case.rejected]).tolist()
    found = attributions.path_integral(subject, case, 64)
    assert found.sum() == pytest.approx(ends[0] - ends[1], abs=5e-3)


def test_gradients_equal_finite_differences(subject: Subject, case: Case) -> None:
    inputs = attributions.embeddings(subject, subject.encode(case.prompt))[None]
    gradient = attributions.gradients(subject, case, inputs)
    direction = torch.randn_like(inputs)
    step = 3e-4
    ends = [
        attributions.embedded_logits(subject, inputs + sign * step * direction) for sign in (1, -1)
    ]
    up, down = (float(z[0, case.chosen] - z[0, case.rejected]) for z in ends)
    assert float((gradient * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=0.03)


def test_rollout_of_uniform_attention_is_known() -> None:
    uniform = np.full((3, 2, 2), 0.5)
    flow = attributions.rollout([uniform, uniform])
    np.testing.assert_allclose(flow, [[0.625, 0.375], [0.375, 0.625]])


def test_lime_finds_the_weights_of_an_additive_margin(
    subject: Subject, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def additive(_: Subject, case: Case, texts: list[str]) -> np.ndarray:
        return np.array([3.0 * ("lake" in text) + 1.0 * ("see" in text) for text in texts])

    monkeypatch.setattr(attributions, "text_margins", additive)
    weights = METHODS["lime"](subject, case, SETTING, np.random.default_rng(0))
    words = [case.prompt[slice(*span)] for span in case.spans]
    assert [words[i] for i in deletion.best_words(weights, 2)] == ["lake", "see"]
    assert weights.max() == pytest.approx(3.0, abs=0.4)


def test_every_method_scores_every_word(subject: Subject, case: Case) -> None:
    for name, method in METHODS.items():
        scores = method(subject, case, SETTING, np.random.default_rng(0))
        assert scores.shape == (len(case.spans),), name
        assert np.isfinite(scores).all(), name


def test_leave_one_out_is_the_ceiling_and_random_the_zero_of_the_deletion_test(
    subject: Subject,
) -> None:
    work = items.make_items(NOUNS[:3], 1)
    chosen = [work[i] for i in answers.pick_one(NOUNS[:3], work, 3)]
    assert [item.noun for item in chosen] == [noun.noun for noun in NOUNS[:3]]
    parts = deletion.deletion_rows(subject, chosen, list(METHODS), SETTING, draws=5, seed=0)
    rows = pd.DataFrame([row for part in parts for row in part])
    single = rows[rows["count"] == 1].pivot_table(index="noun", columns="method", values="drop")
    assert (single.sub(single["leave_one_out"], axis=0) <= 1e-4).all().all()
    excess = deletion.drop_matrix(rows)
    np.testing.assert_allclose(excess["random"], 0, atol=1e-12)
    one = rows[(rows.method == "lime") & (rows["count"] == 1)].iloc[0]
    case = deletion.choose_case(subject, chosen[0])
    words = [case.prompt[slice(*span)] for span in case.spans]
    fallen = deletion.drops(subject, case, [[i] for i, w in enumerate(words) if w == one.words])
    assert np.isclose(fallen, one["drop"], atol=1e-4).any()


def test_rank_correlations_are_spearmans() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (30, 3)).astype(float), rng.integers(0, 3, 30).astype(float)
    expected = [sps.spearmanr(column, y).statistic for column in x.T]
    np.testing.assert_allclose(inference.rank_correlations(x, y), expected)
    np.testing.assert_array_equal(inference.rank_correlations(np.ones((30, 1)), y), [0.0])


def test_pseudo_values_of_a_mean_are_the_groups_means() -> None:
    table = pd.DataFrame({"noun": list("aabbcc"), "x": [1.0, 3, 2, 2, 0, 10]})
    found = inference.pseudo_values(table, lambda t: t.x.mean())
    np.testing.assert_allclose(found, [2, 2, 5])


def test_auc_and_partial_correlation_have_their_closed_forms() -> None:
    error = np.array([True, False, True, False])
    assert inference.auc(np.array([3.0, 1.0, 2.0, 2.5]), error) == 0.75
    rng = np.random.default_rng(0)
    z = rng.normal(size=2_000)
    x, y = z + rng.normal(size=2_000), z + rng.normal(size=2_000)
    assert abs(inference.partial_rank_correlation(x, y, z)) < 0.06
    assert inference.partial_rank_correlation(x, x + 0.1 * y, z) > 0.9


def test_group_means_average_within_groups() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.testing.assert_array_equal(
        inference.group_means(values, np.array([1, 0, 1])), [[3, 4], [3, 4]]
    )


def test_association_is_found_by_the_logistic_regression_and_only_where_it_is() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(400, 2)), columns=["association", "bias"])
    noise = rng.logistic(size=400)
    found = table.assign(error=table.association + noise > 0)
    assert inference.logistic_coefficient(found, "association", "bias") > 0.6
    other = table.assign(error=table.bias + noise > 0)
    assert abs(inference.logistic_coefficient(other, "association", "bias")) < 0.3


def world(seed: int, link: float) -> tuple[study.Index, np.ndarray, np.ndarray]:
    """Affinities whose CAS lowers each item's margin by ``link``; returns errors as well."""
    rng = np.random.default_rng(seed)
    work = items.make_items(NOUNS, 2)
    index = study.make_index(NOUNS, work)
    affinity = rng.normal(0, 0.1, (len(work), len(index.word_names)))
    lists = study.chosen(index.words, index)
    score = concepts.item_cas(affinity[:, None], lists, "abs")[:, 0]
    margin = link * (score - 0.5) / score.std() + rng.normal(size=len(work))
    return index, affinity, margin < 0


def correlation_and_p(
    index: study.Index, affinity: np.ndarray, error: np.ndarray, *, swap: bool = False
) -> tuple[float, float]:
    lists = study.chosen(index.words, index)
    lists = lists[:, ::-1] if swap else lists
    score = concepts.item_cas(affinity[:, None], lists, "abs")[:, 0]
    rates = inference.group_means(error.astype(float), index.noun)
    grouped = inference.group_means(score, index.noun)
    rho = inference.rank_correlations(grouped[:, None], rates)[0]
    draws = study.permuted_cas(affinity, index, "abs", 99, seed=0)
    return float(rho), inference.permutation_p(rho, study.null_correlations(draws, index, rates))


def test_a_planted_correlation_is_found_and_turns_its_sign_with_the_labels() -> None:
    index, affinity, error = world(0, link=2.0)
    rho, p = correlation_and_p(index, affinity, error)
    assert rho < -0.5
    assert p == 0.01
    swapped, _ = correlation_and_p(index, affinity, error, swap=True)
    assert swapped == pytest.approx(-rho)


def test_the_permutation_null_is_calibrated() -> None:
    p = [correlation_and_p(*world(seed, link=0.0))[1] for seed in range(60)]
    assert np.mean(np.array(p) <= 0.1) < 0.22
    assert 0.3 < np.mean(p) < 0.7


def test_lists_are_the_items_own_and_permutations_exchange_whole_nouns() -> None:
    work = items.make_items(NOUNS[:5], 1)
    index = study.make_index(NOUNS[:5], work)
    lists = study.chosen(index.words, index)
    for item, (own, other) in zip(work, lists, strict=True):
        assert tuple(index.word_names[i] for i in own) == item.gold.words
        assert tuple(index.word_names[i] for i in other) == item.other.words
    labels = study.relabel(np.random.default_rng(0), 5)
    assert sorted(labels // 2) == list(range(5))
    pairs = study.chosen(index.concepts, index, labels)
    for code, item, pair in zip(labels[index.noun], work, pairs, strict=True):
        senses = NOUNS[code // 2].senses
        assert {index.concept_names[i] for i in pair} == {s.concept for s in senses}
        flipped = item.gold != NOUNS[work.index(item) // 2].senses[code % 2]
        assert index.concept_names[pair[0]] == senses[int(flipped)].concept


def test_dss_of_permuted_nouns_uses_their_concepts() -> None:
    work = items.make_items(NOUNS[:5], 1)
    index = study.make_index(NOUNS[:5], work)
    rng = np.random.default_rng(0)
    strengths = study.PathStrengths(
        rng.random((10, 2)), rng.random((10, 2, len(index.concept_names)))
    )
    one = next(study.permuted_dss(strengths, index, 1, 1, seed=4))
    labels = study.relabel(np.random.default_rng([4, 1]), 5)
    pairs = study.chosen(index.concepts, index, labels)
    np.testing.assert_array_equal(one, strengths.dss(pairs, 1))


def test_noun_correlation_is_that_of_the_group_means() -> None:
    table = pd.DataFrame(
        {"noun": list("aabbcc"), "low": [-1, -1, -2, -2, -3, -3], "error": [1, 1, 1, 0, 0, 0]}
    )
    assert study.noun_correlation("low")(table) == pytest.approx(-1.0)


def test_noun_pairs_need_both_kinds_of_item() -> None:
    table = pd.DataFrame(
        {"noun": list("aabb"), "error": [True, False, False, False], "settled": [3, 5, 1, 1]}
    )
    pairs = study.noun_pairs(table, "settled")
    assert list(pairs.index) == ["a"]
    assert pairs.loc["a", True] == 3


def test_accuracy_is_reported_for_both_halves_of_the_questions(subject: Subject) -> None:
    pool = NOUNS[:4]
    work, questions = items.make_items(pool, 1), items.make_questions(pool)
    table = answers.answer_table(subject, work, subject.answers([x.prompt for x in work]))
    asked = answers.question_table(
        subject, questions, subject.answers([q.prompt for q in questions])
    )
    always_yes = asked.assign(margin=np.where(asked.answer, 1.0, -1.0), error=~asked.answer)
    rows = answers.accuracy_rows(table, always_yes).set_index("form").accuracy
    assert rows["question, calibrated"] == 0.5
    assert rows["question, gold yes"] == 1
    assert rows["question, gold no"] == 0
