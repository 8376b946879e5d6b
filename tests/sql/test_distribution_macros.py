"""Distributions, tests and intervals in SQL against scipy, over grids and random arguments."""

import math

import numpy as np
import pytest
from distribution_macros import assert_close, call, column
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

Z95 = 1.959963984540054


def two_sided_t(t: np.ndarray | float, df: np.ndarray | float) -> np.ndarray:
    """scipy's two-sided p; its t distribution errs by 3e-9 at |t| < 1e-7 with one degree of freedom, so the centre comes from the incomplete beta function."""
    centre = special.betaincc(0.5, np.asarray(df) / 2, np.square(t) / (df + np.square(t)))
    return np.where(np.abs(t) < 0.1, centre, 2 * stats.t.sf(np.abs(t), df))


def t_grid() -> tuple[np.ndarray, np.ndarray]:
    df = np.concatenate([np.arange(1, 60), np.arange(1, 60) + 0.5, [1.37, 27.913, 99.99, 100, 100.01, 111, 365.2, 999.5, 5000.25, 1e4]])
    t = np.concatenate([[0, 1e-8, 1e-3, 0.1], np.linspace(0.25, 10, 40), [20, 35.5, 50]])
    pairs = np.array([(sign * a, b) for a in t for b in df for sign in (-1, 1)])
    return pairs[:, 0], pairs[:, 1]


def test_student_t_grid(con):
    t, df = t_grid()
    assert_close(column(con, "student_t_p(t, df)", t=t, df=df), two_sided_t(t, df))
    assert_close(column(con, "student_t_cdf(t, df)", t=t, df=df), np.where(t > 0, 1 - two_sided_t(t, df) / 2, two_sided_t(t, df) / 2))


@pytest.mark.slow(2)
@given(t=st.floats(-50, 50), df=st.floats(1, 1e4))
@settings(max_examples=150, deadline=None)
def test_student_t_p_any_real_df(con, t, df):
    assert_close(call(con, "student_t_p", t, df), two_sided_t(t, df))


@pytest.mark.slow(3)
@given(t=st.floats(-50, 50), df=st.integers(1, 10_000))
@settings(max_examples=150, deadline=None)
def test_student_t_cdf_whole_df(con, t, df):
    tail = two_sided_t(t, df) / 2
    assert_close(call(con, "student_t_cdf", t, df), 1 - tail if t > 0 else tail)


def test_student_t_small_tails(con):
    assert call(con, "student_t_p", -8.65, 111) == pytest.approx(2 * stats.t.sf(8.65, 111), rel=1e-12)
    assert call(con, "student_t_p", -8.65, 111) == pytest.approx(4.4748e-14, rel=1e-4)
    assert call(con, "student_t_p", 37, 10_000) == pytest.approx(2 * stats.t.sf(37, 10_000), rel=1e-9)
    # df = 2 and df = 1 have closed forms, good where a library might not be.
    assert call(con, "student_t_p", 1e100, 1) == pytest.approx(2e-100 / math.pi, rel=1e-12)
    assert call(con, "student_t_p", 1e100, 2) == pytest.approx(1e-200, rel=1e-12)
    assert call(con, "student_t_p", math.inf, 5) == 0
    assert call(con, "student_t_p", 0, 5) == pytest.approx(1, abs=1e-14)


def test_student_t_of_many_degrees_of_freedom_is_normal(con):
    for z in (0.3, 1.96, 5.0, 12.0):
        assert call(con, "student_t_p", z, 1e12) == pytest.approx(2 * stats.norm.sf(z), rel=1e-8)


def test_student_t_below_one_degree_of_freedom(con):
    for df in (0.1, 0.3, 0.9):
        t = np.array([0.01, 0.5, 2.0, 30.0])
        assert_close(column(con, f"student_t_p(t, {df})", t=t), 2 * stats.t.sf(t, df))


def test_student_t_quantile_grid(con):
    levels = np.array([1e-12, 1e-6, 0.0005, 0.005, 0.025, 0.05, 0.2, 0.4999, 0.5, 0.5000001, 0.61, 0.8, 0.9, 0.975, 0.995, 0.9999])
    df = np.array([1, 1.5, 2, 2.7, 3, 4.5, 9, 27, 27.9, 99.5, 111, 500, 2500.3, 1e4])
    pairs = np.array([(p, d) for p in levels for d in df])
    found = column(con, "student_t_quantile(p, df)", p=pairs[:, 0], df=pairs[:, 1])
    np.testing.assert_allclose(found, stats.t.ppf(pairs[:, 0], pairs[:, 1]), rtol=1e-9, atol=1e-9)


