"""Scores, summaries and baselines of icl-data-properties, and the ways to fake its result."""

import numpy as np
import pandas as pd
import pytest
import torch
from icl_house import clusters

from stemma import catalog
from stemma.claims import Verdict, judge
from stemma.papers.icl_data_properties import baselines, study
from stemma.papers.icl_data_properties.characters import Stimuli
from stemma.papers.icl_data_properties.evaluation import Evaluation, draw_evaluations
from stemma.papers.icl_data_properties.network import Spec
from stemma.papers.icl_data_properties.sequences import Regime, draw_fewshot, draw_no_support
from stemma.papers.icl_data_properties.training import Condition

RNG = np.random.default_rng
BASE = Condition(study.BASE, Regime(40), Spec(), 1e-3)


def one_hot(answers: np.ndarray, n_labels: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(answers), n_labels).float()


def test_closed_accuracy_alone_would_hide_answers_outside_the_context() -> None:
    drawn = draw_fewshot(RNG(0), 500, np.arange(40, 60), Regime(40), 4)
    exam = Evaluation("icl", drawn)
    right = one_hot(drawn.labels[:, -1], 40)
    assert exam.score(right) == {"icl": 1.0, "icl_open": 1.0, "icl_in_context": 1.0}
    elsewhere = right.clone()
    elsewhere[:, 7] = 2.0  # a label of training that the context does not hold
    assert exam.score(elsewhere) == {"icl": 1.0, "icl_open": 0.0, "icl_in_context": 0.0}


def test_labels_without_information_are_at_chance() -> None:
    drawn = draw_fewshot(RNG(1), 20_000, np.arange(40, 60), Regime(40), 4)
    by_class = one_hot(drawn.classes[:, -1] % 2, 40)  # a classifier, blind to the context
    assert Evaluation("icl", drawn).score(by_class)["icl"] == pytest.approx(0.5, abs=0.015)
    last_seen = one_hot(drawn.labels[:, -2], 40)
    assert Evaluation("icl", drawn).score(last_seen)["icl"] == pytest.approx(0.5, abs=0.015)


def test_copying_scores_nothing_in_weights() -> None:
    drawn = draw_no_support(RNG(2), 500, Regime(40))
    exam = Evaluation("iwl", drawn, polysemy=1)
    assert exam.score(one_hot(drawn.labels[:, 0], 40)) == {"iwl": 0.0}
    assert exam.score(one_hot(drawn.labels[:, -1], 40)) == {"iwl": 1.0}


def test_any_label_of_a_polysemous_class_is_right() -> None:
    drawn = draw_no_support(RNG(3), 200, Regime(40, polysemy=5))
    exam = Evaluation("iwl", drawn, polysemy=5)
    other_sense = drawn.classes[:, -1] * 5 + (drawn.labels[:, -1] + 1) % 5
    assert exam.score(one_hot(other_sense, 200)) == {"iwl": 1.0}
    assert exam.score(one_hot((other_sense + 5) % 200, 200)) == {"iwl": 0.0}


def test_evaluations_use_held_out_and_trained_classes() -> None:
    stimuli = clusters(40, 20)
    exams = draw_evaluations(stimuli, Regime(30), 100, 4, 0, by_rank=True)
    ranges = {name: exam.sequences.classes for name, exam in exams.items()}
    assert ranges["icl"].min() >= 40
    assert ranges["iwl"].max() < 30
    assert ranges["icl_rare"].min() >= 10
    assert ranges["icl_rare"].max() < 30
    assert max(ranges["icl_common"].max(), ranges["iwl_common"].max()) < 10
    for part in ("iwl", "iwl_common"):
        assert not (ranges[part][:, :-1] == ranges[part][:, -1:]).any()
    assert set(draw_evaluations(stimuli, Regime(30), 10, 4, 0)) == {"icl", "iwl"}
    few = draw_evaluations(stimuli, Regime(10), 100, 4, 0, by_rank=True)
    assert few["icl_rare"].sequences.classes.min() == 3


def test_families_share_the_base_and_change_one_thing() -> None:
    family = study.vary(BASE, "p_bursty", [0.0, 0.9])
    assert family.at(0.9) == study.BASE
    assert family.at(0.0) == "p_bursty=0"
    assert family.conditions[0].regime.p_bursty == 0
    archs = study.vary(BASE, "arch", ["transformer", "lstm"])
    assert archs.conditions[1].spec.arch == "lstm"
    assert [c.name for c in study.unique([family, archs])] == ["p_bursty=0", "base", "arch=lstm"]


