"""The semantic map of one prompt at one layer: concepts as nodes, causal influence as edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from stemma.papers.semantics_tracing.subject import Subject


@dataclass(frozen=True)
class Node:
    """A concept: a lower-cased word, its tokens, and its score, the sum of <U_v, h> over them."""

    word: str
    tokens: tuple[int, ...]
    score: float


class Edge(NamedTuple):
    """Influence of concept ``source`` on ``target`` by corrupting one position of the prompt."""

    source: int
    target: int
    position: int
    weight: float


@dataclass(frozen=True)
class SemanticMap:
    """Nodes and edges at one layer, and the prompt's token ids."""

    layer: int
    tokens: tuple[int, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def trace(
    subject: Subject,
    prompt: str,
    layers: Sequence[int],
    *,
    count: int = 30,
    kept: int = 50,
    normed: bool = False,
) -> list[SemanticMap]:
    """Return the semantic maps of a prompt at some layers (the authors' dst.py).

    Args:
        subject: the model.
        prompt: its last token is the answer position.
        layers: blocks after which states are read.
        count: nodes of a map.
        kept: edges of a map, those largest in absolute value.
        normed: whether the final norm is applied to states (the authors' code does not).
    """
    ids = subject.encode(prompt)
    reading = subject.read([prompt], [[[position] for position in range(len(ids))]])
    clean = reading.log_probs[0].exp()
    corrupted = corrupted_probabilities(subject, ids)
    maps = []
    for layer in layers:
        states = reading.states[0, layer].to(subject.unembedding)
        if normed:
            with torch.inference_mode():
                states = subject.final_norm(states)
        nodes = top_nodes(subject, states[-1], count)
        edges = influences(subject, nodes, states, clean - corrupted, kept)
        maps.append(SemanticMap(layer, tuple(ids), tuple(nodes), tuple(edges)))
    return maps


def top_nodes(subject: Subject, state: Tensor, count: int) -> list[Node]:
    """Return the ``count`` best-scored concepts of a state (width,).

    Five times as many tokens are candidates; those that decode to the same lower-cased word are
    merged and their scores summed.
    """
    scores = subject.unembedding @ state
    best = scores.topk(min(5 * count, len(scores)))
    merged: dict[str, list[tuple[int, float]]] = {}
    for token, score in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        word = str(subject.tokenizer.decode([token])).strip().lower()
        if word:
            merged.setdefault(word, []).append((token, score))
    nodes = [
        Node(word, tuple(token for token, _ in found), sum(score for _, score in found))
        for word, found in merged.items()
    ]
    return sorted(nodes, key=lambda node: -node.score)[:count]


def corrupted_probabilities(subject: Subject, ids: Sequence[int]) -> Tensor:
    """Return next-token probabilities with each position but the last replaced by ``.``.

    Shape (positions, vocabulary); the last row, the answer position, is never corrupted.
    """
    dot = subject.tokenizer(".", add_special_tokens=False)["input_ids"][0]
    rows = [[*ids[:p], dot, *ids[p + 1 :]] for p in range(len(ids) - 1)]
    return subject.next_logits([*rows, list(ids)]).softmax(dim=-1)


def influences(
    subject: Subject, nodes: Sequence[Node], states: Tensor, changes: Tensor, kept: int
) -> list[Edge]:
    """Return the edges v => w that are largest in absolute value.

    The position of v is the one whose state has the largest dot product with v's vector. An edge
    weighs P(w) - P(w with that position corrupted). Concepts at the answer position have none.

    Args:
        subject: the model.
        nodes: the concepts.
        states: states of all positions at the layer, shape (positions, width).
        changes: P - P corrupted, shape (positions, vocabulary).
        kept: how many edges to return.
    """
    vectors = torch.stack([subject.unembedding[list(node.tokens)].mean(dim=0) for node in nodes])
    positions = (vectors @ states.T).argmax(dim=1).tolist()
    moved = torch.stack([changes[:, list(node.tokens)].sum(dim=1) for node in nodes], dim=1)
    edges = [
        Edge(v, w, p, float(moved[p, w]))
        for v, p in enumerate(positions)
        for w in range(len(nodes))
        if v != w and p != len(states) - 1
    ]
    return sorted(edges, key=lambda edge: -abs(edge.weight))[:kept]


def position_weights(maps: Sequence[SemanticMap]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how much each position matters: the absolute weights of its edges, over all maps."""
    totals = np.zeros(len(maps[0].tokens))
    for edge in (edge for one in maps for edge in one.edges):
        totals[edge.position] += abs(edge.weight)
    return totals


def as_graph(one: SemanticMap, nodes: int) -> nx.DiGraph:
    """Return the map's ``nodes`` best-scored concepts and the edges among them as a graph."""
    graph = nx.DiGraph()
    for node in one.nodes[:nodes]:
        graph.add_node(node.word, score=node.score)
    for edge in one.edges:
        if max(edge.source, edge.target) < nodes:
            graph.add_edge(
                one.nodes[edge.source].word, one.nodes[edge.target].word, weight=edge.weight
            )
    return graph
