"""Facts and counts, what is chosen where, clustered slopes: and the ways to fake a result."""

from collections import Counter

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy import special
from tiny_heads import make_model, make_tokenizer

from stemma import data, stats
from stemma.data import files
from stemma.errors import DataUnavailable, ParameterError
from stemma.papers.factual_recall import evidence, facts, prompts, scoring, study
from stemma.papers.factual_recall.facts import Fact, Pair
from stemma.papers.factual_recall.heads import Head
from stemma.papers.factual_recall.study import Choice, Knob

COUNTS = [f"pile-counts-{part}-{i:02d}" for part in "01" for i in range(3)]


@pytest.fixture(scope="module")
def counts():
    try:
        return facts.read_counts(COUNTS)
    except DataUnavailable as error:
        pytest.skip(str(error))


def make_facts(n=12):
    return [Fact(f"Country{i}", (f"City{i}",), 100 * (i + 1), 10 * (i + 1)) for i in range(n)]


def make_pairs(n=12, cities=3):
    tally = {f"city{i}": 10 * (i + 1) for i in range(n)}
    return [p for own in facts.draw_pairs(make_facts(n), tally, cities, seed=1) for p in own]


def test_the_csv_is_that_of_the_mirror():
    root = files.mirror()
    table = root / "hub" / "world-capitals" / "train.parquet" if root else None
    if table is None or not table.is_file():
        pytest.skip("no mirror on this machine")
    pd = pytest.importorskip("pandas")
    rows = [tuple(row) for row in pd.read_parquet(table)[["country", "capital"]].to_numpy()]
    found = [(c, city) for c, cities in facts.read_capitals().items() for city in cities]
    assert sorted(found) == sorted(rows)
    assert facts.read_capitals()["Bolivia"] == ("Sucre", "La Paz")


def test_frequencies_are_counted_not_invented(counts):
    assert counts["london"] > counts["warsaw"] > counts["funafuti"] > 0
    assert counts["united states"] > counts["poland"] > counts["tuvalu"] > 0


def test_usable_facts_leave_out_what_can_be_copied(counts):
    usable, dropped = facts.usable_facts(facts.read_capitals(), counts)
    assert len(usable) + len(dropped) == 247
    assert {"Singapore", "Guatemala", "Tunisia", "San Marino"} <= set(dropped)
    assert all(min(f.country_count, f.capital_count) > 0 for f in usable)


def test_the_published_scaling_of_size(counts):
    """The card's numbers are those of the authors' files."""
    shares = facts.published_shares("capitals-shares-pythia-2.8b")
    assert shares["gt"].mean() == pytest.approx(0.660, abs=5e-4)
    assert shares["ct"].mean() == pytest.approx(0.145, abs=5e-4)
    scaled = facts.published_shares("capitals-scaled-pythia-1.4b-memory-head-minus-1.5")
    assert scaled["i_ct"].mean() == pytest.approx(0.877, abs=5e-4)


def test_items_end_in_the_false_answer_or_the_true_one():
    try:
        items = facts.read_items("counterfact-known-pythia")
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert len(items) > 4000
    for item in items[:200]:
        assert item.copied.endswith(item.sentence)
        assert item.paraphrased.endswith(item.sentence)
        assert item.false in item.copied
        assert item.true != item.false
    assert not any("capital" in item.sentence for item in items)
    assert data.sources()["counterfact-known-pythia"].licence.startswith("none stated")


def test_pairs_are_other_capitals_and_depend_on_the_seed_only():
    pairs = make_pairs()
    assert all(pair.city not in pair.fact.capitals for pair in pairs)
    for fact in make_facts():
        cities = [pair.city for pair in pairs if pair.fact == fact]
        assert len(cities) == len(set(cities)) == 3
    assert pairs == make_pairs()
    assert all(pair.city_count == 10 * (int(pair.city[4:]) + 1) for pair in pairs)


def test_prompts_are_the_papers():
    assert prompts.ask("qa", "Poland", "London") == (
        "The capital of Poland is London.\nQ: What is the capital of Poland?\nA:"
    )
    assert prompts.ask("plain", "Poland", None) == "The capital of Poland is"


