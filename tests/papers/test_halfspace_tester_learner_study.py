"""The tester as a whole: its level under the null, its power, the split, and what claims read."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from stemma import catalog
from stemma.claims import Verdict
from stemma.papers.halfspace_tester_learner import cost, evidence, real, study, tester
from stemma.papers.halfspace_tester_learner.bands import gaussian_reference
from stemma.papers.halfspace_tester_learner.surrogate import Schedule
from stemma.stats import power_law

WIDTHS = (1.0, 0.5)
DESIGN = tester.Design(WIDTHS, 4, (2, 4), Schedule(400, 32))
PLAN = study.Plan(7, DESIGN, 5000)
GAUSSIAN = gaussian_reference()
D, N = 3, 4000


@pytest.fixture(scope="module")
def limits():
    return study.calibrate(GAUSSIAN, D, N // 2, 400, 0.05, PLAN, 1)


def run(law, noise, level, sets, limits, sizes=(N,), plan=PLAN):
    setting = study.Setting(law, noise, level, D, sizes)
    return pd.DataFrame(study.run_sets(setting, list(range(sets)), plan, GAUSSIAN, limits))


def judged(claim, cells):
    paper = catalog.load("halfspace-tester-learner")
    (result,) = (r for r in paper.judge("small", {claim: cells}) if r.claim == claim)
    return result.verdict


def test_thresholds_keep_their_level_on_other_gaussian_data(limits):
    """Fresh data, candidates at random: each test refuses alpha / 4, T1 alone alpha."""
    fresh = study.null_statistics(GAUSSIAN, D, N // 2, range(400, 1000), PLAN)
    found = pd.DataFrame([limits.rejections(s) for s in fresh])
    for name, nominal in [(t, 0.0125) for t in tester.TESTS] + [("T1 degree 4", 0.05)]:
        # Both thresholds and rates are random: 400 and 600 data sets.
        spread = math.sqrt(nominal * (1 - nominal) * (1 / 400 + 1 / 600))
        assert abs(found[name].mean() - nominal) < 4 * spread, name
    assert 0.01 < found["any"].mean() < 0.09


def test_learned_candidates_are_accepted_on_gaussian_data_with_both_kinds_of_noise(limits):
    for noise, level in (("massart-quadrant", 0.3), ("margin", 0.1)):
        rows = run("gaussian", noise, level, 40, limits)
        assert stats.binomtest(int(rows["accepted"].sum()), 40, 0.95).pvalue > 0.001
        assert (rows[study.OURS] - rows["opt"]).mean() < 0.02


@pytest.mark.parametrize(
    ("law", "fires", "silent"),
    [
        ("laplace", "T1", ()),
        ("hidden-3", "T2", ("T1", "T1 degree 2", "T1 degree 4")),
        ("band-double", "T2", ()),
        ("band-collapse", "T3", ()),
    ],
)
def test_the_right_test_fires(law, fires, silent, limits):
    rows = run(law, "massart-quadrant", 0.2, 6, limits)
    assert not rows["accepted"].any()
    assert rows[fires].all()
    for name in silent:
        assert not rows[name].all()


def test_thresholds_of_a_hand_made_null_are_order_statistics():
    null = [
        tester.Statistics({4: float(i)}, np.array([[i, 2.0 * i], [i, i], [1.0, 1.0]]))
        for i in range(1, 101)
    ]
    limits = tester.set_thresholds(null, 4, 0.2)
    assert limits.overall == 96  # "higher": the order statistic above 0.95 * 99
    assert limits.alone == {4: 81}
    assert limits.local[0] == pytest.approx([96, 192])
    assert not limits.rejections(null[94])["any"]
    found = limits.rejections(null[97])
    assert [found[name] for name in tester.TESTS] == [True, True, True, False]


def test_the_choice_is_the_best_candidate_or_its_negation():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((500, 3)))
    y = torch.where(x[:, 1] >= 0, -1.0, 1.0).double()
    candidates = torch.eye(3).double()
    assert tester.choose(x, y, candidates).tolist() == [0.0, -1.0, 0.0]


def test_only_the_test_half_is_tested_and_only_the_other_is_learned_from(limits, monkeypatch):
    seen = {}

    def learn(x, y, design, rngs):
        seen["learned"] = x, y
        return tester.learn(x, y, design, rngs)

    def certify(x, y, *rest):
        seen["tested"] = x, y
        return tester.certify(x, y, *rest)

    monkeypatch.setattr(study, "learn", learn)
    monkeypatch.setattr(study, "certify", certify)
    run("gaussian", "massart-uniform", 0.1, 1, limits)
    setting = study.Setting("gaussian", "massart-uniform", 0.1, D, (N,))
    data, half = study.draw_set(setting, 0, PLAN), N // 2
    assert np.array_equal(seen["learned"][0][0].numpy(), data.x[:half])
    assert np.array_equal(seen["learned"][1][0].numpy(), data.y[:half])
    assert np.array_equal(seen["tested"][0].numpy(), data.x[half:])
    assert np.array_equal(seen["tested"][1].numpy(), data.y[half:])


def test_labels_without_information_leave_no_trace_of_the_planted_halfspace(limits, monkeypatch):
    """Half of all labels flipped: the output's <w, w*> must be that of a random direction."""
    outputs = []
    errors = study._errors

    def spy(data, w, n):
        outputs.append(w)
        return errors(data, w, n)

    monkeypatch.setattr(study, "_errors", spy)
    run("gaussian", "massart-uniform", 0.5, 60, limits)
    setting = study.Setting("gaussian", "massart-uniform", 0.5, D, (N,))
    cosines = []
    for index, w in enumerate(outputs):
        rng = study.stream(PLAN.seed, "data", *setting[:4], index)
        cosines.append(w @ study.directions(rng, D)[0])
    # A coordinate of a uniform point on the sphere in three dimensions is uniform.
    assert stats.kstest(cosines, stats.uniform(-1, 2).cdf).pvalue > 0.001


