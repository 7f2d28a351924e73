"""Cross-dative: regression over exposures, choice of steps, and ways to fake the result."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch

from stemma.papers.cross_dative import analysis, figures, population, stimuli, study
from stemma.papers.cross_dative import exposure as learning
from stemma.papers.cross_dative.analysis import FIRST, SECOND, least_squares
from stemma.papers.cross_dative.exposure import Validation
from stemma.papers.cross_dative.testset import Pair
from stemma.stats import mean_interval

EXPOSURES = stimuli.design(48, 1)
TEXTS = {
    "DO": ["I could [verb] you some stories.", "They [verb] us three chances."],
    "PO": ["who [verb] it to you?", "Belle will [verb] the crown to Jerome."],
}
TESTS = {"DO->PO": TEXTS["PO"], "PO->DO": TEXTS["DO"]}
SETTING = study.Setting(steps=4, learning_rates=(0.1, 0.01), validate_every=2, batch_size=16)


@pytest.fixture(scope="module")
def learner():
    return population.random_learner(1)


@pytest.fixture(scope="module")
def tests(learner):
    return study.make_tests(learner, TEXTS, 2)


@pytest.fixture(scope="module")
def learnt(learner, tests):
    start = learning.initial_vector(learner, 1e-5, 0)
    texts = [e.text for e in EXPOSURES]
    return study.learn_all(learner, texts, start, 0.1, SETTING, tests)


@pytest.fixture(scope="module")
def table():
    return analysis.features_of(stimuli.design(96, 2), TESTS)


def simulated(table, seed, **effects):
    """Scores of one direction with the effects given and errors of unequal variance."""
    x = table[table.direction == "DO->PO"].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(len(x)) * np.where(x.first_short > 0, 0.5, 2.0)
    return x, noise + sum(size * x[name] for name, size in effects.items())


def test_regression_is_that_of_statsmodels(table):
    x, y = simulated(table, 0, first_pronoun=1.0)
    fit = least_squares(x[[*FIRST, *SECOND]], y.to_numpy())
    other = sm.OLS(y, sm.add_constant(x[[*FIRST, *SECOND]])).fit(cov_type="HC3")
    n = len(x)
    for name in (*FIRST, *SECOND):
        values = fit.samples(name)
        assert values.mean() == pytest.approx(other.params[name])
        # HC3 has no centring, which takes a little from the variance.
        assert values.std(ddof=1) / n**0.5 == pytest.approx(other.bse[name], rel=0.02)


def test_left_out_errors_are_those_of_refits(table):
    x, y = simulated(table, 1, second_short=1.0)
    columns = list(FIRST)
    fit = least_squares(x[columns], y.to_numpy())
    for row in (0, 17, 40):
        rest = x.index != row
        beta = sm.OLS(y[rest], sm.add_constant(x.loc[rest, columns])).fit().params
        expected = y[row] - beta["const"] - (beta[columns] * x.loc[row, columns]).sum()
        assert fit.left_out[row] == pytest.approx(expected)


def test_a_null_effect_is_rarely_declared_true(table):
    positive = 0
    for seed in range(400):
        x, y = simulated(table, seed, first_definite=1.0, second_short=0.5)
        fit = least_squares(x[[*FIRST, *SECOND]], y.to_numpy())
        positive += mean_interval(fit.samples("first_pronoun"), 0.95, "t").low > 0
    assert positive <= 20  # 10 expected; 21 or more has probability below 0.002


def test_a_true_effect_is_found(table):
    x, y = simulated(table, 3, first_pronoun=3.0)
    found = analysis.intervals(analysis.effects(x.assign(other=y), "other"), ["first_pronoun"])
    assert found["first_pronoun"].low > 0


def test_columns_that_depend_on_each_other_are_refused(table):
    x, _ = simulated(table, 0)
    alone = pd.DataFrame({"a": [1.0, *[0.0] * 47]})
    with pytest.raises(ValueError, match="without one"):
        least_squares(alone, np.zeros(48))
    with pytest.raises(ValueError, match="tell"):
        least_squares(x.assign(copy=x.first_pronoun)[["first_pronoun", "copy"]], np.zeros(48))


def test_mixed_model_has_the_coefficients_of_the_means(table):
    x, y = simulated(table, 5, first_pronoun=1.0)
    rng = np.random.default_rng(0)
    rows = pd.concat(
        x.assign(seed=str(s), other=y + s + 0.3 * rng.standard_normal(len(x))) for s in range(3)
    )
    means = analysis.items(rows, "DO->PO")
    expected = analysis.effects(means, "other").coefficients
    found = analysis.mixed(rows, "other")
    for name in (*FIRST, *SECOND):
        assert found[name].estimate == pytest.approx(expected[name], abs=1e-6)
        assert found[name].low < found[name].estimate < found[name].high


def test_explained_variance_out_of_sample(table):
    x, y = simulated(table, 6, first_pronoun=8.0, first_definite=6.0)
    table = x.assign(other=y)
    first, second = (analysis.explained(table, "other", c) for c in (FIRST, SECOND))
    assert first.mean() > 0.6
    assert second.mean() < 0.1
    assert (first - second).mean() == pytest.approx(first.mean() - second.mean())
    noise = [
        analysis.explained(x.assign(other=simulated(x, s)[1]), "other", FIRST).mean()
        for s in range(30)
    ]
    assert np.mean(noise) < 0  # four useless features predict worse than the mean


def test_features_of_the_two_arguments_hardly_correlate():
    for seed in range(5):
        table = analysis.features_of(stimuli.design(96, seed), TESTS)
        for direction in TESTS:
            x = table[table.direction == direction]
            found = x[[*FIRST, *SECOND]].corr().abs().loc[[*FIRST], [*SECOND]]
            assert found.to_numpy().max() < 0.2
            analysis.effects(x.assign(other=0.0), "other", interactions=True)


def test_alignment_sum_is_of_both_arguments(table):
    columns = [f"{p}_{n}" for p in ("first", "second") for n in ("pronoun", "definite", "animacy")]
    signs = np.array([1, 1, 1, -1, -1, 1])
    assert (table[columns] @ signs + 3 == table.alignment).all()


def test_gate_has_the_sign_of_the_claim():
    groups = ["alternating", "prepositional only", "double object only"]
    pairs = [Pair(f"{g}{i}", g, "", "", 50.0) for g in groups for i in range(25)]
    noise = np.random.default_rng(0).normal(0, 0.1, 75)
    double_object = np.repeat([-5.0, -7.0, -5.0], 25) + noise
    prepositional = np.repeat([-5.0, -5.0, -7.0], 25)
    found = analysis.gates(pairs, double_object, prepositional)
    for gate in found.values():
        assert gate.gap.estimate == pytest.approx(2, abs=0.1)
    assert analysis.passes(found)
    assert not analysis.passes(analysis.gates(pairs, prepositional, double_object))


# Ways to fake the result


def test_steps_and_rates_are_chosen_without_test_sentences(learner, tests, learnt):
    blind = study.Tests(forms={}, control=[], validation=tests.validation)
    texts = [e.text for e in EXPOSURES]
    start = learnt.path.vectors[0, 0]
    again = study.learn_all(learner, texts, start, 0.1, SETTING, blind)
    assert (again.best == learnt.best).all()
    values = study.rate_values(learner, texts[:4], start, SETTING, blind)
    assert set(values) == {0.1, 0.01}


def test_each_word_takes_the_step_of_its_best_verbhood(learner, tests, learnt):
    assert SETTING.checkpoints == [2, 4]
    values = np.stack([tests.validation.verbhood(learner, learnt.path.vectors[s]) for s in (2, 4)])
    assert values == pytest.approx(learnt.verbhood, abs=1e-5)
    assert (learnt.best == np.array([2, 4])[values.argmax(axis=0)]).all()
    chosen = learnt.path.at(learnt.best)
    for i, step in enumerate(learnt.best):
        assert torch.equal(chosen[i], learnt.path.vectors[step, i])


def test_verbhood_is_good_minus_bad(learner, tests):
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    turned = Validation(tests.validation.bad, tests.validation.good)
    assert tests.validation.verbhood(learner, vectors) == pytest.approx(
        -turned.verbhood(learner, vectors)
    )


def test_every_exposure_meets_the_same_sentences(learner, tests, learnt):
    rows = study.outcomes(learner, EXPOSURES, learnt, SETTING, tests)
    assert rows.exposure.tolist() == list(range(48))
    is_do = np.array([e.form == "DO" for e in EXPOSURES])
    chosen = learnt.path.at(learnt.best)
    for of_form, other, same in ((is_do, "PO", "DO"), (~is_do, "DO", "PO")):
        for column, form in (("other", other), ("same", same)):
            alone = [
                study.score_all(learner, tests.forms[form], chosen[[i]], SETTING).mean()
                for i in np.flatnonzero(of_form)[:3]
            ]
            assert rows[column][of_form][:3].to_numpy() == pytest.approx(np.array(alone), abs=1e-4)
        assert rows.other_start[of_form].nunique() == 1
    assert (rows.loss < learnt.path.losses[0]).mean() > 0.9


def test_equal_loss_is_reached_by_all_and_first():
    losses = np.array([[5.0, 4.0], [3.0, 3.5], [2.0, 3.0], [1.0, 2.5]])
    assert learning.equal_loss_steps(losses).tolist() == [2, 3]


def test_threads_change_nothing(learner, tests, learnt):
    threads = study.Setting(4, (0.1,), 2, batch_size=16, workers=2)
    texts = [e.text for e in EXPOSURES]
    again = study.learn_all(learner, texts, learnt.path.vectors[0, 0], 0.1, threads, tests)
    assert torch.equal(again.path.vectors, learnt.path.vectors)
    assert (again.verbhood == learnt.verbhood).all()


def test_real_verbs_need_a_token_of_their_own(learner, tests):
    assert np.isnan(study.real_verbs(learner, ["bequeathed"], SETTING, tests)["DO"])
    found = study.real_verbs(learner, ["the"], SETTING, tests)
    assert set(found) == {"DO", "PO", "control"}
    assert found["DO"] < 0


def test_figures_and_tables_are_drawn(learner, tests, learnt):
    rows = study.outcomes(learner, EXPOSURES, learnt, SETTING, tests)
    table = analysis.features_of(EXPOSURES, TESTS).merge(rows, on="exposure")
    tables = {d: analysis.items(table, d) for d in TESTS}
    curves = study.curves(learner, EXPOSURES, learnt, SETTING, tests, [0, 30])
    assert sorted(curves.step.unique()) == [0, 2, 4]
    for figure in (
        figures.learning(curves),
        figures.alignment(tables),
        figures.interactions(tables),
    ):
        assert figure.axes
    best = figures.extremes(tables["DO->PO"], [e.text for e in EXPOSURES], 3)
    assert best["score of the other form"].is_monotonic_decreasing
