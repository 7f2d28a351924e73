"""Generators of the domains' programs, from the definitions that the paper's code uses.

Each takes a NumPy generator and sizes, and returns a minimization (maximizations are negated).
"""

import itertools
from pathlib import Path

import networkx as nx
import numpy as np
from scipy import sparse

from stemma.papers.distributional_miplib.milp import Milp, binary_program
from stemma.stats import Array

REVENUE, EDGE_COST, REMOVABLE = 100.0, 1.0, 0.25
"""GISP: revenue of a node, cost of removing an edge, share of removable edges."""


def set_cover(rng: np.random.Generator, rows: int, columns: int, density: float = 0.05) -> Milp:
    """Return a random set cover (Balas and Ho 1980): costs 1-100.

    Every row is in two columns or more, and every column covers a row or more.
    """
    entries = round(rows * columns * density)
    if entries < max(2 * rows, columns):
        raise ValueError(f"density {density} leaves rows or columns of {rows}x{columns} empty")
    picks = [rng.choice(columns, 2, replace=False) for _ in range(rows)]
    cells = {(row, int(column)) for row, pick in enumerate(picks) for column in pick}
    covered = {column for _, column in cells}
    cells |= {(int(rng.integers(rows)), c) for c in range(columns) if c not in covered}
    while len(cells) < entries:
        cells.add((int(rng.integers(rows)), int(rng.integers(columns))))
    i, j = np.array(sorted(cells)).T
    matrix = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(rows, columns))
    costs = rng.integers(1, 101, columns).astype(float)
    return binary_program(costs, matrix, np.ones(rows), np.full(rows, np.inf))


def auction(
    rng: np.random.Generator, items: int, bids: int, add_item: float = 0.7, substitutes: int = 5
) -> Milp:
    """Return a combinatorial auction with arbitrary relationships (Leyton-Brown et al. 2000).

    A bidder grows a bundle by items that it likes and that go together, one more with probability
    ``add_item``, and bids on up to ``substitutes`` bundles of that size that start from one of its
    items. A dummy item sees to it that at most one of a bidder's bids wins.
    """
    common = rng.uniform(1, 100, items)
    matching = np.triu(rng.random((items, items)), 1)
    matching = (matching + matching.T) / matching.sum()
    bundles: list[list[int]] = []
    prices: list[float] = []
    bidders = 0
    while len(bundles) < bids:
        offers = _offers(rng, common, matching, add_item, substitutes)[: bids - len(bundles)]
        dummy = [items + bidders] if len(offers) > 1 else []
        bidders += len(dummy)
        bundles += [[*bundle, *dummy] for bundle, _ in offers]
        prices += [price for _, price in offers]
    return _packing(bundles, np.array(prices), items + bidders)


def _offers(
    rng: np.random.Generator, common: Array, matching: Array, add_item: float, substitutes: int
) -> list[tuple[tuple[int, ...], float]]:
    """Return one bidder's bundles and prices, the first choice first; may be empty."""
    interest = rng.random(len(common))
    private = common + 50.0 * (2.0 * interest - 1.0)
    start = int(rng.choice(len(common), p=interest / interest.sum()))
    size = min(int(rng.geometric(1.0 - add_item)), len(common))
    first = _grow(rng, start, size, interest, matching)
    budget = 1.5 * _price(first, private)
    if budget <= 0:
        return []
    offers = {tuple(sorted(first)): _price(first, private)}
    others = [_grow(rng, item, size, interest, matching) for item in first]
    for other in sorted(others, key=lambda bundle: -_price(bundle, private)):
        price = _price(other, private)
        worth = common[other].sum() >= 0.5 * common[first].sum()
        if 0 < price <= budget and worth and len(offers) <= substitutes:
            offers.setdefault(tuple(sorted(other)), price)
    return list(offers.items())


def _grow(
    rng: np.random.Generator, start: int, size: int, interest: Array, matching: Array
) -> list[int]:
    bundle = [start]
    while len(bundle) < size:
        pull = interest * matching[bundle].mean(axis=0)
        pull[bundle] = 0.0
        bundle.append(int(rng.choice(len(pull), p=pull / pull.sum())))
    return bundle


def _price(bundle: list[int], private: Array) -> float:
    """Return a bid: the private worth of the items, and |B|^1.2 for having them together."""
    return float(private[bundle].sum() + len(bundle) ** 1.2)


def _packing(groups: list[list[int]], prices: Array, rows: int) -> Milp:
    """Return: pick columns of the highest total price, no two that share a row of ``groups``."""
    i = np.concatenate(groups)
    j = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    matrix = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(rows, len(groups)))
    matrix = matrix[np.diff(matrix.indptr) > 1]  # what only one column wants binds nobody
    k = matrix.shape[0]
    return binary_program(-prices, matrix, np.full(k, -np.inf), np.ones(k))


def independent_set(rng: np.random.Generator, nodes: int, affinity: int = 4) -> Milp:
    """Return a maximum independent set on a Barabasi-Albert graph.

    The edges are partitioned into cliques; of each clique at most one node is in the set.
    """
    graph = nx.barabasi_albert_graph(nodes, affinity, seed=int(rng.integers(2**31)))
    cliques = clique_partition(graph)
    memberships: list[list[int]] = [[] for _ in range(nodes)]
    for row, clique in enumerate(cliques):
        for node in clique:
            memberships[node].append(row)
    return _packing(memberships, np.ones(nodes), len(cliques))


