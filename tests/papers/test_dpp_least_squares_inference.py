"""Bounds and tests: closed forms, null calibration, and what a faked result would look like."""

import math

import numpy as np
import pytest
from scipy import stats

from stemma.papers.dpp_least_squares import evidence, functions, inference, sampling, study
from stemma.papers.dpp_least_squares import spaces as measures


def curves_of(name, kind, sizes, replicates=200, seeds=(1, 2), weight=None, nodes=80):
    space = measures.make_space(name, nodes)
    targets = functions.make_targets(space, 0)
    sampler = sampling.make_sampler(space, kind)
    if weight is not None:
        sampler = sampler._replace(weight=weight)
    return space, study.run_curves(space, targets, sampler, sizes, replicates, seeds)


def test_bounds_have_their_closed_forms():
    assert inference.rate_constant(0.5) == pytest.approx(0.5 - 0.5 * math.log(2))
    assert inference.mean_error_bound(0.5) == pytest.approx(3)
    assert inference.mean_error_bound(0.5, 0.5) == pytest.approx(5)
    assert inference.uniform_error_bound(0.5, 0.5) == pytest.approx(3)
    r = inference.log_multiple(20, 0.5)
    assert (
        inference.failure_bound(20, 20 * r, 0.5)
        <= 1
        < inference.failure_bound(20, 20 * (r - 1), 0.5)
    )


def test_stable_multiple_finds_the_first_or_censors():
    assert inference.stable_multiple([1, 2, 4], np.array([0.1, 0.96, 1.0]), 0.95) == 2
    assert inference.stable_multiple([1, 2, 4], np.array([0.1, 0.2, 0.3]), 0.95) == 5


def test_moments_match_numpy():
    x = np.random.default_rng(0).standard_normal((50, 3))
    moments = inference.Moments()
    moments.add(x[:20], products=True)
    moments.add(x[20:], products=True)
    np.testing.assert_allclose(moments.mean, x.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(x.T), atol=1e-12)


def hotelling(x):
    moments = inference.Moments()
    moments.add(x, products=True)
    return inference.hotelling_p(moments)


def test_hotelling_is_calibrated_and_has_power():
    rng = np.random.default_rng(1)
    null = [hotelling(rng.standard_normal((60, 4)) * [1, 2, 3, 4]) for _ in range(500)]
    assert stats.kstest(null, "uniform").pvalue > 1e-3
    assert hotelling(rng.standard_normal((60, 4)) + 1) < 1e-6
    with pytest.raises(ValueError, match="do not estimate"):
        hotelling(rng.standard_normal((4, 4)))


@pytest.mark.parametrize("factor", [1, 2])
def test_hotelling_holds_its_level_on_volume_samples(factor):
    # Volume sampling is unbiased but heavy-tailed: with few replicates the test is too liberal.
    space = measures.legendre_space(4, 60)
    targets = functions.make_targets(space, 0)
    sampler = sampling.make_sampler(space, "volume")
    n = factor * space.m
    p = []
    for seed in range(150):
        curves = study.run_curves(space, targets, sampler, [n], 1000, [seed])
        p.append(inference.hotelling_p(curves.shift[n]))
    assert np.mean(np.array(p) < 0.01) < 0.04
    assert np.mean(np.array(p) < 0.05) < 0.11


@pytest.mark.parametrize("kind", ["iid nu", "volume", "repeated DPP"])
@pytest.mark.parametrize("name", ["legendre-5", "hermite-5", "diabetes-linear"])
def test_gram_matrix_is_the_identity_on_average(name, kind):
    _, curves = curves_of(name, kind, measures_sizes(name), 400)
    assert inference.gram_identity_p(curves.gram) > 1e-4
    assert curves.gram.count == 800


def measures_sizes(name):
    m = measures.make_space(name, 80).m
    return [m, 2 * m]


def test_dropped_weights_are_caught():
    space = measures.make_space("legendre-5", 80)
    _, curves = curves_of("legendre-5", "iid nu", [5, 10], 400, weight=np.ones(len(space.mu)))
    assert inference.gram_identity_p(curves.gram) < 1e-10


