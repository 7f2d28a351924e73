"""The ``provenance`` commands, on tiny local models, real text and tables of scores."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from provenance.cli import main
from provenance.evidence import SignedEvidence
from provenance.evidence.commitments import seed_hash
from provenance.evidence.schema import QueryPredicate
from provenance.store import StoredTranscript

N, VOCABULARY = 120, 40


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def good(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    """Exit code 2, one line on standard error, no p-value anywhere."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert "p =" not in result.output
    return result.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recorded transcript, a key, and tables of scores."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, VOCABULARY, rng.integers(5, 12)).tolist() for _ in range(N)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    good("record", folder / "data.jsonl", "--seed", 11, "--out", folder / "run")
    good("keygen", folder / "key.pem")
    position = StoredTranscript.open(folder / "run").read().positions
    base = rng.normal(0, 30, N)
    for name, scores in {
        "bob": base + position + rng.normal(0, 5, N),
        "carol": base + rng.normal(0, 5, N),
        "sibling": base + rng.normal(0, 5, N),
    }.items():
        pd.DataFrame({"row": np.arange(N), "score": scores}).to_parquet(folder / f"{name}.parquet")
    return folder


def test_record_draws_the_order_from_the_seed_and_commits(home: Path, tmp_path: Path) -> None:
    order = np.load(home / "run" / "order.npy")
    assert sorted(order) == list(range(N))
    rows = [json.loads(line) for line in (home / "data.jsonl").read_text().splitlines()]
    whole = StoredTranscript.open(home / "run").read()
    for place in (0, 1, N - 1):
        row = whole.rows[np.flatnonzero(whole.positions == place)[0]]
        assert row[row >= 0].tolist() == rows[order[place]]
    again = tmp_path / "again"
    good("record", home / "data.jsonl", "--seed", 11, "--out", again)
    other = tmp_path / "other"
    good("record", home / "data.jsonl", "--seed", 12, "--out", other)
    digest = StoredTranscript.open(home / "run").digest
    assert StoredTranscript.open(again).digest == digest
    assert StoredTranscript.open(other).digest != digest


def test_what_is_published_opens_nothing(home: Path) -> None:
    secret = json.loads((home / "run" / "secret.json").read_text())
    assert (home / "run" / "secret.json").stat().st_mode & 0o077 == 0
    published = json.loads(good("commit", home / "run").stdout)
    assert set(published) == {"root", "size", "time", "seed_commitment"}
    assert published == json.loads((home / "run" / "commitment.json").read_text())
    assert secret["seed"] == 11
    nonce = bytes.fromhex(secret["seed_nonce"])
    assert seed_hash(11, nonce) == published["seed_commitment"] != seed_hash(12, nonce)
    hidden = json.loads(good("commit", home / "run", "--hide-root").stdout)
    assert set(hidden) == {"value", "size", "time", "seed_commitment"}
    whole = StoredTranscript.open(home / "run").read()
    assert whole.opens(hidden["value"], bytes.fromhex(secret["nonce"]))


def test_a_commitment_is_signed(home: Path, tmp_path: Path) -> None:
    from securesystemslib.dsse import Envelope

    from provenance.evidence import load_public_key

    target = tmp_path / "c.json"
    good("commit", home / "run", "--key", home / "key.pem", "--out", target)
    envelope = Envelope.from_dict(json.loads(target.read_text()))
    envelope.verify([load_public_key(home / "key.pem.pub")], 1)
    assert json.loads(envelope.payload) == json.loads(
        (home / "run" / "commitment.json").read_text()
    )


@pytest.fixture(scope="module")
def answer(home: Path) -> dict[str, Any]:
    """A guilty and an innocent suspect, a reference, signed evidence."""
    result = good(
        "query", home / "run", "--suspect", home / "bob.parquet", "--suspect",
        home / "carol.parquet", "--reference", home / "sibling.parquet", "-n", 100,
        "--permutations", 199, "--seed", 5, "--evidence", home / "query.json", "--key",
        home / "key.pem", "--committed", "2026-01-01T00:00:00Z", "--published", "a newspaper",
        "--json",
    )  # fmt: skip
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def test_query_tells_the_guilty_from_the_innocent(answer: dict[str, Any]) -> None:
    assert answer["results"]["bob"]["test"]["p"] == 1 / 200
    assert answer["holm"]["bob"] == 2 / 200
    assert answer["results"]["carol"]["test"]["p"] > 0.01
    assert answer["results"]["bob"]["test"]["n"] == 100


