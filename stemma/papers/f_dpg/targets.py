"""Targets p(x) = a(x) exp(score(x)) / Z on an enumerated space: the paper's three kinds.

Pointwise: score = log b(x), b in {0, 1}, here "contains this n-gram". Scalar reward: score =
r(x) / beta with r the log of a probability. Distributional: score = lambda . phi(x), with lambda
fitted so that the features have wanted moments (arXiv 2302.08215; Khalifa et al. 2021).
"""

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special
from torch import Tensor

from stemma.papers.f_dpg.gru import every_sequence

Array = NDArray[np.float64]
NGram = tuple[int, ...]

KINDS = ("pointwise-6", "pointwise-1", "scalar", "distributional")
"""Kinds of target of the toy experiments; the numbers are wanted base rates in percent."""

_FEATURE_RATES = (0.15, 0.08)
_WANTED = 0.5


@dataclass(frozen=True)
class Target:
    """A target on an enumerated space of n sequences.

    Attributes:
        kind: one of ``KINDS``.
        label: what it asks for.
        score: log P(x) - log a(x), shape (n,); minus infinity where P(x) = 0.
        features: phi, shape (n, k).
        wanted: moments of phi that are asked for, shape (k,); None: the more the better.
        rate: E_a[phi], shape (k,).
    """

    kind: str
    label: str
    score: Tensor
    features: Tensor
    wanted: Tensor | None
    rate: Tensor

    def log_target(self, log_a: Tensor) -> Tensor:
        """Return log P of all sequences."""
        return log_a + self.score

    def log_p(self, log_a: Tensor) -> Tensor:
        """Return log p = log P - log Z of all sequences."""
        return self.log_target(log_a).log_softmax(dim=-1)

    def alignment(self, probabilities: Tensor) -> Tensor:
        """Return E[phi] of distributions (..., n), or minus the L1 distance from what is wanted."""
        moments = probabilities @ self.features
        if self.wanted is None:
            return moments[..., 0]
        return -(moments - self.wanted).abs().sum(dim=-1)


def make_target(kind: str, sequences: Tensor, log_a: Tensor, seed: int, beta: float) -> Target:
    """Return a target of a kind for one base model.

    Args:
        kind: one of ``KINDS``.
        sequences: all sequences, shape (n, length).
        log_a: their log-probabilities under the base model, double, shape (n,).
        seed: decides the valences of the scalar reward, and the sample that lambda is fitted on.
        beta: temperature of the scalar reward.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "scalar":
        return _scalar(sequences, log_a, seed, beta)
    if kind == "distributional":
        return _distributional(sequences, log_a, seed)
    if kind not in KINDS:
        raise ValueError(f"`{kind}` is no target; choose among {', '.join(KINDS)}")
    ngram, hit = _ngram_of_rate(sequences, log_a, int(kind.split("-")[1]) / 100)
    b = hit[:, None]
    return Target(kind, f"contains {_name(ngram)}", b[:, 0].log(), b, None, log_a.exp() @ b)


def contains(sequences: Tensor, ngram: NGram) -> Tensor:
    """Tell which sequences (n, length) contain an n-gram, shape (n,)."""
    windows = sequences.unfold(1, len(ngram), 1)
    return (windows == torch.tensor(ngram)).all(dim=2).any(dim=1)


def _ngram_of_rate(
    sequences: Tensor, log_a: Tensor, rate: float, but: NGram | None = None
) -> tuple[NGram, Tensor]:
    """Return the 2- or 3-gram whose base rate is nearest to ``rate`` (in logarithm)."""
    grams, hits = _ngrams(int(sequences.max()) + 1, sequences.shape[1])
    distance = ((hits @ log_a.exp()).log() - math.log(rate)).abs()
    if but is not None:
        distance[grams.index(but)] = torch.inf
    best = int(distance.argmin())
    return grams[best], hits[best]


@cache
def _ngrams(vocabulary: int, length: int) -> tuple[list[NGram], Tensor]:
    """All 2- and 3-grams, and which sequences contain them, shape (n-grams, n)."""
    grams = [g for n in (2, 3) for g in itertools.product(range(vocabulary), repeat=n)]
    sequences = every_sequence(vocabulary, length)
    return grams, torch.stack([contains(sequences, gram) for gram in grams]).double()


def _name(ngram: NGram) -> str:
    return "".join("abcdefghij"[token] for token in ngram)


def _scalar(sequences: Tensor, log_a: Tensor, seed: int, beta: float) -> Target:
    """Let r = log phi, phi the logistic function of the summed valences, standardised under a."""
    size = int(sequences.max()) + 1
    valence = torch.from_numpy(np.random.default_rng([seed, 1]).normal(size=size))
    a, raw = log_a.exp(), valence[sequences].sum(dim=1)
    centred = raw - a @ raw
    phi = torch.sigmoid(centred / (a @ centred**2).sqrt())[:, None]
    return Target("scalar", f"valence, beta {beta:g}", phi[:, 0].log() / beta, phi, None, a @ phi)


def _distributional(sequences: Tensor, log_a: Tensor, seed: int, samples: int = 10_240) -> Target:
    first, one = _ngram_of_rate(sequences, log_a, _FEATURE_RATES[0])
    second, two = _ngram_of_rate(sequences, log_a, _FEATURE_RATES[1], but=first)
    features = torch.stack([one, two], dim=1)
    a, wanted = log_a.exp(), torch.full((2,), _WANTED, dtype=torch.float64)
    p = a.numpy() / a.sum().item()
    drawn = np.random.default_rng([seed, 2]).choice(len(p), size=samples, p=p)
    strength = torch.from_numpy(fit_strengths(features[drawn].numpy(), wanted.numpy()))
    label = f"{_name(first)} and {_name(second)} in half each"
    return Target("distributional", label, features @ strength, features, wanted, a @ features)


def fit_strengths(features: ArrayLike, wanted: ArrayLike) -> Array:
    """Return lambda such that samples of a, weighed by exp(lambda . phi), have the wanted moments.

    Minimises log mean exp(lambda . phi) - lambda . wanted, which is convex (Khalifa et al. 2021).

    Args:
        features: phi of samples of the base model, shape (n, k).
        wanted: moments, shape (k,), strictly inside the range that the samples span.
    """
    phi, goal = np.asarray(features, dtype=float), np.asarray(wanted, dtype=float)

    def objective(strength: Array) -> tuple[float, Array]:
        logits = phi @ strength
        weights = special.softmax(logits)
        return float(special.logsumexp(logits) - strength @ goal), weights @ phi - goal

    found = optimize.minimize(objective, np.zeros(phi.shape[1]), jac=True, method="BFGS")
    return np.asarray(found.x, dtype=float)
