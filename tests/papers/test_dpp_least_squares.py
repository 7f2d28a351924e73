"""The mathematics of the paper's package: closed forms, exact enumeration, independent codes."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from stemma.papers.dpp_least_squares import (
    evidence,
    functions,
    inference,
    least_squares,
    sampling,
    selection,
    study,
)
from stemma.papers.dpp_least_squares import spaces as measures

SMALL = ["legendre-6", "hermite-6", "trig-7", "total2-3", "cross3-3", "diabetes-linear"]


def tiny_space(m=3, n_nodes=8):
    return measures.legendre_space(m, n_nodes)


@pytest.mark.parametrize("name", [*SMALL, "hermite-30", "legendre-60", "diabetes-products"])
def test_features_are_orthonormal(name):
    space = measures.make_space(name, 150)
    assert space.gram_error() < 1e-10
    assert space.mu.sum() == pytest.approx(1)
    assert (space.mu * space.christoffel).sum() == pytest.approx(space.m)


@pytest.mark.parametrize(
    ("name", "m"),
    [("total2-5", 21), ("cross2-3", 8), ("diabetes-linear", 11), ("diabetes-products", 65)],
)
def test_dimensions(name, m):
    assert measures.make_space(name, 100).m == m


@pytest.mark.parametrize("name", ["legendre", "total1-3", "diabetes-cubic", "trig-8"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match=r"is no space|m must be odd"):
        measures.make_space(name, 100)


def test_hermite_features_match_scipy_polynomials():
    from scipy.special import eval_hermitenorm, factorial

    space = measures.hermite_space(6, 40)
    expected = eval_hermitenorm(5, space.nodes[:, 0]) / np.sqrt(factorial(5))
    np.testing.assert_allclose(space.phi[:, 5], expected, rtol=1e-9, atol=1e-9)


def test_projection_has_an_orthogonal_residual_and_the_right_norm():
    space = measures.legendre_space(4, 60)
    targets = functions.make_targets(space, 0)
    assert np.abs(space.phi.T @ (space.mu[:, None] * targets.residuals)).max() < 1e-14
    # |x|: 1/3 = sum of squared Legendre coefficients (1/4 and 5/64 for degrees 0 and 2) + best^2
    best = targets.best[targets.names.index("abs")]
    assert best**2 == pytest.approx(1 / 3 - 1 / 4 - 5 / 64, abs=1e-3)


def test_best_uniform_error_of_a_known_case():
    # The best cubic to x^4 on [-1, 1] has sup error 1/8 (Chebyshev).
    space = measures.legendre_space(4, 400)
    values = space.nodes[:, 0] ** 4
    assert functions.best_uniform_error(space, values) == pytest.approx(1 / 8, abs=1e-4)


def test_dpp_frequencies_match_the_determinants_of_all_subsets():
    space = tiny_space()
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    subsets = list(combinations(range(len(space.mu)), space.m))
    probability = np.array([np.linalg.det(vectors[list(s)]) ** 2 for s in subsets])
    assert probability.sum() == pytest.approx(1)  # Cauchy-Binet
    draws = np.sort(sampling.draw_dpp(space, 20_000, np.random.default_rng(0)), axis=1)
    index = {s: k for k, s in enumerate(subsets)}
    counts = np.bincount([index[tuple(d)] for d in draws.tolist()], minlength=len(subsets))
    large = probability * len(draws) > 5
    observed = np.append(counts[large], counts[~large].sum())
    expected = np.append(probability[large], probability[~large].sum()) * len(draws)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_dpp_agrees_with_dppy():
    finite_dpps = pytest.importorskip("dppy.finite_dpps")
    space = measures.hermite_space(4, 30)
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    other = finite_dpps.FiniteDPP(
        kernel_type="correlation", projection=True, K_eig_dec=(np.ones(space.m), vectors)
    )
    rng = np.random.RandomState(1)
    theirs = np.array([np.sort(other.sample_exact(random_state=rng)) for _ in range(2000)])
    ours = np.sort(sampling.draw_dpp(space, 2000, np.random.default_rng(2)), axis=1)
    for column in range(space.m):  # order statistics depend on the joint law, not on marginals
        table = np.array(
            [np.bincount(s[:, column], minlength=len(space.mu)) for s in (ours, theirs)]
        )
        table = table[:, table.sum(axis=0) >= 10]
        assert stats.chi2_contingency(table).pvalue > 1e-3
    spread = [np.ptp(space.nodes[s, 0], axis=1) for s in (ours, theirs)]
    assert stats.ks_2samp(*spread).pvalue > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_pair_correlation_of_the_dpp_and_of_independent_points(name):
    space = measures.make_space(name, 120)
    rng = np.random.default_rng(3)
    dpp = sampling.draw_dpp(space, 4000, rng)
    assert (np.diff(np.sort(dpp, axis=1), axis=1) > 0).all()
    assert inference.pair_correlation_p(space, dpp, 5, rng) > 1e-3
    density = sampling.make_sampler(space, "iid nu").density
    independent = sampling.draw_independent(density, (4000, space.m), rng)
    if space.nodes.shape[1] == 1:  # bins of a table's rows, or of a cross grid, mix far points
        assert inference.pair_correlation_p(space, independent, 5, rng) < 1e-4


def test_pair_correlation_test_is_calibrated():
    space = measures.legendre_space(4, 40)
    rng = np.random.default_rng(4)
    draws = sampling.draw_dpp(space, 300 * 600, rng).reshape(300, 600, space.m)
    p = [inference.pair_correlation_p(space, d, 4, rng) for d in draws]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_each_dpp_point_has_the_christoffel_law():
    space = measures.hermite_space(5, 60)
    draws = sampling.draw_dpp(space, 5000, np.random.default_rng(5))
    expected = space.mu * space.christoffel / space.m
    for column in (0, 4):
        counts = np.bincount(draws[:, column], minlength=len(space.mu))
        large = expected * len(draws) > 5
        observed = np.append(counts[large], counts[~large].sum())
        wanted = np.append(expected[large], expected[~large].sum()) * len(draws)
        assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_samplers_refuse_impossible_sizes():
    space, rng = tiny_space(), np.random.default_rng(0)
    with pytest.raises(ValueError, match="fewer than"):
        sampling.draw(space, sampling.make_sampler(space, "volume"), 2, 1, rng)
    with pytest.raises(ValueError, match="multiple of"):
        sampling.draw(space, sampling.make_sampler(space, "repeated DPP"), 4, 1, rng)


def test_mixture_weight_is_bounded_and_christoffel_weight_is_its_limit():
    space = measures.hermite_space(8, 100)
    assert sampling.make_sampler(space, "iid nu", 0.25).weight.max() <= 4
    np.testing.assert_allclose(
        sampling.make_sampler(space, "iid nu").weight, space.m / space.christoffel
    )
    assert (sampling.make_sampler(space, "iid mu", 0.25).weight == 1).all()


def test_dpp_draws_do_not_depend_on_the_chunk(monkeypatch):
    space = measures.legendre_space(5, 50)
    one = sampling.draw_dpp(space, 64, np.random.default_rng(6))
    again = sampling.draw_dpp(space, 64, np.random.default_rng(6))
    np.testing.assert_array_equal(one, again)
    monkeypatch.setattr(sampling, "_CHUNK_BYTES", 8 * 50 * 16)
    chunked = sampling.draw_dpp(space, 64, np.random.default_rng(6))
    assert chunked.shape == one.shape
    assert (np.diff(np.sort(chunked, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("name", ["legendre-6", "diabetes-linear"])
def test_fits_agree_with_numpy_lstsq_at_every_size(name):
    space = measures.make_space(name, 100)
    targets = functions.make_targets(space, 1)
    sampler = sampling.make_sampler(space, "iid nu")
    rng = np.random.default_rng(7)
    nodes = sampling.draw(space, sampler, 4 * space.m, 12, rng)
    for fit in least_squares.fit_path(
        space, targets, sampler.weight, nodes, [space.m, space.m + 1, 3 * space.m, 4 * space.m]
    ):
        for r, sample in enumerate(nodes[:, : fit.n]):
            scale = np.sqrt(sampler.weight[sample] / fit.n)[:, None]
            a, b = scale * space.phi[sample], scale * targets.values[sample]
            values = np.linalg.svd(a, compute_uv=False)
            assert fit.lambda_min[r] == pytest.approx(values[-1] ** 2, rel=1e-6, abs=1e-14)
            if values[-1] > 1e-7 * values[0]:
                c = np.linalg.lstsq(a, b, rcond=None)[0]
                error = ((targets.values - space.phi @ c) ** 2 * space.mu[:, None]).sum(axis=0)
                np.testing.assert_allclose(fit.ratio[r], error / targets.best**2, rtol=1e-4)


def test_a_singular_fit_is_the_solution_of_least_norm():
    space = measures.legendre_space(4, 30)
    targets = functions.make_targets(space, 1)
    weight = sampling.make_sampler(space, "iid nu").weight
    nodes = np.array([[3, 3, 9, 20], [1, 8, 15, 27]])
    (fit,) = least_squares.fit_path(space, targets, weight, nodes, [4])
    scale = np.sqrt(weight[nodes[0]])[:, None]
    c = np.linalg.lstsq(scale * space.phi[nodes[0]], scale * targets.values[nodes[0]], rcond=1e-12)[
        0
    ]
    np.testing.assert_allclose(fit.shift[0], c - targets.coefficients, atol=1e-10)
    assert fit.lambda_min[0] < 1e-20 < fit.lambda_min[1]


def test_sizes_must_increase_from_m():
    space = tiny_space()
    targets = functions.make_targets(space, 1)
    nodes = np.zeros((1, 6), dtype=np.int64)
    for sizes in ([2, 3], [5, 4], [3, 7]):
        with pytest.raises(ValueError, match="must increase"):
            next(least_squares.fit_path(space, targets, np.ones(8), nodes, sizes))


def enumerated_mean(space, f, weight, n, probability_of):
    """E c by plain loops over all N^n samples, independent of the package's fits."""
    total, mass = 0.0, 0.0
    for sample in product(range(len(space.mu)), repeat=n):
        p = probability_of(sample)
        if p > 1e-30:
            scale = np.sqrt(weight[list(sample)])
            a, b = scale[:, None] * space.phi[list(sample)], scale * f[list(sample)]
            total, mass = total + p * np.linalg.lstsq(a, b, rcond=None)[0], mass + p
    return total / mass


