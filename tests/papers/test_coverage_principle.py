"""The mathematics: tables, coverage by hand and by brute force, GPT-2 by transformers' own."""

from collections import defaultdict
from itertools import combinations, product

import networkx as nx
import numpy as np
import pytest
import torch

from stemma.papers.coverage_principle import analysis, baselines, coverage, network, tasks, training
from stemma.papers.coverage_principle.coverage import EVERY, FIRST_HOP, FROM_TABLES

TWOHOP, NONTREE = tasks.CONDITIONS["twohop"], tasks.CONDITIONS["nontree"]

# Eight triples of three tokens. (0, 0) and (0, 1) gave 1 before 0, and 2 before 1: equivalent with
# evidence 2. (1, 0) agrees with (0, 0) before 0 and contradicts it before 1. (1, 1) has only been
# seen before 2, where (0, 0) gave the same.
HAND = np.array(
    [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1], [1, 1, 2]]
)
SAID = np.array([1, 2, 0, 1, 2, 1, 0, 0])


def pair(a, b):
    return 3 * a + b


def reachable(k, new, said):
    """Coverage of triples ``new`` with answers ``said`` from the eight, over (x1, x2) alone."""
    group = coverage.classes(coverage.shared_evidence(HAND, SAID, (0, 1), 3), k)
    triples, answers = np.vstack([HAND, new]), np.append(SAID, said)
    trained = np.arange(len(triples)) < len(HAND)
    return coverage.covered(triples, answers, trained, [((0, 1), group)], 3)[len(HAND) :].tolist()


def sample_of(n, size, seed, condition=TWOHOP):
    task = tasks.make_task(n, condition, 0.7, seed)
    return tasks.classify(task, tasks.draw_order(task, seed)[:size])


def test_evidence_of_the_example_by_hand():
    found = coverage.shared_evidence(HAND, SAID, (0, 1), 3).toarray()
    assert found[pair(0, 0), pair(0, 1)] == 2
    assert found[pair(0, 0), pair(1, 1)] == 1
    assert found[pair(0, 1), pair(1, 1)] == 0  # never seen together
    assert (found == found.T).all()
    assert not found.diagonal().any()


def test_one_contradiction_forbids_a_pair_whatever_else_agrees():
    found = coverage.shared_evidence(HAND, SAID, (0, 1), 3).toarray()
    assert found[pair(0, 0), pair(1, 0)] == 0
    mended = SAID.copy()
    mended[6] = 2  # what (0, 0) says before 1
    assert coverage.shared_evidence(HAND, mended, (0, 1), 3)[pair(0, 0), pair(1, 0)] == 2


def test_coverage_of_the_example_by_hand():
    new = [[0, 1, 2], [1, 1, 0], [1, 0, 2]]
    assert reachable(1, new, [0, 1, 0]) == [True, True, False]
    assert reachable(2, new, [0, 1, 0]) == [True, False, False]
    assert reachable(1, new, [2, 2, 2]) == [False] * 3  # a swap must keep the answer


def brute_force(sample, fragments, k):
    """The definition, pair by pair, with networkx."""
    task = sample.task
    rows = {tuple(task.triples[i].tolist()): int(task.answer[i]) for i in sample.train}
    nodes = sample.of_kind(tasks.TRAIN, tasks.IN_DOMAIN)
    graph = nx.Graph()
    graph.add_nodes_from(nodes.tolist())
    for fragment in fragments:
        rest = coverage.complement(fragment)
        behaviour = defaultdict(dict)
        for triple, answer in rows.items():
            content = tuple(triple[p] for p in fragment)
            behaviour[content][tuple(triple[p] for p in rest)] = answer
        alike = nx.Graph()
        alike.add_nodes_from(product(range(task.n), repeat=len(fragment)))
        for a, b in combinations(behaviour, 2):
            both = behaviour[a].keys() & behaviour[b].keys()
            if len(both) >= k and all(behaviour[a][c] == behaviour[b][c] for c in both):
                alike.add_edge(a, b)
        name = {v: i for i, part in enumerate(nx.connected_components(alike)) for v in part}
        for i, j in combinations(nodes.tolist(), 2):
            a, b = task.triples[i], task.triples[j]
            if task.answer[i] == task.answer[j] and (a[rest] == b[rest]).all():
                first, second = (tuple(v[list(fragment)].tolist()) for v in (a, b))
                if name[first] == name[second]:
                    graph.add_edge(i, j)
    inside = set()
    for i in sample.train.tolist():
        inside |= nx.node_connected_component(graph, i)
    return [i in inside for i in nodes.tolist()]


