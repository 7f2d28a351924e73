"""Rival methods, to set beside the tests of descent: what each needs, its null, its p-value.

None of them tests dependence on the *order* of training. Membership and dataset inference flag a
model that used the same data in an order of its own; the weight tests need both models' weights and
flag models that share no more than an initialization; equality of distributions is rejected for
any fine-tune. Each docstring says which access it needs, what its null hypothesis is, and whether
its p-value is exact.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from provenance.errors import BadScores, TooFewExamples
from provenance.independence import (
    HiddenUnitResult,
    hidden_unit_test,
    hidden_units,
    invariant_cosine,
    weight_cosine,
)

__all__ = [
    "EqualityResult",
    "HiddenUnitResult",
    "auc",
    "dataset_inference",
    "hidden_unit_test",
    "hidden_units",
    "invariant_cosine",
    "log_prob_moments",
    "min_k",
    "min_k_plus_plus",
    "model_equality_test",
    "weight_cosine",
    "zlib_score",
]

Array = NDArray[np.float64]


def auc(members: ArrayLike, others: ArrayLike) -> float:
    """Return P(score of a member > score of a non-member), ties counting half.

    Access: that of the score. Null: 1/2 if members and non-members are identically distributed;
    no p-value.

    Raises:
        BadScores: an empty group, NaN.
    """
    a, b = _finite(members), _finite(others)
    u = stats.mannwhitneyu(a, b).statistic
    return float(u / (len(a) * len(b)))


def min_k(token_losses: Array, share: float = 0.2) -> Array:
    """Return the mean log-probability of the least likely tokens of each row (Min-K%).

    Access: log-probabilities of tokens. A score for ``auc``, with no p-value of its own (Shi et
    al., "Detecting Pretraining Data from Large Language Models", ICLR 2024).

    Args:
        token_losses: shape (n, tokens), in nats.
        share: of the tokens of a row.
    """
    k = max(1, int(share * token_losses.shape[1]))
    worst = np.sort(token_losses, axis=1)[:, -k:]
    means: Array = -worst.mean(axis=1)
    return means


def min_k_plus_plus(log_probs: Array, mean: Array, deviation: Array, share: float = 0.2) -> Array:
    """Return the mean standardized log-probability of the lowest tokens of each row (Min-K%++).

    Access: the whole next-token distribution. A score for ``auc`` (Zhang et al., "Min-K%++",
    ICLR 2025): each token's log-probability less its expectation under the model, divided by its
    standard deviation.

    Args:
        log_probs: of the tokens, shape (n, tokens), in nats.
        mean: expected log-probability at each token, same shape; see ``log_prob_moments``.
        deviation: its standard deviation, same shape; 0 where the model is certain.
        share: of the tokens of a row.
    """
    gap = log_probs - mean
    standardized = np.divide(gap, deviation, out=np.zeros_like(gap), where=deviation > 0)
    return min_k(-standardized, share)


def log_prob_moments(logits: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of log p(x), x drawn from the model: shape (..., ) each.

    Args:
        logits: shape (..., vocabulary).
    """
    log_p = special.log_softmax(np.asarray(logits, dtype=float), axis=-1)
    p = np.exp(log_p)
    mean = (p * log_p).sum(axis=-1)
    variance = (p * (log_p - mean[..., None]) ** 2).sum(axis=-1)
    return mean, np.sqrt(variance)


def zlib_score(log_likelihoods: ArrayLike, texts: Sequence[str]) -> Array:
    """Return log-likelihood per compressed byte, shape (n,): easy texts are not taken for members.

    Access: log-likelihoods of whole texts. A score for ``auc`` (Carlini et al., "Extracting
    Training Data from Large Language Models", USENIX Security 2021).

    Args:
        log_likelihoods: of the texts, in nats, shape (n,).
        texts: the same texts.
    """
    sizes = np.array([len(zlib.compress(text.encode())) for text in texts])
    scores: Array = _finite(log_likelihoods) / sizes
    return scores