def clique_partition(graph: "nx.Graph[int]") -> list[list[int]]:
    """Return cliques that cover every edge, grown greedily from the nodes of highest degree."""
    open_edges = {frozenset(edge) for edge in graph.edges}
    cliques = []
    for node in sorted(graph, key=lambda v: (-graph.degree[v], v)):
        others = sorted(
            (v for v in graph[node] if frozenset((node, v)) in open_edges),
            key=lambda v: (-graph.degree[v], v),
        )
        while others:
            clique = [node]
            for v in others:
                if all(frozenset((u, v)) in open_edges for u in clique):
                    clique.append(v)
            open_edges -= {frozenset(pair) for pair in itertools.combinations(clique, 2)}
            others = [v for v in others if v not in clique]
            cliques.append(clique)
    return cliques


def facility_location(
    rng: np.random.Generator, customers: int, facilities: int, ratio: float = 5.0
) -> Milp:
    """Return a capacitated facility location (Cornuejols, Sridharan and Thizy 1991).

    Variables: ``facilities`` binaries (open), then customers x facilities shares in [0, 1].
    Capacities are scaled so that all together are ``ratio`` times the demand.
    """
    shops, sites = rng.random((customers, 2)), rng.random((facilities, 2))
    demand = rng.integers(5, 36, customers).astype(float)
    capacity = rng.integers(10, 161, facilities).astype(float)
    fixed = rng.integers(100, 111, facilities) * np.sqrt(capacity) + rng.integers(0, 91, facilities)
    capacity = np.rint(capacity * ratio * demand.sum() / capacity.sum())
    distance = np.linalg.norm(shops[:, None] - sites[None], axis=2)
    cost = 10.0 * distance * demand[:, None]
    shares = sparse.kron(sparse.eye_array(customers), np.ones((1, facilities)))
    links = customers * facilities
    served = sparse.hstack([sparse.csr_array((customers, facilities)), shares])
    load = sparse.kron(demand[None], sparse.eye_array(facilities))
    within = sparse.hstack([-sparse.diags_array(capacity), load])
    total = sparse.hstack([-sparse.csr_array(capacity[None]), sparse.csr_array((1, links))])
    opened = sparse.kron(np.ones((customers, 1)), sparse.eye_array(facilities))
    linked = sparse.hstack([-opened, sparse.eye_array(links)])
    zeros, k = np.zeros, facilities + links
    return Milp(
        objective=np.concatenate([fixed, cost.ravel()]),
        matrix=sparse.csr_array(sparse.vstack([served, within, total, linked])),
        lhs=np.concatenate([np.ones(customers), np.full(1 + k, -np.inf)]),
        rhs=np.concatenate(
            [np.full(customers, np.inf), zeros(facilities), [-demand.sum()], zeros(links)]
        ),
        lower=zeros(k),
        upper=np.ones(k),
        integer=np.arange(k) < facilities,
    )


def vertex_cover(rng: np.random.Generator, nodes: int, affinity: int = 4) -> Milp:
    """Return a minimum vertex cover on a Barabasi-Albert graph, weights uniform on (0, 1)."""
    graph = nx.barabasi_albert_graph(nodes, affinity, seed=int(rng.integers(2**31)))
    i, j = np.array(graph.edges).T
    k = len(i)
    rows = np.tile(np.arange(k), 2)
    matrix = sparse.csr_array((np.ones(2 * k), (rows, np.concatenate([i, j]))), shape=(k, nodes))
    return binary_program(rng.random(nodes), matrix, np.ones(k), np.full(k, np.inf))


def independent_set_removing_edges(
    rng: np.random.Generator, graph: "nx.Graph[int]", removable: float = REMOVABLE
) -> Milp:
    """Return a generalized independent set problem (GISP) on a graph with nodes 0..n-1.

    A node of the set earns 100; both ends of an edge may be in the set only if the edge is
    removable (each with probability ``removable``) and its removal is paid with 1.
    """
    edges = np.array(sorted(tuple(sorted(edge)) for edge in graph.edges))
    nodes, k = len(graph), len(edges)
    loose = np.flatnonzero(rng.random(k) < removable)
    rows = np.concatenate([np.arange(k), np.arange(k), loose])
    columns = np.concatenate([edges[:, 0], edges[:, 1], nodes + np.arange(len(loose))])
    values = np.concatenate([np.ones(2 * k), -np.ones(len(loose))])
    matrix = sparse.csr_array((values, (rows, columns)), shape=(k, nodes + len(loose)))
    costs = np.concatenate([np.full(nodes, -REVENUE), np.full(len(loose), EDGE_COST)])
    return binary_program(costs, matrix, np.full(k, -np.inf), np.ones(k))


def gisp(rng: np.random.Generator, nodes: int, edge_probability: float = 0.3) -> Milp:
    """Return a GISP on an Erdos-Renyi graph."""
    graph = nx.gnp_random_graph(nodes, edge_probability, seed=int(rng.integers(2**31)))
    return independent_set_removing_edges(rng, graph)


def gisp_within(rng: np.random.Generator, graph: "nx.Graph[int]", nodes: int) -> Milp:
    """Return a GISP on the subgraph that ``nodes`` random nodes of a real graph induce."""
    picked = sorted(int(v) for v in rng.choice(np.array(graph.nodes), nodes, replace=False))
    part = nx.relabel_nodes(graph.subgraph(picked), {v: i for i, v in enumerate(picked)})
    return independent_set_removing_edges(rng, part)


def read_dimacs(path: Path) -> "nx.Graph[int]":
    """Return the graph of a DIMACS clique file (lines ``e u v``, nodes from 1)."""
    lines = (line.split() for line in path.read_text().splitlines())
    return nx.Graph((int(line[1]), int(line[2])) for line in lines if line[:1] == ["e"])
