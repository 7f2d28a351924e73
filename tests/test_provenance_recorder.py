"""The recorder: what is on record is what the model was fed, and what was committed to."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import recorder_run as run
import torch
from torch.utils.data import DataLoader

import provenance as pv
from provenance.evidence import Commitment, commitments
from provenance.plans import ShuffledSampler, planned_leaves, row_of, rows_of
from provenance.recorder import TranscriptRecorder
from provenance.steplog import StepLog
from provenance.store import StoredTranscript
from provenance.transcript import token_digest

Rows = list[list[int]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def by_step(transcript: pv.Transcript) -> dict[int, Counter[tuple[int, ...]]]:
    """The examples of each optimizer step, as a multiset."""
    steps: dict[int, Counter[tuple[int, ...]]] = {}
    for position, row in zip(transcript.positions.tolist(), transcript.rows, strict=True):
        steps.setdefault(position, Counter())[tuple(row[row != pv.PAD].tolist())] += 1
    return steps


def fed(batches: list[Rows], sizes: list[int]) -> list[Counter[tuple[int, ...]]]:
    """Micro-batches joined to optimizer steps of the given numbers of micro-batches."""
    taken = iter(batches)
    return [Counter(tuple(row) for _ in range(n) for row in next(taken)) for n in sizes]


# 41 rows in batches of 2 make 21 batches an epoch: 7 steps of 3.
SIZES = [3] * 14


def test_the_record_of_a_trainer_is_what_its_model_was_fed(tmp_path: Path) -> None:
    recorder, model = run.train(tmp_path)
    outcome = recorder.finish()
    assert outcome.agrees, outcome.message
    assert by_step(outcome.transcript.read()) == dict(enumerate(fed(model.seen, SIZES)))
    whole = outcome.transcript.read()
    assert np.bincount(whole.strata).tolist() == [41, 41]
    assert whole.positions[whole.strata == 1].min() == 7
    order = ShuffledSampler(run.ROWS, run.SEED).order(1)[:6]
    first = {tuple(run.dataset()[i]["input_ids"]) for i in order}
    assert set(by_step(whole)[7]) == first


def test_a_killed_run_is_resumed_and_no_step_is_recorded_twice(tmp_path: Path) -> None:
    _, before = run.train(tmp_path, stop_at=8)
    assert len(before.seen) == 8 * 3 + 1
    recorder, after = run.train(tmp_path, resume=True)
    assert len(after.seen) == len(SIZES) * 3 - 5 * 3
    outcome = recorder.finish()
    assert outcome.agrees, outcome.message
    lived = fed(before.seen[: 5 * 3] + after.seen, SIZES)
    assert by_step(outcome.transcript.read()) == dict(enumerate(lived))


def test_the_commitment_is_on_disk_before_the_first_step(tmp_path: Path) -> None:
    found: list[dict[str, object]] = []

    class Model(run.LoggingModel):
        def forward(self, *args: object, **named: object) -> object:
            found.append(json.loads((tmp_path / "run" / "commitment.json").read_text()))
            return super().forward(*args, **named)

    logging = run.model()
    logging.__class__ = Model
    trainer = run.trainer(tmp_path, logging, None)
    recorder = TranscriptRecorder(tmp_path / "run")
    run.attach(trainer, recorder, run.SEED)
    trainer.train()
    outcome = recorder.finish()
    assert found[0]["root"] == outcome.transcript.digest
    assert found[0]["size"] == 82
    assert "seed" not in found[0]
    secret = tmp_path / "run" / "secret.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    opened = Commitment.model_validate_json(secret.read_text())
    assert opened.seed == run.SEED
    assert opened.seed_commitment == found[0]["seed_commitment"]
    assert commitments.opens_seed(opened)
    assert stat.S_IMODE((outcome.transcript.path / "secret.json").stat().st_mode) == 0o600


def test_a_run_that_stops_early_differs_and_says_so(tmp_path: Path) -> None:
    recorder, _ = run.train(tmp_path, stop_at=8)
    with pytest.warns(UserWarning, match="DIFFERS"):
        outcome = recorder.finish()
    assert not outcome.agrees
    # Seven steps of the first epoch, one of the second; the step that was killed does not count.
    assert "47 examples were consumed, 82 were planned" in outcome.message
    assert max(by_step(outcome.transcript.read())) == 7


def test_a_trainer_is_not_resumed_with_another_seed_or_without_a_record(tmp_path: Path) -> None:
    run.train(tmp_path, stop_at=8)
    with pytest.raises(pv.BadTranscript, match="not that of this seed"):
        run.train(tmp_path, resume=True, seed=run.SEED + 1)
    (tmp_path / "run").rename(tmp_path / "lost")
    with pytest.raises(pv.BadTranscript, match="no record of the steps before"):
        run.train(tmp_path, resume=True)


def processes(kind: str, folder: Path, stop_at: int = -1) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, run.__file__, kind, str(folder), str(stop_at)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    finally:
        for process in started:
            process.kill()


def seen(folder: Path, rank: int, attempt: int) -> list[Rows]:
    report = json.loads((folder / f"seen-{rank}-{attempt}.json").read_text())
    assert report["agrees"] in (True, None)
    batches: list[Rows] = report["seen"]
    return batches


@pytest.mark.slow
def test_two_processes_of_accelerate(tmp_path: Path) -> None:
    processes("accelerate", tmp_path)
    # 21 batches for two processes: 11 each, the last repeating examples; 6 steps of up to 2.
    sizes = [2, 2, 2, 2, 2, 1] * 2
    ranks = [fed(seen(tmp_path, rank, 1), sizes) for rank in range(2)]
    whole = StoredTranscript.open(tmp_path / "run" / "transcript").read()
    assert list(by_step(whole).items()) == list(
        enumerate(a + b for a, b in zip(*ranks, strict=True))
    )
    assert len(whole) > 2 * run.ROWS


@pytest.mark.slow
def test_two_processes_of_a_trainer_killed_and_resumed(tmp_path: Path) -> None:
    # 11 batches each an epoch make 4 steps; killed in step 7, resumed from step 6, in epoch 1.
    processes("trainer", tmp_path, stop_at=7)
    processes("trainer", tmp_path)
    sizes = [3, 3, 3, 2] * 3
    ranks = [
        fed(seen(tmp_path, rank, 0)[: sum(sizes[:6])] + seen(tmp_path, rank, 1), sizes)
        for rank in range(2)
    ]
    whole = StoredTranscript.open(tmp_path / "run" / "transcript").read()
    assert list(by_step(whole).items()) == list(
        enumerate(a + b for a, b in zip(*ranks, strict=True))
    )
    assert np.unique(whole.strata[whole.positions < 8]).tolist() == [0, 1]


def loop(recorder: TranscriptRecorder, loader: object, epochs: int, accumulation: int) -> list[int]:
    """A training loop that accumulates, drops what is left over, and follows its optimizer."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    recorder.follow(optimizer)
    trained: list[int] = []
    for _ in range(epochs):
        for number, batch in enumerate(recorder.wrap(loader)):
            (weight * float(batch.sum())).backward()
            trained += batch[:, 0].tolist()
            if (number + 1) % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
    return trained


