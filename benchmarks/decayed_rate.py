"""Queries needed under a decayed learning rate: phi_ref against weights, adjustment and design.

Trains five Alices and one reference on the same examples, each in its own order and from its own
initial weights, once with a rate decayed to a tenth (cosine) and once with a constant rate. Then
counts the queries that each procedure needs for a median p of 1e-8.

Run: OMP_NUM_THREADS=1 .venv/bin/python benchmarks/decayed_rate.py SCORES --out FILE.md

SCORES, a folder, keeps the scores of every trained model (under a minute each), so that the
analysis can be repeated.

Fixed before any score was seen: the suspects are the Alices themselves. Alice i's twin is Alice
i + 1, who has an order of her own; the one reference, the sixth model, belongs to all. A draw is
a random half of the examples, from which a procedure chooses n to ask; the p-value is the t
approximation (1e-8 is far below what permutations can show); n runs over a geometric grid of 5 %,
and the number needed is the smallest with a median log10 p of at most -8 over 200 draws. Ratios to
phi_ref have a t interval over the logarithms of the five Alices' ratios. False positives are those
of the exact p-value at the number needed, over fresh random orders of each Alice's true scores.
"""

import argparse
import bisect
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

import provenance as pv
from provenance.planning import Design
from provenance.ranks import RankScores
from stemma.data import text
from stemma.models import lm
from stemma.models.scoring import token_losses
from stemma.models.tokenizer import encode_documents, train_bpe
from stemma.models.training import LearningRate, Schedule, train

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

EXAMPLES, LENGTH, BATCH, PEAK, FINAL = 8_000, 64, 16, 1e-3, 0.1
ALICES = 5
REFERENCE = ALICES  # the sixth model
SCHEDULES: tuple[Schedule, ...] = ("cosine", "constant")
WANTED = -8.0  # median log10 p
DRAWS, NULLS, STREAMS = 200, 200, 50
PERMUTATIONS = 999
LEVELS = (0.01, 0.05, 0.1)
GRID = np.unique(np.round(20 * 1.05 ** np.arange(109)).astype(int)).tolist()  # 20 to 3,886


@dataclass(frozen=True)
class Procedure:
    """What is done beside phi_ref: the difference of two models, linear ranks, random positions.

    Attributes:
        weights: where the weights of the positions come from.
        adjust: regress on the reference and on the twin, her own order taken out of her scores.
        rank_scores: how ranks of the scores enter.
        design: which positions are asked.
    """

    weights: Literal["schedule", "twin"] | None = None
    adjust: bool = False
    rank_scores: RankScores = "wilcoxon"
    design: Design = "random"


BASE, ALL = "phi_ref", "all, weights of the twin"
PROCEDURES = {
    BASE: Procedure(),
    "normal scores": Procedure(rank_scores="normal"),
    "weights of the schedule": Procedure("schedule"),
    "weights of the twin": Procedure("twin"),
    "adjustment": Procedure(adjust=True),
    "weights of the twin, adjustment": Procedure("twin", adjust=True),
    "weights of the twin, design": Procedure("twin", design="extreme"),
    "all, weights of the schedule": Procedure("schedule", True, "normal", "extreme"),
    ALL: Procedure("twin", True, "normal", "extreme"),
}