def test_tuning_and_held_out_countries_are_disjoint():
    pairs = make_pairs()
    halves = study.tuning_halves(make_facts(), 5, seed=3)
    assert len(set(halves)) == 5
    for half in halves:
        rows = study.rows_of(pairs, half)
        tuning = {p.fact.country for p, r in zip(pairs, rows, strict=True) if r}
        test = {p.fact.country for p, r in zip(pairs, rows, strict=True) if not r}
        assert len(tuning) == len(test) == 6
        assert not tuning & test


def test_heads_are_the_extremes_of_the_mean():
    values = np.zeros((4, 3, 2))
    values[:, 2, 1], values[:, 0, 1] = [-3, 1, -3, 1], 2.0
    values[0, 1, 0] = -3.5  # strong on one prompt only
    assert study.choose_heads(values) == Choice(Head(2, 1), Head(0, 1))


def test_knobs_are_tuned_on_the_tuning_rows_alone():
    heads = Choice(Head(0, 0), Head(1, 0))
    rows = np.array([True, True, False, False])
    codes = {
        Knob(heads.memory, -2.0): np.array([1, 0, 1, 1], dtype=np.int8),
        Knob(heads.memory, -1.0): np.array([1, 1, 0, 0], dtype=np.int8),  # best where it may look
        Knob(heads.memory, 4.0): np.array([0, 0, 0, 0], dtype=np.int8),
        Knob(heads.memory, 2.0): np.array([0, 0, 1, 1], dtype=np.int8),
        Knob(heads.in_context, -1.0): np.array([0, 1, 0, 0], dtype=np.int8),
        Knob(heads.in_context, 2.0): np.array([1, 1, 1, 1], dtype=np.int8),
    }
    tuned = study.tune_split(heads, codes, rows)
    assert tuned.context == Knob(heads.memory, -1.0)
    assert tuned.memory == Knob(heads.memory, 2.0)  # ties with 4, nearer to 1
    assert tuned.amplified == Knob(heads.in_context, 2.0)
    with pytest.raises(ParameterError, match="alphas"):
        study.tune_split(heads, {k: c for k, c in codes.items() if k.alpha > 0}, rows)
    assert study.most_common([tuned, tuned._replace(memory=tuned.context), tuned]) == tuned


def test_held_out_shares_against_a_loop():
    rng = np.random.default_rng(5)
    pairs = make_pairs()
    base = rng.integers(-1, 2, len(pairs)).astype(np.int8)
    ours = [rng.integers(-1, 2, len(pairs)).astype(np.int8) for _ in range(3)]
    tests = [~study.rows_of(pairs, h) for h in study.tuning_halves(make_facts(), 3, seed=0)]
    found = study.country_means(pairs, [o == 1 for o in ours], tests)
    expected = []
    for fact in make_facts():
        seen = [
            o[i] == 1
            for o, t in zip(ours, tests, strict=True)
            for i, pair in enumerate(pairs)
            if t[i] and pair.fact == fact
        ]
        expected += [np.mean(seen)] if seen else []
    assert np.allclose(found, expected)
    change = study.mean_change(base, ours, tests, 1)
    everything = [
        float(o[i] == 1) - float(base[i] == 1)
        for o, t in zip(ours, tests, strict=True)
        for i in np.flatnonzero(t)
    ]
    assert change == pytest.approx(np.mean(everything))


def test_a_forced_choice_is_a_choice_and_knowing_needs_no_context():
    model, tokenizer = make_model("llama"), make_tokenizer()
    subject = study.Subject(model, tokenizer)
    fact = Fact("Poland", ("Warsaw",), 5, 5)
    pairs = [Pair(fact, city, 5) for city in ("London", "Malta")]
    digest = [p.clone() for p in model.parameters()]
    codes = subject.outcomes(pairs, [{}, {Head(1, 1): -3.0}])
    assert set(codes.ravel()) <= {scoring.IN_CONTEXT, scoring.MEMORISED}
    for context in ("twice", "true"):
        assert subject.prompt(pairs[0], context) != subject.prompt(pairs[0])
    assert "Warsaw" not in subject.prompt(pairs[0])
    assert "London" not in subject.prompt(pairs[0], "true")
    (known,) = subject.knows([pairs])
    log = {
        answer: float(torch.tensor(found))
        for answer, found in zip(
            ("Warsaw", "London", "Malta"),
            scoring.log_probs(
                model,
                [
                    prompts.to_question(
                        tokenizer,
                        "Q: What is the capital of Poland?\nA:",
                        ("Warsaw", "London", "Malta"),
                    )
                ],
            ).whole[0, 0],
            strict=True,
        )
    }
    assert known == (max(log, key=lambda answer: log[answer]) == "Warsaw")
    assert all(torch.equal(a, b) for a, b in zip(digest, model.parameters(), strict=True))


