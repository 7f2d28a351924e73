"""The defects of the released code, one test each, against a tiny model of real text.

D1 to D14 are listed in the catalog of ``palimpsest``. D1 is tested with the reshuffle test, D5 to
D8 with the n-gram index, the partition test and the reshuffle test; the others here.
"""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tiny_alice
import torch
from click.testing import CliRunner
from completions_server import Server, serving
from diskcache import Cache
from numpy.typing import NDArray
from scipy import stats
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import provenance as pv
from provenance.cli import main
from provenance.scorers import (
    CompletionsScorer,
    Endpoint,
    EndpointError,
    ScorerError,
    TransformersScorer,
    column_scores,
    sequence_scores,
)
from provenance.scorers.alignment import PROBES
from provenance.scorers.local import _Forward
from provenance.store import write_transcript
from provenance.transcript import PAD
from stemma.models import lm
from stemma.models.alice import load_or_train
from stemma.models.derivatives import student
from stemma.models.pretraining import TrainingRun, pretrain, transcript_of
from stemma.models.scoring import token_losses
from stemma.models.tokenizer import encode_documents, train_bpe
from stemma.models.training import Recipe, train
from stemma.models.weights import weights_digest
from stemma.papers.palimpsest import figures

N, LENGTH, VOCABULARY = 1_200, 24, 1_000
RECIPE = Recipe(batch_size=8, learning_rate=3e-3)
TINY = replace(tiny_alice.TINY, n_train=40, n_bob=8, n_held_out=8, n_prompts=8)


@dataclass(frozen=True)
class World:
    """One run under test, and models of the same examples in other orders.

    Attributes:
        tokenizer: whose ids the examples are.
        rows: the examples, shape (N, LENGTH).
        alice: the run whose order is under test.
        transcript: of it; not sorted by position.
        suspect: Alice's log-likelihoods.
        innocent: those of a model trained in another order.
        reference: of a third.
    """

    tokenizer: PreTrainedTokenizerBase
    rows: NDArray[np.int64]
    alice: TrainingRun
    transcript: pv.Transcript
    suspect: NDArray[np.float64]
    innocent: NDArray[np.float64]
    reference: NDArray[np.float64]


@pytest.fixture(scope="module")
def world() -> World:
    torch.set_num_threads(1)
    texts = [topics[name] for name in sorted(topics)]
    tokenizer = train_bpe(texts, VOCABULARY)
    every = np.unique(encode_documents(tokenizer, texts, LENGTH), axis=0)
    rows = np.random.default_rng(0).permutation(every)[:N]
    config = lm.small_config(
        vocab_size=VOCABULARY, hidden=96, layers=1, heads=2, positions=2 * LENGTH
    )
    orders = [np.random.default_rng([1, seed]).permutation(N) for seed in range(3)]
    runs = [pretrain(config, 0, rows, order, RECIPE) for order in orders]
    scores = [-token_losses(run.model, rows).sum(axis=1) for run in runs]
    return World(tokenizer, rows, runs[0], transcript_of(rows, orders[0]), *scores)


# --- D2, D3, D4: the statistic


def test_d2_rows_need_not_be_sorted_by_position(world: World) -> None:
    positions = world.transcript.positions
    difference = world.suspect - world.reference
    in_order = np.argsort(positions)
    ours = pv.query_test(positions, difference, permutations=999)
    again = pv.query_test(positions[in_order], difference[in_order], permutations=999)
    assert ours == again
    assert ours.p == 1 / 1000
    # As released: argsort, the inverse permutation, is the rank of a sorted transcript alone.
    released = stats.spearmanr(np.argsort(positions[in_order]), difference[in_order])
    assert released.statistic == pytest.approx(ours.test.rho)
    rng = np.random.default_rng(0)
    p = []
    for _ in range(200):
        rows = rng.permutation(N)
        p.append(stats.spearmanr(np.argsort(positions[rows]), difference[rows]).pvalue)
        assert stats.spearmanr(positions[rows], difference[rows]).pvalue < 1e-6
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert np.median(p) > 0.2


