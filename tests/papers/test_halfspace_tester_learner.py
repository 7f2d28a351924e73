"""The mathematics of the tester-learner: closed forms, independent codes, certificates."""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from stemma.papers.halfspace_tester_learner import (
    bands,
    baselines,
    labels,
    moments,
    surrogate,
    targets,
    zoo,
)

WIDTHS = [1.0, 0.5, 0.1]


def draw(law, n, d, seed=0):
    rng = np.random.default_rng(seed)
    w, v = zoo.directions(rng, d)
    return zoo.make_law(law)(rng, n, w, v), w, v


def units(rng, *shape):
    w = rng.standard_normal(shape)
    return torch.from_numpy(w / np.linalg.norm(w, axis=-1, keepdims=True))


@pytest.mark.parametrize("sigma", WIDTHS)
def test_the_ramp_is_what_the_paper_asks_for(sigma):
    t = torch.linspace(-2 * sigma, 2 * sigma, 4001, dtype=torch.float64, requires_grad=True)
    value = surrogate.ramp(t, sigma)
    (slope,) = torch.autograd.grad(value.sum(), t)
    middle = t.detach().abs() < sigma / 6
    assert torch.allclose(value[middle], t[middle] / sigma + 0.5)
    assert bool((value[t < -sigma / 2].abs() < 1e-12).all())
    assert bool(((value[t > sigma / 2] - 1).abs() < 1e-12).all())
    assert torch.allclose(value + value.flip(0), torch.ones(4001).double())
    assert bool((slope >= -1e-9).all())
    inner = t.detach().abs() > 1e-9  # sign(t) has no derivative at 0
    assert torch.allclose(slope[inner], surrogate.ramp_slope(t.detach(), sigma)[inner], atol=1e-8)


def test_gradient_is_that_of_the_loss_for_every_data_set_and_width():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((3, 200, 5)))
    y = torch.from_numpy(rng.choice([-1.0, 1.0], (3, 200)))
    w, sigma = units(rng, 3, len(WIDTHS), 5), torch.tensor(WIDTHS).double()
    found = surrogate.gradient(w, x, y, sigma)
    assert float((found * w).sum(dim=2).abs().max()) < 1e-12
    for b in range(3):
        for s, width in enumerate(WIDTHS):
            at = w[b, s].clone().requires_grad_(True)
            (expected,) = torch.autograd.grad(surrogate.loss(at, x[b], y[b], width), at)
            assert torch.allclose(found[b, s], expected, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.3])
@pytest.mark.parametrize("sigma", [1.0, 0.25])
def test_gaussian_gradient_has_its_closed_form(eta, sigma):
    """At an angle from w*: -(1 - 2 eta) int l'(u) phi(u) 2 phi(u cot angle) du, towards w*."""
    angle, n = 0.7, 400_000
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, 2))
    target = np.array([np.cos(angle), np.sin(angle)])
    y = np.where(rng.random(n) < eta, -1.0, 1.0) * np.sign(x @ target)
    w = torch.tensor([[[1.0, 0.0]]]).double()
    found = surrogate.gradient(
        w, torch.from_numpy(x)[None], torch.from_numpy(y)[None], torch.tensor([sigma]).double()
    )[0, 0]

    def pull(u):
        slope = float(surrogate.ramp_slope(torch.tensor(u).double(), sigma))
        return slope * stats.norm.pdf(u) * 2 * stats.norm.pdf(u / np.tan(angle))

    expected = (1 - 2 * eta) * integrate.quad(pull, -sigma / 2, sigma / 2)[0]
    assert float(found[0]) == pytest.approx(0.0, abs=1e-12)
    assert -float(found[1]) == pytest.approx(expected, abs=6 / sigma**0.5 / np.sqrt(n))


@pytest.mark.parametrize("noise", ["massart-uniform", "massart-quadrant"])
def test_descent_finds_the_planted_halfspace_up_to_its_sign(noise):
    x, w_star, v = draw("gaussian", 6000, 4)
    u = x @ w_star
    rng = np.random.default_rng(3)
    y = labels.draw_labels(rng, u, labels.flip_probability(noise, 0.3, u, x @ v))
    found = surrogate.descend(
        units(rng, 1, 2, 4),
        torch.from_numpy(x)[None],
        torch.from_numpy(y)[None],
        torch.tensor([0.5, 0.25]).double(),
        surrogate.Schedule(1500, 64),
    )[0].numpy()
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert np.abs(found @ w_star).min() > np.cos(0.1)
    least_squares = baselines.fit_baseline("least squares", x, y)
    if noise == "massart-quadrant":
        assert abs(least_squares @ w_star) < np.cos(0.3)  # tilted: atan(eta / (1 - eta)) = 0.40


