"""Cheap rival methods: membership inference, dataset inference, similarity of weights."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from transformers import PreTrainedModel

Array = NDArray[np.float64]


def auc(members: Array, others: Array) -> float:
    """Return P(score of a member > score of a non-member), ties counting half."""
    u = stats.mannwhitneyu(members, others).statistic
    return float(u / (len(members) * len(others)))


def min_k(token_losses: Array, share: float = 0.2) -> Array:
    """Return the mean log-probability of the least likely tokens of each row (Min-K%).

    Args:
        token_losses: shape (n, tokens), in nats.
        share: of the tokens of a row.
    """
    k = max(1, int(share * token_losses.shape[1]))
    worst = np.sort(token_losses, axis=1)[:, -k:]
    means: Array = -worst.mean(axis=1)
    return means


def dataset_inference(members: Array, twins: Array) -> float:
    """Return the one-sided Welch p that members score higher than their held-out i.i.d. twins."""
    return float(stats.ttest_ind(members, twins, equal_var=False, alternative="greater").pvalue)


@torch.no_grad()
def weight_cosine(a: PreTrainedModel, b: PreTrainedModel) -> float:
    """Return the cosine of the two models' weights taken as one vector each."""
    u, v = (torch.cat([p.flatten().double() for p in m.parameters()]) for m in (a, b))
    return float(torch.nn.functional.cosine_similarity(u, v, dim=0))
