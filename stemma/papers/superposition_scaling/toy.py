"""The toy model: sparse features squeezed through a narrow layer (paper, section 2).

Several independent models of one shape are trained at once: all tensors have a first axis R, one
entry a model. Models of smaller width are padded with columns of zeros, which stay zero: their
gradient is zero, and decay only scales them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stemma.papers.superposition_scaling.frequencies import Array

SECOND_MOMENT = 4 / 3
"""E[u^2] of an active feature's value u, uniform on (0, 2)."""


class Weights(NamedTuple):
    """Rows W of shape (R, n, m) and biases b of shape (R, n)."""

    rows: Tensor
    bias: Tensor


class Batch(NamedTuple):
    """The active features of B samples for each of R models, K in all.

    Attributes:
        model: (K,) which model a feature belongs to.
        sample: (K,) which of the model's B samples.
        feature: (K,) which of the n features.
        value: (K,) its value, in (0, 2).
        shape: (R, B, n).
    """

    model: Tensor
    sample: Tensor
    feature: Tensor
    value: Tensor
    shape: tuple[int, int, int]

    def dense(self) -> Tensor:
        """Return the samples x of shape (R, B, n)."""
        x = torch.zeros(self.shape, device=self.value.device)
        x[self.model, self.sample, self.feature] = self.value
        return x


class Sampler:
    """Draws x_i = s_i u_i with s_i Bernoulli(p_i) and u_i uniform on (0, 2), all independent.

    Most features are inactive, so only the active ones are drawn: a Poisson number of events per
    feature with mean -log(1 - p_i) is above zero with probability p_i, and events of all features
    together are one Poisson number, each event of feature i with a share of its mean.
    """

    def __init__(self, p: Array, models: int, batch: int, seed: int, device: str = "cpu") -> None:
        """Prepare to draw ``batch`` samples for each of ``models`` models.

        Args:
            p: (n,) or (models, n) frequencies below 1; one of 1 is taken as 1 - 1e-7.
            models: R.
            batch: B.
            seed: of all draws.
            device: where the samples are drawn.
        """
        means = -np.log1p(-np.minimum(np.broadcast_to(p, (models, p.shape[-1])), 1 - 1e-7))
        self._shape = (models, batch, p.shape[-1])
        self._events = torch.tensor(float(batch * means.sum()), dtype=torch.float64)
        shares = np.cumsum(means.ravel()) / means.sum()
        self._cumulative = torch.tensor(shares, device=device)
        self._count = torch.Generator().manual_seed(seed)
        self._draws = torch.Generator(device).manual_seed(seed)

    def draw(self) -> Batch:
        """Return the next batch."""
        models, batch, n = self._shape
        device = self._cumulative.device
        events = int(torch.poisson(self._events, generator=self._count))
        u = torch.rand(events, generator=self._draws, device=device, dtype=torch.float64)
        of_all = torch.searchsorted(self._cumulative, u, right=True).clamp_(max=models * n - 1)
        sample = torch.randint(batch, (events,), generator=self._draws, device=device)
        active = torch.unique(of_all * batch + sample)
        of_all, sample = active // batch, active % batch
        value = 2 * torch.rand(active.shape, generator=self._draws, device=device)
        return Batch(of_all // n, sample, of_all % n, value, self._shape)


def initial(widths: list[int], n: int, seed: int, device: str = "cpu") -> Weights:
    """Return W normal / sqrt(m) and b normal(0, 1), one model per width, padded to the largest."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(len(widths), n, max(widths))
    bias = torch.empty(len(widths), n)
    for r, m in enumerate(widths):
        rows[r, :, :m] = torch.randn(n, m, generator=generator) / m**0.5
        bias[r] = torch.randn(n, generator=generator)
    return Weights(rows.to(device), bias.to(device))


class Loss(NamedTuple):
    """Losses of shape (R,), and their gradients by rows (R, n, m) and biases (R, n)."""

    losses: Tensor
    gradient: Weights


@torch.no_grad()
def losses(weights: Weights, x: Batch) -> Loss:
    """Return the squared error of y = ReLU(x W W^T + b), summed over features.

    The mean is over samples; the paper's loss is the mean over features too, its figures show n
    times that, which is this. The gradient is written out: nearly all time goes into passes over
    (R, B, n), and autograd makes three times as many.
    """
    models, batch, n = x.shape
    m = weights.rows.shape[2]
    place = x.model * batch + x.sample
    feature = x.model * n + x.feature
    active = place * n + x.feature

    values = x.value[:, None]
    hidden = values.new_zeros(models * batch, m)
    hidden.index_add_(0, place, values * weights.rows.reshape(models * n, m)[feature])
    hidden = hidden.view(models, batch, m)
    error = torch.baddbmm(weights.bias[:, None], hidden, weights.rows.transpose(1, 2)).relu_()
    flat = error.view(-1)
    output = flat[active]
    flat[active] = output - x.value
    found = torch.linalg.vector_norm(error, dim=(1, 2)).square() / batch

    # ReLU's slope is zero where its output is, and only active features have an error there.
    flat[active] *= output > 0
    by_hidden = torch.bmm(error, weights.rows).view(-1, m)
    by_rows = torch.bmm(error.transpose(1, 2), hidden)
    by_rows.view(models * n, m).index_add_(0, feature, values * by_hidden[place])
    scale = 2 / batch
    return Loss(found, Weights(by_rows * scale, error.sum(dim=1) * scale))


@torch.no_grad()
def decay(rows: Tensor, gamma: Tensor, rate: float) -> None:
    """Decay ``rows`` (R, n, m) in place by ``gamma`` (R,), before the step of Adam.

    Positive: weight decay, W <- W (1 - rate gamma). Negative: weight growth, every row is pulled
    towards length one, W_i <- W_i + rate gamma W_i (1 - 1 / |W_i|).
    """
    length = torch.linalg.vector_norm(rows, dim=2, keepdim=True).clamp_min(1e-12)
    gamma = gamma[:, None, None]
    rows *= torch.where(gamma < 0, 1 + rate * gamma * (1 - 1 / length), 1 - rate * gamma)
