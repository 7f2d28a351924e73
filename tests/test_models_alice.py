"""Alice: committed before training, trained in the committed order, cached and checked."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow_house import leave_results, make_folder
from tiny_alice import TINY

import provenance as pv
from provenance.evidence.commitments import opens_root
from stemma import tracking
from stemma.errors import DataUnavailable, RunError
from stemma.models import alice as module
from stemma.models import lm, pretrained
from stemma.models.alice import PLANS, Alice, Plan, alice, load_or_train
from stemma.models.pretraining import rerun, transcript_of
from stemma.models.scoring import sequence_losses
from stemma.models.tokenizer import train_bpe
from stemma.models.weights import weights_digest
from stemma.recorder import RUN_DIR, Run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMMA_CACHE", str(cache))


def entry(cache: Path, made: Alice) -> Path:
    folders = (cache / "alice").glob("*/commitment.json")
    return next(
        path.parent
        for path in folders
        if json.loads(path.read_text())["root"] == made.transcript.digest
    )


def test_the_cached_run_is_the_trained_one() -> None:
    steps: list[tuple[int, int]] = []
    first = load_or_train(TINY, 0, lambda done, total: steps.append((done, total)))
    assert steps == [(i, 80) for i in range(1, 81)]
    second = load_or_train(TINY, 0, lambda *_: pytest.fail("trained again"))
    assert second.digest == first.digest == weights_digest(second.model)
    assert second.facts == first.facts
    assert second.transcript.digest == first.transcript.digest
    for name in ("alice", "bob", "held_out", "prompts"):
        np.testing.assert_array_equal(getattr(second.corpus, name), getattr(first.corpus, name))
    assert second.tokenizer.decode(second.rows[0]) == first.tokenizer.decode(first.rows[0])


def test_the_commitment_opens_and_the_order_was_followed() -> None:
    made = load_or_train(TINY, 0)
    assert opens_root(made.commitment)
    assert not opens_root(made.commitment.model_copy(update={"nonce": "00" * 32}))
    assert transcript_of(made.rows, made.run.consumed).digest == made.commitment.root
    assert made.transcript.digest == made.commitment.root
    assert made.lineage.has_seen(made.transcript)
    made.stored.verify()
    assert made.stored.digest == made.commitment.root
    assert len(made.stored) == TINY.n_train


def test_the_commitment_is_written_before_the_first_step(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMMA_CACHE", str(cache / "early"))
    seen: list[str] = []
    published: list[dict[str, Any]] = []

    def look(done: int, total: int) -> None:
        if done == 1:
            (path,) = (cache / "early" / "alice").glob(".*/commitment.json")
            published.append(json.loads(path.with_name("published.json").read_text()))
            seen.append(json.loads(path.read_text())["root"])

    made = load_or_train(TINY, 0, look)
    assert made.transcript.digest == seen[0]
    assert published[0]["value"] == made.commitment.value
    assert published[0].keys().isdisjoint({"root", "nonce"})


def test_the_seed_moves_the_order_alone() -> None:
    one, two = load_or_train(TINY, 0), load_or_train(TINY, 1)
    np.testing.assert_array_equal(one.rows, two.rows)
    assert sorted(one.run.order) == sorted(two.run.order)
    assert one.transcript.digest != two.transcript.digest
    assert one.digest != two.digest


def test_the_stored_checkpoint_continues_to_the_bit() -> None:
    load_or_train(TINY, 0)
    cached = load_or_train(TINY, 0)
    again = rerun(cached.run, TINY.last_share, cached.rows)
    assert weights_digest(again) == cached.digest


def test_the_model_remembers_its_own_order() -> None:
    one, two = load_or_train(TINY, 0), load_or_train(TINY, 1)
    scores = [-sequence_losses(run.model, one.rows) for run in (one, two)]
    own = pv.query_test(
        one.transcript, scores[0], pv.Reference.from_scores(scores[1], two.lineage), resamples=0
    )
    assert own.p < 0.01
    with pytest.raises(pv.TaintedReference):
        pv.query_test(one.transcript, scores[1], pv.Reference.from_scores(scores[0], one.lineage))


@pytest.mark.parametrize("damage", ["truncate", "delete", "extra", "order"])
def test_a_broken_entry_is_reported_and_made_again(cache: Path, damage: str) -> None:
    made = load_or_train(TINY, 0)
    folder = entry(cache, made)
    weights = folder / "model" / "model.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "delete":
        (folder / "optimizer.pt").unlink()
    elif damage == "extra":
        (folder / "model" / "stray.bin").write_bytes(b"x")
    else:
        shutil.copy(entry(cache, load_or_train(TINY, 1)) / "order.npz", folder / "order.npz")
    with pytest.warns(UserWarning, match="broken and is made again"):
        repaired = load_or_train(TINY, 0)
    assert repaired.digest == made.digest
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_or_train(TINY, 0)


def test_a_run_logs_it_to_mlflow_with_its_lineage(
    tracker: tracking.Tracker, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_or_train(TINY, 0)
    folder, spec = make_folder(runs)
    run_id = tracker.start(folder, spec)
    monkeypatch.setenv(RUN_DIR, str(folder))
    run = Run("toy-paper", scale="small")
    run.model("alice", **made.facts)
    run.model("child", "ab" * 32, parent="alice", transcript=made.transcript.digest)
    tracker.poll(folder)
    leave_results(folder, spec)
    tracker.finish(folder)
    experiment = tracker.client.get_run(run_id).info.experiment_id
    models = {m.name: m for m in tracker.client.search_logged_models([experiment])}
    assert models["alice"].params["digest"] == weights_digest(made.model)
    assert models["alice"].params["transcript"] == made.transcript.digest
    assert models["alice"].params["commitment"] == made.commitment.value
    assert models["child"].tags["stemma.parent_model_id"] == models["alice"].model_id


def test_nothing_is_kept_of_a_run_that_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMMA_CACHE", str(cache / "failing"))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_train(TINY, 0, stop)
    assert [p for p in (cache / "failing" / "alice").iterdir() if p.is_dir()] == []


def test_an_order_that_training_did_not_follow_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMMA_CACHE", str(cache / "other"))
    honest = module.train_logged

    def other_way(model: Any, rows: Any, order: Any, *rest: Any) -> Any:
        return honest(model, rows, order[::-1].copy(), *rest)

    monkeypatch.setattr(module, "train_logged", other_way)
    with pytest.raises(RunError, match="committed order"):
        load_or_train(TINY, 0)


def test_the_paper_scale_trains_nothing_and_says_what_to_take() -> None:
    with pytest.raises(DataUnavailable, match="pythia"):
        alice("paper")


def test_the_gpu_scale_continues_the_base_model(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machinery alone: a small stand-in for SmolLM2 on few examples."""
    texts = ["the parchment was written over and over " * 20] * 3
    config = lm.small_config(vocab_size=300, hidden=16, layers=1, heads=2)
    base = pretrained.Pretrained(lm.build(config, 5), train_bpe(texts, 300))
    monkeypatch.setattr(pretrained, "smollm2", lambda: base)
    shape = {"documents": 8, "length": 16, "n_train": 64, "n_bob": 8, "n_prompts": 8, "join": 1}
    texts_used = {"texts": (("python-stdlib",),), "n_held_out": 8}
    plan = Plan(**{**vars(PLANS["gpu"]), **shape, **texts_used})
    made = load_or_train(plan, 0)
    assert made.facts["base"] == "smollm2"
    assert made.corpus.bob.shape == (8, 16)
    assert made.tokenizer.get_vocab() == base.tokenizer.get_vocab()
    before, after = (
        sequence_losses(m, made.rows).mean() for m in (lm.build(config, 5), made.model)
    )
    assert after < before
    assert PLANS["gpu"].n_train >= 20_000
    assert PLANS["gpu"].length == 128