def dataset_inference(members: ArrayLike, twins: ArrayLike, seed: int = 0) -> float:
    """Return the one-sided Welch p that members score higher than their held-out twins.

    Access: likelihoods. Null: the suspect was not trained on the members *and* the twins are drawn
    from the same distribution; a twin that is not i.i.d. makes an innocent suspect look guilty.
    Not exact: a t limit law (Maini et al., "LLM Dataset Inference", NeurIPS 2024).

    Args:
        members: one score each, shape (n,), or several membership features, shape (n, features),
            whose weights a regression then learns on a random half; only the other half is tested.
        twins: likewise, shape (m,) or (m, features).
        seed: of the halves.

    Raises:
        BadScores: shapes that differ, NaN.
        TooFewExamples: fewer than 2 scores, or 4 rows of features, in a group.
    """
    a, b = _finite(members), _finite(twins)
    if a.shape[1:] != b.shape[1:] or a.ndim > 2:
        raise BadScores(f"features of shapes {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2 * a.ndim:
        raise TooFewExamples(f"{len(a)} members and {len(b)} twins are too few")
    if a.ndim == 2:
        a, b = _learned_score(a, b, np.random.default_rng(seed))
    return float(stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)


def _learned_score(a: Array, b: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    a, b = rng.permutation(a), rng.permutation(b)
    train = np.concatenate([a[: len(a) // 2], b[: len(b) // 2]])
    label = np.repeat([1.0, 0.0], [len(a) // 2, len(b) // 2])
    centre, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    weights = np.linalg.lstsq((train - centre) / scale, label - label.mean(), rcond=None)[0]
    return tuple((half - centre) / scale @ weights for half in (a[len(a) // 2 :], b[len(b) // 2 :]))


@dataclass(frozen=True)
class EqualityResult:
    """Outcome of the test of equal distributions.

    Attributes:
        p: exact permutation p-value.
        statistic: unbiased estimate of the squared maximum mean discrepancy.
        m: number of permutations.
    """

    p: float
    statistic: float
    m: int


def model_equality_test(
    prompts_a: ArrayLike,
    samples_a: ArrayLike,
    prompts_b: ArrayLike,
    samples_b: ArrayLike,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> EqualityResult:
    """Test whether two models answer the same prompts with the same distribution.

    Access: samples of both. Null: for each prompt both models sample from one distribution, so
    that the labels of its samples are exchangeable: exact. It is rejected for every fine-tune and
    every other model alike, and so says nothing about descent. Maximum mean discrepancy with the
    Hamming kernel (share of places with equal tokens), 0 across prompts (Gao, Liang and Guestrin,
    "Model Equality Testing", ICLR 2025).

    Args:
        prompts_a: number of the prompt of each sample, shape (n,).
        samples_a: token ids, padded to a common length, shape (n, length).
        prompts_b: shape (m,).
        samples_b: shape (m, length).
        permutations: of labels within each prompt.
        seed: of the permutations.

    Raises:
        BadScores: shapes that do not fit.
        TooFewExamples: no prompt with at least two samples of each model.
    """
    prompts = np.concatenate([np.asarray(prompts_a), np.asarray(prompts_b)])
    first, second = np.asarray(samples_a), np.asarray(samples_b)
    if first.ndim != 2 or first.shape[1:] != second.shape[1:]:
        raise BadScores(f"samples of shapes {first.shape} and {second.shape}: pad to one length")
    if len(prompts) != len(first) + len(second):
        raise BadScores("every sample needs the number of its prompt")
    label = np.repeat([1.0, 0.0], [len(first), len(second)])
    counts = np.stack([np.unique(prompts, return_inverse=True)[1], label.astype(int)])
    _, sizes = np.unique(counts, axis=1, return_counts=True)
    if len(sizes) < 2 * (counts[0].max() + 1) or sizes.min() < 2:
        raise TooFewExamples("every prompt needs at least two samples of each model")
    kernel = _hamming(np.concatenate([first, second]), prompts)
    same = prompts[:, None] == prompts[None, :]
    order = np.argsort(prompts, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(prompts[order])) + 1)
    rng = np.random.default_rng(seed)
    labels = np.tile(label, (permutations + 1, 1))
    for group in groups:
        labels[1:, group] = rng.permuted(labels[1:, group], axis=1)
    values = _discrepancy(labels, kernel, same)
    exceed = int(np.count_nonzero(values[1:] >= values[0] - 1e-12))
    return EqualityResult((1 + exceed) / (permutations + 1), float(values[0]), permutations)


def _hamming(samples: NDArray[np.int64], prompts: NDArray[np.int64]) -> Array:
    kernel = np.zeros((len(samples), len(samples)))
    for column in samples.T:
        kernel += column[:, None] == column[None, :]
    kernel *= prompts[:, None] == prompts[None, :]
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel / samples.shape[1])


def _discrepancy(labels: Array, kernel: Array, same: NDArray[np.bool_]) -> Array:
    """Unbiased squared discrepancy for each row of labels (1: first model), shape (rows,)."""
    pairs = same.astype(float)
    np.fill_diagonal(pairs, 0.0)

    def mean(left: Array, right: Array) -> Array:
        return np.asarray(
            ((left @ kernel) * right).sum(axis=1) / ((left @ pairs) * right).sum(axis=1)
        )

    other = 1.0 - labels
    return mean(labels, labels) - 2 * mean(labels, other) + mean(other, other)


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=float)
    if array.size == 0 or not np.isfinite(array).all():
        raise BadScores("scores are missing, NaN or infinite")
    return array
