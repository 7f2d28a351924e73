"""Transcripts on disk: same digest as in memory, rows on demand, damage is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import provenance as pv
from provenance import store as module
from provenance.manifest import TokenizerIdentity, identity_of
from provenance.store import StoredTranscript, write_transcript


def example(n: int = 700, seed: int = 0) -> pv.Transcript:
    """Ragged rows, tied positions, three strata, rows in no order."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 50_000, size=rng.integers(1, 9)) for _ in range(n)]
    return pv.Transcript.of(rows, rng.integers(0, n // 4, size=n), rng.integers(0, 3, size=n))


def tuples(transcript: pv.Transcript) -> list[tuple[int, ...]]:
    return [
        (s, p, *row[row != pv.PAD].tolist())
        for s, p, row in zip(
            transcript.strata.tolist(), transcript.positions.tolist(), transcript.rows, strict=True
        )
    ]


def in_batches(transcript: pv.Transcript, size: int) -> list[pv.Transcript]:
    order = transcript.canonical_order
    return [transcript.take(order[i : i + size]) for i in range(0, len(order), size)]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredTranscript:
    """Several parts of several row groups, the last of each shorter."""
    monkeypatch.setattr("provenance.writer._GROUPS_A_PART", 8)
    return write_transcript(tmp_path / "t", example(), rows_per_group=16)


def test_disk_and_memory_agree(stored: StoredTranscript) -> None:
    whole = example()
    assert stored.digest == whole.digest
    assert len(stored) == len(whole)
    assert stored.manifest is not None
    assert len(stored.manifest.parts) == 6
    assert stored.manifest.tokens == whole.n_tokens
    assert stored.manifest.strata == {s: int((whole.strata == s).sum()) for s in range(3)}
    expected = [tuples(whole)[i] for i in whole.canonical_order]
    assert tuples(stored.read()) == expected
    chosen = np.array([699, 3, 3, 128, 127, 0])
    assert tuples(stored.take(chosen)) == [expected[i] for i in chosen]
    seen: list[tuple[int, int]] = []
    stored.verify(lambda done, total: seen.append((done, total)))
    assert seen[-1] == (700, 700)
    assert [t for b in stored.batches() for t in tuples(b)] == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), st.sampled_from([1, 2, 8, 64]), st.integers(0, 99))
def test_batches_in_training_order_give_the_digest_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, n: int, batch: int, group: int, seed: int
) -> None:
    whole = example(n + 4, seed)
    path = tmp_path_factory.mktemp("batches") / "t"
    stored = write_transcript(path, iter(in_batches(whole, batch)), rows_per_group=group)
    assert stored.digest == whole.digest
    stored.verify()
    assert all(p.holds(whole.digest) for p in stored.prove(np.arange(len(whole))))


def test_proofs_from_one_row_group_are_those_of_the_whole_tree(stored: StoredTranscript) -> None:
    whole = example()
    chosen = np.array([0, 15, 16, 127, 128, 699, 699, 350])
    proofs = stored.prove(chosen)
    assert proofs == whole.prove(whole.canonical_order[chosen])
    rows = stored.take(chosen).rows
    assert all(p.holds(stored.digest) and p.shows(row) for p, row in zip(proofs, rows, strict=True))
    with pytest.raises(pv.BadTranscript, match="no such row"):
        stored.prove([700])


def test_a_sample_knows_its_whole_and_cannot_prove_by_itself(stored: StoredTranscript) -> None:
    sample = stored.sample(30, seed=5)
    assert sample.origin == stored.digest
    assert tuples(sample) == tuples(stored.take(stored.sample_rows(30, seed=5)))
    assert len(set(stored.sample_rows(30, seed=5).tolist())) == 30
    assert pv.Lineage.of(stored).has_seen(sample)
    assert pv.Lineage.of(example()).has_seen(stored)
    with pytest.raises(pv.BadTranscript, match="whole"):
        sample.prove([0])
    with pytest.raises(pv.BadTranscript, match="cannot draw 701"):
        stored.sample(701, seed=0)


def test_every_row_is_equally_likely_to_be_drawn(stored: StoredTranscript) -> None:
    counts = np.bincount(
        np.concatenate([stored.sample_rows(70, seed) for seed in range(2000)]), minlength=700
    )
    # Drawn without replacement, each count is binomial(2000, 1/10); the sum is fixed.
    chi2 = float(((counts - 200.0) ** 2 / 180.0).sum() * 699 / 700)
    assert 1e-4 < stats.chi2.sf(chi2, 699) < 1 - 1e-4


