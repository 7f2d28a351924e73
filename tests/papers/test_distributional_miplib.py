"""Generators, solver, expert, policy and training of learned branching."""

from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from pyscipopt import SCIP_PARAMSETTING
from scipy import optimize

from stemma.papers.distributional_miplib import instances, study
from stemma.papers.distributional_miplib.evidence import (
    accuracies_table,
    differing_objectives,
    nodes_of_replicates,
    own_accuracy,
    solutions_table,
)
from stemma.papers.distributional_miplib.families import (
    Use,
    parse_family,
    real_graph_family,
    shared,
)
from stemma.papers.distributional_miplib.imitation import (
    Training,
    accuracy,
    loss,
    sample_expert,
    train,
)
from stemma.papers.distributional_miplib.milp import Milp
from stemma.papers.distributional_miplib.policy import Policy, collate
from stemma.papers.distributional_miplib.rules import PolicyBranching, Sample, StrongBranching
from stemma.papers.distributional_miplib.solver import Limits, prepare, solve
from stemma.papers.distributional_miplib.state import State

LIMITS = Limits(nodes=2000, seconds=60.0, root_cuts=False)
SIZES = {
    "set_cover": "set_cover-40x80",
    "auction": "auction-20x50",
    "independent_set": "independent_set-40",
    "facility_location": "facility_location-6x6",
    "gisp": "gisp-18",
    "vertex_cover": "vertex_cover-30",
}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    programs = parse_family("gisp-26").draw(11, Use.TRAIN, 4)
    return [s for i, m in enumerate(programs) for s in sample_expert(m, i, 0.6, 8, LIMITS)]


def highs(milp: Milp) -> float:
    """Return the optimum by another solver, SciPy's HiGHS."""
    found = optimize.milp(
        milp.objective,
        integrality=milp.integer.astype(int),
        bounds=optimize.Bounds(milp.lower, milp.upper),
        constraints=optimize.LinearConstraint(milp.matrix, milp.lhs, milp.rhs),
    )
    return float(found.fun)


@pytest.mark.parametrize("text", SIZES.values(), ids=SIZES)
def test_scip_finds_the_optimum_of_another_solver(text: str) -> None:
    for number, milp in enumerate(parse_family(text).draw(5, Use.TEST, 2)):
        outcome = solve(milp, "pscost", number, LIMITS)
        assert outcome.solved
        assert outcome.objective == pytest.approx(highs(milp), rel=1e-6)


def test_set_covers_have_no_empty_row_or_column() -> None:
    milp = instances.set_cover(np.random.default_rng(0), 50, 120)
    assert np.diff(milp.matrix.indptr).min() >= 2
    assert (milp.matrix.sum(axis=0) >= 1).all()
    assert milp.matrix.nnz == 300
    assert set(milp.objective) <= set(range(1, 101))
    with pytest.raises(ValueError, match="empty"):
        instances.set_cover(np.random.default_rng(0), 50, 120, density=0.01)


def test_every_edge_is_in_one_clique() -> None:
    graph = nx.barabasi_albert_graph(60, 4, seed=1)
    cliques = instances.clique_partition(graph)
    pairs = [frozenset(p) for c in cliques for p in nx.complete_graph(c).edges]
    assert sorted(map(sorted, pairs)) == sorted(sorted(edge) for edge in graph.edges)


def test_an_independent_set_is_that_of_the_graph() -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    milp = instances.independent_set(rng, 30)
    graph = nx.barabasi_albert_graph(30, 4, seed=int(again.integers(2**31)))
    largest = max(map(len, nx.find_cliques(nx.complement(graph))))
    assert -highs(milp) == pytest.approx(largest)


def test_facilities_serve_all_within_their_capacity() -> None:
    customers, facilities = 5, 4
    milp = instances.facility_location(np.random.default_rng(2), customers, facilities)
    assert milp.matrix.shape == (customers + facilities + 1 + 20, facilities + 20)
    x = np.zeros(facilities + 20)
    x[:facilities] = 1.0
    x[facilities:] = 1.0 / facilities  # everything open, demand shared: feasible at ratio 5
    activity = milp.matrix @ x
    assert (activity >= milp.lhs - 1e-9).all()
    assert (activity <= milp.rhs + 1e-9).all()
    capacity = -milp.matrix[[customers], :facilities].toarray()[0, 0]
    assert capacity > 0
    assert (milp.matrix[customers + facilities + 1 :] @ np.eye(len(x))[0]).sum() == -customers