@pytest.mark.slow(3)
@given(p=st.floats(1e-12, 1 - 1e-12), df=st.floats(1, 1e4))
@settings(max_examples=150, deadline=None)
def test_student_t_quantile_any(con, p, df):
    assert call(con, "student_t_quantile", p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-9, abs=1e-9)


def test_student_t_quantile_inverts_the_cdf_in_far_tails(con):
    """scipy's own quantile is infinite or wrong for some of these, so the distribution function is the judge."""
    exponent, df = np.array([(e, d) for e in (-290.0, -150.0, -60.0, -20.0) for d in (2.5, 10, 77.7, 1000, 1e4)]).T
    p = 10**exponent
    back = column(con, "student_t_cdf(student_t_quantile(p, df), df)", p=p, df=df)
    np.testing.assert_allclose(back, p, rtol=1e-9)


def test_normal_grid(con):
    z = np.concatenate([np.linspace(-38, 38, 761), [-1e-9, 1e-300, 8.88, 8.89, -40.5, 60]])
    assert_close(column(con, "normal_p(z)", z=z), 2 * stats.norm.sf(np.abs(z)))
    assert_close(column(con, "normal_cdf(z)", z=z), stats.norm.cdf(z))
    assert call(con, "normal_p", 0) == 1
    assert call(con, "normal_p", math.inf) == 0
    assert call(con, "normal_cdf", math.inf) == 1


@pytest.mark.slow(2)
@given(z=st.floats(-38, 38))
@settings(max_examples=150, deadline=None)
def test_normal_cdf_any(con, z):
    assert_close(call(con, "normal_cdf", z), stats.norm.cdf(z))


def test_normal_quantile_grid(con):
    p = np.concatenate([10.0 ** np.arange(-300, -1, 7), np.linspace(0.001, 0.999, 999), [0.075, 0.925, np.exp(-25), 0.5]])
    np.testing.assert_allclose(column(con, "normal_quantile(p)", p=p), stats.norm.ppf(p), rtol=1e-12, atol=1e-12)
    assert call(con, "normal_quantile", 0.975) == pytest.approx(Z95, rel=1e-14)


@pytest.mark.slow(2)
@given(x=st.floats(0, 1), a=st.floats(0.5, 3000), b=st.floats(0.5, 3000))
@settings(max_examples=150, deadline=None)
def test_incomplete_beta_any(con, x, a, b):
    # scipy errs by 3e-9 at x = 1 - 1e-16, a = b = 1/2, where its complement is right.
    expected = special.betaincc(b, a, 1 - x) if x > 0.5 else special.betainc(a, b, x)
    assert call(con, "incomplete_beta", x, a, b) == pytest.approx(expected, abs=1e-9)


def test_incomplete_beta_centre_and_ends(con):
    """Points around the mean, where the two tails meet and neither is small."""
    a, b, level = np.array([(a, b, q) for a in (0.5, 1, 3.3, 80, 2500) for b in (0.5, 1, 7, 300) for q in (1e-12, 0.01, 0.3, 0.5, 0.7, 0.99)]).T
    x = stats.beta.ppf(level, a, b)
    assert_close(column(con, "incomplete_beta(x, a, b)", x=x, a=a, b=b), special.betainc(a, b, x))
    assert call(con, "incomplete_beta", 0, 2, 3) == 0
    assert call(con, "incomplete_beta", 1, 2, 3) == 1
    assert call(con, "incomplete_beta", 1, 1e18, 0.5) == 1


def test_incomplete_beta_of_small_parameters(con):
    a, b, level = np.array([(a, b, q) for a in (0.1, 0.2, 0.4, 30) for b in (0.1, 0.3, 30) for q in (0.05, 0.5, 0.95)]).T
    x = np.clip(stats.beta.ppf(level, a, b), 1e-12, 1 - 1e-12)
    np.testing.assert_allclose(column(con, "incomplete_beta(x, a, b)", x=x, a=a, b=b), special.betainc(a, b, x), rtol=1e-7)


@st.composite
def counts(draw, most: int = 5000):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@pytest.mark.slow(2)
@given(kn=counts(), p=st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_binomial_cdf_any(con, kn, p):
    k, n = kn
    assert call(con, "binomial_cdf", k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-9)


@pytest.mark.slow(4)
@given(kn=counts(), p=st.one_of(st.floats(1e-6, 1 - 1e-6), st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])))
@settings(max_examples=200, deadline=None)
def test_binomial_two_sided_any(con, kn, p):
    k, n = kn
    assert call(con, "binomial_two_sided_p", k, n, p) == pytest.approx(stats.binomtest(k, n, p).pvalue, abs=1e-9)