@pytest.mark.parametrize("fragments", [EVERY, FIRST_HOP])
@pytest.mark.parametrize("condition", [TWOHOP, NONTREE])
def test_coverage_is_that_of_the_definition(fragments, condition):
    sample = sample_of(5, 35, 3, condition)
    nodes = sample.of_kind(tasks.TRAIN, tasks.IN_DOMAIN)
    found = coverage.cutoffs(sample, fragments)
    seen = set()
    for k in (1, 2, 3):
        expected = brute_force(sample, fragments, k)
        assert (found[nodes] >= k).tolist() == expected
        seen |= set(expected)
    assert seen == {True, False}


def test_swaps_join_what_coverage_joins():
    sample = sample_of(5, 35, 4)
    nodes = sample.of_kind(tasks.TRAIN, tasks.IN_DOMAIN)
    evidence = coverage.all_evidence(sample, EVERY, coverage.FROM_DATA)
    grouped = [(f, coverage.classes(e, 1)) for f, e in evidence]
    triples, answers = sample.task.triples[nodes], sample.task.answer[nodes]
    graph = nx.Graph(coverage.swaps(triples, answers, grouped, 5))
    graph.add_nodes_from(range(len(nodes)))
    trained = sample.kind[nodes] == tasks.TRAIN
    inside = set().union(
        *(nx.node_connected_component(graph, int(i)) for i in np.flatnonzero(trained))
    )
    found = coverage.covered(triples, answers, trained, grouped, 5)
    assert set(np.flatnonzero(found).tolist()) == inside


def test_behaviour_is_the_ground_truth_when_evidence_is_strong_and_errs_when_it_is_weak():
    sample = sample_of(16, 1200, 5)
    seen = coverage.shared_evidence(
        sample.task.triples[sample.train], sample.task.answer[sample.train], (0, 1), 16
    ).toarray()
    true = coverage.true_evidence(sample.task, sample.train).toarray()
    bridge = sample.task.bridge[::16]
    equal = bridge[:, None] == bridge[None, :]
    assert not true[~equal].any()
    assert (seen[equal] == true[equal]).all()  # nothing true is lost
    assert (seen[~equal] == 1).sum() > 100  # accidents of one in n
    assert ((seen >= 4) == (true >= 4)).mean() > 0.9999


def test_nothing_but_the_training_rows_decides_equivalence():
    sample = sample_of(8, 150, 6)
    task = sample.task
    other = task.answer.copy()
    hidden = np.setdiff1d(np.arange(len(other)), sample.train)
    other[hidden] = (other[hidden] + 1) % 8
    changed = tasks.classify(
        task._replace(answer=other, bridge=(task.bridge + 1) % 8), sample.train
    )
    for (_, a), (_, b) in zip(
        coverage.all_evidence(sample, EVERY, coverage.FROM_DATA),
        coverage.all_evidence(changed, EVERY, coverage.FROM_DATA),
        strict=True,
    ):
        assert (a != b).nnz == 0
    assert (
        coverage.all_evidence(sample, EVERY, FROM_TABLES)[0][1]
        != coverage.true_evidence(changed.task, changed.train)
    ).nnz == 0  # renaming bridges changes no equality


def test_needed_size_is_the_smallest():
    task = tasks.make_task(9, TWOHOP, 0.7, 7)
    order = tasks.draw_order(task, 7)
    for k in (1, 2):
        found = coverage.needed_size(task, order, k, 0.95, coverage.FROM_DATA)
        size = int(found)
        share = [
            coverage.covered_share(task, order[:s], k, coverage.FROM_DATA) for s in (size - 1, size)
        ]
        assert share[0] < 0.95 <= share[1]
        sample = tasks.classify(task, order[:size])
        tests = sample.of_kind(tasks.IN_DOMAIN)
        slow = np.mean(coverage.cutoffs(sample, FIRST_HOP)[tests] >= k)
        assert share[1] == pytest.approx(slow)
    assert np.isnan(coverage.needed_size(task, order, 9, 1.0, coverage.FROM_DATA))


