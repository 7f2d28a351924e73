"""The surrogate loss and its projected stochastic gradient descent, many data sets at once."""

from typing import NamedTuple

import torch
from torch import Tensor


def ramp_slope(t: Tensor, sigma: Tensor | float) -> Tensor:
    """Return l'_sigma(t) = (1 + 2 s - 3 s^2) / sigma, s = (|t| - sigma/6) / (sigma/3) in [0, 1].

    It is 1/sigma on |t| <= sigma/6 and 0 beyond sigma/2; the cubic between makes l twice smooth
    where it is used. ``sigma`` broadcasts against ``t``.
    """
    s = ((t.abs() - sigma / 6) * (3 / sigma)).clamp(0, 1)
    return (1 - s) * (1 + 3 * s) / sigma


def ramp(t: Tensor, sigma: float) -> Tensor:
    """Return l_sigma(t): t/sigma + 1/2 on |t| <= sigma/6, 0 below -sigma/2 and 1 above sigma/2."""
    a = t.abs()
    s = ((a - sigma / 6) * (3 / sigma)).clamp(0, 1)
    rise = a.clamp(max=sigma / 6) / sigma + (s + s**2 - s**3) / 3
    return 0.5 + torch.sign(t) * rise


def loss(w: Tensor, x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """Return L_sigma(w) = mean of l_sigma(-y <w, x> / ||w||).

    Args:
        w: directions of any length, shape (..., d).
        x: points, shape (n, d).
        y: labels +1 or -1, shape (n,).
        sigma: width of the band that counts.

    Returns:
        Losses, shape (...).
    """
    margins = (w / w.norm(dim=-1, keepdim=True)) @ x.T
    return ramp(-y * margins, sigma).mean(dim=-1)


def gradient(w: Tensor, x: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
    """Return the gradient of L_sigma at unit vectors, for B data sets and S widths at once.

    -E[ l'_sigma(<w,x>) y (x - <w,x> w) ]: points farther than sigma/2 from the boundary are unseen.

    Args:
        w: unit vectors, shape (B, S, d).
        x: points, shape (B, n, d).
        y: labels, shape (B, n).
        sigma: widths, shape (S,).

    Returns:
        Gradients, shape (B, S, d), orthogonal to w.
    """
    u = torch.bmm(w, x.transpose(1, 2))
    pull = ramp_slope(u, sigma[:, None]) * y[:, None, :]
    towards = torch.bmm(pull, x) - (pull * u).sum(dim=2, keepdim=True) * w
    return -towards / x.shape[1]


class Schedule(NamedTuple):
    """Steps, minibatch size, and first and last step size (geometric decay) of the descent."""

    steps: int
    batch: int
    first: float = 0.5
    last: float = 0.005


def descend(start: Tensor, x: Tensor, y: Tensor, sigma: Tensor, schedule: Schedule) -> Tensor:
    """Projected SGD on the sphere; returns the normalised mean of the last fifth of the iterates.

    Minibatches are consecutive rows, round and round: rows must be in random order.

    Args:
        start: unit vectors, shape (B, S, d).
        x: training points, shape (B, n, d), n at least the minibatch.
        y: labels, shape (B, n).
        sigma: widths, shape (S,).
        schedule: steps and step sizes.

    Returns:
        One candidate a data set and width, unit vectors of shape (B, S, d).
    """
    sets, n, d = x.shape
    size = min(schedule.batch, n)
    blocks = n // size
    rows = x[:, : blocks * size].reshape(sets, blocks, size, d).transpose(0, 1).contiguous()
    signs = y[:, : blocks * size].reshape(sets, blocks, size).transpose(0, 1).contiguous()
    decay = (schedule.last / schedule.first) ** (1 / max(1, schedule.steps - 1))
    w, rate, tail = start, schedule.first, torch.zeros_like(start)
    for step in range(schedule.steps):
        w = w - rate * gradient(w, rows[step % blocks], signs[step % blocks], sigma)
        w = w / w.norm(dim=2, keepdim=True)
        rate *= decay
        if step >= 0.8 * schedule.steps:
            tail += w
    mean: Tensor = tail / tail.norm(dim=2, keepdim=True)
    return mean
