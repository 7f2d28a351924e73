"""The experiment: what it measures from, and the ways in which its results could be faked."""

import numpy as np
import pandas as pd
import pytest
import torch

from stemma import catalog
from stemma.papers.coverage_principle import baselines, evidence, network, study, tasks, training

SCHEDULE = training.Schedule(steps=60, rate=3e-3, decay=0.1, warmup=5, batch=999, looks=3)
PLAN = study.Plan(SCHEDULE, 0.7, 2000)


def setting(condition, n=5, size=35):
    return study.Setting(condition, n, size, 1, 32, 2)


@pytest.fixture(scope="module")
def outcomes():
    return [
        outcome
        for condition in ("twohop", "twohop-cot")
        for outcome in study.run_setting(setting(condition), [1, 2], PLAN._replace(stack=2))
    ]


def test_tests_are_new_and_kept_apart(outcomes):
    for outcome in outcomes:
        sample = study.make_sample(outcome.setting, outcome.seed, 0.7)
        assert not set(outcome.tests.tolist()) & set(sample.train.tolist())
        members = evidence.members(outcome)
        assert (sum(m.astype(int) for m in members.values()) == 1).all()
        assert (outcome.cutoff[members[evidence.OUTSIDE]] == -1).all()
        assert (outcome.kind[members[evidence.OUTSIDE]] > 0).all()
        assert (outcome.kind[members[evidence.UNCOVERED]] == 0).all()


def test_conditions_of_a_seed_differ_in_targets_alone(outcomes):
    plain, chain = outcomes[:2], outcomes[2:]
    for one, other in zip(plain, chain, strict=True):
        assert one.seed == other.seed
        assert np.array_equal(one.tests, other.tests)
        assert np.array_equal(one.cutoff, other.cutoff)
        assert one.correct.shape == other.correct.shape  # as many looks
        a, b = (study.make_sample(o.setting, o.seed, 0.7) for o in (one, other))
        assert np.array_equal(a.train, b.train)
    sizes = {network.count_parameters(o.parameters) for o in outcomes}
    assert len(sizes) == 1


def test_the_last_step_is_reported_though_another_was_better(outcomes):
    correct = np.ones_like(outcomes[0].correct)
    correct[-1] = False
    outcome = outcomes[0]._replace(correct=correct)
    assert outcome.accuracy(outcome.in_domain) == 0
    assert evidence.in_domain_accuracy([outcome], "twohop") == [0]
    assert SCHEDULE.look_steps()[-1] == SCHEDULE.steps


def test_chains_are_emitted_by_the_model_not_given(monkeypatch):
    shown = []

    def say_four(p, tokens, heads, keep=None, patches=()):
        shown.append(tokens.clone())
        logits = torch.zeros(*tokens.shape[:2], 1, 6)
        logits[..., 4] = 1
        return network.Output(logits, [])

    monkeypatch.setattr(network, "forward", say_four)
    sample = study.make_sample(setting("twohop-cot"), 3, 0.7)
    chosen = sample.of_kind(tasks.IN_DOMAIN)
    p = {"wte.weight": torch.zeros(1, 6, 32)}
    said = study.answer(p, setting("twohop-cot"), sample, chosen)
    assert (said == 4).all()
    assert [t.shape[2] for t in shown] == [3, 4]
    assert np.array_equal(shown[0][0].numpy(), sample.task.triples[chosen])
    assert (shown[1][0, :, 3] == 4).all()  # its own first token, right or wrong
    study.answer(p, setting("twohop"), sample, chosen)
    assert shown[-1].shape[2] == 3


def test_models_learn_their_training_triples_and_repeat_to_the_bit(outcomes):
    again = study.run_setting(setting("twohop"), [1, 2], PLAN._replace(stack=2))
    for one, other in zip(outcomes[:2], again, strict=True):
        assert np.array_equal(one.correct, other.correct)
        assert one.collapse == other.collapse
    assert min(o.trained[-1] for o in outcomes) > 0.6


def test_results_come_in_order_and_without_weights_where_not_analysed():
    settings = [setting("twohop"), setting("nontree")]
    short = PLAN._replace(schedule=SCHEDULE._replace(steps=6), analysed=False)
    found = list(study.run_settings(settings, [5, 6], short, jobs=1))
    order = [(o.setting.condition, o.seed) for o in found]
    assert order == [("twohop", 5), ("twohop", 6), ("nontree", 5), ("nontree", 6)]
    assert not any(o.parameters for o in found)


def test_accuracy_table_pairs_models_with_floors_on_the_same_tests(outcomes):
    rows = evidence.accuracy_table(outcomes, 0.7)
    assert set(rows["group"]) <= set(evidence.GROUPS)
    for _, row in rows.iterrows():
        assert row["tests"] > 0
        assert 0 <= row[evidence.MODEL] <= 1
        assert row[evidence.UNIFORM] == 0.2
        expected = 1.0 if row["group"] == evidence.COVERED else 0.2
        assert row[evidence.PREDICTION] == expected
    assert (evidence.best_floor(rows) >= rows[evidence.UNIFORM]).all()
    assert (evidence.best_floor(rows) >= rows[baselines.MARGINAL_LAST]).all()
    first = rows[(rows["condition"] == "twohop") & (rows["group"] == evidence.OUTSIDE)].iloc[0]
    outcome = outcomes[0]
    right = evidence.guess_rows(outcome, 0.7)[baselines.LOOKUP]
    assert first[baselines.LOOKUP] == pytest.approx(right[~outcome.in_domain].mean())