def test_a_removed_edge_costs_one() -> None:
    triangle = nx.complete_graph(3)
    fixed = instances.independent_set_removing_edges(np.random.default_rng(0), triangle, 0.0)
    loose = instances.independent_set_removing_edges(np.random.default_rng(0), triangle, 1.0)
    assert highs(fixed) == pytest.approx(-100.0)
    assert highs(loose) == pytest.approx(-300.0 + 3.0)


def test_auctions_sell_an_item_once_and_a_bidder_one_bundle() -> None:
    milp = instances.auction(np.random.default_rng(4), 15, 40)
    assert milp.matrix.shape[1] == 40
    assert (milp.objective < 0).all()
    assert set(milp.matrix.data) == {1.0}
    assert milp.matrix.shape[0] > 15  # dummy items


def test_dimacs_files_and_subgraphs_of_real_graphs(tmp_path: Path) -> None:
    path = tmp_path / "small.clq"
    path.write_text("c a comment\np edge 5 5\ne 1 2\ne 2 3\ne 3 4\ne 4 5\ne 5 1\n")
    graph = instances.read_dimacs(path)
    assert nx.is_isomorphic(graph, nx.cycle_graph(5))
    family = real_graph_family([graph], 4)
    milp = family.draw(0, Use.TEST, 1)[0]
    assert milp.matrix.shape[0] == 3  # a cycle of five without one node has three edges


