"""From curves to the samples that the claims read; one value a master seed unless said."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from stemma.papers.dpp_least_squares.functions import Targets
from stemma.papers.dpp_least_squares.inference import stable_multiple
from stemma.papers.dpp_least_squares.least_squares import fit_path
from stemma.papers.dpp_least_squares.sampling import Nodes, Sampler
from stemma.papers.dpp_least_squares.spaces import Array, Space
from stemma.papers.dpp_least_squares.study import Curves


def conditioned_mean_ratio(curves: Curves, n: int, delta: float) -> Array:
    """Mean squared-error ratio of the stable replicates, of the worst function, shape (S,).

    Stable replicates of a raw sample are draws of the conditioned sampler: redrawing until
    lambda_min >= 1 - delta is rejection sampling.
    """
    k = curves.at(n)
    stable = curves.lambda_min[:, k] >= 1 - delta
    means = [
        ratio[keep].mean(axis=0).max()
        for ratio, keep in zip(curves.ratio[:, k], stable, strict=True)
    ]
    return np.array(means)


def log_ratio_quantile(curves: Curves, n: int, quantile: float) -> Array:
    """Quantile over replicates of log10(error ratio) averaged over functions, shape (S,)."""
    logs = np.log10(curves.ratio[:, curves.at(n)]).mean(axis=2)
    return np.asarray(np.quantile(logs, quantile, axis=1))


def stable_multiples(curves: Curves, m: int, delta: float, target: float) -> Array:
    """Smallest n/m (whole) with P(lambda_min >= 1 - delta) >= target, shape (S,)."""
    at = [k for k, n in enumerate(curves.sizes) if n % m == 0]
    multiples = [curves.sizes[k] // m for k in at]
    rows = curves.stability(delta)[:, at]
    return np.array([stable_multiple(multiples, row, target) for row in rows], dtype=float)


def mean_stability(curves: Curves, sizes: Sequence[int], delta: float) -> Array:
    """P(lambda_min >= 1 - delta) averaged over the given sizes, shape (S,)."""
    at = [curves.at(n) for n in sizes]
    return np.asarray(curves.stability(delta)[:, at].mean(axis=1))


def failures(curves: Curves, n: int, delta: float) -> tuple[int, int]:
    """How many of all replicates have lambda_min < 1 - delta, and how many there are."""
    values = curves.lambda_min[:, curves.at(n)]
    return int((values < 1 - delta).sum()), values.size


def exact_bias(space: Space, targets: Targets, sampler: Sampler, n: int) -> Array:
    """Exact bias of the fitted coefficients by summing over all N^n samples.

    Independent samples are conditioned on a regular Gram matrix, without which the fit is not
    defined; volume-rescaled samples are regular by themselves. Meant for a handful of nodes.

    Returns:
        Norm of the expected coefficient shift over the best error, shape (F,).
    """
    nodes = np.array(list(product(range(len(space.mu)), repeat=n)))
    (fit,) = fit_path(space, targets, sampler.weight, nodes, [n])
    regular = fit.lambda_min > 1e-12
    probability = sampler.density[nodes].prod(axis=1) * regular
    if sampler.name == "volume":
        probability = probability * np.abs(np.linalg.det(fit.factor)) ** 2
    probability = probability / probability.sum()
    shift = np.where(regular[:, None, None], fit.shift, 0.0)
    mean = np.einsum("r,rmf->mf", probability, shift)
    return np.asarray(np.linalg.norm(mean, axis=0) / targets.best)


def worst_bounded_errors(space: Space, weight: Array, nodes: Nodes, iterations: int = 10) -> Array:
    """L2 error of the fit to the worst f with sup norm 1 that was found for each sample.

    The adversary sees the sample (f depends on it, as an almost sure bound allows): f is +-1, at
    the drawn nodes with the signs of a power iteration for the largest coefficients, elsewhere
    with the sign opposite to the fit.
    Samples must be stable. Since g = 0 lies in V_m, the result is a lower bound of the largest
    ratio of C2.

    Args:
        space: the measure and features.
        weight: w at each node, shape (N,).
        nodes: samples, shape (R, n).
        iterations: of the power iteration.

    Returns:
        ||f - fhat||, shape (R,).
    """
    errors = np.empty(len(nodes))
    start = np.ones(space.m) / np.sqrt(space.m)
    for r, sample in enumerate(nodes):
        rows, scale = space.phi[sample], weight[sample, None] / nodes.shape[1]
        inverse = rows @ np.linalg.inv(rows.T @ (scale * rows))
        direction = start
        for _ in range(iterations):
            f = np.where(inverse @ direction >= 0, 1.0, -1.0)
            coefficients = inverse.T @ (scale[:, 0] * f)
            direction = coefficients / np.linalg.norm(coefficients)
        fitted = space.phi @ coefficients
        values = np.where(fitted >= 0, -1.0, 1.0)
        values[sample] = f
        errors[r] = np.sqrt(space.mu @ (values - fitted) ** 2)
    return errors