@dataclass(frozen=True)
class Trial:
    """One Alice with what may be known without her order.

    Attributes:
        positions: of every example in her training, shape (n,).
        scores: her log-likelihoods, shape (n,).
        reference: the sixth model's.
        second: her twin's, without the memory curve of the twin's own order.
        weights: of the positions, by where they come from.
    """

    positions: Ints
    scores: Array
    reference: Array
    second: Array
    weights: dict[str, pv.PositionWeights]

    @classmethod
    def of(cls, folder: Path, schedule: Schedule, seed: int) -> "Trial":
        """Put together Alice ``seed``, her twin and the reference."""
        positions, scores = trained_scores(folder, schedule, seed)
        twin_positions, twin = trained_scores(folder, schedule, (seed + 1) % ALICES)
        reference = trained_scores(folder, schedule, REFERENCE)[1]
        steps = EXAMPLES // BATCH
        rate = LearningRate(PEAK, schedule, steps, final_fraction=FINAL)
        rates = [rate.at(step) for step in range(steps)]
        curve = pv.PositionWeights.from_twin(twin_positions, twin - reference)
        by_schedule = pv.PositionWeights.from_schedule(rates, examples_per_step=BATCH)
        return cls(
            positions.astype(np.int64),
            scores,
            reference,
            twin - curve.at(twin_positions),
            {"schedule": by_schedule, "twin": curve},
        )

    def test(
        self,
        how: Procedure,
        n: int,
        seed: int,
        *,
        order: Ints | None = None,
        permutations: int = 1,
    ) -> pv.RankTest:
        """Ask n examples of a random half; ``order`` replaces the true positions."""
        where = self.positions if order is None else order
        weights = self.weights[how.weights] if how.weights else None
        pool = np.random.default_rng(seed).permutation(EXAMPLES)[: EXAMPLES // 2]
        chosen = pv.choose_positions(where[pool], n, weights, design=how.design, seed=seed)
        rows = pool[chosen]
        return pv.query_test(
            where[rows],
            self.scores[rows],
            self.reference[rows],
            weights=weights,
            covariates=self.second[rows][:, None] if how.adjust else None,
            adjustment="linear" if how.adjust else "difference",
            rank_scores=how.rank_scores,
            permutations=permutations,
            resamples=0,
            seed=seed,
        ).test

    def median_log10_p(self, how: Procedure, n: int) -> float:
        """Median over draws of the examples asked."""
        return float(
            np.median([self.test(how, n, seed).log10_p_asymptotic for seed in range(DRAWS)])
        )

    def needed(self, how: Procedure) -> int:
        """Return the smallest n of the grid whose median p is 1e-8; the last if none is."""
        found = bisect.bisect_left(GRID, -WANTED, key=lambda n: -self.median_log10_p(how, n))
        return int(GRID[min(found, len(GRID) - 1)])

    def null_p(self, how: Procedure, n: int) -> Array:
        """Return exact p-values under fresh random orders, shape (NULLS,)."""
        rng = np.random.default_rng([2, n])
        return np.array(
            [
                self.test(
                    how, n, seed, order=rng.permutation(EXAMPLES), permutations=PERMUTATIONS
                ).p
                for seed in range(NULLS)
            ]
        )

    def stopped_at(self) -> float:
        """Median number of queries of the anytime-valid test with the twin's weights."""
        values, stops = self.scores - self.reference, []
        for seed in range(STREAMS):
            test = pv.SequentialQueryTest.of(self.positions, self.weights["twin"])
            for row in np.random.default_rng(seed).permutation(EXAMPLES):
                test.update(float(self.positions[row]), float(values[row]))
                if test.reached(10**WANTED):
                    break
            stops.append(test.n)
        return float(np.median(stops))


def examples() -> Ints:
    """Return real examples, shape (EXAMPLES, LENGTH): source text of the standard library."""
    documents = text.documents("python-stdlib")
    rows = encode_documents(train_bpe(documents, 4_000), documents, LENGTH)
    return rows[np.random.default_rng(0).permutation(len(rows))[:EXAMPLES]]


def trained_scores(folder: Path, schedule: Schedule, seed: int) -> Array:
    """Return (positions, log-likelihoods) of one model, shape (2, EXAMPLES), trained if need be."""
    path = folder / f"{schedule}-{seed}.npy"
    if not path.exists():
        rows = examples()
        order = np.random.default_rng([1, seed]).permutation(len(rows))
        model = lm.build(lm.small_config(positions=LENGTH), seed)
        train(
            model,
            rows,
            order,
            batch_size=BATCH,
            learning_rate=PEAK,
            schedule=schedule,
            final_fraction=FINAL,
        )
        scores = -token_losses(model, rows).sum(axis=1)
        np.save(path, np.stack([np.argsort(order), scores]))
    found: Array = np.load(path)
    return found


def counts_of(trials: list[Trial], title: str) -> dict[str, Array]:
    """Return the queries that each Alice needs, by procedure, shape (ALICES,)."""
    needed = {
        name: np.array([trial.needed(how) for trial in trials], dtype=float)
        for name, how in tqdm(PROCEDURES.items(), desc=title)
    }
    needed["anytime-valid, weights of the twin"] = np.array([t.stopped_at() for t in trials])
    return needed


def queries(needed: dict[str, Array]) -> pd.DataFrame:
    """Return a row a procedure: queries of each Alice, and the ratio to phi_ref with interval."""
    rows = []
    for name, counts in needed.items():
        ratio, low, high = _ratio(counts, needed[BASE])
        rows.append(
            {
                "procedure": name,
                "queries of each Alice": ", ".join(f"{c:.0f}" for c in counts),
                "median": f"{np.median(counts):.0f}",
                "share of phi_ref": f"{ratio:.0%}",
                "95 % interval": "" if name == BASE else f"{low:.0%} to {high:.0%}",
            }
        )
    return pd.DataFrame(rows)


def _ratio(counts: Array, base: Array) -> tuple[float, float, float]:
    """Return the geometric mean of the ratios and its t interval at 95 %."""
    logs = np.log(counts / base)
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    center = logs.mean()
    return tuple(float(v) for v in np.exp([center, center - half, center + half]))  # type: ignore[return-value]


def false_positives(trials: list[Trial], needed: dict[str, Array], title: str) -> pd.DataFrame:
    """Return the share of null p-values at or below each level, at the number needed."""
    rows = []
    for name in (BASE, ALL):
        pairs = list(zip(trials, needed[name].astype(int).tolist(), strict=True))
        p = np.concatenate(
            [t.null_p(PROCEDURES[name], n) for t, n in tqdm(pairs, f"{title}: null")]
        )
        shares = {f"p <= {level:g}": f"{np.mean(p <= level):.3f}" for level in LEVELS}
        rows.append({"procedure": name, **shares, "orders": len(p)})
    return pd.DataFrame(rows)


def curve(trials: list[Trial], title: str) -> pd.DataFrame:
    """Return the median over Alices of the median log10 p by number of queries."""
    table = {"queries": GRID[8:80:8]}
    for name in (BASE, "weights of the twin", ALL):
        how = PROCEDURES[name]
        table[name] = [
            f"{np.median([t.median_log10_p(how, n) for t in trials]):.1f}"
            for n in tqdm(table["queries"], f"{title}: {name}")
        ]
    return pd.DataFrame(table)


def main() -> None:
    """Train what is missing, analyse, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("scores", type=Path, help="folder of the models' scores")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.scores.mkdir(parents=True, exist_ok=True)
    made_with = f"torch {torch.__version__}, numpy {np.__version__}, Python"
    parts = [
        "# Queries needed under a decayed learning rate",
        f"Made by\n\n    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/decayed_rate.py SCORES"
        f" --out FILE\n\n({made_with} {platform.python_version()}).",
        "Fixed before any score was seen: "
        + " ".join((__doc__ or "").split("Fixed before any score was seen: ")[1].split())
        + f" A count of {GRID[-1]} says that the wanted p was not reached with so many.",
    ]
    for schedule in SCHEDULES:
        for seed in tqdm(range(REFERENCE + 1), desc=f"{schedule}: models"):
            trained_scores(args.scores, schedule, seed)
        trials = [Trial.of(args.scores, schedule, seed) for seed in range(ALICES)]
        title = "Decayed to a tenth (cosine)" if schedule == "cosine" else "Constant rate"
        needed = counts_of(trials, title)
        parts += [
            f"## {title}",
            queries(needed).to_markdown(index=False, disable_numparse=True),
            "False positives of the exact p-value at the number needed:",
            false_positives(trials, needed, title).to_markdown(index=False, disable_numparse=True),
            "Median log10 p by number of queries, median over Alices:",
            curve(trials, title).to_markdown(index=False, disable_numparse=True),
        ]
        args.out.write_text("\n\n".join(parts) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()