def test_gaussian_moments_are_scipys():
    law = targets.make_target("gaussian")
    for k in range(1, 13):
        assert law.moments[k] == pytest.approx(stats.norm.moment(k))


def quartic_weight(x, k):
    return x**k * math.exp(-(x**2) / 2 - 0.1 * x**4)


def test_quartic_target_is_standardised_strongly_log_concave_and_sampled():
    law = targets.make_target("quartic-0.1")
    raw = [integrate.quad(quartic_weight, -9, 9, args=(k,))[0] for k in range(9)]
    variance = raw[2] / raw[0]
    for k in range(9):
        assert law.moments[k] == pytest.approx(raw[k] / raw[0] / variance ** (k / 2), abs=1e-7)
    x = law.sample(np.random.default_rng(4), 200_000, 2)
    for k in (1, 2, 3, 4, 6):
        sd = np.sqrt(law.moments[2 * k] - law.moments[k] ** 2)
        assert abs((x**k).mean() - law.moments[k]) < 5 * sd / np.sqrt(x.size)
    assert law.moments[4] < 3  # lighter tails than the Gaussian's


@pytest.mark.parametrize("name", ["quartic", "cauchy", "hidden-"])
def test_targets_and_laws_that_are_not_known_are_refused(name):
    with pytest.raises(ValueError, match=r"target|invalid literal"):
        zoo.make_law(name)(np.random.default_rng(0), 10, np.eye(3)[0], np.eye(3)[1])


@pytest.mark.parametrize("degree", [2, 3])
def test_monomials_are_products_of_powers_in_the_order_of_their_exponents(degree):
    x = np.random.default_rng(5).standard_normal((7, 4))
    expected = [np.prod(x**e, axis=1) for e in moments.exponents(4, degree)]
    assert moments.monomials(torch.from_numpy(x), degree).numpy() == pytest.approx(
        np.array(expected)
    )
    assert len(expected) == math.comb(4 + degree, degree)


@pytest.mark.parametrize("target", ["gaussian", "quartic-0.1"])
def test_moment_statistic_agrees_with_a_loop_over_all_moments(target):
    law, d, degree = targets.make_target(target), 3, 4
    x = law.sample(np.random.default_rng(6), 500, d)
    worst = 0.0
    for k in range(1, degree + 1):
        for pick in combinations_with_replacement(range(d), k):
            power = np.bincount(pick, minlength=d)
            mean = math.prod(law.moments[p] for p in power)
            sd = math.sqrt(math.prod(law.moments[2 * p] for p in power) - mean**2)
            observed = np.prod(x**power, axis=1).mean()
            worst = max(worst, abs(observed - mean) * math.sqrt(len(x)) / sd)
    table = moments.product_table(target, d, degree)
    assert moments.moment_statistic(torch.from_numpy(x), table) == pytest.approx(worst)


def test_sampled_moments_approach_the_exact_ones_and_widen_the_error():
    x = torch.from_numpy(np.random.default_rng(7).standard_normal((200_000, 3)))
    exact, sampled = moments.product_table("gaussian", 3, 4), moments.sample_table(x, 4)
    scale = exact.sd / len(x) ** 0.5
    assert bool(((sampled.mean - exact.mean).abs() <= 5 * scale + 1e-12).all())
    assert torch.allclose(sampled.sd, exact.sd, rtol=0.1, atol=1e-6)
    few = x[:1000] + 0.1
    against_exact = moments.moment_statistic(few, exact)
    same_size = moments.moment_statistic(few, exact._replace(samples=1000.0))
    assert same_size == pytest.approx(against_exact / math.sqrt(2))
    assert moments.moment_statistic(x[:0], exact) == math.inf


def test_orthogonal_part_is_an_isometry_of_the_complement():
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.standard_normal((50, 6)))
    for w in (*units(rng, 5, 6), torch.eye(6).double()[0], -torch.eye(6).double()[0]):
        z = bands.orthogonal_part(x, w)
        assert torch.allclose((z**2).sum(dim=1), (x**2).sum(dim=1) - (x @ w) ** 2)
        assert torch.allclose(z @ z.T, x @ x.T - torch.outer(x @ w, x @ w), atol=1e-10)


def test_band_mass_statistic_has_its_closed_form():
    u = torch.linspace(-1, 1, 2001).double()[:-1] + 0.0005
    mass = bands.gaussian_reference().mass(u, 0.5)
    assert mass == pytest.approx(2 * stats.norm.cdf(0.5) - 1)
    expected = abs(math.log(0.5 / mass)) * math.sqrt(2000 * mass / (1 - mass))
    assert bands.mass_statistic(u, (0.5,), (mass,)) == pytest.approx(expected)
    assert bands.mass_statistic(u, (0.5,), (0.5,)) == pytest.approx(0, abs=1e-9)
    assert bands.mass_statistic(u + 5, (0.5,), (mass,)) == math.inf


