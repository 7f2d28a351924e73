"""Which inputs can be reached from the training data by swapping fragments that behave the same.

After determine_coverage.py of the authors' code, with sparse matrices for its loops over pairs.
A fragment is the content of some of the positions 0, 1, 2, its complement that of the others.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from stemma.papers.coverage_principle.tasks import (
    IN_DOMAIN,
    TRAIN,
    Bools,
    Ints,
    Sample,
    Task,
    classify,
    encode,
)

Fragment = tuple[int, ...]

EVERY: tuple[Fragment, ...] = tuple(c for r in (1, 2) for c in combinations(range(3), r))
"""All non-empty proper subsets of the three positions."""

FIRST_HOP: tuple[Fragment, ...] = ((0, 1),)
"""(x1, x2) alone, the only fragment that f1 makes equivalent by construction."""

FROM_DATA, FROM_TABLES = "observed behaviour", "ground truth"
"""Where equivalence comes from: outputs in training alone, or the bridge, which no learner sees."""


def complement(fragment: Fragment) -> list[int]:
    """Return the positions that a fragment leaves out."""
    return [p for p in range(3) if p not in fragment]


def shared_evidence(triples: Ints, answers: Ints, fragment: Fragment, n: int) -> sparse.csr_array:
    """Count for each pair of fragments the complements on which both were seen, and agreed.

    Args:
        triples: training inputs, shape (N, 3).
        answers: their outputs, shape (N,).
        fragment: the positions.
        n: number of tokens.

    Returns:
        Symmetric, shape (n^|fragment|,) * 2, zero on the diagonal and where a pair contradicts
        itself: one complement with different outputs forbids the pair.
    """
    rows = encode(triples[:, list(fragment)], n)
    columns = encode(triples[:, complement(fragment)], n)
    height, width = n ** len(fragment), n ** (3 - len(fragment))
    ones, base = np.ones(len(rows), np.int32), int(answers.max()) + 1
    seen = sparse.csr_array((ones, (rows, columns)), (height, width))
    behaved = sparse.csr_array((ones, (rows, columns * base + answers)), (height, width * base))
    agreed = sparse.triu(behaved @ behaved.T, 1).tocoo()
    both = (seen @ seen.T).tocsr()
    met = np.asarray(both[agreed.row, agreed.col]).ravel()
    clean = met == agreed.data
    upper = sparse.csr_array(
        (agreed.data[clean], (agreed.row[clean], agreed.col[clean])), (height, height)
    )
    return sparse.csr_array(upper + upper.T)


def true_evidence(task: Task, train: Ints) -> sparse.csr_array:
    """Count the complements on which two (x1, x2) were seen that act alike whatever follows.

    Alike are those with equal bridge (in the nontree task with equal b and x2). This is the ground
    truth, which reads the table f1: it serves as a yardstick only.
    """
    acts = task.second[train] // task.n
    return shared_evidence(task.triples[train], acts, (0, 1), task.n)


def classes(evidence: sparse.csr_array, k: int) -> Ints:
    """Return the class of each fragment: the closure of "equivalent on at least k complements"."""
    return connected_components(evidence >= k, directed=False)[1].astype(np.int64)


def buckets(triples: Ints, answers: Ints, fragment: Fragment, group: Ints, n: int) -> Ints:
    """Number the sets of triples that swaps of one fragment lead between, shape (T,).

    The triples of a bucket agree in complement, answer and class of the fragment; ``group`` holds
    the classes of its n^|fragment| contents.
    """
    content = group[encode(triples[:, list(fragment)], n)]
    rest = encode(triples[:, complement(fragment)], n)
    key = np.column_stack([content, rest, answers])
    numbers: Ints = np.unique(key, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    return numbers


def swaps(
    triples: Ints, answers: Ints, grouped: Sequence[tuple[Fragment, Ints]], n: int
) -> list[tuple[int, int]]:
    """Return the edges of the substitution graph, as pairs of rows of ``triples``."""
    found: set[tuple[int, int]] = set()
    for fragment, group in grouped:
        bucket = buckets(triples, answers, fragment, group, n)
        i, j = np.triu_indices(len(triples), 1)
        alike = bucket[i] == bucket[j]
        found.update(zip(i[alike].tolist(), j[alike].tolist(), strict=True))
    return sorted(found)


def covered(
    triples: Ints, answers: Ints, trained: Bools, grouped: Sequence[tuple[Fragment, Ints]], n: int
) -> Bools:
    """Say which triples hang together with a training triple in the substitution graph.

    Two triples are joined if their fragments are in one class and complements and answers agree.
    As in the authors' code the answers of triples not trained on are read here, to draw the graph
    and never to call fragments equivalent.

    Args:
        triples: the graph's nodes, shape (T, 3).
        answers: shape (T,).
        trained: shape (T,).
        grouped: for each fragment the classes of its n^|fragment| contents.
        n: number of tokens.
    """
    nodes, edges, size = np.arange(len(triples)), [], len(triples)
    for fragment, group in grouped:
        bucket = buckets(triples, answers, fragment, group, n)
        edges.append(np.stack([nodes, size + bucket]))
        size += int(bucket.max()) + 1
    rows, columns = np.concatenate(edges, axis=1)
    graph = sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), (size, size))
    component = connected_components(graph, directed=False)[1][: len(triples)]
    reached: Bools = np.isin(component, component[trained])
    return reached


def cutoffs(
    sample: Sample, fragments: Sequence[Fragment] = EVERY, source: str = FROM_DATA, most: int = 20
) -> Ints:
    """Return for each triple the largest k at which it is covered, shape (n^3,).

    0 is uncovered; -1 stands for triples that are neither trained on nor in domain, which are no
    nodes of the graph; training triples have ``most``.
    """
    task = sample.task
    nodes = sample.of_kind(TRAIN, IN_DOMAIN)
    trained = sample.kind[nodes] == TRAIN
    found = all_evidence(sample, fragments, source)
    result = np.full(len(sample.kind), -1)
    result[nodes] = 0
    for k in range(1, most + 1):
        grouped = [(fragment, classes(evidence, k)) for fragment, evidence in found]
        inside = covered(task.triples[nodes], task.answer[nodes], trained, grouped, task.n)
        result[nodes[inside]] = k
        if not (inside & ~trained).any():
            break
    result[sample.train] = most
    return result


def all_evidence(
    sample: Sample, fragments: Sequence[Fragment], source: str
) -> list[tuple[Fragment, sparse.csr_array]]:
    """Return for each fragment the matrix of shared evidence; ground truth knows (x1, x2) only."""
    task, train = sample.task, sample.train
    if source == FROM_TABLES:
        return [((0, 1), true_evidence(task, train))]
    seen, outputs = task.triples[train], task.answer[train]
    return [(f, shared_evidence(seen, outputs, f, task.n)) for f in fragments]


def covered_share(task: Task, train: Ints, k: int, source: str) -> float:
    """Return the share of in-domain new triples that are covered at k by swapping (x1, x2)."""
    sample = classify(task, train)
    tests = sample.of_kind(IN_DOMAIN)
    if not tests.size:
        return 0.0
    ((_, evidence),) = all_evidence(sample, FIRST_HOP, source)
    group, n = classes(evidence, k), task.n
    key = (group[task.first] * n + task.triples[:, 2]) * n + task.answer
    return float(np.isin(key[tests], key[train]).mean())


def needed_size(task: Task, order: Ints, k: int, target: float, source: str) -> float:
    """Return the smallest N at which ``target`` of the in-domain new triples are k-covered.

    Training sets are nested, the first N of ``order``; N is found by bisection, to the nearest
    integer. NaN if the whole domain but one is not enough.
    """
    low, high = 0, len(order) - 1
    if covered_share(task, order[:high], k, source) < target:
        return float("nan")
    while high - low > 1:
        middle = (low + high) // 2
        if covered_share(task, order[:middle], k, source) >= target:
            high = middle
        else:
            low = middle
    return float(high)


def exponent(k: int) -> float:
    """Return the exponent of n in the theorem's lower bound on N for evidence k."""
    return 2.5 - 0.5 / k


def log_slopes(sizes: Sequence[int], needed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least-squares slope of log N on log n for each row of ``needed`` (seeds, sizes).

    Raises:
        ValueError: fewer than four sizes, which make no slope.
    """
    if len(sizes) < 4:
        raise ValueError(f"a slope needs four values of n or more, got {len(sizes)}")
    x = np.log(np.asarray(sizes, float))
    x = x - x.mean()
    slopes: NDArray[np.float64] = np.log(needed) @ x / (x @ x)
    return slopes