def test_no_program_serves_two_uses() -> None:
    family = parse_family("gisp-18")
    groups = [family.draw(1, use, 4) for use in Use]
    assert shared(groups) == 0
    assert shared([groups[0], groups[0][:2]]) == 2
    again = family.draw(1, Use.TRAIN, 6)
    assert [m.digest for m in again[:4]] == [m.digest for m in groups[0]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("knapsack-5", "no domain knapsack"), ("gisp-x", "write a size"), ("gisp-0", "positive")],
)
def test_families_that_do_not_exist(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_family(text)


class _Brute(StrongBranching):
    """Compares strong branching scores with children solved by HiGHS, at the root."""

    def __init__(self, milp: Milp) -> None:
        super().__init__()
        self._milp = milp
        self.worst: float | None = None

    def branchexeclp(self, allowaddcons: bool) -> dict[str, object]:
        if self.worst is None:
            self.worst = self._compare()
        return super().branchexeclp(allowaddcons)

    def _compare(self) -> float:
        model, errors = self.model, []
        value = model.getLPObjVal()
        model.startStrongbranch()
        for variable, at in zip(*model.getLPBranchCands()[:2], strict=True):
            column = int(variable.name.removeprefix("t_x"))
            down, up, *_ = model.getVarStrongbranch(variable, 10**6, idempotent=True)
            bounds = [_relaxed(self._milp, column, (0, np.floor(at)))]
            bounds.append(_relaxed(self._milp, column, (np.ceil(at), 1)))
            errors += [abs(down - bounds[0]), abs(up - bounds[1])]
        model.endStrongbranch()
        assert value == pytest.approx(_relaxed(self._milp, 0, (0, 1)))
        return max(errors)


def _relaxed(milp: Milp, column: int, bounds: tuple[float, float]) -> float:
    lower, upper = milp.lower.copy(), milp.upper.copy()
    lower[column], upper[column] = bounds
    found = optimize.milp(
        milp.objective,
        bounds=optimize.Bounds(lower, upper),
        constraints=optimize.LinearConstraint(milp.matrix, milp.lhs, milp.rhs),
    )
    return float(found.fun)


def test_strong_branching_solves_both_children() -> None:
    milp = parse_family("gisp-26").draw(2, Use.TEST, 1)[0]
    model = prepare(milp, 0, LIMITS)
    # Nothing may tighten the linear program before it is compared, and no incumbent cut it off.
    model.setPresolve(SCIP_PARAMSETTING.OFF)
    model.setHeuristics(SCIP_PARAMSETTING.OFF)
    model.setParam("propagating/maxroundsroot", 0)
    rule = _Brute(milp)
    rule.include(model)
    model.optimize()
    assert rule.worst is not None
    assert rule.worst < 1e-6


def test_the_expert_makes_smaller_trees_and_the_worst_choice_larger_ones(
    samples: list[Sample],
) -> None:
    policy = train(samples, samples[:8], 0, Training(16, 40, 8, 2e-3, 10, 20)).policy
    nodes: dict[str, int] = dict.fromkeys(("random", "strong", "policy", "worst"), 0)
    for number, milp in enumerate(parse_family("gisp-26").draw(12, Use.TEST, 4)):
        rules = {
            "random": "random",
            "strong": StrongBranching(),
            "policy": PolicyBranching(policy.score),
            "worst": study.turned_round(policy),
        }
        outcomes = {name: solve(milp, rule, number, LIMITS) for name, rule in rules.items()}
        for name, outcome in outcomes.items():
            nodes[name] += outcome.nodes
            assert outcome.objective == pytest.approx(outcomes["random"].objective)
        assert outcomes["policy"].decisions > 0
        assert outcomes["random"].decisions == 0
    assert nodes["strong"] < nodes["random"]
    assert nodes["policy"] < nodes["worst"]


def test_states_are_read_as_the_paper_describes_them(samples: list[Sample]) -> None:
    for sample in samples:
        state = sample.state
        assert state.constraints.shape[1] == 5
        assert state.variables.shape[1] == 19
        fractional = state.variables[state.candidates, 10]
        assert ((fractional > 0) & (fractional < 1)).all()
        assert (state.variables[:, :4].sum(axis=1) == 1).all()
        squares = np.zeros(len(state.constraints))
        np.add.at(squares, state.edges[0], state.weights.astype(float) ** 2)
        assert squares == pytest.approx(np.ones(len(squares)), abs=1e-5)
        assert len(sample.scores) == len(state.candidates)
        # x_i + x_j (- y) <= 1: sides of 1/sqrt(2) or 1/sqrt(3).
        sides = np.abs(state.constraints[:, 1]).astype(float).round(4)
        assert set(sides) & {0.7071, 0.5774}


def test_scores_do_not_depend_on_the_order_of_the_graph(samples: list[Sample]) -> None:
    torch.manual_seed(0)
    policy, state = Policy(8), samples[0].state
    rng = np.random.default_rng(0)
    rows, columns = (rng.permutation(len(x)) for x in (state.constraints, state.variables))
    row_of, column_of = np.argsort(rows), np.argsort(columns)
    moved = State(
        state.constraints[rows],
        np.stack([row_of[state.edges[0]], column_of[state.edges[1]]]),
        state.weights,
        state.variables[columns],
        column_of[state.candidates],
    )
    assert policy.score(moved) == pytest.approx(policy.score(state), abs=1e-4)


def test_a_batch_scores_each_state_as_if_alone(samples: list[Sample]) -> None:
    torch.manual_seed(1)
    policy, states = Policy(8), [s.state for s in samples[:3]]
    with torch.no_grad():
        together = policy(collate(states)).numpy()
    alone = np.concatenate([policy.score(state) for state in states])
    assert together == pytest.approx(alone, abs=1e-4)


def test_normalizing_layers_have_unit_scale_on_training_data(samples: list[Sample]) -> None:
    torch.manual_seed(2)
    policy, batch = Policy(8), collate([s.state for s in samples])
    policy.estimate_norms(batch)
    normal = policy.variable_norm(batch.variables)
    spread = normal.std(0, correction=0)
    moving = batch.variables.std(0) > 1e-6
    assert spread[moving].numpy() == pytest.approx(np.ones(int(moving.sum())), abs=1e-3)
    assert normal.mean(0).numpy() == pytest.approx(np.zeros(19), abs=1e-3)


def test_messages_are_summed_as_the_paper_writes_them(samples: list[Sample]) -> None:
    torch.manual_seed(4)
    policy, batch = Policy(8), collate([samples[0].state])
    layer, back = policy.to_constraints, batch.edges.flip(0)
    torch.nn.init.normal_(layer.message.bias)
    with torch.no_grad():
        senders, receivers = (
            torch.randn(len(batch.variables), 8),
            torch.randn(len(batch.constraints), 8),
        )
        layer.before.scale.uniform_(0.5, 2.0)
        joint = layer.joint(senders, receivers, back, batch.weights)
        ours = layer.total(joint, back, len(receivers))
        plain = layer.sender(senders)[back[0]] + layer.receiver(receivers)[back[1]]
        plain += layer.edge(batch.weights)
        messages = layer.message(torch.relu(layer.before(plain)))
        direct = torch.zeros_like(receivers)
        for place, message in zip(back[1].tolist(), messages, strict=True):
            direct[place] += message
    assert ours.numpy() == pytest.approx(direct.numpy(), abs=1e-4)


def test_the_loss_is_the_cross_entropy_over_each_state(samples: list[Sample]) -> None:
    states = [s.state for s in samples[:4]]
    batch = collate(states)
    sizes = [len(state.candidates) for state in states]
    starts = np.cumsum([0, *sizes[:-1]])
    best = [int(np.argmax(s.scores)) for s in samples[:4]]
    scores = torch.randn(
        sum(sizes), dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    ours = loss(scores, batch, torch.from_numpy(starts + np.array(best)))
    parts = torch.split(scores, sizes)
    other = [
        torch.nn.functional.cross_entropy(p[None], torch.tensor([b]))
        for p, b in zip(parts, best, strict=True)
    ]
    assert float(ours) == pytest.approx(float(torch.stack(other).mean()))


def test_accuracy_counts_ties_and_tells_chance(samples: list[Sample]) -> None:
    state = samples[0].state
    k = len(state.candidates)
    tied = np.zeros(k)
    tied[: k - 1] = 1.0
    torch.manual_seed(0)
    found = accuracy(Policy(8), [Sample(state, tied)])
    assert found.chance == pytest.approx((k - 1) / k)
    assert found.ties == 1.0
    assert found.top5 == 1.0
    rated_all_alike = accuracy(Policy(8), [Sample(state, np.ones(k))])
    assert rated_all_alike.top1 == 1.0


def test_training_learns_and_repeats_itself(samples: list[Sample]) -> None:
    training = Training(16, 40, 8, 2e-3, 10, 20)
    policy = train(samples, samples, 7, training).policy
    again = train(samples, samples, 7, training).policy
    for ours, theirs in zip(policy.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    found = accuracy(policy, samples)
    assert found.top1 > found.chance + 0.2
    with pytest.raises(ValueError, match="no samples"):
        train([], samples, 7, training)


def test_training_ends_when_the_validation_loss_does_not_fall(samples: list[Sample]) -> None:
    endless = Training(8, 10**9, 4, 1e-30, 5, 2)
    assert train(samples, samples[:4], 7, endless).best_step == 5


def _corpus(domain: str, samples: list[Sample]) -> study.Corpus:
    return study.Corpus(domain, 0, [[s] for s in samples[:4]], samples[4:6], samples[6:8], {})


def test_arms_learn_from_what_their_names_say(samples: list[Sample]) -> None:
    corpora = {name: _corpus(name, samples) for name in ("a", "b")}
    counts = {
        (arm.kind, arm.programs, arm.domain): len(study.lessons(arm, corpora)[0])
        for arm in study.arms(["a", "b"], [2, 4], leave_out=True)
    }
    assert counts[study.HOMOGENEOUS, 2, "a"] == 2
    assert counts[study.MIXED, 2, ""] == 4
    assert counts[study.TOTAL, 2, ""] == 2
    assert counts[study.WITHOUT, 4, "a"] == 4
    with pytest.raises(ValueError, match="multiples of 2"):
        study.arms(["a", "b"], [3], leave_out=False)


def test_test_samples_never_reach_the_training(samples: list[Sample]) -> None:
    corpora = {name: _corpus(name, samples) for name in ("a", "b")}
    for arm in study.arms(["a", "b"], [2, 4], leave_out=True):
        learned, validated = study.lessons(arm, corpora)
        used = {id(s) for s in learned + validated}
        assert not used & {id(s) for s in samples[6:8]}
        assert not {id(s) for s in learned} & {id(s) for s in validated}


def test_tables_pair_rules_and_weigh_domains_alike(samples: list[Sample]) -> None:
    torch.manual_seed(0)
    family = parse_family("gisp-18")
    rules: dict[str, Policy | str] = {"pscost": "pscost", "mixed 2": Policy(8)}
    solutions = study.branch(family, 3, Use.TEST, 2, rules, LIMITS)
    table = solutions_table(solutions)
    assert differing_objectives(table) <= 1e-6
    means = nodes_of_replicates(table, "pscost")
    expected = np.exp(np.log1p(table[table.rule == "pscost"].nodes).mean())
    assert means == pytest.approx([expected])
    fitted = [
        study.fit(arm, (samples, samples), {"a": samples[:3]}, 0, Training(8, 1, 4, 1e-3, 1, 20))
        for arm in (study.Arm(study.HOMOGENEOUS, 2, "a"), study.Arm(study.MIXED, 2))
    ]
    accuracies = accuracies_table(fitted)
    for kind in (study.HOMOGENEOUS, study.MIXED):
        assert own_accuracy(accuracies, kind).shape == (1, 1)


def test_gap_closes_along_the_curve() -> None:
    milp = parse_family("gisp-26").draw(12, Use.TEST, 1)[0]
    outcome = solve(milp, "pscost", 0, LIMITS)
    seconds, primal, dual = np.array(outcome.curve).T
    assert all(a <= b for a, b in pairwise(seconds))
    assert primal[-1] - dual[-1] <= primal[0] - dual[0]
    with pytest.raises(ValueError, match="no baseline"):
        solve(milp, "magic", 0, LIMITS)
