"""Taking out of the scores what needs no order to explain: reference and covariates."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

import provenance as pv
from provenance.adjustment import SPARE, adjusted, columns_of

Floats = np.ndarray
N = 300


def world(seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Scores of two suspects (n, 2), of a reference (n,), and two covariates (n, 2)."""
    rng = np.random.default_rng(seed)
    covariates = np.column_stack([rng.integers(16, 256, N), rng.normal(size=N)])
    reference = -3 * covariates[:, 0] + rng.normal(0, 20, N)
    trend = reference + 0.002 * reference**2 / 100 + 4 * covariates[:, 1]
    return np.column_stack([trend, 2 * trend]) + rng.normal(0, 3, (N, 2)), reference, covariates


def by_scipy(table: Floats, columns: Floats) -> Floats:
    """Residuals of least squares with an intercept, by scipy."""
    design = np.column_stack([np.ones(len(table)), columns])
    beta = linalg.lstsq(design, table)[0]
    return np.asarray(table - design @ beta)


def test_difference_is_the_difference() -> None:
    table, reference, covariates = world()
    assert (adjusted(table, reference, None, "difference") == table - reference[:, None]).all()
    both = adjusted(table, reference, covariates, "difference")
    np.testing.assert_allclose(
        both, by_scipy(table - reference[:, None], covariates), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(3))
def test_regressions_are_those_of_scipy_and_statsmodels(seed: int) -> None:
    table, reference, covariates = world(seed)
    powers = (reference[:, None] / 1e3) ** np.arange(1, 5)
    for how, columns in (("linear", reference[:, None]), ("polynomial", powers)):
        for extra in (None, covariates):
            whole = columns if extra is None else np.column_stack([columns, extra])
            found = adjusted(table, reference, extra, how)  # type: ignore[arg-type]
            np.testing.assert_allclose(found, by_scipy(table, whole), rtol=0, atol=1e-8)
            for j in range(2):
                fit = sm.OLS(table[:, j], sm.add_constant(whole)).fit()
                np.testing.assert_allclose(found[:, j], fit.resid, rtol=0, atol=1e-8)


def test_covariates_alone_need_no_reference() -> None:
    table, _, covariates = world()
    for how in ("difference", "linear", "polynomial"):
        found = adjusted(table, None, covariates, how)
        np.testing.assert_allclose(found, by_scipy(table, covariates), rtol=0, atol=1e-9)
    assert adjusted(table, None, None, "linear") is table


def test_residuals_know_nothing_of_the_predictors() -> None:
    table, reference, covariates = world(4)
    rest = adjusted(table, reference, covariates, "linear")
    for column in (np.ones(N), reference, *covariates.T):
        unit = column / np.linalg.norm(column)
        assert np.abs(unit @ rest).max() < 1e-8


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(["difference", "linear", "polynomial"]))
def test_rows_in_another_order_give_the_same_residuals_to_the_bit(seed: int, how: str) -> None:
    """Else rounding could turn ties into ranks that follow the rows, and rows may follow time."""
    table, reference, covariates = world(seed)
    table, covariates = np.round(table), np.round(covariates)  # with equal examples
    mixed = np.random.default_rng(seed).permutation(N)
    one = adjusted(table, reference, covariates, how)[mixed]  # type: ignore[arg-type]
    two = adjusted(table[mixed], reference[mixed], covariates[mixed], how)  # type: ignore[arg-type]
    assert (one == two).all()


def test_equal_examples_keep_equal_residuals() -> None:
    table, reference, covariates = (np.repeat(part[:100], 3, axis=0) for part in world(5))
    for how in ("difference", "linear", "polynomial"):
        rest = adjusted(table, reference, covariates, how)
        assert (rest.reshape(100, 3, 2) == rest.reshape(100, 3, 2)[:, :1]).all()


def test_constant_and_repeated_covariates_change_nothing() -> None:
    table, reference, covariates = world(6)
    plain = adjusted(table, reference, covariates, "linear")
    more = np.column_stack([covariates, np.full(N, 7.0), covariates[:, 0], reference])
    np.testing.assert_allclose(adjusted(table, reference, more, "linear"), plain, rtol=0, atol=1e-8)


def test_position_is_never_looked_at() -> None:
    """The residuals do not change with the order, so that permuting them is exact."""
    rng = np.random.default_rng(7)
    table, reference, covariates = world(7)
    rest = adjusted(table[:, :1], reference, covariates, "linear")[:, 0]
    for _ in range(5):
        positions = rng.permutation(N)
        result = pv.query_test(
            positions,
            table[:, 0],
            reference,
            covariates=covariates,
            adjustment="linear",
            permutations=9,
            resamples=0,
        )
        assert result.test.rho == pytest.approx(stats.spearmanr(positions, rest).statistic)
        assert result.covariates == ("covariate 0", "covariate 1")
        assert "and 2 covariates" in result.summary()