def test_rows_do_not_depend_on_what_runs_beside_them(limits):
    both = run("gaussian", "margin", 0.1, 2, limits, sizes=(1000, N))
    setting = study.Setting("gaussian", "margin", 0.1, D, (1000, N))
    alone = pd.DataFrame(study.run_sets(setting, [1], PLAN, GAUSSIAN, limits))
    same = both[both["set"] == 1].reset_index(drop=True)
    assert same[study.OURS].to_numpy() == pytest.approx(alone[study.OURS].to_numpy(), abs=1e-3)
    assert same["opt"].to_numpy() == pytest.approx(alone["opt"].to_numpy(), abs=1e-3)
    assert same["accepted"].isna().tolist() == [True, False]  # tested at the largest size only


def test_streams_depend_on_the_names_and_the_seed_alone():
    first = study.stream(1, "data", "gaussian", 0.1, 3).random(4)
    assert np.array_equal(first, study.stream(1, "data", "gaussian", 0.1, 3).random(4))
    assert not np.array_equal(first, study.stream(2, "data", "gaussian", 0.1, 3).random(4))
    assert not np.array_equal(first, study.stream(1, "data", "gaussian", 0.1, 4).random(4))


def test_calibration_does_not_depend_on_its_chunks():
    whole = study.null_statistics(GAUSSIAN, D, 500, range(6), PLAN)
    first, rest = (study.null_statistics(GAUSSIAN, D, 500, c, PLAN) for c in ([0, 1], range(2, 6)))
    for one, other in zip(whole, first + rest, strict=True):
        assert one.overall == other.overall
        assert np.array_equal(one.local, other.local)


def table_of(**columns):
    return pd.DataFrame(columns)


def test_claims_read_accepted_data_sets_only():
    rows = table_of(
        set=[0, 0, 1, 1],
        n=[10, 100, 10, 100],
        accepted=[np.nan, True, np.nan, False],
        planted=[0.1] * 4,
        **{study.OURS: [0.2, 0.11, 0.3, 0.9]},
    )
    assert evidence.accepted_excess(rows) == pytest.approx([0.01])
    x, y = evidence.excess_curves(rows)
    assert x == pytest.approx(np.log([10, 100]))
    assert y == pytest.approx(np.log([[0.1, 0.01]]))


def test_ratio_curves_take_data_sets_that_are_accepted_at_every_share():
    rows = table_of(
        set=[0, 0, 1, 1],
        level=[0.1, 0.2, 0.1, 0.2],
        opt=[0.1, 0.2, 0.1, 0.2],
        accepted=[True, True, True, False],
        **{study.OURS: [0.21, 0.41, 0.5, 0.5]},
    )
    x, y = evidence.ratio_curves(rows, 0.01)
    assert x == pytest.approx([10, 5])
    assert y == pytest.approx(np.array([[2.0, 2.0]]))


def test_an_output_is_bad_beyond_its_own_promise():
    rows = table_of(
        noise=["massart-uniform", "massart-uniform", "margin", "margin"],
        opt=[0.1] * 4,
        **{study.OURS: [0.109, 0.12, 0.5, 0.52]},
    )
    assert evidence.is_bad(rows, 0.01, 5.0).tolist() == [False, True, False, True]