def test_query_speaks_first_and_prints_the_consequences(home: Path) -> None:
    result = good("query", home / "run", "--suspect", home / "bob.parquet", "--permutations", 99)
    assert result.stdout.startswith("bob: p = 0.01, some evidence of dependence.")
    assert "same published order" in result.stdout
    assert "same data in an order of its own" in result.stdout


def test_verify_of_the_query(home: Path, answer: dict[str, Any]) -> None:
    public, run_ = home / "key.pem.pub", home / "run"
    plain = good("verify", home / "query.json", "--key", public)
    assert plain.stdout.startswith("VERIFIED")
    assert "a newspaper" in plain.stdout
    report = json.loads(
        good("verify", home / "query.json", "--key", public, "--transcript", run_, "--json").stdout
    )
    assert report["ok"]
    status = {check["name"]: check["status"] for check in report["findings"]}
    assert status["selection"] == status["transcript"] == status["inclusion"] == "passed"
    assert status["scores"] == status["seed"] == "asserted"


def test_verify_exits_with_1_and_names_what_failed(
    home: Path, tmp_path: Path, answer: dict[str, Any]
) -> None:
    good("keygen", tmp_path / "mallory.pem")
    result = run("verify", home / "query.json", "--key", tmp_path / "mallory.pem.pub")
    assert result.exit_code == 1
    assert result.stdout.startswith("NOT VERIFIED")
    assert "failed" in result.stdout
    (tmp_path / "cut.json").write_text((home / "query.json").read_text()[:300])
    cut = run("verify", tmp_path / "cut.json", "--json")
    assert cut.exit_code == 1
    assert not json.loads(cut.stdout)["ok"]


def test_the_seed_of_the_order_is_opened_on_request(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "e.json"
    good(
        "query", home / "run", "--suspect", home / "bob.parquet", "--permutations", 99,
        "--evidence", target, "--key", home / "key.pem", "--open-seed",
    )  # fmt: skip
    report = json.loads(good("verify", target, "--json").stdout)
    status = {check["name"]: check["status"] for check in report["findings"]}
    assert status["seed"] == status["opening"] == "passed"


def test_a_reference_declared_to_have_seen_the_order_is_refused(home: Path) -> None:
    digest = StoredTranscript.open(home / "run").digest
    said = refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "--reference",
        home / "sibling.parquet", "--seen", digest,
    )  # fmt: skip
    assert "innocent suspect would look guilty" in said


def test_bad_scores_are_refused(home: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(home / "bob.parquet")
    broken = {
        "nan": (table.assign(score=table.score.where(table.row != 3)), "have no score"),
        "inf": (table.assign(score=table.score.where(table.row != 3, -np.inf)), "infinite"),
        "few": (table.head(50), "have no score"),
        "twice": (pd.concat([table, table.head(1)]), "several scores"),
        "constant": (table.assign(score=1.0), "constant"),
        "columns": (table.rename(columns={"score": "loss"}), "`row` and `score`"),
    }
    for name, (frame, words) in broken.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        assert words in refused("query", home / "run", "--suspect", tmp_path / f"{name}.parquet")
    (tmp_path / "cut.parquet").write_bytes((home / "bob.parquet").read_bytes()[:200])
    assert "cut.parquet" in refused("query", home / "run", "--suspect", tmp_path / "cut.parquet")
    assert "at least 20" in refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "-n", 19
    )
    assert "cannot draw" in refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "-n", N + 1
    )


