"""Likelihoods estimated from samples, for a Bob who gives text but no log-probabilities."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sampled_log_likelihood(token_losses: Array, draws: int, rng: np.random.Generator) -> Array:
    """Estimate each row's log-likelihood from ``draws`` next-token samples at every position.

    How often the true token comes up among ``draws`` samples of the next token is binomial with
    the token's probability, so that the counts are drawn from that law. The estimate of a
    probability is (hits + 1/2) / (draws + 1), which keeps its logarithm finite.

    Args:
        token_losses: -log p of each token in nats, shape (n, tokens).
        draws: samples a position.
        rng: decides the samples.

    Returns:
        Shape (n,), in nats.
    """
    hits = rng.binomial(draws, np.exp(-token_losses).clip(max=1.0))
    estimate: Array = np.log((hits + 0.5) / (draws + 1)).sum(axis=1)
    return estimate