def test_binomial_every_count_of_small_samples(con):
    k, n, p = np.array([(k, n, p) for n in (1, 2, 3, 7, 10, 28) for k in range(n + 1) for p in (0, 1e-20, 0.1, 0.2, 0.25, 0.5, 0.7, 0.75, 1 - 1e-12, 1)]).T
    assert_close(column(con, "binomial_cdf(k, n, p)", k=k, n=n, p=p), stats.binom.cdf(k, n, p))
    expected = np.array([stats.binomtest(int(a), int(b), c).pvalue for a, b, c in zip(k, n, p, strict=True)])
    assert_close(column(con, "binomial_two_sided_p(k, n, p)", k=k, n=n, p=p), expected)
    half = p == 0.5
    assert_close(column(con, "sign_test_p(k, n)", k=k[half], n=n[half]), expected[half])


def test_binomial_near_the_mean_of_large_samples(con):
    """Within a few standard deviations of the mean, where p values matter and random counts rarely fall."""
    rows = [(n, p, z) for n in (100, 999, 5000) for p in (0.02, 0.3, 0.5, 0.85) for z in (-4, -1.5, -0.1, 0, 0.1, 1.5, 4)]
    n, p, z = np.array(rows).T
    k = np.round(n * p + z * np.sqrt(n * p * (1 - p))).clip(0)
    assert_close(column(con, "binomial_cdf(k, n, p)", k=k, n=n, p=p), stats.binom.cdf(k, n, p))
    expected = np.array([stats.binomtest(int(a), int(b), c).pvalue for a, b, c in zip(k, n, p, strict=True)])
    assert_close(column(con, "binomial_two_sided_p(k, n, p)", k=k, n=n, p=p), expected)


def test_binomial_keeps_small_tails(con):
    assert call(con, "binomial_two_sided_p", 900, 1000, 0.5) == pytest.approx(stats.binomtest(900, 1000, 0.5).pvalue, rel=1e-9)
    assert call(con, "sign_test_p", 3, 1000) == pytest.approx(stats.binomtest(3, 1000, 0.5).pvalue, rel=1e-9)


def test_published_sign_test(con):
    assert call(con, "binomial_two_sided_p", 10, 28, 0.5) == pytest.approx(0.1849333420395851, abs=1e-12)
    assert call(con, "sign_test_p", 10, 28) == pytest.approx(0.1849333420395851, abs=1e-12)


def test_binomial_cdf_outside_the_counts(con):
    assert call(con, "binomial_cdf", -1, 5, 0.3) == 0
    assert call(con, "binomial_cdf", 6, 5, 0.3) == 1
    assert call(con, "binomial_cdf", 2.7, 5, 0.3) == call(con, "binomial_cdf", 2, 5, 0.3)


@pytest.mark.slow(2)
@given(kn=counts(), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=150, deadline=None)
def test_wilson_any(con, kn, confidence):
    k, n = kn
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    z = stats.norm.ppf(0.5 + confidence / 2)
    assert call(con, "wilson_low", k, n, z) == pytest.approx(expected.low, abs=1e-12)
    assert call(con, "wilson_high", k, n, z) == pytest.approx(expected.high, abs=1e-12)
    if confidence == 0.95:
        assert call(con, "wilson_low", k, n) == pytest.approx(expected.low, abs=1e-12)
        assert call(con, "wilson_high", k, n) == pytest.approx(expected.high, abs=1e-12)


def test_wilson_ends(con):
    assert call(con, "wilson_low", 0, 7) == pytest.approx(0, abs=1e-16)
    assert call(con, "wilson_high", 7, 7) == pytest.approx(1, abs=1e-15)
    assert con.execute("select wilson_low(3, 40, z := 1.5) = wilson_low(3, 40, 1.5)").fetchall() == [(True,)]


@pytest.mark.slow(3)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 400), share=st.floats(-0.99, 0.99))
@settings(max_examples=100, deadline=None)
def test_correlation_any(con, seed, n, share):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    result = stats.pearsonr(x, share * x + (1 - abs(share)) * rng.normal(size=n))
    assert_close(call(con, "pearson_p", result.statistic, n), result.pvalue)
    interval = result.confidence_interval(0.95)
    assert call(con, "fisher_low", result.statistic, n) == pytest.approx(interval.low, abs=1e-9)
    assert call(con, "fisher_high", result.statistic, n) == pytest.approx(interval.high, abs=1e-9)
    narrow = result.confidence_interval(0.5)
    assert call(con, "fisher_low", result.statistic, n, stats.norm.ppf(0.75)) == pytest.approx(narrow.low, abs=1e-9)
    assert call(con, "fisher_high", result.statistic, n, stats.norm.ppf(0.75)) == pytest.approx(narrow.high, abs=1e-9)


def test_perfect_correlation(con):
    for r in (-1, 1):
        assert call(con, "pearson_p", r, 12) == 0
        assert call(con, "fisher_low", r, 12) == r
        assert call(con, "fisher_high", r, 12) == r
