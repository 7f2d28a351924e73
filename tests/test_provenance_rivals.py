"""Rival methods: closed forms, null calibration, and what each flags that it should not."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedModel

import provenance as pv
from provenance import rivals
from provenance.independence import _log_matching_tail

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}


def llama(seed: int, **changes: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(**{**SHAPE, "num_key_value_heads": 2, **changes})
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def fine_tuned(model: PreTrainedModel, seed: int = 1, size: float = 0.01) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    copy = llama(0)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for p in copy.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return copy


def test_scores_by_hand() -> None:
    assert rivals.auc([3.0, 1.0], [2.0, 0.0]) == 0.75
    assert rivals.auc([1.0], [1.0]) == 0.5
    losses = np.array([[1.0, 5.0, 3.0, 2.0, 4.0]])
    assert rivals.min_k(losses, 0.4).tolist() == [-4.5]
    easy, hard = "a" * 500, "".join(chr(33 + i * i % 90) for i in range(500))
    easier, harder = rivals.zlib_score([-100.0, -100.0], [easy, hard])
    assert easier < harder < 0


def test_min_k_plus_plus_is_standardized_by_the_models_own_distribution() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 11))
    mean, deviation = rivals.log_prob_moments(logits)
    p = torch.softmax(torch.tensor(logits), -1).numpy()
    assert mean == pytest.approx(-stats.entropy(p, axis=-1))
    second = (p * np.log(p) ** 2).sum(-1)
    assert deviation == pytest.approx(np.sqrt(second - mean**2))
    uniform = rivals.log_prob_moments(np.zeros((1, 4)))
    assert uniform[1] == pytest.approx(0.0)
    scores = rivals.min_k_plus_plus(mean + 2 * deviation, mean, deviation)
    assert scores == pytest.approx(np.full(3, 2.0))
    certain = rivals.min_k_plus_plus(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)))
    assert certain.tolist() == [0.0]


def test_dataset_inference_is_calibrated_on_twins_and_not_beyond() -> None:
    rng = np.random.default_rng(0)
    p = np.array([rivals.dataset_inference(*rng.normal(size=(2, 30))) for _ in range(1000)])
    features = [rivals.dataset_inference(*rng.normal(size=(2, 30, 3)), seed=i) for i in range(1000)]
    for values in (p, np.array(features)):
        for alpha in (0.01, 0.05, 0.1):
            hits = int((values <= alpha).sum())
            assert stats.binomtest(hits, 1000, alpha, alternative="greater").pvalue > 0.01
    members = rng.normal(size=(200, 3)) + np.array([0.0, 1.0, 0.0])
    assert rivals.dataset_inference(members, rng.normal(size=(200, 3))) < 1e-6
    assert rivals.dataset_inference(np.arange(10.0) + 9, np.arange(10.0)) < 0.001
    with pytest.raises(pv.BadScores, match="shapes"):
        rivals.dataset_inference(members, members[:, :2])
    with pytest.raises(pv.TooFewExamples):
        rivals.dataset_inference([1.0], [2.0, 3.0])
    with pytest.raises(pv.BadScores, match="NaN"):
        rivals.auc([math.nan], [1.0])


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_distribution_of_fixed_points_by_enumeration(n: int) -> None:
    fixed = [sum(i == j for i, j in enumerate(pi)) for pi in itertools.permutations(range(n))]
    for k in range(n + 1):
        exact = Fraction(sum(f >= k for f in fixed), len(fixed))
        assert math.exp(_log_matching_tail(k, n)) == pytest.approx(float(exact))


def test_weights_of_a_copy_and_of_a_stranger() -> None:
    base, stranger = llama(1), llama(2)
    bob = fine_tuned(base)
    units = [rivals.hidden_units(m) for m in (base, bob, stranger)]
    assert [u.shape for u in units[0]] == [(24, 3 * 16)] * 2
    copied = rivals.hidden_unit_test(units[0], units[1])
    assert copied.fixed.tolist() == [24, 24]
    # 24 of 24 fixed points have probability 1/24!; Fisher: p (1 - ln p) for two layers.
    each = -math.lgamma(25)
    assert copied.layer_log10_p == pytest.approx([each / math.log(10)] * 2)
    joined = 2 * each + math.log(1 - 2 * each)
    assert copied.log10_p == pytest.approx(joined / math.log(10))
    assert rivals.hidden_unit_test(units[0], units[2]).log10_p > -2
    assert rivals.weight_cosine(base, base) == pytest.approx(1.0)
    assert 0.5 < rivals.weight_cosine(base, bob) < 1.0
    with pytest.raises(pv.ProvenanceError, match="differ"):
        rivals.hidden_unit_test(units[0], units[0][:1])
    with pytest.raises(pv.ProvenanceError, match="architecture"):
        rivals.weight_cosine(base, llama(1, num_hidden_layers=1))
    with pytest.raises(pv.BadScores, match="NaN"):
        rivals.hidden_unit_test([np.full((3, 2), np.nan)], [np.ones((3, 2))])


def test_hidden_unit_test_is_exact_under_its_null() -> None:
    """Independent, heavy-tailed and even constant weights: no assumption but equal treatment."""
    rng = np.random.default_rng(3)
    p, tied = [], []
    for i in range(1000):
        a, b = rng.standard_cauchy((2, 2, 12, 6))
        p.append(10 ** rivals.hidden_unit_test(list(a), list(b), seed=i).log10_p)
        ones = [np.ones((12, 2))]
        tied.append(10 ** rivals.hidden_unit_test(ones, ones, seed=i).log10_p)
    for values in (np.array(p), np.array(tied)):
        for alpha in (0.01, 0.05, 0.1):
            hits = int((values <= alpha).sum())
            assert stats.binomtest(hits, 1000, alpha, alternative="greater").pvalue > 0.01


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_renumbering_both_models_alike_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(15, 8))
    b = a + rng.normal(size=(15, 8))
    pi = rng.permutation(15)
    same = rivals.hidden_unit_test([a], [b]).fixed
    assert rivals.hidden_unit_test([a[pi]], [b[pi]], seed=seed).fixed.tolist() == same.tolist()


def test_hidden_units_of_gpt_neox_and_of_a_model_without() -> None:
    neox = AutoModelForCausalLM.from_config(GPTNeoXConfig(**SHAPE))
    assert [u.shape for u in rivals.hidden_units(neox)] == [(24, 2 * 16)] * 2
    with pytest.raises(pv.ProvenanceError, match="Llama"):
        rivals.invariant_cosine(neox, neox, np.arange(5))
    with pytest.raises(pv.ProvenanceError, match="no feed-forward"):
        rivals.hidden_units(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


def test_invariant_terms_survive_renumbering_and_plain_cosine_does_not() -> None:
    base = llama(1)
    hidden = llama(1)
    pi = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in hidden.model.layers:  # type: ignore[union-attr]
            for name in ("gate_proj", "up_proj"):
                getattr(layer.mlp, name).weight.copy_(getattr(layer.mlp, name).weight[pi])
            layer.mlp.down_proj.weight.copy_(layer.mlp.down_proj.weight[:, pi])
    ids = torch.arange(10)[None]
    assert torch.allclose(base(ids).logits, hidden(ids).logits, atol=1e-5)  # the same function
    tokens = np.arange(30)
    assert rivals.invariant_cosine(base, hidden, tokens) == pytest.approx(1.0)
    assert rivals.weight_cosine(base, hidden) < 0.995  # norms, all 1, dominate it
    assert abs(rivals.invariant_cosine(base, llama(2), tokens)) < 0.5
    # An owner's renumbering is what the constrained test cannot see.
    pair = rivals.hidden_units(base), rivals.hidden_units(hidden)
    assert rivals.hidden_unit_test(*pair).log10_p > -3
    with pytest.raises(pv.ProvenanceError, match="ids below 40"):
        rivals.invariant_cosine(base, base, [40])


def discrepancy_by_hand(prompts: np.ndarray, rows: np.ndarray, label: np.ndarray) -> float:
    def mean(a: int, b: int) -> float:
        pairs = [
            float(np.mean(rows[i] == rows[j]))
            for i in range(len(rows))
            for j in range(len(rows))
            if i != j and prompts[i] == prompts[j] and label[i] == a and label[j] == b
        ]
        return float(np.mean(pairs))

    return mean(1, 1) - 2 * mean(1, 0) + mean(0, 0)


def test_model_equality_statistic_by_hand() -> None:
    rng = np.random.default_rng(1)
    prompts, rows = rng.permutation(np.repeat([0, 1], 6)), rng.integers(0, 3, (12, 5))
    label = np.empty(12, int)
    for prompt in (0, 1):
        label[prompts == prompt] = [1, 1, 1, 0, 0, 0]
    a, b = label == 1, label == 0
    result = rivals.model_equality_test(prompts[a], rows[a], prompts[b], rows[b])
    assert result.statistic == pytest.approx(discrepancy_by_hand(prompts, rows, label))


def test_model_equality_null_and_power() -> None:
    rng = np.random.default_rng(2)
    prompts = np.repeat(np.arange(4), 5)
    words = rng.dirichlet(np.ones(6), size=(4, 3))  # one distribution a prompt and place

    def draw(tilt: float) -> np.ndarray:
        weights = words[prompts] ** (1 - tilt)
        cumulative = (weights / weights.sum(-1, keepdims=True)).cumsum(-1)
        return (cumulative < rng.uniform(size=(20, 3, 1))).sum(-1)

    options = {"permutations": 99}
    p = np.array(
        [
            rivals.model_equality_test(prompts, draw(0), prompts, draw(0), seed=i, **options).p
            for i in range(1000)
        ]
    )
    for alpha in (0.01, 0.05, 0.1):
        hits = int((p <= alpha).sum())
        assert stats.binomtest(hits, 1000, alpha, alternative="greater").pvalue > 0.01
    assert 0.4 < np.mean(p <= 0.5) < 0.55  # ties of so few samples make it conservative
    assert rivals.model_equality_test(prompts, draw(0), prompts, draw(2.0), **options).p == 0.01


def test_model_equality_refusals() -> None:
    rows = np.zeros((4, 3), int)
    with pytest.raises(pv.TooFewExamples, match="two samples"):
        rivals.model_equality_test([0, 0, 1, 1], rows, [0, 0, 0, 0], rows)
    with pytest.raises(pv.BadScores, match="pad"):
        rivals.model_equality_test([0] * 4, rows, [0] * 4, rows[:, :2])
    with pytest.raises(pv.BadScores, match="number of its prompt"):
        rivals.model_equality_test([0] * 3, rows, [0] * 4, rows)
