"""Derivatives: closed forms of the losses, and that training does what each promises."""

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from stemma.models.derivatives import divergence, fine_tune, fine_tunes, logit_student, lora
from stemma.models.dpo import (
    Preferences,
    continuation_log_probs,
    dpo,
    dpo_loss,
    real_against_sampled,
)
from stemma.models.lm import build, small_config
from stemma.models.scoring import sequence_losses, token_losses
from stemma.models.training import Recipe, train
from stemma.models.weights import clone, weights_digest

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 40, (64, 10))
RECIPE = Recipe(batch_size=8, learning_rate=3e-3)


def tiny(seed: int = 0) -> PreTrainedModel:
    return build(small_config(vocab_size=40, hidden=16, layers=1, heads=2), seed)


@pytest.fixture(scope="module")
def base() -> PreTrainedModel:
    model = tiny()
    train(model, ROWS, np.arange(len(ROWS)), batch_size=8, learning_rate=3e-3)
    return model


# --- direct preference optimization


def test_dpo_loss_is_equation_7() -> None:
    chosen, rejected, beta = [0.3, -1.0, 4.0], [0.1, 2.0, -3.0], 0.7
    by_hand = [
        -math.log(1 / (1 + math.exp(-beta * (w - lost))))
        for w, lost in zip(chosen, rejected, strict=True)
    ]
    found = dpo_loss(torch.tensor(chosen), torch.tensor(rejected), beta=beta)
    assert float(found) == pytest.approx(np.mean(by_hand), rel=1e-6)


def test_dpo_loss_without_a_difference_is_log_2_with_slope_beta_half() -> None:
    chosen = torch.zeros(1, requires_grad=True)
    loss = dpo_loss(chosen, torch.zeros(1), beta=0.4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(math.log(2))
    assert chosen.grad is not None
    assert float(chosen.grad) == pytest.approx(-0.4 * 0.5)


def test_continuations_are_scored_without_their_prompt(base: PreTrainedModel) -> None:
    base.train(False)
    with torch.no_grad():
        found = continuation_log_probs(base, torch.from_numpy(ROWS), 4).numpy()
    whole = -token_losses(base, ROWS)
    np.testing.assert_allclose(found, whole[:, 3:].sum(axis=1), rtol=1e-5)


def test_dpo_prefers_the_chosen_and_leaves_the_start_alone(base: PreTrainedModel) -> None:
    before = weights_digest(base)
    pairs = real_against_sampled(base, ROWS, 4, seed=1)
    assert pairs.rejected.shape == pairs.chosen.shape == (64, 6)
    tuned = dpo(base, pairs, RECIPE, seed=2, beta=0.5)
    assert weights_digest(base) == before != weights_digest(tuned)

    def margin(model: PreTrainedModel) -> float:
        chosen, rejected = (
            token_losses(model, np.concatenate([pairs.prompts, part], axis=1))[:, 3:].sum(axis=1)
            for part in (pairs.chosen, pairs.rejected)
        )
        return float((rejected - chosen).mean())

    assert margin(tuned) > margin(base) + 0.1


def test_dpo_first_step_has_the_loss_of_no_preference(base: PreTrainedModel) -> None:
    """Policy and reference start equal, so that the first update follows log 2 exactly."""
    pairs = real_against_sampled(base, ROWS[:8], 4, seed=1)
    still = dpo(base, pairs, Recipe(batch_size=8, learning_rate=0.0), seed=0)
    assert weights_digest(still) == weights_digest(base)


@pytest.mark.parametrize(
    ("prompts", "chosen", "rejected"),
    [((3, 2), (3, 4), (3, 5)), ((3, 2), (2, 4), (2, 4)), ((3, 0), (3, 4), (3, 4))],
)
def test_preferences_that_do_not_fit_are_refused(
    prompts: tuple[int, int], chosen: tuple[int, int], rejected: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=r"continuation|at least one token"):
        Preferences(*(np.zeros(shape, np.int64) for shape in (prompts, chosen, rejected)))


# --- LoRA


def test_lora_merges_into_a_plain_model_of_low_rank_difference(base: PreTrainedModel) -> None:
    before = weights_digest(base)
    tuned = lora(base, ROWS, RECIPE, seed=3, rank=2)
    assert type(tuned) is type(base)
    assert weights_digest(base) == before
    own = dict(base.named_parameters())
    changed = {
        name: int(torch.linalg.matrix_rank(p.detach() - own[name].detach(), atol=1e-6))
        for name, p in tuned.named_parameters()
        if not torch.equal(p, own[name])
    }
    assert changed
    assert all("proj" in name and rank <= 2 for name, rank in changed.items())


def test_lora_is_decided_by_its_seed(base: PreTrainedModel) -> None:
    state = torch.get_rng_state()
    one, two, other = (lora(base, ROWS[:16], RECIPE, seed=s, rank=2) for s in (3, 3, 4))
    assert weights_digest(one) == weights_digest(two) != weights_digest(other)
    assert torch.equal(torch.get_rng_state(), state)


# --- fine-tunes and students


def test_fine_tune_is_the_snapshot_of_fine_tunes(base: PreTrainedModel) -> None:
    both = fine_tunes(base, ROWS, [0.25, 1.0], RECIPE, np.random.default_rng(5))
    assert weights_digest(fine_tune(base, ROWS, 0.25, RECIPE, seed=5)) == weights_digest(both[0.25])


def test_divergence_is_the_mean_over_positions() -> None:
    teacher, student = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)), None
    student = torch.zeros(2, 3, 5)
    p = torch.softmax(teacher, dim=-1)
    by_hand = (p * (p * 5).log()).sum(dim=-1).mean()  # against the uniform distribution on 5
    assert float(divergence(teacher, student)) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(divergence(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_a_student_of_logits_comes_closer_to_its_teacher(base: PreTrainedModel) -> None:
    start = tiny(seed=9)
    learned = logit_student(base, start, np.tile(ROWS, (6, 1)), RECIPE, seed=0)
    assert weights_digest(start) == weights_digest(tiny(seed=9))
    tokens = torch.from_numpy(RNG.integers(0, 40, (32, 9)))

    def distance(model: PreTrainedModel) -> float:
        with torch.no_grad():
            logits = [clone(m).train(False)(input_ids=tokens).logits for m in (base, model)]
        return float(divergence(*logits))

    assert distance(learned) < 0.7 * distance(start)


def test_another_loss_leaves_the_default_training_as_it_was() -> None:
    plain, given = tiny(), tiny()
    order = np.arange(16)
    RECIPE.fit(plain, ROWS, order)
    train(given, ROWS, order, batch_size=8, learning_rate=3e-3, loss=None)
    assert weights_digest(plain) == weights_digest(given)
    assert sequence_losses(plain, ROWS).mean() < sequence_losses(tiny(), ROWS).mean()
