"""Discrepancy against enumeration, and the studies against what they must find."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logit

from stemma.papers.predictive_multiplicity import studies, synthetic
from stemma.papers.predictive_multiplicity.analysis import Analysis, Level, analyse
from stemma.papers.predictive_multiplicity.climb import climb
from stemma.papers.predictive_multiplicity.conflicts import Moves, conflicting_pairs
from stemma.papers.predictive_multiplicity.discrepancy import (
    Discrepancy,
    Limits,
    Movement,
    possible_moves,
    solve_discrepancy,
)
from stemma.papers.predictive_multiplicity.newton import Solver
from stemma.papers.predictive_multiplicity.path import make_pool, pool_discrepancy
from stemma.papers.predictive_multiplicity.task import Task, make_task
from stemma.stats import Array

POSITIVES = [30, 10, 5, 22, 9]
NEGATIVES = [10, 25, 20, 18, 9]
LEVEL = Level("absolute", 0.02)
DELTA = 0.15


def saturated_task() -> Task:
    group = np.repeat(np.arange(5), [p + n for p, n in zip(POSITIVES, NEGATIVES, strict=True)])
    y = np.concatenate([np.repeat([1.0, -1.0], c) for c in zip(POSITIVES, NEGATIVES, strict=True)])
    names = tuple(f"g{k}" for k in range(1, 5))
    return make_task("saturated", np.eye(5)[group][:, 1:], y, names)


def move_costs(task: Task, risk: Array) -> Array:
    """Loss that each row's cheapest move by delta adds in a saturated model, per person."""
    q = task.positives / task.counts

    def added(p: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            divergence = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
        return np.where(np.isfinite(divergence), divergence, np.inf) * task.counts / task.people

    return np.minimum(added(risk - DELTA), added(risk + DELTA))


def best_by_enumeration(task: Task, risk: Array, eps: float) -> float:
    costs = move_costs(task, risk)
    return max(
        float(task.counts[np.array(on, dtype=bool)].sum()) / task.people
        for on in product([0, 1], repeat=len(costs))
        if np.where(on, costs, 0).sum() <= eps
    )


@pytest.fixture(scope="module")
def found() -> Analysis:
    return analyse(saturated_task(), [LEVEL])


def solve(found: Analysis, level: Level, delta: float, nodes: int = 5_000) -> Discrepancy:
    pytest.importorskip("pyscipopt")
    pool = make_pool(found.task, found.ranges[level].weights.reshape(-1, len(found.baseline)))
    limits = Limits(0.0, nodes, seconds=60)
    return solve_discrepancy(found.solver, found.ranges[level], found.baseline, delta, pool, limits)


def test_program_finds_the_best_subset(found: Analysis) -> None:
    result = solve(found, LEVEL, DELTA)
    expected = best_by_enumeration(found.task, found.risk, LEVEL.eps(found.loss))
    assert 0 < expected < 1
    assert result.share == pytest.approx(expected)
    assert result.bound == pytest.approx(expected, abs=1e-6)
    assert result.gap == pytest.approx(0, abs=1e-5)


def test_incumbent_competes_and_moves_whom_it_says(found: Analysis) -> None:
    result = solve(found, LEVEL, DELTA)
    assert float(found.task.loss(result.weights)) <= found.tau(LEVEL) + 1e-9
    moved = np.abs(found.task.risk(result.weights) - found.risk) >= DELTA - 1e-6
    assert found.task.counts[moved].sum() / found.task.people == pytest.approx(result.share)
    assert result.share <= found.ambiguity(LEVEL, DELTA) + 1e-12


def test_overlapping_rows_stay_between_pool_and_ambiguity() -> None:
    task = synthetic.minority(0.2, 40, seed=1)
    level = Level("relative", 0.02)
    found = analyse(task, [level])
    result = solve(found, level, 0.1, nodes=1)
    pool = make_pool(task, found.ranges[level].weights.reshape(-1, len(found.baseline)))
    low = pool_discrepancy(pool.competing(found.tau(level)), found.risk, task.counts, 0.1)
    assert low <= result.share <= result.bound + 1e-9
    assert result.share <= found.ambiguity(level, 0.1)


def test_nothing_to_move_needs_no_program(found: Analysis) -> None:
    result = solve(found, LEVEL, 0.99)
    assert (result.share, result.bound, result.gap, result.nodes) == (0.0, 0.0, 0.0, 0)


def test_gap_of_an_incumbent_that_moves_nobody_is_infinite() -> None:
    assert Discrepancy(0.0, 0.2, np.zeros(2), "nodelimit", 1, 0).gap == float("inf")


def test_pairs_conflict_when_their_costs_add_up_to_more_than_eps(found: Analysis) -> None:
    task, eps = found.task, LEVEL.eps(found.loss)
    q = task.positives / task.counts
    target = q + DELTA * np.where(q < 0.5, 1, -1)
    moves = Moves(np.arange(5), np.sign(target - q), logit(target))
    cost = (
        (q * np.log(q / target) + (1 - q) * np.log((1 - q) / (1 - target)))
        * task.counts
        / task.people
    )
    expected = {(i, j) for i in range(5) for j in range(i + 1, 5) if cost[i] + cost[j] > eps}
    pairs = conflicting_pairs(found.solver, moves, found.solver.optimal_loss + eps)
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert 0 < len(expected) < 10


def test_implied_moves_do_not_conflict() -> None:
    task = make_task(
        "line",
        np.array([[0.0], [1], [2], [0], [1], [2]]),
        np.array([-1.0, 1, 1, 1, -1, -1]),
        ("x",),
    )
    solver = Solver(task)
    moves = Moves(np.array([1, 2]), np.array([1.0, 1.0]), np.array([0.1, 0.1]))
    assert len(conflicting_pairs(solver, moves, solver.optimal_loss + 0.1)) == 0


def test_climb_only_adds_moves(found: Analysis) -> None:
    moves = possible_moves(found.ranges[LEVEL], found.risk[found.picked], DELTA)
    movement = Movement(found.task, found.ranges[LEVEL], found.baseline, DELTA)
    weights = climb(found.solver, moves, found.tau(LEVEL), found.baseline)
    assert movement.share(weights) > movement.share(found.baseline) == 0
    assert float(found.task.loss(weights)) <= found.tau(LEVEL)


def test_pull_back_stops_at_the_bound(found: Analysis) -> None:
    movement = Movement(found.task, found.ranges[LEVEL], found.baseline, DELTA)
    inside = movement.pull_back(found.baseline + 3.0)
    assert float(found.task.loss(inside)) == pytest.approx(found.tau(LEVEL), abs=1e-9)
    assert float(found.task.loss(inside)) <= found.tau(LEVEL)
    assert movement.pull_back(found.baseline) is found.baseline


def test_violations_of_monotonicity_are_counted() -> None:
    small, large = Level("relative", 0.01), Level("relative", 0.05)
    found = analyse(synthetic.gaussians(1.0, 60, 0), [small, large])
    deltas = np.array([0.05, 0.1])
    assert studies.monotonicity_violations(found, [small, large], deltas) == 0
    found.ranges[small], found.ranges[large] = found.ranges[large], found.ranges[small]
    assert studies.monotonicity_violations(found, [small, large], deltas) > 0


def test_equal_groups_have_equal_ranges_on_average() -> None:
    level = Level("relative", 0.05)
    widths = [studies.minority_widths(0.5, 100, level, seed, True) for seed in range(20)]
    difference = np.diff(widths, axis=1)
    # At equal shares the groups are exchangeable (x1 and x2 are): 3 standard errors.
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / np.sqrt(20)


def test_mislabelled_people_are_where_they_are_said_to_be() -> None:
    flipped = synthetic.flipped_people(40, 0.1)
    clean, noisy = (synthetic.gaussians(2.0, 40, 7, mislabelled=m) for m in (0.0, 0.1))
    changed = np.flatnonzero(clean.positives[clean.index] != noisy.positives[noisy.index])
    assert np.array_equal(changed, np.sort(flipped))
    assert len(flipped) == 4


def test_outliers_are_four_sigma_beyond_their_class() -> None:
    task = synthetic.outliers(0.05, True, 100, seed=0)
    far = task.index[synthetic.flipped_people(100, 0.05)]
    assert np.abs(task.rows[far, 1]) == pytest.approx(5.0)
    positive = task.positives[far] == 1
    assert np.array_equal(positive, task.rows[far, 1] < 0)


def test_leverages_sum_to_the_number_of_coefficients() -> None:
    found = analyse(synthetic.gaussians(1.0, 80, 0), [])
    assert (studies.leverage(found) * found.task.counts).sum() == pytest.approx(3)
