"""What the tester-learner costs: seconds, and counted operations, which do not depend on load."""

import time
from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np
import torch

from stemma.papers.halfspace_tester_learner.bands import gaussian_reference
from stemma.papers.halfspace_tester_learner.moments import product_table
from stemma.papers.halfspace_tester_learner.study import stream
from stemma.papers.halfspace_tester_learner.surrogate import Schedule
from stemma.papers.halfspace_tester_learner.targets import Array
from stemma.papers.halfspace_tester_learner.tester import Design, choose, compute_statistics, learn


class Cost(NamedTuple):
    """Of one data set: seconds, and multiply-adds (times two) in matrix products."""

    seconds: float
    operations: int


def measure_cost(
    d: int, n: int, sigma: float, degree: int, batch: int, seed: int, *, repeats: int
) -> list[Cost]:
    """Learn on n/2 points (one pass for each of 4) and test on n/2; thresholds are not set.

    Returns:
        One cost a repetition; the operations are the same in all.
    """
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    rng = stream(seed, "cost", d, n, sigma)
    x = torch.from_numpy(rng.standard_normal((1, n, d)))
    y = torch.where(x[..., 0] >= 0, 1.0, -1.0).double()
    design = Design((sigma,), degree, (), Schedule(max(1, 4 * (n // 2) // batch), batch))
    # Tables of the target are made once, not for each data set.
    product_table("gaussian", d, degree)
    product_table("gaussian", d - 1, degree)

    def once() -> None:
        candidates = learn(x[:, : n // 2], y[:, : n // 2], design, [rng])[0]
        compute_statistics(x[0, n // 2 :], candidates, design, gaussian_reference())
        choose(x[0, n // 2 :], y[0, n // 2 :], candidates)

    counter = FlopCounterMode(display=False)
    with counter:
        once()
    costs = []
    for _ in range(repeats):
        start = time.perf_counter()
        once()
        costs.append(Cost(time.perf_counter() - start, counter.get_total_flops()))
    return costs


def local_exponents(x: Sequence[float], y: Sequence[float]) -> Array:
    """Slopes of log y against log x between neighbours, shape (len(x) - 1,)."""
    return np.asarray(np.diff(np.log(y)) / np.diff(np.log(x)))


def oblivious_moments(d: int, eps: float) -> int:
    """Number of moments up to degree 1/eps^2, which label-oblivious testing asks for (order)."""
    degree = max(1, round(1 / eps**2))
    return comb(d + degree, degree) - 1
