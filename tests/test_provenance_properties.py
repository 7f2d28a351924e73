"""The query test against the card's Algorithm 1 in plain loops, its invariances, its refusals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import provenance as pv

Floats = np.ndarray
M = 99
PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)
ALTERNATIVES = ("later-is-likelier", "earlier-is-likelier", "two-sided")


def doubled_ranks(values: list[float]) -> list[int]:
    """Twice the mid-rank of each value: an integer, also where values tie."""
    return [sum((w < v) + (w <= v) for w in values) + 1 for v in values]


def algorithm_1(
    positions: list[int], scores: list[float], orders: list[list[int]], alternative: str
) -> tuple[float, int]:
    """Algorithm 1 of arXiv 2510.19796 as the card gives it, in integers and without shortcuts.

    Returns:
        Spearman's correlation phi_0 of position and score, and #{j: phi_j >= phi_0}.
    """
    n, ranks = len(scores), doubled_ranks(scores)

    def phi(order: list[int]) -> int:
        """n times the covariance of four times the ranks: monotone in Spearman's rho."""
        places = doubled_ranks([float(p) for p in order])
        products = sum(p * r for p, r in zip(places, ranks, strict=True))
        value = n * products - sum(places) * sum(ranks)
        if alternative == "two-sided":
            return abs(value)
        return value if alternative == "later-is-likelier" else -value

    phi_0 = phi(positions)
    exceed = sum(phi(order) >= phi_0 for order in orders)
    rho = stats.spearmanr(positions, scores).statistic
    return float(rho), exceed


def drawn_orders(positions: list[int], m: int, seed: int) -> list[list[int]]:
    """The permutations that the product draws: its generator, over the positions in order."""
    table = np.tile(np.sort(positions), (m, 1))
    return [list(row) for row in np.random.default_rng(seed).permuted(table, axis=1).tolist()]