def test_volume_sampling_is_unbiased_by_enumeration():
    space = tiny_space(2, 6)
    f = np.exp(space.nodes[:, 0])
    sampler = sampling.make_sampler(space, "volume")

    def probability(sample):
        rows = space.phi[list(sample)] * np.sqrt(sampler.weight[list(sample)])[:, None]
        return sampler.density[list(sample)].prod() * np.linalg.det(rows.T @ rows)

    mean = enumerated_mean(space, f, sampler.weight, 3, probability)
    np.testing.assert_allclose(mean, space.phi.T @ (space.mu * f), atol=1e-12)


def test_exact_bias_is_zero_for_volume_and_not_for_independent_points():
    space = tiny_space(2, 6)
    targets = functions.project(space, ("exp",), np.exp(space.nodes))
    for n in (2, 3, 4):
        volume, iid = (
            evidence.exact_bias(space, targets, sampling.make_sampler(space, kind), n)
            for kind in ("volume", "iid nu")
        )
        assert volume.max() < 1e-10
        assert iid.min() > 1e-6


def test_volume_draws_have_the_rescaled_density():
    space = tiny_space(2, 6)
    sampler = sampling.make_sampler(space, "volume")
    draws = np.sort(sampling.draw(space, sampler, 3, 40_000, np.random.default_rng(8)), axis=1)
    expected = np.zeros((6, 6, 6))
    for sample in product(range(6), repeat=3):
        rows = space.phi[list(sample)] * np.sqrt(sampler.weight[list(sample)])[:, None]
        weight = sampler.density[list(sample)].prod() * np.linalg.det(rows.T @ rows)
        expected[tuple(sorted(sample))] += weight
    # (n - m)!/n! m^... : the density integrates to one after this normalization (card, step 4)
    counts = np.zeros_like(expected)
    np.add.at(counts, tuple(draws.T), 1)
    expected *= len(draws) / expected.sum()
    large = expected > 5
    observed = np.append(counts[large], counts[~large].sum())
    wanted = np.append(expected[large], expected[~large].sum())
    assert stats.chisquare(observed[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3


def test_one_dpp_has_mean_error_m_plus_one_times_the_best():
    # Derezinski and Warmuth: E ||f - fhat||^2 = (m + 1) ||f - Pf||^2 at n = m; exact over subsets.
    space = tiny_space(3, 9)
    targets = functions.make_targets(space, 2)
    subsets = np.array(list(combinations(range(9), 3)))
    vectors = np.sqrt(space.mu)[:, None] * space.phi
    probability = np.linalg.det(vectors[subsets]) ** 2
    sampler = sampling.make_sampler(space, "repeated DPP")
    (fit,) = least_squares.fit_path(space, targets, sampler.weight, subsets, [3])
    np.testing.assert_allclose(probability @ fit.ratio, 4, rtol=1e-8)


def test_greedy_removal_keeps_the_floor_and_drops_points():
    space = measures.legendre_space(5, 60)
    sampler = sampling.make_sampler(space, "iid nu")
    nodes = sampling.draw(space, sampler, 60, 6, np.random.default_rng(9))
    kept = selection.remove_greedily(space, sampler.weight, nodes, 0.5)
    for row, mask in zip(nodes, kept, strict=True):
        rows = (np.sqrt(sampler.weight)[:, None] * space.phi)[row]
        whole = np.linalg.eigvalsh(rows.T @ rows / 60)[0]
        left = np.linalg.eigvalsh(rows[mask].T @ rows[mask] / mask.sum())[0]
        if whole >= 0.5:
            assert left >= 0.5 - 1e-12
            assert space.m <= mask.sum() < 20
        else:
            assert mask.all()


def test_boosting_keeps_the_best_of_each_group():
    values = np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.4, 1.0])
    kept, other = selection.best_of(3, values, np.arange(7))
    np.testing.assert_array_equal(kept, [0.5, 0.9])
    np.testing.assert_array_equal(other, [1, 3])


def test_fekete_nodes_are_distinct_and_regular():
    space = measures.legendre_space(8, 80)
    nodes = selection.fekete_nodes(space)
    assert len(set(nodes.tolist())) == space.m
    assert np.linalg.cond(space.phi[nodes]) < 50


def test_streams_depend_on_names_not_on_order():
    a = study.stream(1, "x", "y").random(3)
    assert not np.array_equal(a, study.stream(1, "y", "x").random(3))
    np.testing.assert_array_equal(a, study.stream(1, "x", "y").random(3))
