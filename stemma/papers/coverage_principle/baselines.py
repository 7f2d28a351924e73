"""What needs no transformer: chance, frequencies, and pure pattern matching on the same data."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from stemma.papers.coverage_principle.coverage import shared_evidence
from stemma.papers.coverage_principle.tasks import Ints, Sample

MARGINAL_LAST = "frequency given x3"
MARGINAL_PAIR = "frequency given (x1, x2)"
LOOKUP = "fragment lookup"
NAMES = (MARGINAL_LAST, MARGINAL_PAIR, LOOKUP)

_SURE = 12  # evidence beyond this many complements adds nothing


def guess_by_frequency(keys: Ints, answers: Ints, asked: Ints, n: int) -> Ints:
    """Return the most frequent training answer for each key asked.

    Args:
        keys: of the training triples, shape (N,).
        answers: shape (N,).
        asked: keys of the test triples, shape (T,); one never trained on gets the answer that is
            most frequent of all.
        n: number of tokens.
    """
    size = int(max(keys.max(), asked.max())) + 1
    counts = sparse.coo_array((np.ones(len(keys)), (keys, answers)), (size, n)).tocsr()[asked]
    overall = np.bincount(answers, minlength=n) / (len(answers) + 1)
    scores = counts.toarray() + overall / (overall.max() * (len(answers) + 1))
    best: Ints = scores.argmax(axis=1)
    return best


def lookup_scores(sample: Sample) -> NDArray[np.float64]:
    """Return how much swapping (x1, x2) speaks for each answer, shape (n^2, n, n): pair, x3, t.

    A pair that agreed with the one asked on e complements, and never disagreed, lends its own
    training answer at x3 the weight n^e: by chance two random rows would agree so with
    probability n^-e. Where no pair can say, the frequencies given x3 decide.
    """
    task, train = sample.task, sample.train
    n, inputs, outputs = task.n, task.triples[train], task.answer[train]
    evidence = shared_evidence(inputs, outputs, (0, 1), n).astype(float)
    evidence.data = float(n) ** np.minimum(evidence.data, _SURE)
    at = (task.first[train], inputs[:, 2] * n + outputs)
    known = sparse.csr_array((np.ones(len(train)), at), (n * n, n * n))
    frequency = known.sum(axis=0) / (len(train) + 1)
    scores: NDArray[np.float64] = ((evidence @ known).toarray() + frequency).reshape(n * n, n, n)
    return scores


def guesses(sample: Sample, tests: Ints) -> dict[str, Ints]:
    """Return each baseline's answers to the test triples, given their indices (T,)."""
    task, train = sample.task, sample.train
    last, answers = task.triples[:, 2], task.answer[train]
    best = lookup_scores(sample).argmax(axis=2)
    return {
        MARGINAL_LAST: guess_by_frequency(last[train], answers, last[tests], task.n),
        MARGINAL_PAIR: guess_by_frequency(task.first[train], answers, task.first[tests], task.n),
        LOOKUP: best[task.first[tests], last[tests]].astype(np.int64),
    }