def test_a_constant_entry_that_is_wrong_is_caught():
    moments = inference.Moments()
    moments.add(np.tile(2 * np.eye(2), (30, 1, 1)))
    assert inference.gram_identity_p(moments) == 0.0


def test_error_ratio_is_at_least_one_and_near_m_plus_one_for_a_dpp():
    _, curves = curves_of("legendre-5", "repeated DPP", [5, 6, 10], 2000)
    assert (curves.ratio >= 1).all()
    # E ratio = m + 1; the median of one DPP is lower, the mean is near.
    assert 4 < curves.ratio[:, 0, :, :].mean() < 8


def test_conditioned_samples_are_counted_and_bounded():
    space = measures.make_space("legendre-4", 80)
    targets = functions.make_targets(space, 0)
    uniform = np.array([functions.best_uniform_error(space, f) for f in targets.values.T])
    for kind in ("iid nu", "volume", "repeated DPP"):
        sampler = sampling.make_sampler(space, kind, 0.5)
        rng = np.random.default_rng(3)
        done = study.run_conditioned(space, targets, sampler, 16, 300, 0.5, rng)
        assert done.ratio.shape == (300, len(targets.names))
        assert done.draws >= 300
        l2 = np.sqrt(done.ratio) * targets.best
        bound = inference.uniform_error_bound(0.5, 0.5)
        assert (l2 <= bound * uniform).all()
        adversary = evidence.worst_bounded_errors(space, sampler.weight, done.nodes)
        assert (adversary <= bound).all()
        assert adversary.mean() > 1  # the adversary does bite


def test_the_adversarys_error_is_that_of_a_plain_fit():
    space = measures.legendre_space(1, 4)  # V_1: the constants; fhat is the weighted mean of +1s
    nodes = np.array([[0, 1, 1, 3]])
    f = np.array([1.0, 1.0, -1.0, 1.0])
    expected = math.sqrt(space.mu @ (f - 1.0) ** 2)
    found = evidence.worst_bounded_errors(space, np.ones(4), nodes)
    assert found[0] == pytest.approx(expected)


def test_conditioning_that_never_succeeds_is_an_error(monkeypatch):
    monkeypatch.setattr(study, "_MAX_ROUNDS", 2)
    space = measures.make_space("legendre-8", 80)
    targets = functions.make_targets(space, 0)
    sampler = sampling.make_sampler(space, "iid nu")
    rng = np.random.default_rng(4)
    with pytest.raises(RuntimeError, match="accepted"):
        study.run_conditioned(space, targets, sampler, 8, 20, 0.05, rng)


def test_curves_are_reproducible_and_batching_keeps_the_shape(monkeypatch):
    _, one = curves_of("legendre-5", "volume", [5, 6, 10])
    _, two = curves_of("legendre-5", "volume", [5, 6, 10])
    np.testing.assert_array_equal(one.ratio, two.ratio)
    monkeypatch.setitem(study._BATCH_BYTES, "cpu", 8 * 5 * 12 * 8 * 50)
    _, batched = curves_of("legendre-5", "volume", [5, 6, 10])
    assert batched.gram.count == one.gram.count
    assert np.isfinite(batched.ratio).all()


def test_evidence_is_one_value_a_seed():
    space, curves = curves_of("legendre-5", "volume", [5, 10, 55], 100, (1, 2, 3))
    assert evidence.conditioned_mean_ratio(curves, 55, 0.5).shape == (3,)
    assert evidence.log_ratio_quantile(curves, 5, 0.5).shape == (3,)
    assert set(evidence.stable_multiples(curves, 5, 0.5, 0.95)) <= {2.0, 11.0, 12.0}
    assert evidence.mean_stability(curves, [10], 0.5).shape == (3,)
    failed, trials = evidence.failures(curves, 55, 0.5)
    assert trials == 300
    assert failed / trials == pytest.approx(1 - curves.stability(0.5)[:, 2].mean())
    assert space.m == 5


def test_repeated_dpps_are_stable_more_often_than_independent_points():
    _, dpp = curves_of("legendre-10", "repeated DPP", [10, 40])
    _, iid = curves_of("legendre-10", "iid nu", [10, 40])
    assert dpp.stability(0.5)[:, 1].min() > iid.stability(0.5)[:, 1].max() + 0.3
