"""superposition-scaling: samples, loss and decay of the toy model; overlaps; fits."""

import numpy as np
import pytest
import torch

from stemma import stats
from stemma.papers.superposition_scaling import chinchilla, frequencies, geometry, scaling, toy
from stemma.papers.superposition_scaling.training import Setting, train


def test_frequencies_sum_to_one_and_fall() -> None:
    for p in (frequencies.power(64, 1.2), frequencies.exponential(64), frequencies.linear(64)):
        assert p.sum() == pytest.approx(1.0)
        assert (np.diff(p) < 0).all()
    words = frequencies.of_words(["the cat, the dog: the end", "a dog"], 3)
    assert words.tolist() == [0.5, pytest.approx(1 / 3), pytest.approx(1 / 6)]
    with pytest.raises(ValueError, match="different words"):
        frequencies.of_words(["one two"], 3)


def test_activity_goes_from_one_feature_to_an_always_active_one() -> None:
    p = frequencies.power(100, 1.0)
    assert frequencies.with_activity(p, 0.0).sum() == pytest.approx(1.0)
    assert frequencies.with_activity(p, 1.0)[0] == pytest.approx(1.0)


def test_features_are_active_as_often_as_stated_independently_and_uniform() -> None:
    p = np.array([0.9, 0.3, 0.02])
    x = toy.Sampler(p, models=2, batch=40_000, seed=0).draw().dense().double()
    active = (x > 0).double()
    expected = torch.tensor(p)
    error = (expected * (1 - expected) / 40_000).sqrt()
    assert ((active.mean(dim=1) - expected).abs() < 4.5 * error).all()
    for run in (0, 1):
        both = (active[run, :, 0] * active[run, :, 1]).mean()
        assert float(both) == pytest.approx(0.27, abs=4.5 * (0.27 * 0.73 / 40_000) ** 0.5)
    values = x[x > 0]
    assert float(values.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(values.square().mean()) == pytest.approx(toy.SECOND_MOMENT, abs=0.02)
    assert float(values.max()) < 2


def test_the_sparse_loss_is_the_dense_one_with_its_gradient() -> None:
    weights = toy.Weights(*(t.requires_grad_() for t in toy.initial([3, 5], 12, seed=1)))
    x = toy.Sampler(np.full(12, 0.2), models=2, batch=40, seed=2).draw()
    sparse, found = toy.losses(weights, x)
    dense = x.dense()
    y = torch.relu(dense @ weights.rows @ weights.rows.transpose(1, 2) + weights.bias[:, None])
    direct = (y - dense).square().sum(dim=2).mean(dim=1)
    torch.testing.assert_close(sparse, direct)
    for ours, slope in zip(found, torch.autograd.grad(direct.sum(), weights), strict=True):
        torch.testing.assert_close(ours, slope)


def test_decay_shrinks_growth_pulls_to_length_one() -> None:
    rows = torch.tensor([[[0.5, 0.0], [0.0, 2.0]]]).repeat(2, 1, 1)
    toy.decay(rows, torch.tensor([0.5, -1.0]), rate=0.1)
    torch.testing.assert_close(rows[0], torch.tensor([[0.475, 0.0], [0.0, 1.9]]))
    # -1: 0.5 (1 + 0.1 (1/0.5 - 1)) = 0.55 and 2 (1 - 0.1 (1 - 1/2)) = 1.9
    torch.testing.assert_close(rows[1], torch.tensor([[0.55, 0.0], [0.0, 1.9]]))


def test_padding_changes_nothing_and_stays_zero() -> None:
    p = frequencies.power(16, 1.0)
    both = train(p, [2, 4], [-1.0, -1.0], Setting(20, 32, fresh=32), seed=3)
    assert both.weights.rows[0, :, 2:].abs().max() == 0
    assert both.weights.rows[1].abs().min() > 0


def test_growth_keeps_all_features_and_decay_drops_rare_ones() -> None:
    p = frequencies.power(32, 1.0)
    done = train(p, [6, 6], [-1.0, 0.5], Setting(1200, 64, fresh=20_000), seed=4)
    strong, weak = geometry.represented(done.weights.rows)
    assert strong > 0.98
    assert weak < 0.5
    norms = geometry.lengths(done.weights.rows[0])
    assert norms.max() < 1.5  # plain AdamW with negative decay would blow them up
    # The bias must silence the noise of rare features, and training must not fit its own samples.
    assert done.weights.bias[0, -8:].max() < 0
    torch.testing.assert_close(done.fresh, done.losses, rtol=0.2, atol=0.0)


def test_overlap_of_an_orthonormal_frame_and_of_the_welch_bound() -> None:
    assert geometry.squared_overlap(torch.eye(5)) == pytest.approx(0.0, abs=1e-9)
    mercedes = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
    found = geometry.squared_overlap(3 * mercedes)
    assert found == pytest.approx(geometry.welch_bound(3, 2), abs=1e-6)
    assert found == pytest.approx(0.25, abs=1e-6)
    rows = torch.randn(300, 20, generator=torch.Generator().manual_seed(5))
    assert geometry.welch_bound(300, 20) < geometry.squared_overlap(rows) < 1.1 / 20


def test_unlearned_loss_counts_what_is_not_represented() -> None:
    p = torch.tensor([0.5, 0.3, 0.2])
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.4], [0.0, 0.0]])
    assert float(geometry.unlearned_loss(rows, p)) == pytest.approx(4 / 3 * 0.5)


def test_fits_recover_what_points_were_made_from() -> None:
    m = np.array([8.0, 16, 32, 64])
    fit = stats.power_law(m, 3 * m**-1.1)
    assert (fit.slope, fit.r_squared) == (pytest.approx(-1.1), pytest.approx(1.0))
    assert scaling.leave_one_out_slopes(m, 3 * m**-1.1) == pytest.approx(-1.1)
    widths, groups = np.tile(m, 2), np.repeat(["a", "b"], 4)
    losses = 50 * widths**-0.9 + np.where(groups == "a", 2.0, 3.0)
    joint = scaling.joint_fit(widths, losses, groups)
    assert joint.exponent == pytest.approx(0.9, abs=1e-4)
    assert joint.amplitude == pytest.approx(50, rel=1e-3)
    assert joint.offsets == pytest.approx({"a": 2.0, "b": 3.0}, abs=1e-3)


def test_pseudo_values_of_a_mean_are_the_values() -> None:
    x = np.array([1.0, 4.0, 7.0])
    without = [np.delete(x, i).mean() for i in range(3)]
    assert scaling.jackknife(without, x.mean()) == pytest.approx(x)


def test_parameters_of_chinchilla_models_follow_from_their_shapes() -> None:
    count = chinchilla.parameters()
    assert count[-1] == pytest.approx(47 * (4 * 5120**2 + 8 * 5120**2))
    assert len(count) == 50