def test_sampling_opens_only_the_parts_and_row_groups_that_hold_rows(
    stored: StoredTranscript, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, list[int]]] = []
    plain = module.parquet._read

    def spy(file: pq.ParquetFile, path: Path, groups: list[int], columns: list[str]) -> pa.Table:
        read.append((path.name, list(groups)))
        return plain(file, path, groups, columns)

    monkeypatch.setattr(module.parquet, "_read", spy)
    stored.take([0, 1, 40, 300])
    assert read == [("part-00000.parquet", [0, 2]), ("part-00002.parquet", [2])]


def published(path: Path, indices: np.ndarray, **more: object) -> Path:
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 1000, size=(len(indices), 6))
    losses = rng.uniform(size=(len(indices), 5))
    table = {
        "index": indices,
        "tokens": list(tokens),
        "loss_pythia-6.9b_main": list(losses),
        "loss_mean": losses.mean(axis=1),
    }
    pq.write_table(pa.table(table | more), path, row_group_size=16)
    return path


def test_the_published_layout_is_read_as_it_is(tmp_path: Path) -> None:
    indices = np.random.default_rng(0).permutation(10**6)[:100]
    stored = StoredTranscript.open(published(tmp_path / "p.parquet", indices))
    assert stored.manifest is None
    assert len(stored) == 100
    whole = stored.read()
    assert whole.positions.tolist() == indices.tolist()
    assert stored.digest == whole.digest
    chosen = [99, 4, 50]
    part = stored.take(chosen)
    assert part.positions.tolist() == indices[chosen].tolist()
    assert part.origin == whole.digest
    assert all(p.holds(stored.digest) for p in stored.prove(chosen))
    losses = stored.columns(["loss_pythia-6.9b_main", "loss_mean"], chosen)
    lists, means = losses.values()
    assert [len(row) for row in lists] == [5, 5, 5]
    assert [float(row.mean()) for row in lists] == pytest.approx([float(m[0]) for m in means])
    copy = write_transcript(tmp_path / "copy", whole)
    assert copy.digest == stored.digest
    with pytest.raises(pv.BadTranscript, match="no manifest"):
        stored.verify()