def test_groups_are_paired_over_seeds_that_have_both():
    rows = pd.DataFrame(
        {
            "seed": [1, 1, 2, 3, 3],
            "group": ["a", "b", "a", "a", "b"],
            evidence.MODEL: [0.5, 0.1, 0.9, 0.7, 0.2],
        }
    )
    ours, other = evidence.group_samples(rows, "a", "b")
    assert ours.tolist() == [0.5, 0.7]
    assert other.tolist() == [0.1, 0.2]
    assert evidence.group_samples(rows[rows["group"] == "a"], "a", "b")[0].size == 0


def test_the_slope_on_k_has_the_sign_of_a_known_law_and_none_under_the_null():
    rng = np.random.default_rng(1)
    cutoff = rng.integers(0, 6, 4000)
    right = rng.random(4000) < 1 / (1 + np.exp(1.5 - 0.7 * cutoff))
    assert evidence.slope_on_k(cutoff, right) == pytest.approx(0.7, abs=0.08)
    null = [evidence.slope_on_k(cutoff[:200], rng.random(200) < 0.3) for _ in range(60)]
    assert abs(np.mean(null)) < 4 * np.std(null) / 60**0.5
    assert evidence.slope_on_k(cutoff, np.ones(4000, bool)) == 0


def test_a_size_is_known_only_if_the_grid_brackets_it():
    assert evidence.reached_size([100, 400], [0.5, 1.0], 0.75) == pytest.approx(200)
    assert np.isnan(evidence.reached_size([100, 400], [0.5, 0.7], 0.75))
    assert np.isnan(evidence.reached_size([100, 400], [0.8, 0.9], 0.75))
    assert evidence.reached_size([1, 10, 100], [0, 0.5, 0.1], 0.5) == pytest.approx(10)


def test_sizes_of_models_are_read_by_condition_width_and_n(outcomes):
    def made(size, accuracy, seed, width=32):
        o = outcomes[0]
        right = np.zeros_like(o.correct)
        inside = np.flatnonzero(o.in_domain)
        right[:, inside[: round(accuracy * len(inside))]] = True
        own = o.setting._replace(size=size, width=width)
        return o._replace(setting=own, seed=seed, correct=right)

    found = [made(s, a, seed) for seed in (2, 1) for s, a in ((400, 1.0), (100, 0.0))]
    found += [made(s, 0.0, 1, width=64) for s in (100, 400)]
    assert evidence.model_sizes(found, "twohop", 32, 5, 0.5) == pytest.approx([200, 200])
    assert np.isnan(evidence.model_sizes(found, "twohop", 64, 5, 0.5)).all()


def test_collapse_and_its_correlation_are_read_from_the_outcomes(outcomes):
    table = evidence.collapse_table(outcomes[:2], 0.7, 30, 0)
    assert table.groupby("seed")["layer"].apply(list).tolist() == [[0, 1]] * 2
    probed = table[table["probed"]]
    assert probed["by_bridge"].tolist() == pytest.approx([o.collapse[-1] for o in outcomes[:2]])
    tests = len(outcomes[0].tests)
    rising = np.arange(3)[:, None] * (tests // 3) > np.arange(tests)[None]
    outcome = outcomes[0]._replace(correct=rising, collapse=[0.1, 0.2, 0.3])
    outcome = outcome._replace(kind=np.zeros_like(outcome.kind))
    assert evidence.collapse_goes_with_accuracy(outcome) == pytest.approx(1)
    assert evidence.collapse_goes_with_accuracy(outcome._replace(collapse=[0.1] * 3)) == 0


def test_data_sizes_do_not_depend_on_the_order_of_cases():
    both = study.data_sizes(8, [1, 2], 1, 0.95, "observed behaviour", 0.7)
    assert both[1] == study.data_sizes(8, [2], 1, 0.95, "observed behaviour", 0.7)[0]
    assert study.data_sizes(8, [1], 2, 0.95, "observed behaviour", 0.7)[0] > both[0]


def test_sets_larger_than_a_batch_are_drawn_from_in_full():
    rows = torch.randint(5, (1, 40, 4), generator=torch.Generator().manual_seed(1))
    seen = set()

    def note(p, batch, heads):
        assert batch.shape[1] == 8
        seen.update(map(tuple, batch[0].tolist()))
        return next(iter(p.values())).sum()[None]

    p = network.initialize(network.Shape(6, 4, 1, 8, 2), [1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "loss", note)
        schedule = SCHEDULE._replace(batch=8)
        training.train(p, rows, 2, schedule, [1], lambda step: None)
    assert seen == set(map(tuple, rows[0].tolist()))


def test_grids_of_larger_scales_fit_their_domains():
    paper = catalog.load("coverage-principle")
    for scale in ("gpu", "paper"):
        values = paper.resolve(scale, {})
        assert len(values["grid_tokens"]) >= 4
        for n in values["grid_tokens"]:
            assert max(values["grid_factors"]) * n**2 < 0.85 * 0.49 * n**3
        assert values["width"] % values["heads"] == 0
        assert values["large_width"] % values["large_heads"] == 0
