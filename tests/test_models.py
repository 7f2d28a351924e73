"""Small language models: training, scoring, sampling and weights against independent ways."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from transformers import PreTrainedModel

from stemma.models.lm import build, parameter_count, small_config
from stemma.models.parallel import in_processes
from stemma.models.sampling import sample
from stemma.models.scoring import sequence_losses, token_losses
from stemma.models.tokenizer import encode_documents, train_bpe
from stemma.models.training import LearningRate, train
from stemma.models.weights import average, clone, quantize_round, weights_digest

VOCABULARY = 40
ROWS = np.random.default_rng(0).integers(0, VOCABULARY, (60, 12))
ORDER = np.random.default_rng(1).permutation(60)
SETTINGS: dict[str, Any] = {"batch_size": 8, "learning_rate": 3e-3, "weight_decay": 0.1}


def tiny(seed: int = 0, architecture: Any = "llama", **options: Any) -> PreTrainedModel:
    shape = {"vocab_size": VOCABULARY, "hidden": 16, "layers": 1, "heads": 2} | options
    return build(small_config(architecture, **shape), seed)


# --- tokenizer

TEXTS = ["The parchment was written over.", "The parchment was old; the order, new.", "Kurz: ß!"]


def test_bpe_is_deterministic_and_lossless() -> None:
    first, second = (train_bpe(TEXTS * 5, 290) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) == 290
    for text in [*TEXTS, "unseen 漢字\n\ttabs  and spaces ,"]:
        assert first.decode(first(text)["input_ids"]) == text


def test_bpe_learns_frequent_pairs_first() -> None:
    tokenizer = train_bpe(["ab ab ab ab cd"], 258)
    assert tokenizer.convert_ids_to_tokens([0, 257]) == ["<|endoftext|>", "ab"]


def test_bpe_refuses_less_than_bytes() -> None:
    with pytest.raises(ValueError, match="257"):
        train_bpe(TEXTS, 256)


def test_rows_are_whole_chunks_of_single_documents() -> None:
    tokenizer = train_bpe(TEXTS, 257)  # one token a byte
    rows = encode_documents(tokenizer, ["abcdefgh", "xy", "", "ijkl"], 3)
    assert [tokenizer.decode(row) for row in rows] == ["abc", "def", "ijk"]
    assert encode_documents(tokenizer, [], 3).shape == (0, 3)


# --- models


def test_the_standard_model_has_its_size() -> None:
    model = build(small_config(), 0)
    embeddings, attention, feed_forward, norms = 4_000 * 128, 4 * 128**2, 3 * 128 * 341, 2 * 128
    assert parameter_count(model) == embeddings + 2 * (attention + feed_forward + norms) + 128
    untied = build(small_config(tie_embeddings=False), 0)
    assert parameter_count(untied) == parameter_count(model) + embeddings


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
def test_the_seed_decides_the_weights_and_nothing_else_moves(architecture: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert weights_digest(tiny(3, architecture)) == weights_digest(tiny(3, architecture))
    assert weights_digest(tiny(3, architecture)) != weights_digest(tiny(4, architecture))
    assert torch.equal(torch.get_rng_state(), before)


# --- training


def test_training_is_deterministic_to_the_bit() -> None:
    models = [tiny(), tiny()]
    logs = [train(model, ROWS, ORDER, **SETTINGS) for model in models]
    assert weights_digest(models[0]) == weights_digest(models[1])
    assert np.array_equal(logs[0].losses, logs[1].losses)
    other = tiny()
    train(other, ROWS, ORDER[::-1], **SETTINGS)
    assert weights_digest(other) != weights_digest(models[0])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_resumed_equals_uninterrupted(schedule: Any) -> None:
    settings = SETTINGS | {"schedule": schedule, "warmup": 3, "total_steps": 8}
    whole, parts = tiny(), tiny()
    log = train(whole, ROWS, ORDER, **settings)
    first = train(parts, ROWS, ORDER[:40], **settings)
    second = train(parts, ROWS, ORDER[40:], state=first.state, **settings)
    assert weights_digest(parts) == weights_digest(whole)
    assert np.array_equal(np.concatenate([first.losses, second.losses]), log.losses)
    assert second.state.step == log.state.step == 8


def test_one_state_starts_many_phases() -> None:
    base = tiny()
    state = train(base, ROWS, ORDER[:40], **SETTINGS).state
    kept = copy.deepcopy(state.optimizer)
    ends = []
    for _ in range(2):
        again = clone(base)
        train(again, ROWS, ORDER[40:], state=state, **SETTINGS)
        ends.append(weights_digest(again))
    assert ends[0] == ends[1] != weights_digest(base)
    for index, moments in kept["state"].items():
        assert all(torch.equal(moments[k], state.optimizer["state"][index][k]) for k in moments)


def test_logged_order_is_the_given_order() -> None:
    order = np.concatenate([ORDER, ORDER[:5]])
    log = train(tiny(), ROWS, order, **SETTINGS)
    assert np.array_equal(log.consumed, order)
    assert [len(batch) for batch in log.batches] == [8] * 8 + [1]


def test_the_model_sees_exactly_the_logged_rows() -> None:
    model, seen = tiny(), list[NDArray[np.int64]]()
    model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_ids"].numpy().copy()), with_kwargs=True
    )
    log = train(model, ROWS, ORDER, **SETTINGS)
    assert np.array_equal(np.concatenate(seen), ROWS[log.consumed][:, :-1])


def test_training_equals_a_plain_loop_on_transformers_own_loss() -> None:
    ours, plain = tiny(), tiny()
    log = train(ours, ROWS, ORDER, **SETTINGS)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=3e-3, weight_decay=0.1)
    losses = []
    for start in range(0, 60, 8):
        tokens = torch.from_numpy(ROWS[ORDER[start : start + 8]])
        loss = plain(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(log.losses, losses, rtol=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_training_learns() -> None:
    model = tiny()
    before = sequence_losses(model, ROWS).mean()
    train(model, ROWS, np.tile(ORDER, 5), **SETTINGS)
    assert before == pytest.approx(np.log(VOCABULARY), abs=0.1)  # at first: uniform
    assert sequence_losses(model, ROWS).mean() < before - 0.1


def test_bf16_is_near_fp32() -> None:
    half, full = (train(tiny(), ROWS, ORDER, bf16=b, **SETTINGS).losses for b in (True, False))
    np.testing.assert_allclose(half, full, rtol=0.02)
    assert not np.array_equal(half, full)


def test_after_step_is_called_once_a_step() -> None:
    calls: list[int] = []
    train(tiny(), ROWS, ORDER[:24], after_step=calls.append, **SETTINGS)
    assert calls == [1, 2, 3]


def test_learning_rates() -> None:
    cosine = LearningRate(1.0, "cosine", total=12, warmup=2, final_fraction=0.1)
    assert [cosine.at(s) for s in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert cosine.at(7) == pytest.approx(0.55)  # half way: the mean of peak and end
    assert cosine.at(12) == pytest.approx(0.1)
    assert cosine.at(99) == pytest.approx(0.1)
    linear = LearningRate(2.0, "linear", total=10)
    np.testing.assert_allclose([linear.at(s) for s in range(11)], 2 * (1 - np.arange(11) / 10))
    assert LearningRate(0.3, "constant", total=1).at(50) == 0.3
    root = LearningRate(1.0, "inverse_sqrt", total=1, warmup=4)
    assert [root.at(s) for s in (0, 3, 15, 63)] == [0.25, 1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("order", "batch_size", "reason"),
    [([], 8, "empty"), ([60], 8, "outside"), ([-1], 8, "outside"), ([0], 0, "batch_size")],
)
def test_bad_training_input_is_refused(order: list[int], batch_size: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        train(tiny(), ROWS, np.array(order), batch_size=batch_size, learning_rate=1e-3)


# --- scoring


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
def test_losses_are_the_probability_of_each_token_given_those_before(architecture: Any) -> None:
    model = tiny(1, architecture)
    expected = np.empty((3, 11))
    for i, j in np.ndindex(expected.shape):  # one prefix at a time: no look-ahead is possible
        logits = model(input_ids=torch.from_numpy(ROWS[i : i + 1, : j + 1])).logits[0, -1]
        expected[i, j] = -logits.double().log_softmax(-1)[ROWS[i, j + 1]].item()
    np.testing.assert_allclose(token_losses(model, ROWS[:3]), expected, atol=1e-5)
    np.testing.assert_allclose(sequence_losses(model, ROWS[:3]), expected.mean(1), atol=1e-5)


def test_losses_equal_transformers_own() -> None:
    model, tokens = tiny(2), torch.from_numpy(ROWS)
    own = model(input_ids=tokens, labels=tokens).loss.item()
    assert sequence_losses(model, ROWS, batch_size=7).mean() == pytest.approx(own, abs=1e-5)


def test_scoring_keeps_the_mode_and_needs_no_gradient() -> None:
    model = tiny()
    for mode in (True, False):
        model.train(mode)
        sequence_losses(model, ROWS)
        assert model.training is mode
    assert all(parameter.grad is None for parameter in model.parameters())


# --- sampling


def probabilities(model: PreTrainedModel, prompt: list[int], temperature: float) -> NDArray[Any]:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].double()
    result: NDArray[Any] = (logits / temperature).softmax(-1).numpy()
    return result


def sharpened() -> PreTrainedModel:
    """A tiny model whose distributions are far from uniform."""
    model = tiny(7)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(12)
    return model


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_samples_follow_the_softmax(temperature: float) -> None:
    model, n = sharpened(), 8_000
    drawn = sample(model, np.tile([[3, 5]], (n, 1)), 1, temperature=temperature, seed=11)
    expected = n * probabilities(model, [3, 5], temperature)
    large = expected >= 5
    counts = np.bincount(drawn[:, 0], minlength=VOCABULARY)
    observed = np.append(counts[large], counts[~large].sum())
    wanted = np.append(expected[large], expected[~large].sum())
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep]).pvalue > 1e-3
    uniform = np.full(VOCABULARY, n / VOCABULARY)
    assert stats.chisquare(counts, uniform).pvalue < 1e-6  # the test has power


def test_later_tokens_follow_the_softmax_given_the_earlier() -> None:
    model, n = sharpened(), 8_000
    drawn = sample(model, np.full((n, 1), 3), 2, seed=12)
    first = np.bincount(drawn[:, 0]).argmax()
    second = drawn[drawn[:, 0] == first, 1]
    expected = len(second) * probabilities(model, [3, int(first)], 1.0)
    large = expected >= 5
    counts = np.bincount(second, minlength=VOCABULARY)
    observed = np.append(counts[large], counts[~large].sum())
    wanted = np.append(expected[large], expected[~large].sum())
    assert stats.chisquare(observed[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3


@pytest.mark.parametrize("architecture", ["llama", "gpt-neox"])
def test_greedy_equals_growing_the_text_without_a_cache(architecture: Any) -> None:
    model, tokens = tiny(4, architecture), torch.from_numpy(ROWS[:3, :4])
    for _ in range(6):
        step = model(input_ids=tokens).logits[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, step], dim=1)
    drawn = sample(model, ROWS[:3, :4], 6, temperature=0, seed=0)
    assert np.array_equal(drawn, tokens[:, 4:].numpy())
    assert np.array_equal(sample(model, ROWS[:3, :4], 6, top_k=1, seed=9), drawn)


def test_the_seed_decides_the_sample_whatever_the_batch() -> None:
    model = tiny()
    first = sample(model, ROWS[:, :2], 5, seed=1)
    torch.manual_seed(99)
    assert np.array_equal(sample(model, ROWS[:, :2], 5, seed=1), first)
    assert np.array_equal(sample(model, ROWS[:, :2], 5, seed=1, batch_size=7), first)
    assert not np.array_equal(sample(model, ROWS[:, :2], 5, seed=2), first)
    assert first.shape == (60, 5)


def test_top_k_keeps_to_the_likeliest() -> None:
    model = tiny()
    likeliest = np.argsort(-probabilities(model, [3], 1.0))[:4]
    drawn = sample(model, np.full((500, 1), 3), 1, top_k=4, seed=0)
    assert set(drawn[:, 0]) == set(likeliest)


def test_bad_sampling_input_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        sample(tiny(), ROWS, 1, temperature=-1, seed=0)
    with pytest.raises(ValueError, match="prompts"):
        sample(tiny(), ROWS[:, :0], 1, seed=0)


# --- weights


def test_average_is_linear_and_new() -> None:
    a, b = tiny(1), tiny(2)
    before = weights_digest(a)
    merged = average([a, b], [0.25, 0.75])
    for m, x, y in zip(merged.parameters(), a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(m, 0.25 * x + 0.75 * y)
    assert weights_digest(a) == before
    assert weights_digest(average([a, b], [1.0, 0.0])) == before


def test_average_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="add up"):
        average([tiny(), tiny()], [0.5, 0.6])
    with pytest.raises(ValueError, match="1 models and 2"):
        average([tiny()], [0.5, 0.5])
    with pytest.raises(ValueError, match="differ in"):
        average([tiny(), tiny(hidden=32)], [0.5, 0.5])
    with pytest.raises(ValueError, match="differ in"):
        average([tiny(layers=2), tiny()], [0.5, 0.5])


def test_rounding_errs_by_half_a_step_at_most() -> None:
    model = tiny()
    rounded = quantize_round(model, 4)
    for before, after in zip(model.parameters(), rounded.parameters(), strict=True):
        if before.dim() < 2:
            assert torch.equal(before, after)
            continue
        step = before.abs().amax(1, keepdim=True) / 7
        assert bool(((before - after).abs() <= step / 2 * 1.001).all())
        assert max(len(row.unique()) for row in after) <= 15
    again = quantize_round(rounded, 4)
    for once, twice in zip(rounded.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-8)  # idempotent


def test_rounding_keeps_zeros_and_refuses_one_bit() -> None:
    model = tiny()
    with torch.no_grad():
        model.get_input_embeddings().weight[0] = 0
    assert bool((quantize_round(model, 8).get_input_embeddings().weight[0] == 0).all())
    with pytest.raises(ValueError, match="bits"):
        quantize_round(model, 1)


def test_digest_sees_every_bit() -> None:
    model = tiny()
    before = weights_digest(model)
    other = clone(model)
    assert weights_digest(other) == before
    weight = other.get_input_embeddings().weight
    with torch.no_grad():
        weight[1, 2] = torch.nextafter(weight[1, 2], torch.tensor(1.0))
    assert weights_digest(other) != before
    assert weights_digest(model) == before
    assert weights_digest(model.to(torch.bfloat16)) != before


def test_processes_keep_the_order_and_compute_with_one_thread() -> None:
    assert list(in_processes(pow, [(2, n) for n in range(5)], workers=2)) == [1, 2, 4, 8, 16]
    assert list(in_processes(torch.get_num_threads, [(), ()], workers=2)) == [1, 1]