@st.composite
def samples(draw: st.DrawFn, ties: bool = True) -> tuple[Floats, Floats]:
    """Positions and scores, sometimes with a trace, sometimes with ties in one or both."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    n = draw(st.integers(22, 45))
    positions = rng.permutation(n)
    if ties and draw(st.booleans()):
        positions = positions // 3
    trace = draw(st.sampled_from([-1.0, 0.0, 1.0])) * stats.rankdata(positions) / n
    scores = trace + rng.normal(size=n)
    if ties and draw(st.booleans()):
        scores = np.round(scores)
    scores[0] = scores.max() + 1  # never constant
    return positions, scores


@PROPERTY
@given(samples(), st.sampled_from(ALTERNATIVES), st.integers(0, 100))
def test_algorithm_1_with_the_same_permutations_gives_the_same_p_to_the_bit(
    sample: tuple[Floats, Floats], alternative: str, seed: int
) -> None:
    positions, scores = sample
    result = pv.query_test(
        positions,
        scores,
        permutations=M,
        resamples=0,
        seed=seed,
        alternative=alternative,  # type: ignore[arg-type]
    )
    rows = np.lexsort((scores, positions))  # the rows as they stand when orders are drawn
    where = [int(p) for p in positions[rows]]
    rho, exceed = algorithm_1(
        where, [float(s) for s in scores[rows]], drawn_orders(where, M, seed), alternative
    )
    assert (result.test.exceedances, result.test.m) == (exceed, M)
    assert result.p == (1 + exceed) / (M + 1)
    assert result.test.rho == pytest.approx(rho, abs=1e-12)


@PROPERTY
@given(samples(), st.integers(1, 12), st.integers(0, 100))
def test_early_stopping_is_algorithm_1_cut_at_the_h_th_exceedance(
    sample: tuple[Floats, Floats], h: int, seed: int
) -> None:
    """Besag and Clifford (1991) in a loop over the same permutations."""
    positions, scores = sample
    result = pv.query_test(
        positions, scores, permutations=150, stop_after=h, resamples=0, seed=seed
    )
    rows = np.lexsort((scores, positions))
    where, values = [int(p) for p in positions[rows]], [float(s) for s in scores[rows]]
    orders, exceed, drawn = drawn_orders(where, 150, seed), 0, 0
    for order in orders:
        drawn += 1
        exceed += algorithm_1(where, values, [order], "later-is-likelier")[1]
        if exceed == h:
            break
    expected = h / drawn if exceed == h else (1 + exceed) / (drawn + 1)
    assert (result.test.exceedances, result.test.m, result.p) == (exceed, drawn, expected)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_permutation_test_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.permutation(50)
    scores = np.round(0.02 * positions + rng.normal(size=50), 1)
    ranks = stats.rankdata(scores)

    def statistic(order: Floats) -> float:
        return float(np.corrcoef(order, ranks)[0, 1])

    theirs = stats.permutation_test(
        (positions,),
        statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=4_999,
        rng=np.random.default_rng(seed),
    )
    ours = pv.query_test(positions, scores, permutations=4_999, resamples=0, seed=seed)
    assert ours.test.rho == pytest.approx(theirs.statistic, abs=1e-12)
    error = np.sqrt(2 * theirs.pvalue * (1 - theirs.pvalue) / 5_000)
    assert abs(ours.p - theirs.pvalue) < 4 * error + 1e-3


@st.composite
def settings_of_a_test(draw: st.DrawFn) -> dict[str, object]:
    """Options that any sample of 22 to 45 examples allows."""
    weights = pv.PositionWeights(np.array([0.0, 15, 45]), np.array([0.0, 2.0, 1.0]), "a tent")
    return {
        "alternative": draw(st.sampled_from(ALTERNATIVES)),
        "rank_scores": draw(st.sampled_from(["wilcoxon", "normal"])),
        "weights": draw(st.sampled_from([None, weights])),
        "stop_after": draw(st.sampled_from([None, 5])),
        "seed": draw(st.integers(0, 100)),
        "permutations": M,
        "resamples": 20,
    }


@PROPERTY
@given(
    samples(),
    settings_of_a_test(),
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, "difference", "linear"]),
)
def test_rows_may_stand_in_any_order(
    sample: tuple[Floats, Floats], options: dict[str, object], seed: int, adjustment: str | None
) -> None:
    """With strata, a reference and all options: the same result to the bit, digest and all."""
    positions, scores = sample
    rng, n = np.random.default_rng(seed), len(scores)
    strata = rng.integers(0, 2, n)
    transcript = pv.Transcript.of(np.arange(n), positions, strata)
    shuffled = rng.permutation(n)
    other = pv.Transcript.of(np.arange(n)[shuffled], positions[shuffled], strata[shuffled])
    references: list[pv.Reference | None] = [None, None]
    if adjustment is not None:
        options = options | {"adjustment": adjustment}
        reference = rng.normal(size=n)
        references = [pv.Reference.from_scores(v) for v in (reference, reference[shuffled])]
    one = pv.query_test(transcript, scores, references[0], **options)  # type: ignore[arg-type]
    two = pv.query_test(other, scores[shuffled], references[1], **options)  # type: ignore[arg-type]
    assert one == two


@PROPERTY
@given(samples(), settings_of_a_test(), st.integers(0, 2**31 - 1))
def test_what_the_examples_are_called_does_not_matter(
    sample: tuple[Floats, Floats], options: dict[str, object], seed: int
) -> None:
    """Other token ids in the same places: another transcript, the same test."""
    positions, scores = sample
    rows = np.random.default_rng(seed).integers(0, 50, (len(scores), 3))
    names = np.random.default_rng(seed + 1).permutation(50) + 1_000
    one = pv.query_test(pv.Transcript.of(rows, positions), scores, **options)  # type: ignore[arg-type]
    two = pv.query_test(pv.Transcript.of(names[rows], positions), scores, **options)  # type: ignore[arg-type]
    assert one.transcript != two.transcript
    assert replace(one, transcript=None) == replace(two, transcript=None)


MONOTONE: dict[str, Callable[[Floats], Floats]] = {
    "per token instead of summed": lambda s: s / 128,
    "perplexity upside down": lambda s: -np.exp(-s),
    "probability": lambda s: np.exp(s - 10),
    "cube": lambda s: s**3 + 5,
    "rank": stats.rankdata,
}


@PROPERTY
@given(samples(), settings_of_a_test(), st.sampled_from(sorted(MONOTONE)))
def test_monotone_transforms_of_the_scores_change_nothing(
    sample: tuple[Floats, Floats], options: dict[str, object], name: str
) -> None:
    positions, scores = sample
    one = pv.query_test(positions, scores, **options)  # type: ignore[arg-type]
    two = pv.query_test(positions, MONOTONE[name](scores), **options)  # type: ignore[arg-type]
    assert one == two


@PROPERTY
@given(samples(), settings_of_a_test(), st.integers(-(10**12), 10**12), st.integers(1, 2_048))
def test_positions_count_by_their_order_alone(
    sample: tuple[Floats, Floats], options: dict[str, object], shift: int, scale: int
) -> None:
    """Steps or examples, counted from anywhere; without weights, which are functions of them."""
    positions, scores = sample
    options = options | {"weights": None}
    one = pv.query_test(positions, scores, **options)  # type: ignore[arg-type]
    two = pv.query_test(positions * scale + shift, scores, **options)  # type: ignore[arg-type]
    assert one == two


@PROPERTY
@given(samples(ties=False), settings_of_a_test())
def test_losses_with_the_other_alternative_are_the_same_test(
    sample: tuple[Floats, Floats], options: dict[str, object]
) -> None:
    positions, scores = sample
    later, earlier = (
        pv.query_test(positions, s, **options | {"alternative": a}).test  # type: ignore[arg-type]
        for s, a in ((scores, "later-is-likelier"), (-scores, "earlier-is-likelier"))
    )
    assert earlier.p == later.p
    assert earlier.rho == pytest.approx(-later.rho, abs=1e-12)
    assert earlier.log10_p_asymptotic == pytest.approx(later.log10_p_asymptotic, abs=1e-9)


@PROPERTY
@given(samples(ties=False), settings_of_a_test(), st.floats(0.01, 100), st.floats(-100, 100))
def test_units_of_reference_and_weights_do_not_matter(
    sample: tuple[Floats, Floats], options: dict[str, object], scale: float, shift: float
) -> None:
    """A regression takes the reference in any unit; weights count up to unit and zero."""
    positions, scores = sample
    reference = scores + np.random.default_rng(0).normal(size=len(scores))
    one = pv.query_test(positions, scores, reference, adjustment="linear", **options)  # type: ignore[arg-type]
    weights = options["weights"]
    if isinstance(weights, pv.PositionWeights):
        options = options | {"weights": replace(weights, values=scale * weights.values + shift)}
    two = pv.query_test(
        positions,
        scores,
        scale * reference + shift,
        adjustment="linear",
        **options,  # type: ignore[arg-type]
    )
    assert two.p == one.p
    assert two.test.rho == pytest.approx(one.test.rho, abs=1e-9)


GOOD = np.random.default_rng(0).normal(size=40)
BAD_NUMBERS = (np.nan, np.inf, -np.inf)


def spoilt(values: Floats, row: int, bad: float) -> Floats:
    copy = np.array(values, float)
    copy[row] = bad
    return copy


@PROPERTY
@given(st.integers(0, 39), st.sampled_from(BAD_NUMBERS), st.integers(0, 3))
def test_one_bad_number_anywhere_is_an_error(row: int, bad: float, where: int) -> None:
    """In scores, reference, a covariate or a position: never a p-value."""
    parts = [np.arange(40.0), GOOD, GOOD**2, GOOD**3]
    parts[where] = spoilt(parts[where], row, bad)
    positions, scores, reference, covariate = parts
    with pytest.raises(pv.BadScores, match="NaN or infinite"):
        pv.query_test(positions, scores, reference, covariates=[covariate], permutations=9)


def test_a_position_that_is_no_number_once_gave_the_smallest_p() -> None:
    """NaN >= NaN is false, so that no permutation ever reached the observed statistic."""
    positions = spoilt(np.arange(40.0), 7, np.nan)
    for weights in (None, pv.PositionWeights.from_schedule(np.linspace(1, 0.1, 40))):
        with pytest.raises(pv.BadScores, match="positions hold NaN"):
            pv.query_test(positions, GOOD, weights=weights, permutations=99)
        with pytest.raises(pv.BadScores, match="positions hold NaN"):
            pv.choose_positions(positions, 30, weights)


@pytest.mark.parametrize(
    ("positions", "scores", "message"),
    [
        (np.arange(40), np.full(40, -3.25), "constant scores"),
        (np.full(40, 12), GOOD, "constant scores or positions"),
        (np.arange(19), GOOD[:19], "19 examples; at least 20"),
        ([], [], "0 examples; at least 20"),
        (np.arange(40), GOOD[:39], "40 positions but scores of shape"),
        (np.arange(40)[:, None], GOOD, "one number an example"),
        (np.arange(40) > 3, GOOD, "one number an example"),
        ([str(i) for i in range(40)], GOOD, "one number an example"),
        (3, GOOD, "one number an example"),
        (np.arange(40), GOOD[:, None], "one score an example"),
        (np.arange(40), 1.0, "one score an example"),
    ],
)
def test_what_is_no_order_or_no_scores_is_an_error(
    positions: object, scores: object, message: str
) -> None:
    with pytest.raises(pv.ProvenanceError, match=message):
        pv.query_test(positions, scores, permutations=9)  # type: ignore[arg-type]


def test_suspects_must_fit_together() -> None:
    with pytest.raises(pv.BadScores, match="shapes: none"):
        pv.query_family(np.arange(40), {})
    with pytest.raises(pv.BadScores, match=r"shapes: \(40,\), \(39,\)"):
        pv.query_family(np.arange(40), {"a": GOOD, "b": GOOD[1:]})


def test_nothing_to_permute_within_strata_is_an_error() -> None:
    strata = np.repeat([0, 1], 20)
    transcript = pv.Transcript.of(np.arange(40), np.arange(40), strata)
    alone = pv.Transcript.of(np.arange(40), np.arange(40), np.arange(40))
    stages = pv.Transcript.of(np.arange(40), strata, strata)
    # Van der Waerden scores of equal values do not average to themselves in floating point.
    for rank_scores in ("wilcoxon", "normal"):
        for order, scores in ((transcript, strata / 3.0), (alone, GOOD), (stages, GOOD)):
            with pytest.raises(pv.BadScores, match="constant within every stratum"):
                pv.query_test(order, scores, rank_scores=rank_scores, permutations=9)


@pytest.mark.parametrize(
    "options",
    [
        {"permutations": 0},
        {"stop_after": 0},
        {"resamples": -1},
        {"rank_scores": "savage"},
        {"alternative": "greater"},
        {"adjustment": "cubic"},
    ],
)
def test_options_that_make_no_sense_are_an_error(options: dict[str, object]) -> None:
    with pytest.raises(pv.ProvenanceError):
        pv.query_test(np.arange(40), GOOD, GOOD**2, **options)  # type: ignore[arg-type]


def test_a_position_seen_twice_is_a_tie_not_a_decision() -> None:
    """Duplicated positions (steps) and examples are legitimate; row order must not split them."""
    positions, scores = np.arange(40) // 8, np.round(GOOD)
    base = pv.query_test(positions, scores, permutations=M)
    for seed in range(10):
        mixed = np.random.default_rng(seed).permutation(40)
        assert pv.query_test(positions[mixed], scores[mixed], permutations=M) == base
    assert base.test.rho == pytest.approx(stats.spearmanr(positions, scores).statistic)
