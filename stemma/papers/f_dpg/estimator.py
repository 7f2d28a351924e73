"""From samples of a policy to advantages: the running Z, the pseudo-reward, the baseline.

Everything is kept for several policies at once (axis 0), which never mix.
"""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from stemma.papers.f_dpg.divergences import pseudo_reward

WINDOW = 1024
"""Samples of which the baseline is the mean reward (the authors' default)."""


class Normaliser:
    """Running importance estimate of Z = sum_x P(x): mean of P(x) / pi(x) over all samples so far.

    The policy changes between batches, and each sample is weighed by the policy that drew it, so
    that every term has expectation Z.
    """

    def __init__(self, policies: int) -> None:
        """Start with no samples for ``policies`` policies."""
        self._sum = torch.zeros(policies, dtype=torch.float64)
        self._count = 0

    def update(self, log_pi: Tensor, log_target: Tensor) -> None:
        """Add samples: log pi(x) and log P(x), both of shape (policies, batch)."""
        ratios = (log_target.double() - log_pi.double()).exp()
        self._sum = self._sum.to(ratios.device) + ratios.sum(dim=1)
        self._count += log_pi.shape[1]

    @property
    def log_z(self) -> Tensor:
        """Log of the estimate, shape (policies,); minus infinity before the first P(x) > 0."""
        return (self._sum / self._count).log()


class Estimator:
    """Advantages of samples under the objectives of several policies.

    Args:
        objectives: name of the divergence that each policy minimises.
        window: samples that the baseline, a moving mean of rewards, looks back on.
        baseline: whether to subtract it.
        log_z: exact log Z, shape (policies,), in the place of the running estimate (an ablation).
    """

    def __init__(
        self,
        objectives: Sequence[str],
        *,
        window: int = WINDOW,
        baseline: bool = True,
        log_z: Tensor | None = None,
    ) -> None:
        """See the class."""
        self._rows = {
            name: [i for i, other in enumerate(objectives) if other == name]
            for name in dict.fromkeys(objectives)
        }
        self._baseline = baseline
        self._window = window
        self._recent: deque[Tensor] = deque()
        self._log_z = log_z
        self.normaliser = Normaliser(len(objectives))

    @property
    def log_z(self) -> Tensor:
        """The log Z in use, shape (policies,)."""
        return self.normaliser.log_z if self._log_z is None else self._log_z

    def rewards(self, log_pi: Tensor, log_target: Tensor) -> Tensor:
        """Return -f'(pi(x) / p(x)) with p = P / Z, for log pi and log P of shape (policies, n)."""
        log_t = log_pi.double() - log_target.double() + self.log_z.nan_to_num(neginf=0.0)[:, None]
        rewards = torch.empty_like(log_t)
        for name, rows in self._rows.items():
            rewards[rows] = pseudo_reward(name, log_t[rows])
        return rewards

    def advantages(self, log_pi: Tensor, log_target: Tensor) -> Tensor:
        """Take in one batch of on-policy samples and return their advantages.

        The baseline is the mean reward of the batches before this one, so that it is independent
        of the samples it is subtracted from. A policy that has never seen a sample with P(x) > 0
        has no Z and gets zeros.

        Args:
            log_pi: log-probabilities of whole sequences, shape (policies, batch), no gradient.
            log_target: log P(x), of the same shape; minus infinity where P(x) = 0.

        Returns:
            Shape (policies, batch), double.
        """
        self.normaliser.update(log_pi, log_target)
        rewards = self.rewards(log_pi, log_target)
        ready = self.log_z.isfinite()[:, None]
        advantages = rewards - self._mean() if self._baseline and self._recent else rewards
        self._recent.append(torch.where(ready, rewards, torch.nan))
        while sum(r.shape[1] for r in self._recent) - self._recent[0].shape[1] >= self._window:
            self._recent.popleft()
        return torch.where(ready, advantages, torch.zeros_like(advantages))

    def _mean(self) -> Tensor:
        return torch.cat(list(self._recent), dim=1).nanmean(dim=1, keepdim=True).nan_to_num()


def surrogate_loss(log_pi: Tensor, advantages: Tensor) -> Tensor:
    """Return -mean(advantage * log pi) of each policy, shape (policies,).

    Its gradient is the estimate of grad D_f; the objective enters through the advantages alone.
    """
    return -(advantages.detach().to(log_pi.dtype) * log_pi).mean(dim=-1)
