"""Palimpsest: the method's pieces, on a model of a few thousand parameters."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import provenance as pv
from stemma import catalog, data
from stemma.errors import DataUnavailable
from stemma.models.corpus import build_corpus
from stemma.models.derivatives import fine_tunes, student
from stemma.models.parallel import threaded
from stemma.models.pretraining import (
    TrainingRun,
    candidates,
    pretrain,
    rerun,
    transcript_of,
)
from stemma.models.scoring import sequence_losses, token_losses
from stemma.models.training import Recipe
from stemma.models.weights import weights_digest
from stemma.papers.palimpsest import estimates, experiment, figures, hub, nulls, observation

N, LENGTH = 480, 16
RECIPE = Recipe(batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """A Markov chain over 60 tokens, so that there is something to learn and to memorize."""
    rng = np.random.default_rng(0)
    chain = rng.dirichlet(np.full(60, 0.1), size=60).cumsum(axis=1)
    out = np.empty((N, LENGTH), np.int64)
    out[:, 0] = rng.integers(60, size=N)
    for t in range(1, LENGTH):
        u = rng.uniform(size=(N, 1))
        out[:, t] = np.minimum((chain[out[:, t - 1]] < u).sum(axis=1), 59)
    return out


@pytest.fixture(scope="module")
def design() -> experiment.Design:
    return experiment.Design(
        vocab_size=60,
        hidden=32,
        layers=1,
        length=LENGTH,
        recipe=RECIPE,
        init_seed=3,
        amounts=(0.1, 0.2),
        shares=(0.1, 0.2),
        reshuffles=3,
        reshuffles_sweep=2,
        temperatures=(1.0, 1.4),
        samples=16,
    )


@pytest.fixture(scope="module")
def alice(rows: np.ndarray, design: experiment.Design) -> TrainingRun:
    return design.train(rows, np.random.default_rng(1).permutation(N))


def test_training_consumes_the_committed_order(rows: np.ndarray, alice: TrainingRun) -> None:
    assert alice.consumed.tolist() == alice.order.tolist()
    before = transcript_of(rows, alice.order)
    assert before.digest == transcript_of(rows, alice.consumed).digest
    first = int(alice.order[0])
    assert before.positions[first] == 0
    in_order = pv.Transcript.in_training_order(rows[alice.order])
    assert in_order.digest == before.digest  # whatever order the rows are listed in


def test_rerun_of_the_true_order_is_the_base_model_bit_for_bit(
    rows: np.ndarray, alice: TrainingRun
) -> None:
    for share in (0.1, 0.2):
        assert weights_digest(rerun(alice, share, rows)) == weights_digest(alice.model)
    checkpoint = alice.checkpoints[0.1]
    assert checkpoint.done % RECIPE.batch_size == 0
    assert N - checkpoint.done == pytest.approx(0.1 * N, abs=RECIPE.batch_size)


def test_phases_do_not_change_the_model(
    rows: np.ndarray, alice: TrainingRun, design: experiment.Design
) -> None:
    steps: list[int] = []
    whole = pretrain(
        design.config(), 3, rows, alice.order, RECIPE, after_step=lambda _, s: steps.append(s)
    )
    assert weights_digest(whole.model) == weights_digest(alice.model)
    assert steps == list(range(1, N // RECIPE.batch_size + 1))


def test_candidates_hold_the_true_order_first_and_reshuffle_the_same_examples(
    rows: np.ndarray, alice: TrainingRun
) -> None:
    models = candidates(alice, 0.2, rows, 3, np.random.default_rng(5))
    digests = [weights_digest(m) for m in models]
    assert digests[0] == weights_digest(alice.model)
    assert len(set(digests)) == 4


def test_alice_is_found_in_her_order_and_nowhere_else(
    rows: np.ndarray, alice: TrainingRun, design: experiment.Design
) -> None:
    sibling = design.train(rows, np.random.default_rng(2).permutation(N))
    transcript = transcript_of(rows, alice.order)
    own = -sequence_losses(alice.model, rows)
    other = -sequence_losses(sibling.model, rows)
    reference = pv.Reference.from_scores(
        other, pv.Lineage.of(transcript_of(rows, sibling.order)), "sibling"
    )
    found = pv.query_test(transcript, own, reference, permutations=999)
    assert found.p <= 0.005
    innocent = pv.query_test(transcript, other, permutations=999)
    assert innocent.p > 0.005
    relabelled = nulls.relabelled_nulls([own], 200, 99, np.random.default_rng(3))
    assert stats.kstest(relabelled, "uniform").pvalue > 1e-3


def test_cross_nulls_are_uniform_for_independent_scores() -> None:
    rng = np.random.default_rng(4)
    positions = [rng.permutation(400) for _ in range(4)]
    shared = rng.normal(size=400)  # difficulty, common to all models
    scores = [shared + rng.normal(size=400) for _ in range(4)]
    p = np.concatenate([nulls.cross_nulls(positions, scores, 20, 99, rng) for _ in range(4)])
    assert len(p) == 4 * 4 * 20
    assert nulls.uniformity(p) > 1e-3
    guilty = [s + 5 * place / 400 for s, place in zip(scores, positions, strict=True)]
    # Each model follows its own order only: still no pair i != j is dependent.
    crossed = nulls.cross_nulls(positions, guilty, 20, 99, rng)
    assert nulls.uniformity(crossed) > 1e-3


def test_fine_tune_snapshots_equal_separate_runs(rows: np.ndarray, alice: TrainingRun) -> None:
    before = weights_digest(alice.model)
    both = fine_tunes(alice.model, rows, [0.1, 0.5], RECIPE, np.random.default_rng(6))
    alone = fine_tunes(alice.model, rows, [0.5], RECIPE, np.random.default_rng(6))
    assert weights_digest(both[0.5]) == weights_digest(alone[0.5])
    assert weights_digest(both[0.1]) != weights_digest(both[0.5])
    assert weights_digest(alice.model) == before


def test_student_learns_from_text_alone(rows: np.ndarray, alice: TrainingRun) -> None:
    made = student(alice.model, alice.checkpoints[0.2].model, rows[:, :8], LENGTH, RECIPE, 9)
    again = student(alice.model, alice.checkpoints[0.2].model, rows[:, :8], LENGTH, RECIPE, 9)
    assert weights_digest(made) == weights_digest(again)


def test_only_the_completion_is_scored(rows: np.ndarray, alice: TrainingRun) -> None:
    text = observation.write(alice.model, rows[:6, :8], LENGTH - 8, 1.0, seed=1)
    whole = np.concatenate([text.prompts, text.completions], axis=1)
    losses = token_losses(alice.model, whole)
    by_hand = [-losses[i, 7:].sum() for i in range(6)]  # from the first completion token on
    assert observation.log_likelihood(alice.model, text) == pytest.approx(by_hand)
    assert losses[:, 7:].shape[1] == LENGTH - 8
    assert text.take(np.array([2])).completions.tolist() == [text.completions[2].tolist()]


def test_observation_of_one_alice(
    rows: np.ndarray, alice: TrainingRun, design: experiment.Design
) -> None:
    corpus = build_corpus(
        data.documents("python-stdlib")[:40],
        documents=40,
        vocab_size=300,
        length=LENGTH,
        n_train=64,
        n_held_out=8,
        n_prompts=32,
        seed=0,
    )
    small = experiment.Design(**{**vars(design), "vocab_size": 300})
    order = np.random.default_rng(1).permutation(64)
    run = small.train(corpus.alice, order)
    sibling = small.train(corpus.alice, order[::-1].copy()).model
    bobs = experiment.derive(small, run, sibling, corpus, 5)
    assert list(bobs) == [
        "Alice",
        "fine-tune 10 %",
        "fine-tune 20 %",
        "merge 0.5/0.5",
        "8 bits",
        "student",
    ]
    assert len({weights_digest(m) for m in bobs.values()}) == 6
    seen = experiment.observe(small, run, bobs, sibling, corpus, 6)
    assert {a: s.shape for a, s in seen.adapted.items()} == {0.1: (3, 16), 0.2: (3, 16)}
    assert seen.share.keys() == {0.1, 0.2}
    assert seen.halved.shape == (3, 16)
    assert seen.adapted[0.1].mean() > seen.tuned[0.1].mean()
    assert np.isfinite(seen.sibling).all()
    assert np.isfinite(experiment.whole_text_t(seen.temperature[1.0], 3))


def test_corpus_is_disjoint_and_says_when_text_is_short() -> None:
    texts = data.documents("python-stdlib")[:20]
    options = {"documents": 20, "vocab_size": 400, "length": 16, "n_held_out": 5, "n_prompts": 5}
    corpus = build_corpus(texts, n_train=50, seed=1, **options)
    assert corpus.alice.shape == corpus.bob.shape == (50, 16)
    again = build_corpus(texts, n_train=50, seed=1, **options)
    assert (again.alice == corpus.alice).all()
    with pytest.raises(DataUnavailable, match="are needed"):
        build_corpus(texts, n_train=10**6, seed=1, **options)


def test_reshuffle_draws_follow_a_planted_preference() -> None:
    rng = np.random.default_rng(7)
    scores = rng.normal(size=(20, 200))
    flat = observation.reshuffle_draws(scores, 20, 200, rng)
    assert flat.floor == 1 / 20
    scores[0] += 3
    planted = observation.reshuffle_draws(scores, 20, 50, rng)
    assert (planted.p == planted.floor).all()
    assert planted.t.min() > flat.t.mean()


def test_partition_draws_and_smallest_passing() -> None:
    rng = np.random.default_rng(8)
    rows = rng.integers(0, 30, (200, 12))
    positions = rng.permutation(200)
    transcript = pv.Transcript.of(rows, positions)
    late = rows[np.argsort(positions)[-60:]]
    text = observation.Text(late[:, :4], late[:, 4:])
    index = pv.NgramIndex.build(rows, 4)
    p, z = observation.partition_draws(transcript, index, text, 50, 3, rng, 199)
    assert (p == 1 / 200).all()
    assert (z > 3).all()
    sizes = [1, 10, 100]
    passing = [np.array([0.5]), np.array([0.04]), np.array([0.01])]
    assert observation.smallest_passing(sizes, passing, 0.05) == 10
    assert observation.smallest_passing(sizes, passing[::-1], 0.05) == 100


def test_sampled_likelihoods_converge_and_stay_finite() -> None:
    rng = np.random.default_rng(9)
    losses = rng.exponential(2.0, size=(50, 30))
    rough = estimates.sampled_log_likelihood(losses, 10, rng)
    fine = estimates.sampled_log_likelihood(losses, 10**7, rng)
    assert np.isfinite(rough).all()
    assert fine == pytest.approx(-losses.sum(axis=1), rel=0.01)
    assert np.isfinite(estimates.sampled_log_likelihood(np.full((2, 3), 50.0), 10, rng)).all()


def test_panel_returns_a_statistic(rows: np.ndarray, design: experiment.Design) -> None:
    orders = [np.random.default_rng(k).permutation(96) for k in range(2)]
    z = experiment.panel_z(design, rows[:96], orders, RECIPE)
    assert z == experiment.panel_z(design, rows[:96], orders, RECIPE)


@pytest.fixture
def precomputed(tmp_path: Path) -> Path:
    """A tiny table in the layout of the hub data set: lists of losses a row, two files."""
    rng = np.random.default_rng(10)
    index = rng.choice(10**8, 400, replace=False)
    difficulty = rng.normal(3, 1, 400)
    late = stats.rankdata(index) / 400
    suspect = difficulty - late + rng.normal(0, 0.1, 400)
    table = pd.DataFrame(
        {
            "index": index,
            "tokens": [[1, 2]] * 400,
            "loss_a": [[s - 0.1, s + 0.1] for s in suspect],
            "loss_b": difficulty,
        }
    )
    folder = tmp_path / "tiny"
    folder.mkdir()
    table[:150].to_parquet(folder / "train-0.parquet")
    table[150:].to_parquet(folder / "train-1.parquet")
    return tmp_path


def test_precomputed_losses(precomputed: Path) -> None:
    table = hub.load_losses(str(precomputed), "tiny")
    assert list(table) == ["index", "loss_a", "loss_b"]
    result = hub.query_precomputed(table, "a", "b", permutations=199)
    expected = stats.spearmanr(table["index"], hub.row_losses(table, "a") - table["loss_b"])
    assert result.test.rho == pytest.approx(-expected.statistic, abs=1e-12)
    assert result.p == 1 / 200
    assert hub.query_precomputed(table, "a", None, permutations=99).reference is None
    single = hub.load_losses(str(precomputed / "tiny" / "train-0.parquet"), "")
    assert len(single) == 150


def test_precomputed_losses_that_are_missing(precomputed: Path) -> None:
    table = hub.load_losses(str(precomputed), "tiny")
    with pytest.raises(DataUnavailable, match="the table has a, b"):
        hub.row_losses(table, "c")
    with pytest.raises(DataUnavailable, match="no parquet files"):
        hub.load_losses(str(precomputed), "absent")
    bare = precomputed / "bare"
    bare.mkdir()
    table[["loss_a"]].to_parquet(bare / "x.parquet")
    with pytest.raises(DataUnavailable, match="no column `index`"):
        hub.load_losses(str(precomputed), "bare")


def test_threaded_keeps_the_order() -> None:
    assert list(threaded(lambda x: x * x, range(20), 3)) == [x * x for x in range(20)]


def test_threads_do_not_change_a_bit(rows: np.ndarray, design: experiment.Design) -> None:
    """Above all the initial weights, which come from PyTorch's global generator."""
    orders = [np.random.default_rng(k).permutation(N)[:160] for k in range(6)]

    def job(order: np.ndarray) -> str:
        return weights_digest(pretrain(design.config(), 3, rows, order, RECIPE).model)

    assert list(threaded(job, orders, 3)) == [job(order) for order in orders]


def test_figures_are_drawn() -> None:
    rng = np.random.default_rng(11)
    n = rng.normal(size=200)
    made = [
        figures.scores_against_position(rng.permutation(200), n, n),
        figures.evidence_against_n([10, 100], {"none": np.ones((3, 2))}),
        figures.null_distribution({"siblings": rng.uniform(size=50)}),
        figures.memorization_curves([1, 2], np.ones((2, 3)), [0.5, 1.0, 1.5]),
        figures.lines_over_seeds([0.1, 1.0], {"plain": np.ones((3, 2))}, "x", "y", log=True),
        figures.power_against_tokens([10, 100], {"a": rng.uniform(size=(2, 9))}, "p"),
        figures.p_by_rule(*rng.uniform(size=(3, 9))),
    ]
    assert all(figure.axes for figure in made)
    import matplotlib.pyplot as plt

    plt.close("all")


def test_every_defect_and_claim_is_on_record() -> None:
    paper = catalog.load("palimpsest")
    assert [note.id for note in paper.defects] == [f"D{i}" for i in range(1, 15)]
    numbers = {claim.id.rstrip("b") for claim in paper.claims}
    assert numbers == {f"C{i}" for i in range(1, 17)}
