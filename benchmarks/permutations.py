"""Exact permutation p of the query test at n = 10^5 with 10^4 permutations, in seconds and memory.

Wanted: under 30 s and 1 GiB. Beside it the way of the released code without its model calls: rank
both sides again for every permutation (``scipy.stats.spearmanr``), timed on a few of them.

Run: OMP_NUM_THREADS=1 python benchmarks/permutations.py
"""

import argparse

import numpy as np
from measuring import peak_mib, timed
from scipy import stats

import provenance as pv


def main() -> None:
    """Print seconds of each setting, and the peak memory of the process after it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--n", type=int, default=100_000, help="examples")
    arguments.add_argument("--permutations", type=int, default=10_000)
    arguments.add_argument("--sample", type=int, default=50, help="permutations of the other way")
    options = arguments.parse_args()
    rng = np.random.default_rng(0)
    positions = rng.permutation(options.n)
    scores = rng.normal(size=options.n)
    stages = pv.Transcript.of(
        np.arange(options.n), positions, (positions * 4 // options.n).astype(np.int64)
    )
    others = {str(i): rng.normal(size=options.n) for i in range(10)}
    m = options.permutations
    print(f"n = {options.n:,}, {m:,} permutations; {peak_mib():.0f} MiB before the first")
    for name, work in {
        "one suspect": lambda: pv.query_test(positions, scores, permutations=m, resamples=0),
        "four strata": lambda: pv.query_test(stages, scores, permutations=m, resamples=0),
        "ten suspects": lambda: pv.query_family(positions, others, permutations=m, resamples=0),
        "stop after 10": lambda: pv.query_test(
            positions, scores, permutations=m, stop_after=10, resamples=0
        ),
        "999 resamples too": lambda: pv.query_test(positions, scores, permutations=m),
    }.items():
        _, seconds = timed(work)
        print(f"{name:20}{seconds:8.2f} s, peak {peak_mib():.0f} MiB")
    _, seconds = timed(
        lambda: [stats.spearmanr(rng.permutation(positions), scores) for _ in range(options.sample)]
    )
    whole = seconds / options.sample * m
    print(f"{'spearmanr anew':20}{whole:8.0f} s ({options.sample} permutations timed)")


if __name__ == "__main__":
    main()
