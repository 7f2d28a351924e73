"""Data without leaks, replicates that are paired, evidence, and published models."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stemma import catalog
from stemma.claims import Verdict
from stemma.errors import DataUnavailable
from stemma.papers.codegen2 import data, evaluation, evidence, figures, hub, study, training
from stemma.papers.codegen2 import objectives as obj

CTX = 96
LAW = obj.SpanLaw(0.05, 0.5, 8.0)
PLAN = study.Plan(8, 0.5, LAW, 0.5, (1, 2, 4))


def documents(kind, groups, lines):
    """Lines of numbered words: no two documents share a run of 13 words."""
    return [
        data.Document(
            f"{kind}{g}", "\n".join(f"    {kind}_{g} = value({i}, {i * g})" for i in range(lines))
        )
        for g in range(groups)
    ]


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    splits = {
        kind: data.split_groups(documents(kind, 10, 60), 0.3, 1000, rng)
        for kind in (data.CODE, data.TEXT)
    }
    return data.build_corpus(
        splits, vocab_size=320, ctx=CTX, n_masks=LAW.most_spans(CTX), n_holes=12, seed=1
    )


def test_groups_are_split_as_wholes_at_about_the_share_asked_for():
    own = data.code_documents()
    split = data.split_groups(own, 0.2, 10**6, np.random.default_rng(3))
    assert not {d.group for d in split.train} & {d.group for d in split.held_out}
    assert len(split.train) + len(split.held_out) == len(own)
    size = sum(len(d.text) for d in own)
    assert 0.2 <= sum(len(d.text) for d in split.held_out) / size <= 0.3


def test_several_modules_are_held_out_of_little_code_too():
    own = data.code_documents()
    for seed in range(20):
        split = data.split_groups(own, 0.2, 1000, np.random.default_rng(seed))
        assert len({d.group for d in split.held_out}) >= 2
        assert 200_000 <= sum(len(d.text) for d in split.held_out) <= 300_000


def test_overlaps_of_13_words_are_found_and_shorter_ones_are_not():
    words = [f"w{i}" for i in range(40)]
    copied = " ".join(["x", *words[5:18], "y"])
    shorter = " ".join(["x", *words[5:17], "y"])
    assert data.overlapping([copied, shorter], [" ".join(words)]).tolist() == [True, False]


def test_copies_of_training_text_do_not_stay_held_out():
    train = documents("code", 4, 60)
    copies = [data.Document("copy", train[0].text), *documents("other", 2, 60)]
    split = data.Split(train, copies)
    corpus = data.build_corpus(
        {data.CODE: split, data.TEXT: split}, vocab_size=320, ctx=CTX, n_masks=2, n_holes=9, seed=1
    )
    assert set(corpus.modules) == {"other0", "other1"}
    assert corpus.dropped[data.CODE] > 0.2


def test_widths_are_bytes_and_specials_have_none(corpus):
    text = "    naïve = 'Ω'  # → π\n"
    ids = corpus.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert corpus.widths[ids].sum() == len(text.encode())
    assert corpus.widths[[*corpus.specials[:3], *corpus.specials.masks]].sum() == 0
    assert len(corpus.widths) == 320
    for name in ("<sep>", "<eom>", "<mask_1>", "<|endoftext|>"):
        assert len(corpus.tokenizer(name, add_special_tokens=False)["input_ids"]) == 1


def test_holes_are_whole_lines_that_fit(corpus):
    assert corpus.holes
    for hole in corpus.holes:
        line = corpus.tokenizer.decode(hole.middle)
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert len(line.strip()) >= 10
        assert len(hole.before) + len(hole.middle) + len(hole.after) + 5 <= CTX


def test_a_replicate_pairs_its_models(corpus):
    jobs = {j.name: j for j in study.replicate(corpus, PLAN, 4, 5, ablations=True)}
    assert len(jobs) == study.count_jobs(PLAN, 1, 1)
    assert len({job.seed for job in jobs.values()}) == 1
    causal = jobs[study.CAUSAL].examples[:, :CTX]
    for name in (study.PREFIX, study.MIXTURE, study.PREFIX_MIXTURE, study.SPANS):
        assert jobs[name].examples.shape == (32, CTX + 2)
    np.testing.assert_array_equal(jobs[study.PREFIX].examples[:, :CTX], causal)
    mixture = jobs[study.MIXTURE].examples[:, :CTX]
    is_causal = ~(mixture == corpus.specials.separator).any(axis=1)
    assert is_causal.sum() == 16
    np.testing.assert_array_equal(mixture[is_causal], causal[is_causal])
    np.testing.assert_array_equal(jobs[study.SAME_CAUSAL].examples[:, :CTX], mixture[is_causal])
    np.testing.assert_array_equal(jobs[study.PREFIX_MIXTURE].examples[:, :CTX], mixture)


def test_epochs_repeat_the_same_rows(corpus):
    jobs = {j.name: j.examples for j in study.replicate(corpus, PLAN, 4, 5)}
    once = {tuple(row) for row in jobs["1 epoch"]}
    assert len(jobs["4 epochs"]) == 4 * len(jobs["1 epoch"]) == len(jobs[study.SAME_CAUSAL])
    assert {tuple(row) for row in jobs["4 epochs"]} == once
    assert len(jobs["2 epochs"]) == 2 * len(jobs["1 epoch"])


def test_a_small_pool_is_gone_through_evenly():
    pool = np.arange(5)[:, None]
    drawn = study.draw_rows(pool, 12, np.random.default_rng(0))[:, 0]
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == list(range(5))


def test_all_models_of_a_tiny_study(corpus):
    recipe = training.Recipe(16, 1, 2, 4, 0.003)
    exam = study.make_exam(corpus, rows=6, answered=3, classes=2, seed=1)
    rows = pd.DataFrame(list(study.run_all(corpus, PLAN, recipe, exam, [5, 6], 1, 1)))
    assert len(rows) == study.count_jobs(PLAN, 2, 1)
    again = study.replicate(corpus, PLAN, 4, 5)[0]
    same = training.run_job(again, recipe, exam)
    first = rows[(rows["run"] == study.CAUSAL) & (rows["seed"] == 5)].iloc[0]
    assert same["code"] == first["code"]
    assert same["left only"] == first["left only"]
    assert pd.isna(first["masked"])
    assert figures.trade_off(rows)
    assert figures.epochs(rows, PLAN.epochs)
    assert figures.domains(evidence.domain_table(rows))
    table = evidence.compare(rows, {"a": (study.MIXTURE, study.CAUSAL, "code")})
    assert table["low"][0] < table["difference"][0] < table["high"][0]


def test_the_detectable_difference_is_found_with_its_power():
    rng = np.random.default_rng(1)
    effect = evidence.detectable(np.array([-1.0, 1.0, 0.0, -1.0, 1.0])) / 1.0  # spread 1
    found = stats.ttest_1samp(rng.normal(effect, 1, (4000, 5)), 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def judged(claim, cells):
    paper = catalog.load("codegen2")
    (result,) = (r for r in paper.judge("small", {claim: cells}) if r.claim == claim)
    return result.verdict


def test_no_difference_without_power_is_no_success():
    ours = [2.0, 2.1, 1.9, 2.05, 1.95]
    noisy = [2.05, 1.98, 2.0, 1.92, 2.06]
    assert judged("C1a", {"": {"ours": ours, "baseline": noisy}}) is Verdict.INCONCLUSIVE
    close = [x + d for x, d in zip(ours, (0.001, -0.001, 0.002, 0.0, -0.002), strict=True)]
    holds = judged("C1a", {"": {"ours": ours, "baseline": close}})
    assert holds not in (Verdict.INCONCLUSIVE, Verdict.CONTRADICTED)
    better = [x - 0.1 + d for x, d in zip(ours, (0.001, -0.001, 0.002, 0.0, -0.002), strict=True)]
    assert judged("C1a", {"": {"ours": ours, "baseline": better}}) is Verdict.CONTRADICTED


def test_published_models_are_read_from_a_folder(corpus, tmp_path):
    model = training.build(training.Recipe(16, 1, 2, 4, 0.003), len(corpus.widths), 64, 0)
    model.save_pretrained(tmp_path / "tiny")
    corpus.tokenizer.save_pretrained(tmp_path / "tiny")
    items = [
        {"prompt": "def f(x):\n", "canonical_solution": "    return x\n", "suffix": "\nf(1)\n"},
        {"prompt": "a = 1\n", "canonical_solution": "b = a\n", "suffix": "print(b)\n"},
    ]
    with gzip.open(tmp_path / "lines.gz", "wt") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    problems = hub.read_problems(tmp_path / "lines.gz", 5)
    suspect = hub.load(tmp_path / "tiny", remote_code=False)
    assert hub.specials_of(suspect.tokenizer).masks == corpus.specials.masks[:1]
    bits = list(hub.infill_bits(suspect, problems, 128))
    assert [set(b) for b in bits] == [set(evaluation.FORMATS)] * 2
    expected = np.log2(len(corpus.widths))  # an untrained model is close to uniform
    middle = corpus.tokenizer("b = a\n", add_special_tokens=False)["input_ids"]
    assert bits[1]["masked"] == pytest.approx(expected * len(middle) / 6, rel=0.1)
    with pytest.raises(ValueError, match="tokens, over 8"):
        list(hub.infill_bits(suspect, problems, 8))
    with pytest.raises(DataUnavailable, match="model unavailable"):
        hub.load(tmp_path / "nothing", remote_code=False)
