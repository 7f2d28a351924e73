"""Scorers: log-probabilities by transformers models, from columns, and across tokenizers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from provenance import BadScores
from provenance.scorers import (
    PrecomputedScorer,
    ScorerError,
    TextScorer,
    TransformersScorer,
    Window,
    column_scores,
    sequence_scores,
)
from provenance.scorers.local import _Forward, batches
from provenance.scorers.spans import byte_offsets, decoder, project, token_boundaries
from stemma.models.tokenizer import train_bpe

VOCABULARY = 1_003
TEXTS = [
    "The committee met on Tuesday to discuss the new budget for the public schools.",
    "Anna hörte, daß es die ganze Nacht geregnet hätte, ça alors!",
    "She opened the window and saw that it had been raining for most of the night. 🙂🙃",
]


def llama(**options: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
        **options,
    )
    return LlamaForCausalLM(config).train(False)


def neox() -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    return GPTNeoXForCausalLM(config).train(False)


def ragged(count: int = 23, longest: int = 90) -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(1)
    lengths = [2, longest, *generator.integers(2, longest, count - 2)]
    return [generator.integers(0, VOCABULARY, n) for n in lengths]


@torch.inference_mode()
def alone(model: Any, row: NDArray[np.int64]) -> NDArray[np.float64]:
    """The definition: full-vocabulary log-softmax of one row, nothing else in the batch."""
    logits = model(input_ids=torch.from_numpy(row)[None]).logits[0].double()
    table = torch.log_softmax(logits, dim=-1)
    return np.array([float(table[j - 1, row[j]]) for j in range(1, len(row))])


@pytest.mark.parametrize("make", [llama, neox])
@pytest.mark.parametrize("budget", [1, 100, 512, 100_000])
def test_equals_the_log_softmax_of_each_row_alone(make: Any, budget: int) -> None:
    model, rows = make(), ragged()
    scorer = TransformersScorer(model, token_budget=budget)
    for row, values in zip(rows, scorer.log_probs(rows), strict=True):
        assert values.shape == (len(row) - 1,)
        np.testing.assert_allclose(values, alone(model, row), atol=1e-5)


@pytest.mark.parametrize("make", [llama, neox])
def test_the_head_sees_only_kept_positions(make: Any) -> None:
    model, rows = make(), ragged()
    seen = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0])
    )
    window = Window(prefix=1, next=3)
    values = TransformersScorer(model, window=window).log_probs(rows)
    hook.remove()
    flat = [states for states in seen if states.ndim == 2]
    assert sum(len(states) for states in flat) == sum(len(v) for v in values)
    assert max(len(states) for states in flat) <= 256


@pytest.mark.parametrize(("prefix", "following"), [(1, None), (5, 4), (8, 300)])
def test_window(prefix: int, following: int | None) -> None:
    model = llama()
    rows = [row for row in ragged() if len(row) > prefix]
    whole = TransformersScorer(model).log_probs(rows)
    part = TransformersScorer(model, window=Window(prefix, following)).log_probs(rows)
    for all_values, values in zip(whole, part, strict=True):
        stop = None if following is None else prefix - 1 + following
        np.testing.assert_allclose(values, all_values[prefix - 1 : stop], atol=1e-5)


def test_a_row_without_a_token_in_the_window_is_refused() -> None:
    with pytest.raises(ScorerError, match="shorter prefix"):
        TransformersScorer(llama(), window=Window(32, 64)).log_probs([np.arange(32)])


def test_a_model_that_caps_its_logits_is_scored_whole() -> None:
    model = llama()
    plain = TransformersScorer(model).log_probs(ragged())
    forward = model.forward

    def capped(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = 2 * torch.tanh(output.logits / 2)
        return output

    model.forward = capped
    rows = ragged()
    values = TransformersScorer(model).log_probs(rows)
    for row, found in zip(rows, values, strict=True):
        np.testing.assert_allclose(found, alone(model, row), atol=1e-5)
    assert np.abs(values[1] - plain[1]).max() > 0.1


def test_lora_is_not_left_out() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        llama(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    ).train(False)
    rows = ragged()
    for row, values in zip(rows, TransformersScorer(model).log_probs(rows), strict=True):
        np.testing.assert_allclose(values, alone(model, row), atol=1e-5)
    with model.disable_adapter():
        assert np.abs(alone(model, rows[1]) - values_of(model, rows[1])).max() < 1e-5
    assert np.abs(alone(model, rows[1]) - alone(model.unload(), rows[1])).max() > 1e-3


def values_of(model: Any, row: NDArray[np.int64]) -> NDArray[np.float64]:
    return TransformersScorer(model).log_probs([row])[0]


def test_bf16_is_near_and_the_training_mode_kept() -> None:
    model, rows = llama(), ragged()
    exact = sequence_scores(TransformersScorer(model).log_probs(rows), "mean")
    model = model.to(torch.bfloat16).train(True)
    rough = sequence_scores(TransformersScorer(model).log_probs(rows), "mean")
    assert model.training
    assert 0 < np.abs(rough - exact).max() < 0.3


def test_load_reads_a_folder(tmp_path: Path) -> None:
    model, rows = llama(), ragged()
    model.save_pretrained(tmp_path)
    scorer = TransformersScorer.load(tmp_path, device="cpu", window=Window(1, 5))
    assert scorer.name == str(tmp_path)
    np.testing.assert_allclose(scorer.log_probs(rows)[1], alone(model, rows[1])[:5], atol=1e-5)
    with pytest.raises(ScorerError, match="cannot load"):
        TransformersScorer.load(tmp_path / "missing")


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    plan = batches(lengths, budget)
    assert sorted(int(i) for batch in plan for i in batch) == list(range(len(lengths)))
    for batch in plan:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


def count_forwards(monkeypatch: pytest.MonkeyPatch, fail_at: int = 10**9) -> list[int]:
    calls: list[int] = []
    original = _Forward.__call__

    def counted(self: _Forward, rows: Any, bounds: Any) -> Any:
        calls.append(len(rows))
        if sum(calls) > fail_at:
            raise KeyboardInterrupt
        return original(self, rows, bounds)

    monkeypatch.setattr(_Forward, "__call__", counted)
    return calls


def test_an_interrupted_job_goes_on_from_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provenance.scorers.local._SHARD_TOKENS", 200)
    model, rows = llama(), ragged()
    expected = TransformersScorer(model).log_probs(rows)
    with monkeypatch.context() as patch:
        calls = count_forwards(patch, fail_at=12)
        with pytest.raises(KeyboardInterrupt):
            TransformersScorer(model, token_budget=100, shards=tmp_path).log_probs(rows)
        before = sum(calls[:-1])
    stored = sum(np.load(path).size for path in tmp_path.glob("*.npy"))
    assert stored > 0
    calls = count_forwards(monkeypatch)
    seen: list[tuple[int, int]] = []
    scorer = TransformersScorer(
        model, token_budget=100, shards=tmp_path, progress=lambda *a: seen.append(a)
    )
    again = scorer.log_probs(rows)
    assert len(rows) - before <= sum(calls) < len(rows)
    assert seen[-1] == (len(rows), len(rows))
    for values, right in zip(again, expected, strict=True):
        np.testing.assert_allclose(values, right, atol=1e-5)
    calls.clear()
    scorer.log_probs(rows)
    assert not calls


def test_shards_of_another_model_or_broken_ones_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = llama(), ragged()
    TransformersScorer(model, shards=tmp_path).log_probs(rows)
    with torch.no_grad():
        model.get_input_embeddings().weight[5] += 1
    changed = TransformersScorer(model, shards=tmp_path).log_probs(rows)
    np.testing.assert_allclose(changed[1], alone(model, rows[1]), atol=1e-5)
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-9])
    calls = count_forwards(monkeypatch)
    TransformersScorer(model, shards=tmp_path).log_probs(rows)
    assert sum(calls) == len(rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([5], "at least two"),
        ([[1, 2], [3, 4]], "at least two"),
        ([1.0, 2.0], "integer"),
        ([3, 4, -1], "padding"),
        ([3, VOCABULARY], "another tokenizer"),
        (list(range(140)), "use a window"),
    ],
)
def test_bad_rows_are_refused(row: Any, message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        TransformersScorer(llama()).log_probs([np.array(row)])


def test_no_rows_no_scores() -> None:
    assert TransformersScorer(llama()).log_probs([]) == []
    assert sequence_scores([]).shape == (0,)


@pytest.mark.parametrize("bad", [[np.nan, -1.0], [-np.inf], []])
def test_scores_of_nothing_or_nonsense_are_refused(bad: list[float]) -> None:
    with pytest.raises(BadScores):
        sequence_scores([np.array([-1.0]), np.array(bad)])


def test_columns_of_losses() -> None:
    column = [[1.0, 3.0], [2.0], 0.5]
    np.testing.assert_array_equal(column_scores(column), [-4, -2, -0.5])
    np.testing.assert_array_equal(column_scores(column, reduce="mean"), [-2, -2, -0.5])
    np.testing.assert_array_equal(column_scores([[-1.0]], kind="log-prob"), [-1])
    for bad in ([[1.0, np.nan]], [[]], [[np.inf]]):
        with pytest.raises(BadScores, match="missing, NaN or infinite"):
            column_scores(bad)
    with pytest.raises(BadScores, match="no loss"):
        column_scores([[-1.0]])


def test_a_table_answers_by_tokens() -> None:
    rows = [np.array([1, 2, 3]), np.array([4, 5]), np.array([1, 2, 3])]
    scorer = PrecomputedScorer(rows, [[1.0, 2.0], [3.0], [1.0, 2.0]], name="pythia")
    np.testing.assert_array_equal(scorer.log_probs([rows[1]])[0], [-3])
    assert sequence_scores(scorer.log_probs(rows)).tolist() == [-3, -3, -3]
    with pytest.raises(ScorerError, match="not in the table"):
        scorer.log_probs([np.array([9, 9])])
    with pytest.raises(ScorerError, match="two different values"):
        PrecomputedScorer(rows, [[1.0, 2.0], [3.0], [1.0, 2.5]])
    with pytest.raises(ScorerError, match="3 rows and 1 entries"):
        PrecomputedScorer(rows, [[1.0]])


def test_project_by_hand() -> None:
    # Spans of 2 and 4 bytes against spans of 1, 3 and 2: 1/2 of -1; 1/2 of -1 and 2/4 of -4; ...
    np.testing.assert_allclose(project([-1.0, -4.0], [0, 2, 6], [0, 1, 4, 6]), [-0.5, -2.5, -2])
    # The value of a span without bytes joins the span after it, and at the end the last one.
    np.testing.assert_allclose(project([-1.0, -2.0], [0, 0, 2], [0, 2]), [-3])
    np.testing.assert_allclose(project([-1.0, -2.0], [0, 2, 2], [0, 1, 2]), [-1.5, -1.5])
    # Bytes that the suspect did not score count nothing.
    np.testing.assert_allclose(project([-3.0], [1, 4], [0, 1, 2, 4]), [0, -1, -2])


boundary_lists = st.lists(st.integers(1, 30), min_size=1, max_size=12, unique=True).map(sorted)


@given(boundary_lists, boundary_lists, st.data())
def test_project_keeps_sums_between_common_boundaries(
    ours: list[int], theirs: list[int], data: st.DataObject
) -> None:
    ours, theirs = [0, *ours, 31], [0, *theirs, 31]
    size = len(theirs) - 1
    values = np.array(data.draw(st.lists(st.floats(-20, 0), min_size=size, max_size=size)))
    found = project(values, theirs, ours)
    for end in set(ours) & set(theirs):
        inside = found[: ours.index(end)].sum()
        assert inside == pytest.approx(values[: theirs.index(end)].sum(), abs=1e-9)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_byte_offsets(text: str) -> None:
    offsets = byte_offsets(text)
    encoded = [text[:n].encode() for n in range(len(text) + 1)]
    assert offsets.tolist() == [len(part) for part in encoded]


def test_boundaries_of_tokens_within_characters() -> None:
    tokenizer = train_bpe(TEXTS, 257)  # bytes only: each character beyond ASCII is several tokens
    decode = decoder(tokenizer)
    row = np.array(tokenizer("a🙂b")["input_ids"])
    text, boundaries = token_boundaries(decode, row)
    assert text == "a🙂b"
    assert boundaries.tolist() == [0, 1, 1, 1, 1, 5, 6]


class Uniform:
    """A suspect that finds every token equally likely, and remembers what it was asked."""

    name = "uniform"

    def log_probs(self, rows: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        self.rows = list(rows)
        return [np.full(len(row) - 1, -1.0) for row in rows]


def bytes_share(tokenizer: Any, text: str, skipped: int) -> float:
    """Count the tokens after the first, each by the share of its bytes beyond ``skipped``."""
    begin, total = 0, 0.0
    for number, token in enumerate(tokenizer(text)["input_ids"]):
        end = begin + len(tokenizer.convert_ids_to_tokens(token))  # byte level: a character a byte
        if number:
            total += max(0, end - max(begin, skipped)) / (end - begin)
        begin = end
    return total


def test_two_tokenizers_score_the_same_text() -> None:
    ours, theirs = train_bpe(TEXTS, 400), train_bpe(TEXTS[::-1] * 3, 300)
    rows = [np.array(ours(text)["input_ids"]) for text in TEXTS]
    suspect = Uniform()
    scorer = TextScorer(suspect, ours, theirs)
    values = scorer.log_probs(rows)
    for text, row, found, asked in zip(TEXTS, rows, values, suspect.rows, strict=True):
        assert asked.tolist() == theirs(text)["input_ids"]
        assert found.shape == (len(row) - 1,)
        assert len(asked) != len(row)
        assert found.sum() == pytest.approx(-bytes_share(theirs, text, len(ours.decode(row[:1]))))
    assert "another tokenizer" in scorer.note


def test_one_tokenizer_through_text_is_exact() -> None:
    tokenizer = train_bpe(TEXTS, 400)
    model = llama()
    rows = [np.array(tokenizer(text)["input_ids"]) for text in TEXTS[:1]]
    direct = TransformersScorer(model).log_probs(rows)
    through = TextScorer(TransformersScorer(model), tokenizer, tokenizer).log_probs(rows)
    np.testing.assert_allclose(through[0], direct[0], atol=1e-9)


def test_a_text_of_one_token_is_refused() -> None:
    bytes_only, words = train_bpe(TEXTS, 257), train_bpe(["the the the"] * 9, 262)
    row = np.array(bytes_only("the")["input_ids"])
    if len(words("the")["input_ids"]) != 1:
        pytest.fail("the premise of this test does not hold")
    with pytest.raises(ScorerError, match="one token or none"):
        TextScorer(Uniform(), bytes_only, words).log_probs([row])


def test_import_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, provenance.scorers; "
        "print({'torch', 'transformers', 'httpx', 'diskcache'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