def numbered(n: int) -> torch.Tensor:
    return torch.arange(2 * n).reshape(n, 2)


def test_a_loader_with_workers_in_a_plain_loop(tmp_path: Path) -> None:
    sampler = ShuffledSampler(24, 5)
    loader = DataLoader(numbered(24), batch_size=3, sampler=sampler, num_workers=2)  # type: ignore[arg-type]
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit_plan(loader, sampler, epochs=3, accumulation=2)
    trained = loop(recorder, loader, 3, 2)
    outcome = recorder.finish()
    assert outcome.agrees, outcome.message
    expected = np.concatenate([sampler.order(e) for e in range(3)]) * 2
    assert trained == expected.tolist()
    whole = outcome.transcript.read()
    for step in range(12):
        here = whole.rows[whole.positions == step][:, 0]
        assert sorted(here) == sorted(expected[6 * step : 6 * step + 6])
    assert len(recorder.wrap(loader)) == 8


def test_what_was_fetched_but_not_trained_on_is_not_on_record(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit_data(numbered(40), 1, "in order")
    for number, _ in enumerate(recorder.watch(numbered(40).split(4))):
        if number == 3:
            break  # handed over, never trained on
        recorder.step()
    outcome = recorder.finish()
    assert outcome.agrees
    assert "drawing it again" in outcome.message
    assert sorted(outcome.transcript.read().rows[:, 0]) == list(range(0, 24, 2))


def test_each_pass_is_an_epoch_even_if_it_is_broken_off(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit_data(numbered(8), 1, "in order")
    for _ in range(2):
        for _ in recorder.watch(numbered(8).split(2)):
            recorder.step()
            if recorder.steps % 2 == 0:
                break
    assert recorder.finish().transcript.read().strata.tolist() == [0] * 4 + [1] * 4


def test_foreign_and_repeated_examples_are_told(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit_data(numbered(8), 1, "in order")
    for batch in recorder.watch([numbered(8)[:3], numbered(8)[2:4], numbered(9)[8:]]):
        recorder.step()
        assert len(batch)
    with pytest.warns(UserWarning, match="2 of 6 examples are not of the committed data"):
        assert not recorder.finish().agrees
    published = json.loads((tmp_path / "commitment.json").read_text())
    assert published["root"] == pv.Transcript.in_training_order(numbered(8).numpy()).digest
    assert published["of"] == "data"
    assert "seed" not in published


def test_another_order_than_the_planned_one_is_told(tmp_path: Path) -> None:
    plan = pv.Transcript.of(numbered(6).numpy(), np.arange(6))
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit(plan)
    for _ in recorder.watch(numbered(6).flip(0).split(1)):
        recorder.step()
    with pytest.warns(UserWarning, match="another order or with other tokens"):
        assert not recorder.finish().agrees


def test_a_plain_run_is_resumed(tmp_path: Path) -> None:
    plan = pv.Transcript.of(numbered(8).numpy(), np.arange(8) // 2, np.arange(8) // 4)
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit(plan)
    for number, _ in enumerate(recorder.watch(numbered(8)[:4].split(2))):
        recorder.step()
        assert number < 2
    for _ in recorder.watch(numbered(8)[:2].split(2)):  # strays after the checkpoint at step 2
        recorder.step()
    recorder.close()
    again = TranscriptRecorder(tmp_path)
    with pytest.raises(pv.BadTranscript, match=r"records of 3 steps: call resume"):
        again.consume(numbered(8)[:2])
    with pytest.raises(pv.BadTranscript, match="log of process 0 ends at step 3"):
        again.resume(4)
    again.resume(2, epoch=1)
    for _ in again.watch(numbered(8)[4:].split(2)):
        again.step()
    outcome = again.finish()
    assert outcome.agrees, outcome.message
    with pytest.raises(pv.BadTranscript, match="never overwritten"):
        again.finish()


def test_nothing_is_recorded_without_a_commitment(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path)
    with pytest.raises(pv.BadTranscript, match="commit before the first step"):
        recorder.consume(numbered(2))
    with pytest.raises(pv.BadTranscript, match="no commitment"):
        recorder.finish()
    with pytest.raises(pv.BadTranscript, match="no commitment"):
        recorder.resume(3)
    recorder.commit(pv.Transcript.in_training_order(numbered(4).numpy()))
    with pytest.raises(pv.BadTranscript, match="already"):
        recorder.commit(pv.Transcript.in_training_order(numbered(4).numpy()))


def test_a_process_whose_log_is_missing_is_noticed(tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path)
    recorder.commit(pv.Transcript.in_training_order(numbered(4).numpy()))
    log = StepLog(tmp_path / "log" / "rank-00000.sqlite")
    log.append(0, 0, 2, list(numbered(2).numpy()))
    with pytest.raises(pv.BadTranscript, match="lacks records of step 0"):
        recorder.finish()


def test_a_loader_that_ignores_the_sampler_is_refused(tmp_path: Path) -> None:
    loader = DataLoader(numbered(8), batch_size=2, shuffle=True)  # type: ignore[arg-type]
    recorder = TranscriptRecorder(tmp_path)
    with pytest.raises(pv.BadTranscript, match="does not draw from this sampler"):
        recorder.commit_plan(loader, ShuffledSampler(8, 0), epochs=1)


def test_a_plan_ends_where_the_run_does() -> None:
    batches = [[[0, 1], [2, 3], [4]], [[4, 0], [1, 2], [3]]]
    leaves = planned_leaves([batches], lambda i: token_digest([i]), accumulation=2, max_steps=3)
    assert leaves.positions.tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2]
    assert leaves.strata.tolist() == [0] * 5 + [1] * 4
    whole = pv.Transcript.of([0, 1, 2, 3, 4, 4, 0, 1, 2], leaves.positions, leaves.strata)
    assert leaves.root == whole.digest


def test_orders_are_uniform_and_differ_by_seed_and_epoch() -> None:
    firsts = [ShuffledSampler(6, seed).order(1)[0] for seed in range(3000)]
    assert np.bincount(firsts, minlength=6).min() > 400
    assert list(ShuffledSampler(50, 1)) == ShuffledSampler(50, 1).order(0).tolist()
    assert list(ShuffledSampler(50, 1)) != list(ShuffledSampler(50, 2))
    assert ShuffledSampler(50, 1).order(0).tolist() != ShuffledSampler(50, 1).order(1).tolist()


def test_rows_of_batches() -> None:
    masked = {"input_ids": torch.tensor([[1, 2, 0], [3, 0, 0]]), "attention_mask": None}
    masked["attention_mask"] = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert [r.tolist() for r in rows_of(masked)] == [[1, 2], [3]]
    assert [r.tolist() for r in rows_of([[1, 2], [3]])] == [[1, 2], [3]]
    assert [r.tolist() for r in rows_of([torch.tensor([[5, 6]])])] == [[5, 6]]
    assert row_of({"input_ids": [4, 5], "attention_mask": [1, 1]}).tolist() == [4, 5]
    with pytest.raises(pv.BadTranscript, match="no `input_ids` among labels"):
        rows_of({"labels": [[1]]})
    with pytest.raises(pv.BadTranscript, match="integers"):
        rows_of(torch.tensor([[0.5]]))
    with pytest.raises(pv.BadTranscript, match="shape"):
        row_of([[1, 2]])