def test_fewer_classes_are_one_condition_in_two_families() -> None:
    fewer = study.at_level(BASE, "n_classes", 20)
    classes = study.vary(BASE, "n_classes", [20, 40])
    senses = study.vary(fewer, "polysemy", [1, 5])
    assert study.unique([classes, senses]) == [fewer, BASE, senses.conditions[1]]
    assert senses.conditions[1].regime.n_labels == 100


def rows() -> list[dict[str, object]]:
    icl, iwl = [0.5, 0.9, 0.7, 0.5], [0.0, 0.1, 0.6, 0.9]
    return [
        {"condition": "base", "seed": 1, "step": 10 * i, "loss": 5.0 - i, "icl": a, "iwl": b}
        for i, (a, b) in enumerate(zip(icl, iwl, strict=True))
    ]


def test_summary_tells_peak_mean_and_end_of_a_transient_rise() -> None:
    (row,) = study.summarize(rows(), ways=2).to_dict("records")
    assert row["icl_peak"] == 0.9
    assert row["icl_mean"] == pytest.approx(0.7)
    assert row["icl_final"] == 0.5  # the last step alone would say: no in-context learning
    assert row["joint"] == pytest.approx(0.4)  # (0.7 - 0.5) / 0.5, below 0.6
    assert row["loss"] == 2.0


def test_levels_are_paired_by_seed_whatever_the_order() -> None:
    family = study.vary(BASE, "p_bursty", [0.0, 0.9])
    table = pd.DataFrame(
        {
            "condition": ["base", "base", "p_bursty=0", "p_bursty=0"],
            "seed": [2, 1, 1, 2],
            "icl_peak": [0.2, 0.1, 0.3, 0.4],
        }
    )
    np.testing.assert_array_equal(study.levels(table, family, "icl_peak"), [[0.3, 0.1], [0.4, 0.2]])


def test_each_architecture_takes_its_own_best_rate() -> None:
    tried = [
        Condition(f"{arch}, {rate}", Regime(40), Spec(arch), rate)
        for arch in ("transformer", "lstm")
        for rate in (1e-3, 1e-2)
    ]
    table = pd.DataFrame({"condition": [c.name for c in tried], "icl_peak": [0.9, 0.6, 0.51, 0.55]})
    rates = study.best_rates(table, tried)
    assert rates == {"transformer": 1e-3, "lstm": 1e-2}
    family = study.at_rates(study.vary(BASE, "arch", ["transformer", "lstm"]), rates)
    assert [c.rate for c in family.conditions] == [1e-3, 1e-2]


def test_baselines_solve_tight_clusters_and_not_noise() -> None:
    tight, loose = clusters(spread=0.1), clusters(spread=30.0)
    drawn = draw_fewshot(RNG(4), 2000, np.arange(40, 60), Regime(40), 4)
    assert baselines.nearest_neighbour(tight, drawn) == 1.0
    assert baselines.nearest_mean(tight, drawn, 2) == 1.0
    assert baselines.nearest_neighbour(loose, drawn) == pytest.approx(0.5, abs=0.05)
    query = draw_no_support(RNG(5), 500, Regime(40))
    assert baselines.discriminant(tight, query, 40) == 1.0


def test_baselines_see_the_context_and_no_more() -> None:
    """With the query's class dealt the other label, the answer turns round."""
    stimuli: Stimuli = clusters(spread=0.1)
    drawn = draw_fewshot(RNG(6), 100, np.arange(40, 60), Regime(40), 4)
    turned = drawn._replace(labels=1 - drawn.labels)
    assert baselines.nearest_neighbour(stimuli, turned) == 1.0
    query_only = drawn.labels.copy()
    query_only[:, -1] = 1 - query_only[:, -1]
    assert baselines.nearest_neighbour(stimuli, drawn._replace(labels=query_only)) == 0.0


def test_rules_hold_for_the_claimed_order_and_not_for_none() -> None:
    paper = catalog.load("icl-data-properties")
    up, flat = [0.7, 0.8, 0.75, 0.72, 0.78], [0.52, 0.5, 0.49, 0.51, 0.52]
    for claim, ours, baseline in (("C1a", up, flat), ("C1b", flat, up), ("C3", up, flat)):
        rule = paper.claim(claim).rule
        assert rule is not None
        evidence = {"": {"ours": ours, "baseline": baseline}}
        assert judge(claim, rule, evidence, "reduced").verdict is Verdict.TREND_HOLDS
        swapped = {"": {"ours": baseline, "baseline": ours}}
        assert judge(claim, rule, swapped, "reduced").verdict is Verdict.CONTRADICTED