def test_a_sample_of_the_target_stands_in_for_its_bands():
    points = np.random.default_rng(9).standard_normal((100_000, 3))
    sampled, exact = bands.SampledReference("gaussian", points), bands.gaussian_reference()
    w = units(np.random.default_rng(10), 3)
    assert sampled.mass(w, 0.3) == pytest.approx(exact.mass(w, 0.3), abs=0.006)
    near, table = sampled.table(w, 0.3, 4), exact.table(w, 0.3, 4)
    assert near.samples < 100_000
    scale = table.sd / near.samples**0.5
    assert bool(((near.mean - table.mean).abs() <= 5 * scale + 1e-12).all())


@pytest.mark.parametrize("law", ["gaussian", "t5", "hidden-3", "band-collapse", "laplace"])
@pytest.mark.parametrize("theta", [1.0, 0.25, 0.1])
def test_wedge_bound_certifies_every_halfspace_within_the_angle(law, theta):
    x, w_star, v = draw(law, 4000, 4)
    rng = np.random.default_rng(11)
    for w in (w_star, units(rng, 4).numpy()):
        sides = rng.standard_normal((300, 4))
        sides[:2] = v, -v
        sides -= np.outer(sides @ w, w)
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        angles = theta * np.where(np.arange(300) < 200, 1.0, rng.random(300))[:, None]
        others = np.cos(angles) * w + np.sin(angles) * sides
        disagreement = ((x @ others.T >= 0) != (x @ w >= 0)[:, None]).mean(axis=0)
        here = torch.from_numpy(w)
        part = bands.orthogonal_part(torch.from_numpy(x), here)
        bound = bands.wedge_bound(torch.from_numpy(x @ w), part, theta)
        assert disagreement.max() <= bound <= 1


def test_wedge_bound_is_a_constant_times_the_gaussian_disagreement():
    x = torch.from_numpy(np.random.default_rng(12).standard_normal((100_000, 4)))
    for theta in (0.25, 0.1):
        bound = bands.wedge_bound(x[:, 0], x[:, 1:], theta)
        assert 1 < bound / (theta / math.pi) < 9


@pytest.mark.parametrize("noise", labels.ADVERSARIES)
@pytest.mark.parametrize("level", [0.02, 0.2])
def test_adversaries_flip_their_share(noise, level):
    u, v = np.random.default_rng(13).standard_normal((2, 50_000))
    flips = labels.flip_probability(noise, level, u, v)
    assert flips.mean() == pytest.approx(level, abs=1e-4)
    if noise == "margin":
        left = (u > 0) & (v > 0) & (flips == 0)
        assert not left.any() or u[flips == 1].min() >= u[left].max()
    if noise == "band":
        assert np.abs(u[flips == 1]).max() <= np.abs(u[(flips == 0) & (v > 0)]).min()


@pytest.mark.parametrize("noise", labels.MASSART)
def test_massart_noise_stays_below_its_bound(noise):
    u, v = np.random.default_rng(14).standard_normal((2, 1000))
    flips = labels.flip_probability(noise, 0.3, u, v)
    assert flips.max() == 0.3
    assert flips.min() == (0.3 if noise == "massart-uniform" else 0.0)
    with pytest.raises(ValueError, match="is no label noise"):
        labels.flip_probability("tsybakov", 0.1, u, v)


def test_errors_have_their_closed_form_on_gaussian_inputs():
    """Uniform flips: eta + (1 - 2 eta) angle / pi."""
    x, w_star, v = draw("gaussian", 400_000, 3)
    judge = labels.Evaluator(x, w_star, v, "massart-uniform", 0.2)
    assert judge.planted_error() == pytest.approx(0.2)
    for angle in (0.1, 1.0, math.pi):
        w = np.cos(angle) * w_star + np.sin(angle) * v
        assert judge.error(w) == pytest.approx(0.2 + 0.6 * angle / math.pi, abs=0.003)
    assert judge.searched_optimum([-0.1, 0.1], [0.5]) == pytest.approx(0.2)


@pytest.mark.parametrize("noise", [*labels.MASSART, *labels.ADVERSARIES])
def test_computed_errors_are_the_mean_errors_of_drawn_labels(noise):
    x, w_star, v = draw("laplace", 20_000, 3)
    judge, rng = labels.Evaluator(x, w_star, v, noise, 0.2), np.random.default_rng(15)
    w = units(rng, 3).numpy()
    y = labels.draw_labels(rng, x @ w_star, judge.flips)
    drawn = ((x @ w >= 0) != (y > 0)).mean()
    assert judge.error(w) == pytest.approx(drawn, abs=5 * 0.5 / math.sqrt(20_000))