def test_covariates_find_what_the_difference_does_not() -> None:
    """A reference on another scale and lengths in tokens: regression takes both out."""
    found: dict[tuple[str, bool], list[float]] = {}
    for seed in range(20):
        rng = np.random.default_rng([8, seed])
        length, hard = rng.integers(16, 256, N), rng.normal(0, 1, N)
        positions = rng.permutation(N)
        trace = 0.3 * (positions - positions.mean()) / positions.std()
        suspect = -2.0 * length + 8 * hard + trace + rng.normal(size=N)
        reference = 16 * hard + rng.normal(size=N)
        for how in ("difference", "linear"):
            options = {"adjustment": how, "permutations": 9, "resamples": 0}
            for extra in (None, [length]):
                result = pv.query_test(positions, suspect, reference, covariates=extra, **options)  # type: ignore[arg-type]
                found.setdefault((how, extra is None), []).append(result.test.z)
    means = {key: float(np.mean(z)) for key, z in found.items()}
    assert means["linear", False] > 4
    assert means["linear", False] > max(z for key, z in means.items() if key != ("linear", False))
    assert abs(means["difference", True]) < 1


def test_too_few_examples_for_the_predictors() -> None:
    """Twenty more examples than coefficients, the intercept among them."""
    table, reference, covariates = world()
    for n, k in ((SPARE + 3, 2), (SPARE + 2, 1)):
        columns = covariates[: n - 1, :k]
        with pytest.raises(pv.TooFewExamples, match=f"{k} predictors need at least {n} examples"):
            adjusted(table[: n - 1], None, columns, "linear")
        assert adjusted(table[:n], None, covariates[:n, :k], "linear").shape == (n, 2)
    with pytest.raises(pv.TooFewExamples, match="4 predictors need at least 25"):
        pv.query_test(np.arange(24), table[:24, 0], reference[:24], adjustment="polynomial")


def test_predictors_that_leave_nothing_are_refused() -> None:
    """The suspect as its own reference: what is left is rounding, and must not be ranked."""
    table, reference, covariates = world()
    same = table[:, 0] * 3.3 + 0.7
    for known, extra in ((same, None), (reference, np.column_stack([same, covariates]))):
        with pytest.raises(pv.BadScores, match="to the last digit"):
            pv.query_test(np.arange(N), table[:, 0], known, covariates=extra, adjustment="linear")
    with pytest.raises(pv.BadScores, match="constant scores"):
        pv.query_test(np.arange(N), table[:, 0], table[:, 0])
    with pytest.raises(pv.BadScores, match="constant reference"):
        pv.query_test(np.arange(N), table[:, 0], np.ones(N), adjustment="linear")


@pytest.mark.parametrize(
    ("reference", "covariates", "message"),
    [
        (np.ones((N, 2)), None, r"300 suspect scores but reference of shape \(300, 2\)"),
        (np.ones(()), None, "reference of shape"),
        (np.arange(N - 1.0), None, "reference of shape"),
        (np.full(N, np.inf), None, "reference hold NaN or infinite"),
        (None, [np.full(N, np.nan)], "covariates hold NaN or infinite"),
        (None, [np.arange(N - 1.0)], "covariates of shape"),
        (None, [], "columns of one length"),
        (None, np.arange(float(N)), "columns of one length"),
        (None, [np.arange(float(N)), np.arange(3.0)], "columns of one length"),
    ],
)
def test_predictors_that_do_not_fit(reference: object, covariates: object, message: str) -> None:
    table = world()[0]
    with pytest.raises(pv.BadScores, match=message):
        pv.query_test(np.arange(N), table[:, 0], reference, covariates=covariates)  # type: ignore[arg-type]


def test_an_unknown_adjustment() -> None:
    table, reference, _ = world()
    with pytest.raises(pv.BadScores, match="adjustment is one of"):
        adjusted(table, reference, None, "cubic")  # type: ignore[arg-type]


def test_covariates_declare_what_they_depend_on() -> None:
    table, reference, covariates = world()
    order = np.random.default_rng(9).permutation(N)
    transcript = pv.Transcript.of(np.arange(N), order)
    seen, clean = pv.Lineage.of(transcript), pv.Lineage()
    suspect, known = table[:, 0], pv.Reference.from_scores(reference)
    tainted = pv.Reference.from_scores(covariates[:, 1], seen, "Alice's checkpoint")
    length = pv.Reference.from_scores(covariates[:, 0], clean, "length")
    with pytest.raises(pv.TaintedReference, match="Alice's checkpoint"):
        pv.query_test(transcript, suspect, known, covariates=[length, tainted])
    part = transcript.take(np.arange(100))
    cut = pv.Reference.from_scores(covariates[:100, 1], seen, "Alice's checkpoint")
    with pytest.raises(pv.TaintedReference, match="Alice's checkpoint"):
        pv.query_test(part, suspect[:100], covariates=[cut])
    for undeclared in (covariates, [length, covariates[:, 1]]):
        with pytest.raises(pv.BadScores, match="declare what each covariate depends on"):
            pv.query_test(transcript, suspect, known, covariates=undeclared)  # type: ignore[arg-type]
    result = pv.query_test(transcript, suspect, known, covariates=[length], permutations=9)
    assert result.covariates == ("length",)
    values, names = columns_of(None, [tainted, covariates[:, 0]])  # bare positions: no digest
    assert names == ("Alice's checkpoint", "covariate 1")
    assert (values == covariates[:, ::-1]).all()


def test_a_tainted_covariate_would_have_blamed_the_innocent() -> None:
    rng = np.random.default_rng(10)
    order, suspect = rng.permutation(N), rng.normal(size=N)
    follows = -order + 100 * suspect  # knows both the order and the suspect
    blamed = pv.query_test(order, suspect, covariates=[follows], permutations=99, resamples=0)
    assert blamed.p == 1 / 100
