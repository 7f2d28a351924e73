"""Real features: does the tester certify them, or only after their marginals are made Gaussian?"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import special, stats

from stemma.papers.halfspace_tester_learner.bands import gaussian_reference
from stemma.papers.halfspace_tester_learner.baselines import fit_baseline
from stemma.papers.halfspace_tester_learner.study import OURS, Row, stream
from stemma.papers.halfspace_tester_learner.targets import Array
from stemma.papers.halfspace_tester_learner.tester import (
    Design,
    Statistics,
    Thresholds,
    certify,
    compute_statistics,
    learn,
)

SHARE = 0.4
"""Share of the rows in S1, and in S2; errors are counted on the rest."""

MIN_BAND = 30
"""Widths whose inner band is expected to hold fewer test points than this are left out."""

VARIANTS: tuple[str, ...] = ("as they are", "normal scores", "Gaussian control")


def load_table(source: str) -> tuple[Array, Array]:
    """Return features (n, k) and labels +1 or -1: malignant or not, odd digit or even.

    Raises:
        ValueError: a source this module does not know.
    """
    from sklearn import datasets

    if source == "sklearn-breast-cancer":
        x, y = datasets.load_breast_cancer(return_X_y=True)
        return np.asarray(x, dtype=float), np.where(y == 0, 1.0, -1.0)
    if source == "sklearn-digits":
        x, y = datasets.load_digits(return_X_y=True)
        return np.asarray(x, dtype=float), np.where(y % 2 == 1, 1.0, -1.0)
    raise ValueError(f"`{source}` is no table of this paper")


def whiten(x: Array, components: int) -> Array:
    """Return the first principal components of the standardised columns, each of variance 1.

    All rows are used, but no label. Constant columns are dropped.

    Args:
        x: features, shape (n, k).
        components: how many, at most k.
    """
    centred = x - x.mean(axis=0)
    spread = centred.std(axis=0)
    scaled = centred[:, spread > 0] / spread[spread > 0]
    u, _, _ = np.linalg.svd(scaled, full_matrices=False)
    return np.asarray(u[:, :components] * np.sqrt(len(x)))


def normal_scores(x: Array) -> Array:
    """Replace each column by normal quantiles of its ranks: Gaussian singly, not jointly."""
    return np.asarray(special.ndtri((stats.rankdata(x, axis=0) - 0.5) / len(x)))


def usable_widths(sigmas: Sequence[float], n: int) -> tuple[float, ...]:
    """Return the widths whose inner band |u| <= sigma/6 should hold MIN_BAND of n points."""
    return tuple(s for s in sigmas if n * (2 * stats.norm.cdf(s / 6) - 1) >= MIN_BAND)


def null_statistics(
    rows: int, components: int, sets: Sequence[int], design: Design, seed: int
) -> list[Statistics]:
    """Statistics of Gaussian tables that are whitened and split as the real ones are."""
    torch.set_num_threads(1)
    found, n = [], int(SHARE * rows)
    for index in sets:
        rng = stream(seed, "real calibration", rows, components, index)
        x = torch.from_numpy(whiten(rng.standard_normal((rows, components)), components)[:n])
        w = rng.standard_normal((len(design.sigmas), components))
        unit = torch.from_numpy(w / np.linalg.norm(w, axis=1, keepdims=True))
        found.append(compute_statistics(x, unit, design, gaussian_reference()))
    return found


def run_split(
    features: Array,
    y: Array,
    variant: str,
    split: int,
    design: Design,
    limits: Thresholds,
    seed: int,
) -> Row:
    """Learn, test and evaluate on one random split of a whitened table.

    Args:
        features: whitened features, shape (n, d).
        y: labels, shape (n,).
        variant: one of ``VARIANTS``; the control replaces the rows by Gaussian ones labelled by the
            first coordinate.
        split: number of the split.
        design: widths and degrees.
        limits: thresholds for such tables.
        seed: of the run.

    Returns:
        The variant, which tests refused, and errors on rows that neither half holds.
    """
    rng = stream(seed, "split", variant, len(y), split)
    if variant == "Gaussian control":
        features = whiten(rng.standard_normal(features.shape), features.shape[1])
        y = np.where(features[:, 0] >= 0, 1.0, -1.0)
    elif variant == "normal scores":
        features = normal_scores(features)
    order, n = rng.permutation(len(y)), int(SHARE * len(y))
    first, second, rest = order[:n], order[n : 2 * n], order[2 * n :]
    x, labels = torch.from_numpy(features), torch.from_numpy(y)
    candidates = learn(x[first][None], labels[first][None], design, [rng])[0]
    answer = certify(x[second], labels[second], candidates, design, gaussian_reference(), limits)
    both = order[: 2 * n]
    rival = fit_baseline("logistic", features[both], y[both])
    return {
        "variant": variant,
        "accepted": answer.accepted,
        **answer.rejections,
        OURS: float(((features[rest] @ answer.w.numpy() >= 0) != (y[rest] > 0)).mean()),
        "logistic": float(((features[rest] @ rival >= 0) != (y[rest] > 0)).mean()),
    }