def test_bad_files_are_refused(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases: dict[str, tuple[str, str]] = {
        "empty.jsonl": ("", "no example"),
        "broken.jsonl": ("[1, 2\n", "line 1: no JSON"),
        "negative.jsonl": ("[1, -2]\n", "neither token ids nor a text"),
        "float.jsonl": ("[1, 2.5]\n", "neither token ids nor a text"),
        "words.txt": ("some words\n", "give --tokenizer"),
        "data.csv": ("1,2\n", "give a .txt, .jsonl or .parquet"),
    }
    for name, (text, words) in cases.items():
        (tmp_path / name).write_text(text)
        assert words in refused("record", tmp_path / name, "--seed", 1, "--out", out)
        assert not out.exists()
    assert "no such file" in refused("record", tmp_path / "none.txt", "--seed", 1, "--out", out)
    assert "never overwritten" in refused(
        "record", home / "data.jsonl", "--seed", 1, "--out", home / "run"
    )
    refused("query", tmp_path / "nowhere", "--suspect", home / "bob.parquet")


def test_options_that_do_not_fit_are_usage_errors(home: Path) -> None:
    for arguments in (
        ("query", home / "run", "--suspect", home / "bob.parquet", "--evidence", "e.json"),
        ("record", home / "data.jsonl", "--out", home / "x"),
        ("reshuffle", home / "none.json", "--evidence", "e.json", "--key", "k.pem"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Usage:" in result.stderr


def test_partition_of_a_text_that_repeats_late_examples(home: Path, tmp_path: Path) -> None:
    whole = StoredTranscript.open(home / "run").read()
    late = [
        whole.rows[i][whole.rows[i] >= 0].tolist() for i in np.flatnonzero(whole.positions > 80)
    ]
    text = tmp_path / "dave.jsonl"
    text.write_text("".join(json.dumps({"tokens": row}) + "\n" for row in late))
    good(
        "partition", home / "run", text, "--n-max", 4, "--permutations", 199, "--evidence",
        tmp_path / "p.json", "--key", home / "key.pem", "--weighting", "inverse", "--weighting",
        "once", "--json",
    )  # fmt: skip
    report = json.loads(
        good("verify", tmp_path / "p.json", "--transcript", home / "run", "--json").stdout
    )
    status = {check["name"]: check["status"] for check in report["findings"]}
    assert status["counts"] == status["completeness"] == "passed"
    assert report["subjects"] == ["dave"]
    (tmp_path / "alien.jsonl").write_text(json.dumps([VOCABULARY + 1, VOCABULARY + 2]))
    assert "same tokenizer" in refused("partition", home / "run", tmp_path / "alien.jsonl")


def test_reshuffle_reads_json(home: Path, tmp_path: Path) -> None:
    scores = {"name": "dave", "sha256": "ab" * 32, "true": -10.0, "reshuffled": [-12.0] * 18}
    scores["reshuffled"] = (-12 - np.arange(19) / 10).tolist()
    (tmp_path / "s.json").write_text(json.dumps(scores | {"seed": 4}))
    data = json.loads(
        good(
            "reshuffle", tmp_path / "s.json", "--folder", home / "run", "--evidence",
            tmp_path / "e.json", "--key", home / "key.pem", "--json",
        ).stdout
    )  # fmt: skip
    assert data["p"] == 1 / 20
    good("verify", tmp_path / "e.json", "--key", home / "key.pem.pub")
    (tmp_path / "bad.json").write_text(json.dumps(scores | {"true": "high"}))
    assert "true:" in refused("reshuffle", tmp_path / "bad.json")
    (tmp_path / "none.json").write_text("{")
    assert "no JSON" in refused("reshuffle", tmp_path / "none.json")


def test_stop_asks_only_as_many_as_needed(home: Path, tmp_path: Path) -> None:
    data = json.loads(
        good(
            "query", home / "run", "--suspect", home / "bob.parquet", "--reference",
            home / "sibling.parquet", "--stop", 1e-6, "--seed", 3, "--evidence",
            tmp_path / "e.json", "--key", home / "key.pem", "--json",
        ).stdout
    )  # fmt: skip
    assert data["reached"]
    assert data["result"]["p_anytime"] <= 1e-6
    assert data["result"]["n"] < N
    plain = good("verify", tmp_path / "e.json", "--key", home / "key.pem.pub")
    assert "asked in the order that seed 3 draws" in plain.stdout
    innocent = good("query", home / "run", "--suspect", home / "carol.parquet", "--stop", 1e-3)
    assert "was not reached" in innocent.stdout
    two = ("--suspect", home / "bob.parquet", "--suspect", home / "carol.parquet", "--stop", 0.01)
    assert "no second one" in refused("query", home / "run", *two)


def test_weights_and_design(home: Path, tmp_path: Path) -> None:
    (tmp_path / "schedule.json").write_text(
        json.dumps({"learning_rates": np.linspace(1, 0.1, N // 4).tolist(), "examples_per_step": 4})
    )
    good(
        "query", home / "run", "--suspect", home / "bob.parquet", "--weights",
        tmp_path / "schedule.json", "--design", "extreme", "-n", 60, "--permutations", 99,
        "--evidence", tmp_path / "e.json", "--key", home / "key.pem",
    )  # fmt: skip
    report = json.loads(
        good("verify", tmp_path / "e.json", "--transcript", home / "run", "--json").stdout
    )
    passed = [check["name"] for check in report["findings"] if check["status"] == "passed"]
    assert {"selection", "weights", "inclusion"} <= set(passed)
    whole = StoredTranscript.open(home / "run").read()
    rng = np.random.default_rng(0)
    twin = pd.DataFrame({"position": np.arange(400), "score": rng.normal(np.arange(400) / 40, 1)})
    twin.to_parquet(tmp_path / "twin.parquet")
    good(
        "query", home / "run", "--suspect", home / "bob.parquet", "--weights",
        tmp_path / "twin.parquet", "--permutations", 99,
    )  # fmt: skip
    assert "give weights" in refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "--design", "extreme", "-n", 60
    )
    assert "the order under test" in refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "--weights",
        tmp_path / "twin.parquet", "--seen", whole.digest,
    )  # fmt: skip
    (tmp_path / "bad.json").write_text("{}")
    for name, words in (("bad.json", "learning_rates"), ("w.csv", "schedule")):
        assert words in refused(
            "query", home / "run", "--suspect", home / "bob.parquet", "--weights", tmp_path / name
        )


def test_plan_from_a_pilot(home: Path, tmp_path: Path) -> None:
    good(
        "query", home / "run", "--suspect", home / "bob.parquet", "--reference",
        home / "sibling.parquet", "-n", 30, "--permutations", 99, "--evidence",
        tmp_path / "pilot.json", "--key", home / "key.pem",
    )  # fmt: skip
    said = good("plan", tmp_path / "pilot.json", "--folder", home / "run", "--p", 1e-4).stdout
    assert "queries" in said
    data = json.loads(
        good(
            "plan", tmp_path / "pilot.json", "--folder", home / "run", "--p", 1e-4, "--json"
        ).stdout
    )
    assert 20 <= data["n"] <= N
    assert data["permutations"] == 9_999
    good(
        "query", home / "run", "--suspect", home / "bob.parquet", "-n", 60,
        "--leave-out", tmp_path / "pilot.json", "--permutations", 99, "--evidence",
        tmp_path / "test.json", "--key", home / "key.pem",
    )  # fmt: skip
    test, pilot = (
        cast(QueryPredicate, SignedEvidence.load(tmp_path / name).read()[1])
        for name in ("test.json", "pilot.json")
    )
    assert len(test.examples.index) == 60
    assert not set(test.examples.index) & set(pilot.examples.index)
    assert pilot.reference is not None
    score = np.array(pilot.suspects[0].scores) - np.array(pilot.reference.scores)
    table = pd.DataFrame({"position": pilot.examples.position, "score": score})
    table.to_parquet(tmp_path / "pilot.parquet")
    same = good("plan", tmp_path / "pilot.parquet", "--folder", home / "run", "--p", 1e-4, "--json")
    assert json.loads(same.stdout) == data
    noise = table.assign(score=-table.position)
    noise.to_parquet(tmp_path / "noise.parquet")
    assert "effect" in refused("plan", tmp_path / "noise.parquet", "--folder", home / "run")
    table.head(10).to_parquet(tmp_path / "short.parquet")
    refused("plan", tmp_path / "short.parquet", "--folder", home / "run")


def test_the_published_layout_is_imported_and_scored_by_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    index = rng.permutation(N)
    table = pd.DataFrame(
        {
            "index": index,
            "tokens": [rng.integers(0, 9, 6).tolist() for _ in range(N)],
            "loss_bob": [(5 - 3 * i / N + rng.uniform(0, 1, 5)).tolist() for i in index],
        }
    )
    table.to_parquet(tmp_path / "published.parquet")
    data = json.loads(
        good(
            "query", tmp_path / "published.parquet", "--suspect", "column:loss_bob",
            "--permutations", 99, "--json",
        ).stdout
    )  # fmt: skip
    assert data["results"]["loss_bob"]["test"]["p"] == 1 / 100
    good("record", tmp_path / "published.parquet", "--published-layout", "--out", tmp_path / "run")
    assert len(StoredTranscript.open(tmp_path / "run")) == N
    refused("query", tmp_path / "published.parquet", "--suspect", "column:loss_eve")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny random models saved to disk."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("eve", "ref")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=32,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder / name)
    return folder


def test_models_in_folders_are_scored(home: Path, models: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    good(
        "query", home / "run", "--suspect", models / "eve", "--reference", models / "ref",
        "-n", 50, "--permutations", 99, "--evidence", tmp_path / "e.json", "--key",
        home / "key.pem", "--disclose-tokens",
    )  # fmt: skip
    good("verify", tmp_path / "e.json", "--key", home / "key.pem.pub")
    predicate: Any = SignedEvidence.load(tmp_path / "e.json").read()[1]
    model = AutoModelForCausalLM.from_pretrained(models / "eve")
    shown = zip(predicate.examples.tokens, predicate.suspects[0].scores, strict=True)
    for tokens, score in list(shown)[:5]:
        ids = torch.tensor([tokens])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].log_softmax(-1)
        expected = logits.gather(1, ids[0, 1:, None]).sum().item()
        assert score == pytest.approx(expected, abs=1e-4)
    assert predicate.suspects[0].subject.what == "model"
    assert "cannot load" in refused("query", home / "run", "--suspect", tmp_path / "no-model")


def test_an_end_point_needs_a_model_and_a_tokenizer(home: Path) -> None:
    said = refused("query", home / "run", "--suspect", "http://127.0.0.1:9/v1")
    assert "--model-name" in said
    assert "--tokenizer" in said


def test_a_tokenizer_turns_texts_into_ids(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[UNK]": 0, "to": 1, "be": 2, "or": 3, "not": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "t.txt").write_text("to be\n\nor not to be\n")
    good(
        "record", tmp_path / "t.txt", "--seed", 1, "--out", tmp_path / "run", "--tokenizer",
        tmp_path / "tokenizer.json",
    )  # fmt: skip
    whole = StoredTranscript.open(tmp_path / "run")
    rows = sorted(row[row >= 0].tolist() for row in whole.read().rows)
    assert rows == [[1, 2], [3, 4, 1, 2]]
    assert whole.manifest is not None
    assert whole.manifest.tokenizer is not None
    said = refused(
        "record", tmp_path / "t.txt", "--seed", 1, "--out", tmp_path / "x", "--tokenizer",
        tmp_path / "none.json",
    )  # fmt: skip
    assert "no tokenizer" in said


def test_help_is_light() -> None:
    """``stemma --help`` and ``stemma provenance --help`` load neither numbers nor models."""
    for arguments in (["--help"], ["provenance", "--help"]):
        code = (
            "import sys; from stemma.cli import main\n"
            f"try: main({arguments!r})\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'transformers', 'pyarrow', 'cryptography', 'pydantic'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "record" in done.stdout
    assert "verify" in done.stdout


def points(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_progress_of_a_query_ends_in_its_result_and_does_not_change_it(
    home: Path, tmp_path: Path
) -> None:
    arguments = (
        "query", home / "run", "--suspect", home / "carol.parquet", "--reference",
        home / "sibling.parquet", "--permutations", 199, "--json",
    )  # fmt: skip
    plain = json.loads(good(*arguments).stdout)
    watched = json.loads(good(*arguments, "--progress", tmp_path / "curve.jsonl").stdout)
    assert watched == plain
    curve = points(tmp_path / "curve.jsonl")
    assert [point["examples"] for point in curve] == [32, 64, 96, N]
    assert curve[-1]["p_value"] == plain["holm"]["carol"]
    assert all(set(point) == {"examples", "p_value"} for point in curve)
    good(*arguments, "--progress", tmp_path / "again.jsonl")
    assert points(tmp_path / "again.jsonl") == curve


def test_the_progress_of_a_sequential_query_never_rises(home: Path, tmp_path: Path) -> None:
    arguments = (
        "query", home / "run", "--suspect", home / "bob.parquet", "--reference",
        home / "sibling.parquet", "--stop", 1e-6, "--seed", 3, "--json",
    )  # fmt: skip
    plain = json.loads(good(*arguments).stdout)
    watched = json.loads(good(*arguments, "--progress", tmp_path / "curve.jsonl").stdout)
    assert watched == plain
    curve = points(tmp_path / "curve.jsonl")
    assert curve[-1] == {"examples": plain["result"]["n"], "p_value": plain["result"]["p_anytime"]}
    values = [point["p_value"] for point in curve]
    assert len(values) > 2
    assert values == sorted(values, reverse=True)


def test_a_reference_that_saw_the_order_is_refused_after_the_first_part(
    home: Path, tmp_path: Path
) -> None:
    digest = StoredTranscript.open(home / "run").digest
    said = refused(
        "query", home / "run", "--suspect", home / "bob.parquet", "--reference",
        home / "sibling.parquet", "--seen", digest, "--progress", tmp_path / "curve.jsonl",
    )  # fmt: skip
    assert "innocent suspect would look guilty" in said
    assert points(tmp_path / "curve.jsonl") == []
