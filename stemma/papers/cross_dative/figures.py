"""The paper's figures, redrawn from our runs."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stemma.papers.cross_dative import analysis
from stemma.papers.cross_dative.analysis import FIRST, SECOND, Gate
from stemma.stats import Interval, mean_interval

_COLOURS = {"DO->PO": "#0b6fa4", "PO->DO": "#c25a00"}
_LABELS = {
    "pronoun": "pronoun, not noun",
    "definite": "definite, not indefinite",
    "short": "short, not long",
    "animacy": "animacy of the role's prototype",
}
_DIRECTIONS = tuple(_COLOURS)


def gate(found: Mapping[str, Gate]) -> Figure:
    """C1: score of the other form minus that of the attested one, a point a verb."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    rng = np.random.default_rng(0)
    for axis, (name, one) in zip(axes, found.items(), strict=True):
        for place, values in enumerate(one):
            jitter = place + rng.uniform(-0.15, 0.15, len(values))
            axis.plot(jitter, values, "o", ms=3, alpha=0.4, color=f"C{place}")
            mean = mean_interval(values, 0.95)
            error = [[mean.estimate - mean.low], [mean.high - mean.estimate]]
            axis.errorbar(place, mean.estimate, error, fmt="ks", ms=6, capsize=4, lw=2)
        axis.set_xticks([0, 1], ["alternating verbs", "this form only"])
        axis.set_xlim(-0.5, 1.5)
        gap = one.gap
        axis.set_title(
            f"{name}: gap {gap.estimate:.2f} [{gap.low:.2f}, {gap.high:.2f}]", fontsize=10
        )
        axis.axhline(0, color="grey", lw=0.5)
    axes[0].set_ylabel("other form minus attested form\n(log-probability per token)")
    return figure


def learning(curves: pd.DataFrame) -> Figure:
    """Exposure loss, verb-hood and scores against the step: thin lines are exposures."""
    panels = {
        "loss": "loss of the exposure (nats)",
        "verbhood": "verb-hood (good minus bad)",
        "other": "score of the other form",
        "control": "score of the control",
    }
    figure = Figure(figsize=(11, 3), layout="constrained")
    for axis, (column, label) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        for direction, colour in _COLOURS.items():
            part = curves[curves.direction == direction]
            for _, one in part.groupby("exposure"):
                axis.plot(one.step, one[column], color=colour, lw=0.6, alpha=0.4)
            mean = part.groupby("step")[column].mean()
            axis.plot(mean.index, mean, color=colour, lw=2.2, label=direction)
        axis.set_xlabel("gradient step")
        axis.set_title(label, fontsize=10)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def forest(effects: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """C3 to C6: coefficients of the features of both arguments, a panel a direction."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    for axis, direction in zip(figure.subplots(1, 2, sharey=True), _DIRECTIONS, strict=True):
        for place, name in enumerate(reversed((*FIRST, *SECOND))):
            one = effects[direction][name]
            colour = _COLOURS[direction] if name in FIRST else "#888888"
            axis.plot([one.low, one.high], [place, place], color=colour, lw=2)
            axis.plot(one.estimate, place, "o", color=colour)
        axis.axvline(0, color="black", lw=0.6)
        axis.set_title(direction, fontsize=10)
        axis.set_xlabel("coefficient (log-probability per token)")
    names = [name.split("_", 1) for name in reversed((*FIRST, *SECOND))]
    labels = [f"{place}: {_LABELS[feature]}" for place, feature in names]
    figure.axes[0].set_yticks(range(len(labels)), labels, fontsize=8)
    return figure


def interactions(tables: Mapping[str, pd.DataFrame], outcome: str = "other") -> Figure:
    """Definiteness by pronominality of the first argument, by its animacy; short ones only."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    axes = figure.subplots(1, 4, sharey="row")
    for number, direction in enumerate(_DIRECTIONS):
        table = tables[direction]
        for half, (value, label) in enumerate(
            ((0.5, "prototypical animacy"), (-0.5, "other animacy"))
        ):
            axis = axes[2 * number + half]
            part = table[(table.first_animacy == value) & (table.first_short > 0)]
            for pronoun, marker in ((0.5, "o-"), (-0.5, "s--")):
                means = [
                    mean_interval(
                        part[(part.first_pronoun == pronoun) & (part.first_definite == d)][outcome],
                        0.95,
                    )
                    for d in (-0.5, 0.5)
                ]
                errors = np.transpose([[m.estimate - m.low, m.high - m.estimate] for m in means])
                axis.errorbar(
                    [0, 1],
                    [m.estimate for m in means],
                    errors,
                    fmt=marker,
                    capsize=3,
                    color=_COLOURS[direction] if pronoun > 0 else "#777777",
                    label="pronoun" if pronoun > 0 else "noun",
                )
            axis.set_xticks([0, 1], ["indefinite", "definite"], fontsize=8)
            axis.set_xlim(-0.3, 1.3)
            axis.set_title(f"{direction}, {label}", fontsize=8.5)
    axes[0].set_ylabel("score of the other form")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def alignment(tables: Mapping[str, pd.DataFrame], outcome: str = "other") -> Figure:
    """C7: score against the alignment sum, with the fit."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    rng = np.random.default_rng(0)
    for axis, direction in zip(figure.subplots(1, 2), _DIRECTIONS, strict=True):
        table = tables[direction]
        jitter = rng.uniform(-0.12, 0.12, len(table))
        axis.plot(table.alignment + jitter, table[outcome], "o", ms=4, alpha=0.5, color="grey")
        means = table.groupby("alignment")[outcome].mean()
        axis.plot(means.index, means, "D", color=_COLOURS[direction], label="mean")
        fit = analysis.least_squares(table[["alignment"]], table[outcome].to_numpy())
        ends = np.array([table.alignment.min(), table.alignment.max()])
        line = fit.coefficients["intercept"] + fit.coefficients["alignment"] * ends
        axis.plot(ends, line, color=_COLOURS[direction])
        slope = analysis.intervals(fit, ["alignment"])["alignment"]
        axis.set_title(
            f"{direction}: slope {slope.estimate:.3f} [{slope.low:.3f}, {slope.high:.3f}]",
            fontsize=10,
        )
        axis.set_xlabel("harmonic alignment of the exposure (0 to 6)")
    figure.axes[0].set_ylabel("score of the other form")
    return figure


def extremes(table: pd.DataFrame, texts: Sequence[str], n: int = 5) -> pd.DataFrame:
    """Return the ``n`` best and worst exposures of one direction, in words."""
    ranked = table.sort_values("other", ascending=False)
    kept = pd.concat([ranked.head(n), ranked.tail(n)])
    return pd.DataFrame(
        {
            "rank": ["best"] * n + ["worst"] * n,
            "exposure": [texts[int(i)] for i in kept.exposure],
            "score of the other form": kept.other.round(3).to_numpy(),
            "alignment": kept.alignment.astype(int).to_numpy(),
        }
    )
