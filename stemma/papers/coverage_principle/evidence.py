"""From outcomes to the samples that the claims' rules read, and to tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from stemma import stats
from stemma.papers.coverage_principle import analysis, baselines, tasks
from stemma.papers.coverage_principle.analysis import Floats
from stemma.papers.coverage_principle.study import Outcome, bridges, make_sample
from stemma.papers.coverage_principle.tasks import Bools

COVERED, UNCOVERED, OUTSIDE = "in domain, covered", "in domain, uncovered", "out of domain"
GROUPS = (COVERED, UNCOVERED, OUTSIDE)

MODEL, UNIFORM, PREDICTION = "model", "uniform", "coverage predicts"
FLOORS = (UNIFORM, baselines.MARGINAL_LAST, baselines.MARGINAL_PAIR)


def members(outcome: Outcome) -> dict[str, Bools]:
    """Return which tests belong to each of GROUPS; those out of domain are no k = 0."""
    inside = outcome.in_domain
    return {
        COVERED: inside & (outcome.cutoff > 0),
        UNCOVERED: inside & (outcome.cutoff == 0),
        OUTSIDE: ~inside,
    }


def of_condition(outcomes: Sequence[Outcome], condition: str) -> list[Outcome]:
    """Return the outcomes of one condition, in the order of seeds."""
    return [o for o in outcomes if o.setting.condition == condition]


def in_domain_accuracy(outcomes: Sequence[Outcome], condition: str) -> list[float]:
    """Return the last accuracy on all new triples in domain, one a seed."""
    return [o.accuracy(o.in_domain) for o in of_condition(outcomes, condition)]


def guess_rows(outcome: Outcome, seen_ratio: float) -> dict[str, Bools]:
    """Return where each baseline is right on an outcome's tests, by name."""
    sample = make_sample(outcome.setting, outcome.seed, seen_ratio)
    truth = sample.task.answer[outcome.tests]
    found = baselines.guesses(sample, outcome.tests)
    return {name: np.asarray(guess == truth) for name, guess in found.items()}


def accuracy_table(outcomes: Sequence[Outcome], seen_ratio: float) -> pd.DataFrame:
    """Return one row for each outcome and group of tests that it has: accuracies and floors.

    ``coverage predicts`` is 1 where covered and 1/n elsewhere.
    """
    rows = []
    for outcome in outcomes:
        guessed, s = guess_rows(outcome, seen_ratio), outcome.setting
        for group, chosen in members(outcome).items():
            if not chosen.any():
                continue
            row = {"condition": s.condition, "n": s.n, "N": s.size, "seed": outcome.seed}
            row |= {"group": group, "tests": int(chosen.sum()), MODEL: outcome.accuracy(chosen)}
            row |= {UNIFORM: 1 / s.n} | {k: float(v[chosen].mean()) for k, v in guessed.items()}
            rows.append(row | {PREDICTION: 1.0 if group == COVERED else 1 / s.n})
    return pd.DataFrame(rows)


def best_floor(rows: pd.DataFrame) -> pd.Series:
    """Return the best of chance and frequencies, row by row of an accuracy table."""
    return rows[list(FLOORS)].max(axis=1)


def group_samples(rows: pd.DataFrame, group: str, against: str) -> tuple[Floats, Floats]:
    """Return the model's accuracy on two groups of tests, paired over seeds that have both."""
    table = rows.pivot(index="seed", columns="group", values=MODEL)
    both = table.reindex(columns=[group, against]).dropna()
    return both[group].to_numpy(float), both[against].to_numpy(float)


def slope_on_k(cutoff: tasks.Ints, right: Bools) -> float:
    """Return the slope of log odds of a right answer on the k-cutoff, by logistic regression.

    A ridge penalty of 1/2 keeps it finite; 0 where all answers are right, or all wrong.
    """
    if right.all() or not right.any():
        return 0.0
    model = LogisticRegression(C=1.0).fit(cutoff[:, None].astype(float), right)
    return float(model.coef_[0, 0])


def k_slopes(outcomes: Sequence[Outcome]) -> list[float]:
    """Return the slope on k over in-domain tests, one an outcome."""
    return [slope_on_k(o.cutoff[o.in_domain], o.correct[-1, o.in_domain]) for o in outcomes]


def k_table(outcomes: Sequence[Outcome], seen_ratio: float, top: int) -> pd.DataFrame:
    """Return pooled accuracy of model and baselines for each k-cutoff; ``top`` stands for more."""
    parts = []
    for outcome in outcomes:
        inside = outcome.in_domain
        part = {"k": np.minimum(outcome.cutoff, top)[inside], MODEL: outcome.correct[-1, inside]}
        guessed = guess_rows(outcome, seen_ratio)
        parts.append(pd.DataFrame(part | {name: g[inside] for name, g in guessed.items()}))
    table = pd.concat(parts)
    table["tests"] = 1
    names = [MODEL, *baselines.NAMES]
    means = table.groupby("k")[names].mean()
    return means.join(table.groupby("k")["tests"].sum()).reset_index()


def collapse_table(
    outcomes: Sequence[Outcome], seen_ratio: float, shuffles: int, seed: int
) -> pd.DataFrame:
    """Return IICG at x2 for each outcome and layer, with a null of shuffled bridges."""
    rows = []
    for outcome in outcomes:
        s = outcome.setting
        sample = make_sample(s, outcome.seed, seen_ratio)
        pairs = analysis.seen_pairs(sample)
        states = analysis.pair_states(outcome.parameters, s.heads, pairs, s.n)
        for layer, state in enumerate(states):
            rng = tasks.stream(seed, "shuffle", outcome.seed, layer)
            found = analysis.measure_collapse(
                state, pairs, bridges(sample, pairs), s.n, shuffles, rng
            )
            row = {"condition": s.condition, "seed": outcome.seed, "layer": layer}
            rows.append(row | {"probed": layer == s.probe} | found._asdict())
    return pd.DataFrame(rows)


def collapse_goes_with_accuracy(outcome: Outcome) -> float:
    """Return Spearman's correlation, over looks, of IICG and in-domain accuracy; 0 if constant."""
    accuracy = outcome.correct[:, outcome.in_domain].mean(axis=1)
    if np.ptp(accuracy) == 0 or np.ptp(outcome.collapse) == 0:
        return 0.0
    return stats.correlation(outcome.collapse, accuracy)


def reached_size(sizes: Sequence[int], accuracies: Sequence[float], target: float) -> float:
    """Return the N at which accuracy first reaches ``target``, linear in log N between sizes.

    NaN where the smallest size is enough already or the largest is not: N is then not known.
    """
    enough = np.asarray(accuracies) >= target
    if enough[0] or not enough.any():
        return float("nan")
    i = int(enough.argmax())
    (low, high), (a, b) = np.log(sizes[i - 1 : i + 1]), accuracies[i - 1 : i + 1]
    return float(np.exp(low + (target - a) / (b - a) * (high - low)))


def model_sizes(
    outcomes: Sequence[Outcome], condition: str, width: int, n: int, target: float
) -> list[float]:
    """Return N_req(n) of the models of one condition and width, one a seed."""
    chosen = [
        o
        for o in of_condition(outcomes, condition)
        if o.setting.n == n and o.setting.width == width
    ]
    found = []
    for seed in sorted({o.seed for o in chosen}):
        curve = sorted((o.setting.size, o.accuracy(o.in_domain)) for o in chosen if o.seed == seed)
        sizes, accuracies = zip(*curve, strict=True)
        found.append(reached_size(sizes, accuracies, target))
    return found