def test_slopes_are_exact_on_power_laws_and_need_four_sizes():
    n = [10, 14, 20, 28]
    needed = np.array([[3 * v**2.0 for v in n], [5 * v**2.25 for v in n]])
    assert coverage.log_slopes(n, needed) == pytest.approx([2.0, 2.25])
    assert [coverage.exponent(k) for k in (1, 2)] == [2.0, 2.25]
    with pytest.raises(ValueError, match="four"):
        coverage.log_slopes(n[:3], needed[:, :3])


@pytest.mark.parametrize("name", list(tasks.CONDITIONS))
def test_a_task_is_the_composition_of_its_tables(name):
    condition = tasks.CONDITIONS[name]
    task = tasks.make_task(7, condition, 0.7, 8)
    f1, f2 = {}, {}
    for (x1, x2, x3), b, t in zip(task.triples.tolist(), task.bridge, task.answer, strict=True):
        assert f1.setdefault((x1, x2), b) == b
        key = (b, x2, x3) if condition.structure == "nontree" else (b, x3)
        assert f2.setdefault(key, t) == t
        if condition.tables == "additive":
            assert b == (x1 + x2) % 7
    if condition.tables == "shared":
        assert all(f1[key] == t for key, t in f2.items())
    share = len(task.domain) / 7**3
    assert 0.3 < share < 0.7
    rows = tasks.sequences(task, task.domain, condition.chain)
    assert rows.shape[1] == (4 if condition.chain == "none" else 5)
    assert (rows[:, -1] == task.answer[task.domain]).all()
    middle = {"none": task.triples[task.domain, 2], "bridge": task.bridge[task.domain], "fake": 7}
    assert (rows[:, -2] == middle[condition.chain]).all()


def test_an_ambiguous_task_reads_x2_twice():
    task = tasks.make_task(7, NONTREE, 0.7, 8)
    equal = [np.ptp(task.answer[(task.bridge == b) & (task.triples[:, 2] == 0)]) for b in range(7)]
    assert max(equal) > 0  # b and x3 alone do not decide


def test_kinds_are_those_of_what_was_trained_on():
    sample = sample_of(8, 60, 9)
    task = sample.task
    first, second = ({*p[sample.train].tolist()} for p in (task.first, task.second))
    for i, kind in enumerate(sample.kind):
        seen = (int(task.first[i]) in first, int(task.second[i]) in second)
        expected = {(True, True): 0, (False, False): 1, (False, True): 2, (True, False): 3}[seen]
        assert kind == (tasks.TRAIN if i in sample.train else expected)
    with pytest.raises(ValueError, match="domain"):
        tasks.classify(task, task.domain)


SHAPE = network.Shape(vocabulary=11, length=5, layers=2, width=16, heads=4)


def theirs(p):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=5, n_embd=16, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    own = {f"transformer.{name}": value[0].detach() for name, value in p.items()}
    missing, unexpected = model.load_state_dict(own, strict=False)
    assert missing in ([], ["lm_head.weight"])
    assert not unexpected
    model.tie_weights()
    return model


def perturbed(seed):
    p = network.initialize(SHAPE, [seed])
    rng = torch.Generator().manual_seed(seed)
    return {
        k: (v + 0.3 * torch.randn(v.shape, generator=rng)).detach().requires_grad_()
        for k, v in p.items()
    }


def test_the_network_is_gpt2():
    p = perturbed(1)
    model = theirs(p)
    tokens = torch.randint(11, (6, 5), generator=torch.Generator().manual_seed(2))
    out = model(tokens, output_hidden_states=True)
    ours = network.forward(p, tokens[None], 4)
    assert torch.allclose(ours.logits[0], out.logits, atol=1e-4)
    for mine, state in zip(ours.states[:-1], out.hidden_states[:-1], strict=True):
        assert torch.allclose(mine[0], state, atol=1e-4)
    short = network.forward(p, tokens[None], 4, keep=2).logits
    assert torch.allclose(short, ours.logits[:, :, -2:], atol=1e-5)
    expected = torch.nn.functional.cross_entropy(
        out.logits[:, 2:-1].flatten(0, 1), tokens[:, 3:].flatten()
    )
    loss = training.loss(p, tokens[None], 4)
    assert loss.item() == pytest.approx(float(expected), abs=1e-5)
    loss.sum().backward()
    expected.backward()
    grad = model.transformer.h[0].attn.c_attn.weight.grad
    assert torch.allclose(p["h.0.attn.c_attn.weight"].grad[0], grad, atol=1e-5)