def test_the_wedge_adversarys_labels_fit_a_second_halfspace_as_well():
    x, w_star, v = draw("gaussian", 100_000, 3)
    judge, turned = labels.Evaluator(x, w_star, v, "wedge", 0.1), 0.2 * math.pi
    second = np.cos(turned) * w_star - np.sin(turned) * v
    assert judge.error(second) == pytest.approx(judge.planted_error(), abs=0.005)


def test_the_search_takes_the_least_error_of_all_it_looks_at():
    x, w_star, v = draw("gaussian", 20_000, 3)
    judge = labels.Evaluator(x, w_star, v, "margin", 0.24)
    angles = np.linspace(-1.5, 1.5, 25)
    errors = [judge.error(np.cos(a) * w_star + np.sin(a) * v) for a in angles]
    found = judge.searched_optimum(angles.tolist(), [0.5])
    assert found == pytest.approx(min(*errors, judge.planted_error()))
    assert judge.searched_optimum(angles.tolist(), [0.01]) == 0.01


def test_averaging_is_tilted_by_noise_that_depends_on_the_quadrant():
    """E[y u] is proportional to 1 - eta and E[y v] to -eta."""
    x, w_star, v = draw("gaussian", 200_000, 3)
    u, eta, rng = x @ w_star, 0.4, np.random.default_rng(16)
    y = labels.draw_labels(rng, u, labels.flip_probability("massart-quadrant", eta, u, x @ v))
    for name in ("averaging", "least squares"):
        w = baselines.fit_baseline(name, x, y)
        assert np.arctan2(w @ v, w @ w_star) == pytest.approx(-np.arctan(eta / (1 - eta)), abs=0.02)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_learn_clean_labels(name):
    x, w_star, _ = draw("gaussian", 20_000, 4)
    w = baselines.fit_baseline(name, x, np.sign(x @ w_star))
    assert np.linalg.norm(w) == pytest.approx(1)
    assert w @ w_star > np.cos(0.05)
    with pytest.raises(ValueError, match="is no baseline"):
        baselines.fit_baseline("perceptron", x, np.sign(x @ w_star))


@pytest.mark.parametrize("q", [2, 3, 4, 5])
def test_hidden_laws_match_gaussian_moments_up_to_degree_2q_minus_1_and_no_further(q):
    x, w, _ = draw(f"hidden-{q}", 200_000, 3)
    u = x @ w
    z = [
        (np.mean(u**k) - stats.norm.moment(k)) / (np.std(u**k) / math.sqrt(len(u)))
        for k in range(1, 2 * q + 1)
    ]
    assert np.abs(z[:-1]).max() < 5
    assert z[-1] < -8  # the rule misses E u^2q by q!
    nodes, weights = np.polynomial.hermite_e.hermegauss(q)
    near = weights[np.abs(nodes) < 0.1].sum() / weights.sum()
    assert np.mean(np.abs(u) < 0.25) == pytest.approx(near, abs=0.005)


@pytest.mark.parametrize("law", [name for name in zoo.ZOO if "band" not in name])
def test_laws_have_unit_variances(law):
    x, w, v = draw(law, 100_000, 3)
    assert x.var(axis=0) == pytest.approx(np.ones(3), abs=0.05)
    if law != "correlated":
        assert np.cov(x.T) == pytest.approx(np.eye(3), abs=0.05)
    assert w @ v == pytest.approx(0, abs=1e-12)


def half_normal_beyond_the_band(t):
    return (stats.norm.cdf(t) - stats.norm.cdf(zoo.BAND)) / stats.norm.sf(zoo.BAND)


def test_band_laws_change_only_the_band():
    share = 2 * stats.norm.cdf(zoo.BAND) - 1
    for law, factor in (("band-empty", 0.0), ("band-double", 2.0), ("band-collapse", 1.0)):
        x, w, v = draw(law, 100_000, 4)
        u = x @ w
        inside = np.abs(u) <= zoo.BAND
        assert inside.mean() == pytest.approx(factor * share, abs=0.005)
        beyond = np.abs(u[~inside])
        assert stats.kstest(beyond, half_normal_beyond_the_band).statistic < 0.01
        if law == "band-collapse":
            squeezed = x[inside] - np.outer(u[inside], w)
            assert squeezed == pytest.approx(np.outer(squeezed @ v, v), abs=1e-10)
            assert np.linalg.matrix_rank(x[~inside]) == 4