def test_d3_a_derivative_lies_in_the_tail_that_is_counted(world: World) -> None:
    positions, m = world.transcript.positions, 999
    for permutations in (19, 99, m):
        p = pv.query_test(
            positions, world.suspect, world.reference, permutations=permutations, resamples=0
        ).p
        assert p == 1 / (permutations + 1)  # the floor, and never 0
    # As released: losses fall with position, and the permuted statistics above are counted.
    losses = world.reference - world.suspect
    observed = stats.spearmanr(positions, losses).statistic
    rng = np.random.default_rng(0)
    drawn = [stats.spearmanr(rng.permutation(positions), losses).statistic for _ in range(m)]
    assert np.mean(np.array(drawn) >= observed) > 0.999


def test_d3_positions_of_a_long_run_are_no_indices(world: World) -> None:
    spread = world.transcript.positions * 122_000 + 17  # up to 1.46e8, as in the published files
    near = pv.query_test(world.transcript.positions, world.suspect, permutations=99)
    assert pv.query_test(spread, world.suspect, permutations=99) == near


def test_d3_the_suspect_is_asked_once_whatever_the_number_of_permutations(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_transcript(tmp_path / "run", world.transcript)
    world.alice.model.save_pretrained(tmp_path / "alice")
    asked: list[int] = []
    forward = _Forward.__call__

    def counted(self: _Forward, rows: Any, bounds: Any) -> Any:
        asked.append(len(rows))
        return forward(self, rows, bounds)

    monkeypatch.setattr(_Forward, "__call__", counted)
    for permutations in (99, 999):
        asked.clear()
        command = ["query", tmp_path / "run", "--suspect", tmp_path / "alice"]
        said = CliRunner().invoke(main, [*map(str, command), "--permutations", str(permutations)])
        assert said.exit_code == 0, said.output
        assert f"({permutations} permutations)" in said.output
        assert sum(asked) == N


def test_d4_no_reference_is_needed(world: World) -> None:
    result = pv.query_test(world.transcript, world.suspect, permutations=999)
    assert result.p == 1 / 1000
    assert result.reference is None
    assert "no reference" in result.summary()
    assert pv.query_test(world.transcript, world.innocent, permutations=999).p > 0.01
    sequential = pv.SequentialQueryTest(len(world.transcript))
    for position, score in zip(world.transcript.positions, world.suspect, strict=True):
        sequential.update(position, score)
    assert sequential.reached(0.01)


# --- D9, D10: which tokens are scored


@torch.inference_mode()
def by_definition(model: PreTrainedModel, ids: list[int]) -> NDArray[np.float64]:
    """Full-vocabulary log-softmax of one row, nothing else in the batch."""
    table = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return np.array([float(table[j - 1, ids[j]]) for j in range(1, len(ids))])


def test_d9_padding_moves_no_score(world: World) -> None:
    model = world.alice.model
    lengths = np.random.default_rng(0).integers(2, LENGTH + 1, 40)
    ragged = [row[:length] for row, length in zip(world.rows, lengths, strict=False)]
    together = TransformersScorer(model, token_budget=10_000).log_probs(ragged)
    for row, values in zip(ragged, together, strict=True):
        np.testing.assert_allclose(values, by_definition(model, row.tolist()), atol=1e-5)
    # A transcript fills up with a number that is no token, and no scorer takes it for one.
    stored = pv.Transcript.of([row.tolist() for row in ragged], np.arange(40)).rows
    with pytest.raises(ScorerError, match="padding"):
        TransformersScorer(model).log_probs(list(stored))
    back = TransformersScorer(model, token_budget=10_000).log_probs([r[r != PAD] for r in stored])
    for values, same in zip(together, back, strict=True):
        np.testing.assert_array_equal(values, same)
    # As released: padded on the left with the end of text, no mask, the first scores kept.
    row = ragged[int(np.argmin(lengths))].tolist()
    padded = by_definition(model, [0] * (LENGTH - len(row)) + row)[: len(row) - 1]
    assert np.abs(padded - by_definition(model, row)).max() > 0.1


def test_d9_the_end_of_text_is_a_token_not_padding(world: World) -> None:
    model, row = world.alice.model, world.rows[0].tolist()
    ended = [*row[:8], 0, 0]
    values = TransformersScorer(model).log_probs([np.array(ended), np.array(row[:8])])
    assert [len(v) for v in values] == [9, 7]
    np.testing.assert_allclose(values[0], by_definition(model, ended), atol=1e-5)


def test_d9_equal_examples_keep_a_score_each(world: World) -> None:
    rows = [world.rows[i] for i in (3, 5, 3, 7, 5, 3)]
    scores = sequence_scores(TransformersScorer(world.alice.model).log_probs(rows))
    assert scores.shape == (6,)
    assert scores[0] == scores[2] == scores[5]
    assert scores[1] == scores[4]
    assert len(set(scores.tolist())) == 3
    right = world.suspect[[3, 5, 3, 7, 5, 3]]
    np.testing.assert_allclose(scores, right, rtol=1e-5)


def test_d9_training_has_no_pads_and_counts_every_token(world: World) -> None:
    """Rows are cut to one length; an end of text within one is learned like any other token."""
    assert (world.rows != PAD).all()
    assert world.rows.shape == (N, LENGTH)
    rows = np.random.default_rng(0).integers(1, 50, (8, LENGTH))
    rows[:, LENGTH // 2 :] = 0
    model = lm.build(lm.small_config(vocab_size=50, hidden=16, layers=1, heads=2), 0)
    expected = -np.mean([by_definition(model, row.tolist()) for row in rows])
    log = train(model, rows, np.arange(8), batch_size=8, learning_rate=1e-3)
    assert log.losses == pytest.approx([expected], abs=1e-5)  # of the batch before its update


def other_tokens(world: World) -> NDArray[np.int64]:
    """A row that is not what its own text is tokenized to: a letter a token."""
    text = world.tokenizer.decode(world.rows[0])[:12]
    row = np.concatenate([world.tokenizer(c)["input_ids"] for c in text]).astype(np.int64)
    again = world.tokenizer(world.tokenizer.decode(row))["input_ids"]
    assert list(again) != row.tolist()
    return row


def test_d10_the_ids_are_scored_and_nothing_else(world: World) -> None:
    row, model = other_tokens(world), world.alice.model
    values = TransformersScorer(model).log_probs([row])[0]
    assert values.shape == (len(row) - 1,)  # no start token: the first has no prediction
    np.testing.assert_allclose(values, by_definition(model, row.tolist()), atol=1e-5)
    # As released: decoded, tokenized again, with a start token before it.
    again = [0, *world.tokenizer(world.tokenizer.decode(row))["input_ids"]]
    assert abs(by_definition(model, again).sum() - values.sum()) > 1


def test_d10_end_points_get_the_ids_or_refuse_another_text(world: World, tmp_path: Path) -> None:
    tokenizer = train_bpe([*PROBES, *(topics[name] for name in sorted(topics)[:5])], 330)
    row = np.concatenate([tokenizer(c)["input_ids"] for c in PROBES[1][:12]]).astype(np.int64)
    assert list(tokenizer(tokenizer.decode(row))["input_ids"]) != row.tolist()
    with serving(Server(tokenizer)) as server:
        endpoint = Endpoint(server.url, "table", cache=tmp_path, requests_per_minute=100_000)
        by_ids = CompletionsScorer(endpoint, tokenizer, prompt="ids").log_probs([row])[0]
        np.testing.assert_allclose(by_ids, server.truth(row), atol=1e-9)
        assert row.tolist() in server.prompts
        with pytest.raises(EndpointError, match="splits an example"):
            CompletionsScorer(endpoint, tokenizer, prompt="text").log_probs([row])
        endpoint.close()


# --- D11: randomness


def test_d11_the_seed_decides_initial_weights_and_students(world: World) -> None:
    config = lm.small_config(vocab_size=VOCABULARY, hidden=16, layers=1, heads=2)

    def made(seed: int, elsewhere: int) -> tuple[str, str]:
        torch.manual_seed(elsewhere)  # what the rest of a program does must not matter
        np.random.seed(elsewhere)
        start = lm.build(config, seed)
        prompts = world.rows[:24, :4]
        taught = student(world.alice.model, start, prompts, LENGTH, RECIPE, seed)
        return weights_digest(start), weights_digest(taught)

    first, again, other = made(0, 1), made(0, 2), made(1, 1)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_d11_text_and_order_of_a_student_follow_its_seed_too(world: World) -> None:
    start, prompts = world.alice.model, world.rows[:24, :4]
    digests = {
        weights_digest(student(world.alice.model, start, prompts, LENGTH, RECIPE, seed))
        for seed in (0, 1, 2)
    }
    assert len(digests) == 3


def test_d11_the_same_seed_gives_the_same_p_to_the_bit(world: World) -> None:
    def test(seed: int) -> pv.QueryResult:
        return pv.query_test(world.transcript, world.innocent, permutations=199, seed=seed)

    assert test(0) == test(0)
    assert len({test(seed).p for seed in range(5)}) > 1


# --- D12: validity


def test_d12_a_reference_that_saw_the_order_is_refused(world: World) -> None:
    seen = pv.Lineage.of(world.transcript)
    for lineage in (seen, pv.Lineage() | seen):  # Alice herself; what descends from her too
        tainted = pv.Reference.from_scores(world.suspect, lineage, "Alice")
        with pytest.raises(pv.TaintedReference):
            pv.query_test(world.transcript, world.innocent, tainted)
        part = world.transcript.take(np.arange(100))
        with pytest.raises(pv.TaintedReference):
            pv.query_test(part, world.innocent[:100], pv.Reference(world.suspect[:100], lineage))
    # What the refusal is good for: in the two-sided test as published, Alice's memory is there.
    blamed = pv.query_test(
        world.transcript.positions,
        world.innocent,
        world.suspect,
        alternative="two-sided",
        permutations=999,
    )
    assert blamed.p == 1 / 1000


def test_d12_forty_innocent_suspects_raise_a_false_alarm_as_often_as_one() -> None:
    families, suspects = 120, 40
    held = bare = 0
    for i in range(families):
        rng = np.random.default_rng([12, i])
        scores = {str(j): rng.normal(size=60) for j in range(suspects)}
        family = pv.query_family(
            rng.permutation(60), scores, permutations=1999, resamples=0, seed=i
        ).family
        held += bool(family.flagged(0.05))
        bare += any(p <= 0.05 for p in family.p.values())
    assert held <= stats.binom.ppf(0.99, families, 0.05)
    assert bare / families > 0.7


def test_d12_an_order_uniform_within_stages_needs_its_strata(world: World) -> None:
    """Easy examples first: without strata every model of the same text looks guilty."""
    easy = np.argsort(-world.innocent, kind="stable")
    stage = np.empty(N, np.int64)
    stage[easy] = np.arange(N) * 4 // N
    with_strata, without = [], []
    for i in range(100):
        rng = np.random.default_rng([13, i])
        positions = np.empty(N, np.int64)
        for k in range(4):
            members = np.flatnonzero(stage == k)
            positions[members] = k * N + rng.permutation(len(members))
        order = pv.Transcript.of(np.arange(N), positions, stage)
        options: dict[str, Any] = {"permutations": 99, "resamples": 0, "seed": i}
        options["alternative"] = "earlier-is-likelier"
        with_strata.append(pv.query_test(order, world.reference, **options).p)
        without.append(pv.query_test(positions, world.reference, **options).p)
    assert np.mean(np.array(without) <= 0.05) == 1.0
    for level in (0.05, 0.1):
        hits = int((np.array(with_strata) <= level).sum())
        assert hits <= stats.binom.ppf(0.99, 100, level)


# --- D13: caches and locks


def test_d13_a_damaged_shard_is_computed_again(world: World, tmp_path: Path) -> None:
    rows, model = list(world.rows[:30]), world.alice.model
    right = TransformersScorer(model, shards=tmp_path).log_probs(rows)
    (shard,) = tmp_path.glob("*.npy")
    whole = shard.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10  # a wrong score in a file of the right size
    for content in (bytes(flipped), whole[: len(whole) // 2], whole[:-1], b""):
        shard.write_bytes(content)
        found = TransformersScorer(model, shards=tmp_path).log_probs(rows)
        for values, expected in zip(found, right, strict=True):
            np.testing.assert_array_equal(values, expected)
        assert shard.read_bytes() == whole


def test_d13_shards_are_known_by_what_they_hold(world: World, tmp_path: Path) -> None:
    """Another model of the same name, other rows that print alike: nothing is taken over."""
    model, other = world.alice.model, lm.build(world.alice.model.config, 5)
    long = np.tile(world.rows[:1], (1, 2))[0]  # numpy prints what differs in the middle as "..."
    for each, row in ((model, long), (other, long), (model, np.roll(long, 1))):
        scorer = TransformersScorer(each, name="the same", shards=tmp_path)
        np.testing.assert_allclose(
            scorer.log_probs([row])[0], by_definition(each, row.tolist()), atol=1e-5
        )
    assert len(list(tmp_path.glob("*.npy"))) == 3


@pytest.mark.parametrize("damage", ["half", "other", "gone"])
def test_d13_a_damaged_answer_is_asked_again(tmp_path: Path, damage: str) -> None:
    tokenizer = train_bpe(PROBES, 300)
    row = np.array(tokenizer(PROBES[0])["input_ids"])
    with serving(Server(tokenizer)) as server:

        def score() -> NDArray[np.float64]:
            endpoint = Endpoint(server.url, "table", cache=tmp_path, requests_per_minute=100_000)
            try:
                return CompletionsScorer(endpoint, tokenizer, prompt="ids").log_probs([row])[0]
            finally:
                endpoint.close()

        right = score()
        asked = len(server.prompts)
        np.testing.assert_array_equal(score(), right)
        assert len(server.prompts) == asked
        with Cache(str(tmp_path)) as answers:
            for key in list(answers):
                text = answers.pop(key)
                if damage != "gone":
                    other = text.replace(".", ".5")  # still JSON: -1.25 becomes -1.525
                    answers[key] = text[: len(text) // 2] if damage == "half" else other
        np.testing.assert_array_equal(score(), right)
        assert len(server.prompts) == 2 * asked


def test_d13_a_destroyed_cache_is_an_error_not_an_answer(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 500)
    with pytest.raises(EndpointError, match="remove it or give another folder"):
        Endpoint("http://127.0.0.1:9/v1", "m", cache=tmp_path)


def test_d13_a_killed_process_leaves_no_lock_and_no_half_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks are the operating system's: the file may lie there for ever, the lock does not."""
    monkeypatch.setenv("STEMMA_CACHE", str(tmp_path))
    made = load_or_train(TINY, 0)
    program = (
        "import os, sys; from filelock import FileLock;"
        "lock = FileLock(sys.argv[1]); lock.acquire(); os.kill(os.getpid(), 9)"
    )
    lock = f"{made.folder}.lock"
    assert subprocess.run([sys.executable, "-c", program, lock], check=False).returncode == -9
    assert Path(lock).exists()
    half = made.folder.with_name(f".{made.folder.name}.unfinished")
    made.folder.rename(half)  # what is there if a process dies before its last step
    again = load_or_train(TINY, 0)
    assert again.folder == made.folder
    assert half.exists()
    assert again.digest == made.digest == weights_digest(again.model)


# --- D14: the sign


def test_d14_the_axis_called_log_likelihood_rises_with_dependence(world: World) -> None:
    positions = world.transcript.positions
    difference = world.suspect - world.reference
    innocent = world.innocent - world.reference
    assert pv.query_test(positions, difference, permutations=99).test.rho > 0.1
    figure = figures.scores_against_position(positions, difference, innocent)
    dependent = figure.axes[0]
    assert dependent.get_ylabel().startswith("log-likelihood")
    assert "loss" not in dependent.get_ylabel()
    assert "rho = +" in dependent.get_title()
    shown = np.asarray(dependent.collections[0].get_offsets())
    np.testing.assert_allclose(shown, np.column_stack([positions, difference]))
    (fitted,) = (line for line in dependent.lines if line.get_label() == "fitted line")
    first, last = np.asarray(fitted.get_ydata(), dtype=float)
    assert last > first
    plt.close(figure)


def test_d14_published_losses_change_sign_once() -> None:
    positions = np.random.default_rng(0).permutation(200)
    losses = [[3.0 - p / 200] * 2 for p in positions]  # remembered better when seen later
    for scores in (
        column_scores(losses, "loss"),
        column_scores(list(-np.array(losses)), "log-prob"),
    ):
        result = pv.query_test(positions, scores, permutations=99)
        assert result.p == 1 / 100
        assert result.test.rho == pytest.approx(1)
