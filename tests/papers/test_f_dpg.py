"""The mathematics of f-DPG on enumerated spaces: closed forms, exact gradients, calibration."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.spatial.distance import jensenshannon

from stemma.papers.f_dpg import exact, gru, noise, study, targets, toy
from stemma.papers.f_dpg.divergences import (
    DIVERGENCES,
    LOG_T_CAP,
    exact_divergence,
    pseudo_reward,
)
from stemma.papers.f_dpg.estimator import Estimator, Normaliser, surrogate_loss

V, LENGTH = 3, 4


@pytest.fixture(scope="module")
def worlds():
    return [toy.make_world(seed, V, LENGTH, targets.KINDS, 0.3) for seed in (5, 6, 7)]


def double(policy):
    return {name: value.double() for name, value in policy.items()}


def flatter(policy):
    """A policy near the base model, of which importance weights are tame."""
    return {name: 0.8 * value for name, value in policy.items()}


# The divergences


@pytest.mark.parametrize("name", DIVERGENCES)
def test_f_is_convex_with_f_of_1_zero_and_slope_its_derivative(name):
    divergence = DIVERGENCES[name]
    t = torch.linspace(0.05, 6, 400, dtype=torch.float64, requires_grad=True)
    values = divergence.f(t.log())
    (derivative,) = torch.autograd.grad(values.sum(), t)
    torch.testing.assert_close(divergence.slope(t.detach().log()), derivative, rtol=1e-9, atol=0)
    assert bool((derivative.diff() >= -1e-12).all())
    assert divergence.f(torch.zeros(1)).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_slope_at_infinity_is_the_limit(name):
    divergence = DIVERGENCES[name]
    far = torch.tensor([50.0], dtype=torch.float64)
    if math.isinf(divergence.slope_at_infinity):
        assert divergence.slope(far).item() > 50
        assert pseudo_reward(name, far).item() == -divergence.slope(far).item(), "none is cut"
        nowhere = pseudo_reward(name, torch.tensor([torch.inf])).item()
        assert nowhere == -divergence.slope(torch.tensor(LOG_T_CAP)).item()
    else:
        assert divergence.slope(far).item() == pytest.approx(divergence.slope_at_infinity)
        nowhere = torch.tensor([torch.inf], dtype=torch.float64)
        assert pseudo_reward(name, nowhere).item() == pytest.approx(-divergence.slope_at_infinity)


@pytest.mark.parametrize("holes", [0, 3])
def test_divergences_agree_with_scipy(holes):
    rng = np.random.default_rng(0)
    pi, p = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(9))
    p[:holes] = 0
    p /= p.sum()
    expected = {
        "KL": stats.entropy(p, pi),
        "RKL": stats.entropy(pi, p),
        "TV": np.abs(pi - p).sum() / 2,
        "JS": 2 * jensenshannon(p, pi) ** 2,
        "CHI2": ((p - pi) ** 2 / pi).sum(),
    }
    log_pi, log_p = torch.from_numpy(pi).log(), torch.from_numpy(p).log()
    for name, value in expected.items():
        assert exact_divergence(name, log_pi, log_p).item() == pytest.approx(value), name


def test_divergences_vanish_at_the_target_only():
    log_p = torch.randn(20, dtype=torch.float64).log_softmax(dim=0)
    other = torch.randn(20, dtype=torch.float64).log_softmax(dim=0)
    for name in DIVERGENCES:
        assert exact_divergence(name, log_p, log_p).item() == pytest.approx(0, abs=1e-12)
        assert exact_divergence(name, other, log_p).item() > 0.01


# The theorem


@pytest.mark.parametrize("kind", targets.KINDS)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_rule_is_the_exact_gradient(worlds, name, kind):
    world, policy = worlds[0], double(worlds[1].base)
    log_p = world.targets[kind].log_p(world.log_a)[None]
    if name == "RKL" and not bool(log_p.isfinite().all()):
        assert exact_divergence(name, world.log_a, log_p[0]).item() == math.inf
        return
    assert exact.theorem_error(policy, LENGTH, log_p, name) < 1e-10


def test_the_gradient_agrees_with_finite_differences(worlds):
    world, policy = worlds[0], double(worlds[1].base)
    log_p = world.targets["pointwise-6"].log_p(world.log_a)[None]
    gradient = exact.divergence_gradient(policy, LENGTH, log_p, "JS")
    step = 1e-6

    def value(shift):
        moved = {**policy, "output_bias": policy["output_bias"].clone()}
        moved["output_bias"][0, 0, 1] += shift
        log_pi = gru.all_log_probabilities(moved, LENGTH)
        return exact_divergence("JS", log_pi, log_p).item()

    place = sum(policy[k].numel() for k in list(policy)[: list(policy).index("output_bias")]) + 1
    slope = (value(step) - value(-step)) / (2 * step)
    assert gradient[place].item() == pytest.approx(slope, rel=1e-5)


def test_a_wrong_reward_is_no_gradient_of_the_divergence(worlds):
    """Filtered SFT is the forward KL's gradient alone, and no rule serves another divergence."""
    world, policy = worlds[0], double(worlds[1].base)
    log_p = world.targets["scalar"].log_p(world.log_a)[None]
    log_pi = gru.all_log_probabilities(policy, LENGTH)
    rules = {
        name: exact.policy_gradient(policy, LENGTH, pseudo_reward(name, log_pi - log_p))
        for name in DIVERGENCES
    }
    for name in DIVERGENCES:
        truth = exact.divergence_gradient(policy, LENGTH, log_p, name)
        errors = {n: ((g - truth).norm() / truth.norm()).item() for n, g in rules.items()}
        assert errors.pop(name) < 1e-10
        assert min(errors.values()) > 0.05