def test_pairs_that_begin_alike_are_left_out():
    subject = study.Subject(make_model("llama"), make_tokenizer())
    fact = Fact("Poland", ("Warsaw",), 5, 5)
    pairs = [Pair(fact, "London", 1), Pair(fact, "Warsaw", 1)]
    assert study.fair_pairs(subject, pairs) == pairs[:1]


def test_slopes_are_the_maximum_of_the_likelihood():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2))
    y = (rng.random(400) < special.expit(0.3 + x @ [1.0, -0.5])).astype(float)
    fitted = evidence.slopes(x, y)[0]
    assert np.allclose(fitted, [1.0, -0.5], atol=0.4)
    design = np.column_stack([np.ones(len(y)), x])
    other = sm.GLM(y, design, family=sm.families.Binomial()).fit().params[1:]
    assert np.allclose(fitted, other, atol=1e-6)
    twice = evidence.slopes(np.r_[x, x[:50]], np.r_[y, y[:50]])[0]
    weights = np.stack([np.ones(400), 1.0 + (np.arange(400) < 50)])
    assert np.allclose([fitted, twice], evidence.slopes(x, y, weights), atol=1e-6)


def test_slopes_of_separable_rows_are_finite_and_point_the_right_way():
    x, y = np.arange(6.0)[:, None], np.array([0.0, 0, 0, 1, 1, 1])
    assert 3 < evidence.slopes(x, y)[0, 0] < 1000
    assert abs(evidence.slopes(x, np.ones(6))[0, 0]) < 1000


def simulate(rng, slope, n_countries=40, n_cities=4):
    """Countries differ by themselves; the slope is on a covariate that they share."""
    level = rng.standard_normal(n_countries)
    x = np.repeat(level, n_cities)
    noise = np.repeat(rng.standard_normal(n_countries), n_cities)
    y = (rng.random(x.size) < special.expit(1 + slope * x + noise)).astype(float)
    names = np.repeat([f"c{i}" for i in range(n_countries)], n_cities)
    return np.column_stack([x, rng.standard_normal(x.size)]), y, names


def test_clustered_slopes_keep_their_rate_where_independence_would_not():
    """No slope, strong clusters: the 95% interval lies below zero in 2.5% of the draws."""
    rng = np.random.default_rng(11)
    n, clustered, naive = 150, 0, 0
    for _ in range(n):
        x, y, names = simulate(rng, 0.0)
        values = evidence.pseudo_values(x, y, names)[:, 0]
        clustered += stats.mean_interval(values, 0.95).high < 0
        rows = evidence.slopes(x, y)[0, 0]
        p = special.expit(1.0)
        naive += rows + 1.96 / np.sqrt(p * (1 - p) * np.sum((x[:, 0] - x[:, 0].mean()) ** 2)) < 0
    assert clustered <= 9  # P(more) < 1% at 2.5%
    assert naive > clustered


def test_jackknife_and_bootstrap_agree_and_see_a_slope():
    x, y, names = simulate(np.random.default_rng(4), -1.2, n_countries=80)
    jackknife = stats.mean_interval(evidence.pseudo_values(x, y, names)[:, 0], 0.95)
    bootstrap = evidence.bootstrap_slopes(x, y, names, 200, seed=0)[0]
    assert max(jackknife.high, bootstrap.high) < 0
    width = jackknife.high - jackknife.low
    assert bootstrap.high - bootstrap.low == pytest.approx(width, rel=0.35)
    assert bootstrap.estimate == pytest.approx(jackknife.estimate, abs=0.25 * width)


def test_bins_hold_about_as_many_names_each():
    values = np.repeat(np.arange(20.0), 3)
    bins = evidence.bin_edges(values, 5)
    assert Counter(bins.tolist()) == {b: 12 for b in range(5)}
    shares = evidence.binned_shares((values > 9).astype(float), bins, values.astype(str))
    assert [round(s.estimate, 3) for s in shares] == [0, 0, 0.5, 1, 1]