def test_a_folder_of_published_files_is_one_transcript(tmp_path: Path) -> None:
    published(tmp_path / "a.parquet", np.arange(40, 80))
    published(tmp_path / "b.parquet", np.arange(40))
    stored = StoredTranscript.open(tmp_path)
    assert stored.take([79, 0]).positions.tolist() == [39, 40]
    published(tmp_path / "c.parquet", np.arange(3))
    with pytest.raises(pv.BadTranscript, match="3 values of `index` come more than once"):
        StoredTranscript.open(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tokens": [[1], [2]]}, "no column index"),
        ({"index": [0, 1]}, "no column tokens"),
        ({"index": [0.5, 1.0], "tokens": [[1], [2]]}, "must hold integers"),
        ({"index": [0, None], "tokens": [[1], [2]]}, "missing values"),
        ({"index": [0, 0], "tokens": [[1], [2]]}, "more than once"),
    ],
)
def test_published_files_that_do_not_fit_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(pv.BadTranscript, match=message):
        StoredTranscript.open(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [([["a"], ["b"]], "numbers"), ([[1], None], "empty rows"), ([[1], [-4]], "negative")],
)
def test_published_tokens_that_are_no_ids_are_refused(
    tmp_path: Path, tokens: list[object], message: str
) -> None:
    pq.write_table(pa.table({"index": [0, 1], "tokens": tokens}), tmp_path / "p.parquet")
    with pytest.raises(pv.BadTranscript, match=message):
        StoredTranscript.open(tmp_path / "p.parquet").read()


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pv.BadTranscript, match="neither"):
        StoredTranscript.open(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(pv.BadTranscript, match="truncated"):
        StoredTranscript.open(tmp_path)


def edit(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (
        lambda p: (p / "part-00001.parquet").write_bytes(
            (p / "part-00001.parquet").read_bytes()[:-100]
        ),
        "truncated",
    ),
    "part missing": (lambda p: (p / "part-00001.parquet").unlink(), "missing"),
    "roots changed": (lambda p: np.save(p / "roots.npy", np.zeros((44, 32), np.uint8)), "roots"),
    "roots missing": (lambda p: (p / "roots.npy").unlink(), "roots"),
    "root": (lambda p: edit(p, root="00" * 32), "does not fit"),
    "rows": (lambda p: edit(p, rows=9000), "does not fit"),
    "format": (lambda p: edit(p, format="provenance-transcript/9"), "no manifest of this"),
    "field": (lambda p: edit(p, extra=1), "no manifest of this"),
    "no JSON": (lambda p: (p / "manifest.json").write_text("{"), "no manifest of this"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_on_opening(stored: StoredTranscript, kind: str) -> None:
    change, message = DAMAGE[kind]
    change(stored.path)
    with pytest.raises(pv.BadTranscript, match=message):
        StoredTranscript.open(stored.path)


def swapped(stored: StoredTranscript, change: Callable[[pa.Table], pa.Table]) -> StoredTranscript:
    """Rewrite one part with changed rows, the manifest's size and hash made to fit."""
    assert stored.manifest is not None
    file = stored.path / "part-00001.parquet"
    pq.write_table(change(pq.read_table(file)), file, row_group_size=16)
    parts = [p.model_dump() for p in stored.manifest.parts]
    parts[1] |= {"bytes": file.stat().st_size, "sha256": module.file_sha256(file)}
    edit(stored.path, parts=parts)
    return StoredTranscript.open(stored.path)


def one_token(table: pa.Table) -> pa.Table:
    tokens = table.column("tokens").to_pylist()
    tokens[20][0] ^= 1
    return table.set_column(2, "tokens", pa.array(tokens, pa.list_(pa.int32())))


def two_rows(table: pa.Table) -> pa.Table:
    return table.take([1, 0, *range(2, len(table))])


@pytest.mark.parametrize("change", [one_token, two_rows])
def test_rows_that_do_not_fit_the_root_are_found(
    stored: StoredTranscript, change: Callable[[pa.Table], pa.Table]
) -> None:
    changed = swapped(stored, change)
    with pytest.raises(pv.BadTranscript, match="do not fit the Merkle root"):
        changed.verify()
    row = 128 + (20 if change is one_token else 0)
    with pytest.raises(pv.BadTranscript, match="do not fit the Merkle root"):
        changed.prove([row])


def test_a_wrong_hash_and_wrong_counts_are_found(stored: StoredTranscript) -> None:
    assert stored.manifest is not None
    parts = [p.model_dump() for p in stored.manifest.parts]
    edit(stored.path, tokens=1)
    with pytest.raises(pv.BadTranscript, match="counts"):
        StoredTranscript.open(stored.path).verify()
    parts[0]["sha256"] = "00" * 32
    edit(stored.path, parts=parts)
    with pytest.raises(pv.BadTranscript, match="SHA-256"):
        StoredTranscript.open(stored.path).verify()


def test_writing_refuses_what_it_cannot_keep(tmp_path: Path) -> None:
    whole = example(60)
    with pytest.raises(pv.BadTranscript, match="goes back"):
        write_transcript(tmp_path / "t", reversed(in_batches(whole, 20)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(pv.BadTranscript, match="at least one row"):
        write_transcript(tmp_path / "t", [])
    with pytest.raises(pv.BadTranscript, match="power of two"):
        write_transcript(tmp_path / "t", whole, rows_per_group=12)
    with pytest.raises(pv.BadTranscript, match="2\\^31"):
        write_transcript(tmp_path / "t", pv.Transcript.in_training_order([2**31]))
    write_transcript(tmp_path / "t", whole)
    with pytest.raises(pv.BadTranscript, match="never overwritten"):
        write_transcript(tmp_path / "t", whole)
    shutil.rmtree(tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_row_groups_of_long_rows_hold_fewer(tmp_path: Path) -> None:
    short = write_transcript(tmp_path / "s", pv.Transcript.in_training_order(np.arange(3000)))
    long = write_transcript(
        tmp_path / "l", pv.Transcript.in_training_order(np.ones((100, 4096), int))
    )
    assert short.manifest is not None
    assert long.manifest is not None
    assert short.manifest.rows_per_group == 1024
    assert long.manifest.rows_per_group == 64


def test_the_tokenizer_is_known_by_its_serialized_form(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    one, other = Tokenizer(models.WordLevel({"a": 0})), Tokenizer(models.WordLevel({"b": 0}))
    assert identity_of(one) == identity_of(Tokenizer(models.WordLevel({"a": 0})))
    assert identity_of(one) != identity_of(other)
    stored = write_transcript(tmp_path / "t", example(10), tokenizer=one)
    assert stored.manifest is not None
    assert stored.manifest.tokenizer == identity_of(one)
    known = TokenizerIdentity(name="x", sha256="00" * 32)
    assert identity_of(known) is known
    assert identity_of(None) is None
    with pytest.raises(pv.BadTranscript, match="no tokenizer"):
        identity_of("gpt2")