def test_special_cases_are_dpg_and_the_kl_penalty(worlds):
    for world, other in pairwise(worlds):
        policy, target = double(other.base), world.targets["scalar"]
        assert exact.dpg_error(policy, LENGTH, target.log_p(world.log_a)[None]) < 1e-10
        assert exact.penalty_error(policy, LENGTH, world.log_a, target) < 1e-10


def test_theorem_errors_cover_every_divergence_and_target(worlds):
    errors = study.theorem_errors(worlds)
    assert len(errors) == 4 * 4 + 2 + 4 + 2  # RKL has finite values on full support only
    assert max(max(values) for values in errors.values()) < 1e-10
    assert {len(values) for values in errors.values()} == {len(worlds)}


# The estimator


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_sampled_gradient_is_unbiased(worlds, name):
    """Mean of 600 batches against enumeration, in all parameters at once."""
    world, policy = worlds[0], flatter(worlds[0].base)
    target, copies, n = world.targets["scalar"], 600, 32
    truth = exact.divergence_gradient(double(policy), LENGTH, target.log_p(world.log_a)[None], name)
    leaves = {k: v.requires_grad_() for k, v in gru.stack([policy] * copies).items()}
    log_target = target.log_target(world.log_a)
    log_z = log_target.logsumexp(dim=0).expand(copies)
    estimator = Estimator([name] * copies, log_z=log_z)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):  # the second batch has a baseline
        sequences, log_pi = gru.rollout(leaves, torch.rand(copies, n, LENGTH, generator=generator))
        place = gru.index_of(sequences, V)
        advantages = estimator.advantages(log_pi.detach(), log_target[place])
    gradients = torch.autograd.grad(surrogate_loss(log_pi, advantages).sum(), list(leaves.values()))
    found = torch.cat([g.flatten(1) for g in gradients], dim=1).double()
    along = (found @ truth / truth.square().sum()).numpy()  # 1 in expectation
    standard = along.std(ddof=1) / copies**0.5
    assert standard < 0.2, "the test has power"
    assert abs(along.mean() - 1) < 4 * standard
    variance = (found.var(dim=0) / copies).sum().item()
    assert (found.mean(dim=0) - truth).square().sum().item() < 6 * variance


def test_the_running_z_is_unbiased_whatever_the_policy(worlds):
    """Null calibration of the check that the running Z finds the exact Z."""
    world, copies, n = worlds[0], 400, 64
    target = world.targets["scalar"]
    log_target = target.log_target(world.log_a)
    z = log_target.exp().sum().item()
    normaliser, generator = Normaliser(copies), torch.Generator().manual_seed(2)
    for policy in (world.base, flatter(world.base)):
        with torch.no_grad():
            stacked = gru.stack([policy] * copies)
            sequences, log_pi = gru.rollout(
                stacked, torch.rand(copies, n, LENGTH, generator=generator)
            )
        normaliser.update(log_pi, log_target[gru.index_of(sequences, V)])
    found = normaliser.log_z.exp().numpy()
    standard = found.std(ddof=1) / copies**0.5
    assert standard < 0.05 * z, "the test has power"
    assert abs(found.mean() - z) < 4 * standard