def test_mcnemar_is_a_sign_test_of_the_discordant_pairs():
    assert evidence.mcnemar_p([True] * 8 + [False], [False] * 8 + [False]) == 2 * 0.5**8
    assert evidence.mcnemar_p([True, False], [True, False]) == 1.0


def test_confusion_counts_every_data_set_once():
    rows = table_of(any=[True, False, True, False])
    table = evidence.confusion(rows, pd.Series([True, True, False, False]), ["none", "any"])
    assert table.drop(columns="tests").sum(axis=1).tolist() == [4, 4]
    assert table["accepted, bad"].tolist() == [2, 1]


def test_a_tester_that_accepts_bad_outputs_is_found_unsound():
    bad = {"massart-quadrant": {"successes": 40, "trials": 350}}
    good = {"massart-quadrant": {"successes": 2, "trials": 350}}
    assert judged("C4a", bad) is Verdict.CONTRADICTED
    assert judged("C4a", good) is Verdict.TREND_HOLDS


def test_a_tester_that_refuses_everything_is_found_useless():
    assert judged("C1", {"d": {"successes": 0, "trials": 160}}) is Verdict.CONTRADICTED


def test_an_error_of_opt_log_opt_would_contradict_the_ratio_claim():
    rng, level = np.random.default_rng(1), np.array([0.02, 0.05, 0.1, 0.2])
    for factor, verdict in ((np.log(1 / level), Verdict.CONTRADICTED), (1.5, Verdict.TREND_HOLDS)):
        ratio = (level * factor + 0.002 - 0.01) / level
        y = ratio + 0.05 * rng.standard_normal((10, 4))
        assert judged("C3b", {"": {"x": (1 / level).tolist(), "y": y.tolist()}}) is verdict


def test_exponents_of_a_power_law():
    x = [1.0, 2.0, 4.0]
    assert cost.local_exponents(x, [3.0, 12.0, 48.0]) == pytest.approx([2, 2])
    slope, r2 = power_law(x, [3.0, 12.0, 48.0])
    assert (slope, r2) == pytest.approx((2, 1))
    assert power_law(x, [1.0, 10.0, 1.5])[1] < 0.5
    assert cost.oblivious_moments(10, 0.5) == math.comb(14, 4) - 1


def test_counted_operations_are_the_same_every_time_and_grow_with_the_moments():
    few, many = (cost.measure_cost(d, 1000, 0.5, 4, 32, 0, repeats=2) for d in (4, 16))
    assert few[0].operations == few[1].operations
    # The Gram matrix of C(d + 2, 2) monomials of the 500 test points alone.
    assert many[0].operations > 2 * 500 * math.comb(18, 2) ** 2
    assert 1 < math.log(many[0].operations / few[0].operations) / math.log(4) < 4


@pytest.mark.parametrize("source", ["sklearn-breast-cancer", "sklearn-digits"])
def test_real_tables_are_whitened_without_labels(source):
    raw, y = real.load_table(source)
    x = real.whiten(raw, 8)
    assert x.mean(axis=0) == pytest.approx(np.zeros(8), abs=1e-9)
    assert np.cov(x.T, bias=True) == pytest.approx(np.eye(8), abs=1e-9)
    assert set(np.unique(y)) == {-1.0, 1.0}
    scores = real.normal_scores(x)
    assert np.array_equal(stats.rankdata(scores, axis=0), stats.rankdata(x, axis=0))
    assert scores.std(axis=0) == pytest.approx(np.ones(8), abs=0.02)


def test_gaussian_tables_are_accepted_and_real_ones_are_not():
    design = DESIGN._replace(sigmas=real.usable_widths((1.0, 0.5, 0.01), 227))
    assert design.sigmas == (1.0,)  # 227 erf(0.5 / 6 / sqrt 2) < 30
    limits = tester.set_thresholds(real.null_statistics(569, 4, range(200), design, 3), 4, 0.05)
    raw, y = real.load_table("sklearn-breast-cancer")
    features = real.whiten(raw, 4)
    rows = pd.DataFrame(
        real.run_split(features, y, variant, i, design, limits, 3)
        for variant in real.VARIANTS
        for i in range(8)
    )
    accepted = rows.groupby("variant")["accepted"].mean()
    assert accepted["Gaussian control"] > 0.5
    assert accepted["as they are"] < 0.5
    assert rows[rows["variant"] == "as they are"][study.OURS].mean() < 0.2


def test_a_table_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no table of this paper"):
        real.load_table("iris")