def test_models_of_a_stack_do_not_see_each_other():
    rows = torch.randint(10, (3, 12, 5), generator=torch.Generator().manual_seed(3))
    schedule = training.Schedule(8, 1e-2, 0.5, 2, 8, 2)
    stack = network.initialize(SHAPE, [1, 2, 3])
    looks = []
    training.train(stack, rows, 4, schedule, [1, 2, 3], looks.append)
    assert looks == [4, 8]
    alone = network.initialize(SHAPE, [2])
    training.train(alone, rows[1:2], 4, schedule, [2], lambda step: None)
    for name, value in network.pick(stack, 1).items():
        assert torch.allclose(value, alone[name], atol=1e-4), name


def test_replacing_the_last_state_gives_the_donors_answer():
    p = network.pick(perturbed(5), 0)
    tokens = torch.randint(11, (2, 9, 3), generator=torch.Generator().manual_seed(6))
    donor = network.forward(p, tokens[1:], 4)
    patch = network.Patch(2, 2, donor.states[2][:, :, 2])
    out = network.forward(p, tokens[:1], 4, patches=[patch]).logits[:, :, -1]
    assert torch.allclose(out, donor.logits[:, :, -1], atol=1e-6)
    own = network.forward(p, tokens[:1], 4)
    patch = network.Patch(1, 1, own.states[1][:, :, 1])
    assert torch.allclose(
        network.forward(p, tokens[:1], 4, patches=[patch]).logits, own.logits, atol=1e-6
    )


def test_cosine_gap_by_hand_and_under_shuffled_groups():
    states = np.array([[1.0, 0], [2, 0], [0, 1], [0, 3]])
    cosine = analysis.cosines(states)
    groups = np.array([0, 0, 1, 1])
    assert analysis.cosine_gap(cosine, groups) == pytest.approx(1.0)
    assert analysis.cosine_gap(cosine, np.array([0, 1, 0, 1])) == pytest.approx(-0.5)
    assert np.isnan(analysis.cosine_gap(cosine, np.arange(4)))
    strata = np.array([0, 0, 0, 1])
    assert analysis.cosine_gap(cosine, groups, strata) == pytest.approx(1.0)


def test_the_permutation_test_of_the_gap_keeps_its_level():
    rng = np.random.default_rng(10)
    pairs, p_values = np.arange(49), []
    for _ in range(150):
        states = rng.standard_normal((49, 6)) + 1
        found = analysis.measure_collapse(states, pairs, rng.integers(7, size=49), 7, 39, rng)
        p_values.append(found.p_value)
    assert np.mean(np.array(p_values) <= 0.05) < 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
    assert 0.4 < np.mean(p_values) < 0.6


def test_the_lookup_is_right_where_patterns_decide_and_at_chance_elsewhere():
    sample = sample_of(12, 500, 11)
    tests = sample.of_kind(tasks.IN_DOMAIN)
    guess = baselines.guesses(sample, tests)
    truth, cutoff = sample.task.answer[tests], coverage.cutoffs(sample)[tests]
    right = guess[baselines.LOOKUP] == truth
    assert right[cutoff >= 3].mean() > 0.95
    outside = sample.of_kind(1)
    guess = baselines.guesses(sample, outside)
    for name in baselines.NAMES:
        assert (guess[name] == sample.task.answer[outside]).mean() < 0.3


def test_frequencies_are_counted_in_training():
    keys, answers = np.array([0, 0, 0, 1, 1, 1]), np.array([2, 2, 1, 1, 0, 1])
    assert baselines.guess_by_frequency(keys, answers, np.array([0, 1, 5]), 3).tolist() == [2, 1, 1]