def test_without_a_hit_there_is_no_z_and_no_update():
    estimator = Estimator(["KL", "JS"])
    log_pi = torch.full((2, 8), -3.0)
    log_target = torch.full((2, 8), -torch.inf)
    log_target[1, 0] = -3.0
    advantages = estimator.advantages(log_pi, log_target)
    assert not advantages[0].any()
    assert advantages[1].any()
    assert estimator.log_z[0] == -torch.inf
    assert estimator.log_z[1].item() == pytest.approx(math.log(1 / 8))


def test_the_baseline_is_the_mean_of_earlier_batches_within_the_window():
    log_z = torch.zeros(1, dtype=torch.float64)
    estimator, plain = (
        Estimator(["RKL"], window=8, log_z=log_z, baseline=on) for on in (True, False)
    )
    generator = torch.Generator().manual_seed(0)
    raw = []
    for i in range(5):
        log_pi, log_target = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64)
        raw.append(plain.advantages(log_pi, log_target))
        torch.testing.assert_close(raw[-1], log_target - log_pi - 1)
        seen = torch.cat(raw[max(0, i - 2) : i], dim=1).mean() if i else 0.0
        torch.testing.assert_close(estimator.advantages(log_pi, log_target), raw[-1] - seen)


def test_f_enters_through_the_reward_alone_and_z_through_t():
    log_pi, log_target = torch.randn(2, 1, 50, dtype=torch.float64)
    shifted = torch.tensor([0.7], dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    for name in DIVERGENCES:
        rewards = Estimator([name], log_z=shifted).rewards(log_pi, log_target)
        expected = pseudo_reward(name, log_pi - log_target + 0.7)
        torch.testing.assert_close(rewards, expected)
        ratio = rewards - Estimator([name], log_z=zero).rewards(log_pi, log_target)
        # A wrong Z is a constant for RKL, which a baseline takes out, and more for the others.
        assert (float(ratio.std()) < 1e-12) == (name == "RKL")


# The enumerated space


def test_the_network_agrees_with_torch(worlds):
    network = double(worlds[0].base)
    cell = torch.nn.GRUCell(V + 1, gru.HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih.copy_(network["inputs"][0].T)
        cell.weight_hh.copy_(network["recurrent"][0].T)
        cell.bias_ih.zero_()
        cell.bias_hh.copy_(network["recurrent_bias"][0, 0])
        state, token, total = torch.zeros(1, gru.HIDDEN, dtype=torch.float64), V, 0.0
        sequence = [2, 0, 1, 1]
        for following in sequence:
            given = torch.nn.functional.one_hot(torch.tensor([token]), V + 1).double()
            state = cell(given, state)
            logits = state @ network["outputs"][0] + network["output_bias"][0]
            total += logits.log_softmax(dim=1)[0, following].item()
            token = following
    found = gru.log_probability(network, torch.tensor([[sequence]]))
    assert found.item() == pytest.approx(total, abs=1e-12)


def test_enumeration_is_complete_and_whole_sequences_are_scored(worlds):
    network = gru.stack([double(w.base) for w in worlds])
    sequences = gru.every_sequence(V, LENGTH)
    assert [tuple(s) for s in sequences.tolist()] == list(product(range(V), repeat=LENGTH))
    torch.testing.assert_close(gru.index_of(sequences, V), torch.arange(V**LENGTH))
    everything = gru.all_log_probabilities(network, LENGTH)
    torch.testing.assert_close(everything.exp().sum(dim=1), torch.ones(3, dtype=torch.float64))
    scored = gru.log_probability(network, sequences.expand(3, -1, -1))
    torch.testing.assert_close(everything, scored)
    prefix = gru.all_log_probabilities(network, LENGTH - 1)
    marginal = everything.exp().view(3, -1, V).sum(dim=2)
    torch.testing.assert_close(prefix.exp(), marginal)


def test_rollouts_follow_the_distribution(worlds):
    base, n = worlds[0].base, 60_000
    uniform = torch.rand(1, n, LENGTH, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        sequences, log_pi = gru.rollout(base, uniform)
    place = gru.index_of(sequences, V)[0]
    torch.testing.assert_close(log_pi[0].double(), worlds[0].log_a[place], rtol=0, atol=1e-5)
    expected = worlds[0].log_a.exp().numpy() * n
    counts = np.bincount(place.numpy(), minlength=V**LENGTH)
    assert expected.min() > 5
    assert stats.chisquare(counts, expected * n / expected.sum()).pvalue > 1e-3


def test_containing_an_ngram_is_what_strings_say():
    sequences = gru.every_sequence(3, 5)
    strings = ["".join(map(str, s)) for s in sequences.tolist()]
    for gram in [(0, 1), (2, 2), (1, 0, 1)]:
        wanted = ["".join(map(str, gram)) in s for s in strings]
        assert targets.contains(sequences, gram).tolist() == wanted


def test_strengths_have_the_closed_form_and_give_the_moments():
    rng = np.random.default_rng(0)
    one = (rng.random((4000, 1)) < 0.15).astype(float)
    strength = targets.fit_strengths(one, [0.5])
    assert strength[0] == pytest.approx(special.logit(0.5) - special.logit(one.mean()), abs=1e-3)
    two = np.column_stack([one, rng.random(4000) < 0.08])
    weights = special.softmax(two @ targets.fit_strengths(two, [0.5, 0.4]))
    np.testing.assert_allclose(weights @ two, [0.5, 0.4], atol=1e-4)


def test_targets_are_what_they_say(worlds):
    world = worlds[0]
    a = world.log_a.exp()
    for kind, target in world.targets.items():
        p = target.log_p(world.log_a).exp()
        assert p.sum().item() == pytest.approx(1)
        weighed = a * target.score.exp()
        torch.testing.assert_close(p, weighed / weighed.sum())
        found = exact.metrics(target.log_p(world.log_a)[None].clamp(min=-400), world.log_a, target)
        assert found["KL(p, pi)"].item() == pytest.approx(0, abs=1e-9)
        assert found["JS"].item() == pytest.approx(0, abs=1e-9)
        assert found["entropy"].item() == pytest.approx(stats.entropy(p.numpy()), abs=1e-9)
        if kind.startswith("pointwise"):
            assert target.alignment(p).item() == pytest.approx(1)
            assert target.alignment(a).item() == pytest.approx(target.rate.item())
    with pytest.raises(ValueError, match="is no target"):
        targets.make_target("moon", gru.every_sequence(V, LENGTH), world.log_a, 0, 0.1)


# The runs


SETTING = toy.Setting(steps=30, batch=64, learning_rate=0.01, evaluations=6)


def test_policies_side_by_side_never_mix(worlds):
    both = toy.tune(worlds, "pointwise-6", ("KL", "JS"), SETTING)
    alone = toy.tune(worlds[1:2], "pointwise-6", ("JS",), SETTING)
    for metric in ("alignment", "KL(p, pi)", "entropy"):
        assert both.final("JS", metric)[1] == pytest.approx(alone.final("JS", metric)[0], rel=1e-3)
    np.testing.assert_array_equal(
        both.metrics["entropy"][0, :, 0], both.metrics["entropy"][1, :, 0]
    )
    assert both.gradient_norm.shape == (2, 3, 30)


def test_tuning_approaches_the_target_and_is_repeatable(worlds):
    first, second = (toy.tune(worlds, "scalar", study.OBJECTIVES, SETTING) for _ in range(2))
    for name in study.OBJECTIVES:
        row = first.objectives.index(name)
        assert (first.metrics["JS"][row, :, -1] < first.metrics["JS"][row, :, 0] / 2).all()
    np.testing.assert_array_equal(first.metrics["JS"], second.metrics["JS"])
    assert np.median(np.abs(first.log_z_error[..., -1])) < 0.2
    fixed = toy.tune(worlds, "scalar", ("JS",), toy.Setting(5, 64, 0.01, 5, exact_z=True))
    np.testing.assert_allclose(fixed.log_z_error[..., -1], 0, atol=1e-12)


def test_at_the_target_the_gradient_is_noise_alone(worlds):
    """Null: p = a, so that the true gradient is zero and nothing should move far."""
    null = targets.Target(
        kind="null",
        label="nothing",
        score=torch.zeros(V**LENGTH, dtype=torch.float64),
        features=torch.ones(V**LENGTH, 1, dtype=torch.float64),
        wanted=None,
        rate=torch.ones(1, dtype=torch.float64),
    )
    idle = [toy.World(w.seed, w.base, w.length, w.log_a, {"null": null}) for w in worlds]
    for name in ("KL", "RKL", "JS", "CHI2"):
        log_p = null.log_p(idle[0].log_a)[None]
        gradient = exact.divergence_gradient(double(idle[0].base), LENGTH, log_p, name)
        assert gradient.norm().item() < 1e-6
    tuned = toy.tune(idle, "null", ("KL", "RKL", "JS"), toy.Setting(20, 64, 1e-3, 20))
    assert tuned.metrics["JS"][..., -1].max() < 1e-3


def test_filtered_tuning_approaches_the_target_but_needs_a_hit(worlds):
    tuned = toy.filtered_tuning(worlds, "pointwise-6", SETTING)
    before, after = tuned.metrics["KL(p, pi)"][0, :, 0], tuned.final(toy.FILTERED, "KL(p, pi)")
    assert (after < before).all()
    empty = toy.Setting(1, 1, 0.01, 1)
    with pytest.raises(ValueError, match="no sample of the base model"):
        toy.filtered_tuning(worlds, "pointwise-1", empty)


# The noise


def test_noise_agrees_with_the_exact_covariance(worlds):
    world, policy, kind = worlds[0], worlds[1].base, "pointwise-6"
    found = noise.noise_at(world, kind, policy, "JS", batch=16, batches=1500)
    leaves = {k: v.requires_grad_() for k, v in double(policy).items()}
    log_pi = gru.all_log_probabilities(leaves, LENGTH)[0]
    scores = [
        torch.cat([g.flatten() for g in torch.autograd.grad(x, leaves.values(), retain_graph=True)])
        for x in log_pi
    ]
    pi, log_p = log_pi.detach().exp(), world.targets[kind].log_p(world.log_a)
    rewards = pseudo_reward("JS", log_pi.detach() - log_p)
    centred = rewards - pi @ rewards
    each = centred[:, None] * torch.stack(scores)
    truth = pi @ each
    trace = (pi @ each.square().sum(dim=1) - truth.square().sum()).item() / 16
    assert found.gradient_noise == pytest.approx(trace, rel=0.1)
    assert found.noise_to_signal == pytest.approx(trace / truth.square().sum().item(), rel=0.1)
    assert found.reward_variance == pytest.approx((pi @ centred**2).item(), rel=1e-6)


def test_noise_is_matched_on_worlds_where_both_reach_the_level(worlds):
    tuned = toy.tune(worlds, "pointwise-6", ("KL", "JS"), SETTING)
    at = noise.first_reaching(tuned, "JS", 0.3)
    aligned = tuned.metrics["alignment"][1]
    for i, place in enumerate(at):
        reached = np.flatnonzero(aligned[i] >= 0.3)
        assert place == (reached[0] if len(reached) else -1)
    assert noise.first_reaching(tuned, "KL", 2.0).tolist() == [-1] * 3
    found = noise.matched_noise(worlds, "pointwise-6", tuned, ("KL", "JS"), 0.3, 16, 4)
    both = (at >= 0) & (noise.first_reaching(tuned, "KL", 0.3) >= 0)
    assert [len(values) for values in found.values()] == [both.sum()] * 2


# The choices


def made_up(objectives, metrics):
    values = {name: np.asarray(x, dtype=float)[..., None] for name, x in metrics.items()}
    shape = next(iter(values.values())).shape
    return toy.Tuned(tuple(objectives), [0], values, np.zeros(shape), np.zeros(shape), [])


def test_the_rate_is_chosen_by_forward_kl_alone():
    good = made_up(["KL"], {"KL(p, pi)": [[0.1, 0.2]], "alignment": [[0.0, 0.0]]})
    bad = made_up(["KL"], {"KL(p, pi)": [[0.3, 0.2]], "alignment": [[1.0, 1.0]]})
    assert study.best_learning_rate({1.0: [bad], 2.0: [good]}) == 2.0


def test_contests_are_where_an_objective_loses_most_clearly():
    rng = np.random.default_rng(0)
    alignment = np.array([[0.1], [0.9], [0.5], [0.5]]) + 0.01 * rng.normal(size=(4, 6))
    entropy = np.array([[5.0], [1.0], [3.0], [3.0]]) + 0.01 * rng.normal(size=(4, 6))
    pilot = {"k": made_up(study.OBJECTIVES, {"alignment": alignment, "entropy": entropy})}
    picked = study.pick_contests(pilot)
    assert picked["KL"].metric == "alignment"
    assert picked["RKL"].metric == "entropy"
    assert (study.advantage(pilot, picked["KL"], "KL") > 0).all()
