"""Estimates and their intervals against literals, enumeration, tables and SciPy."""

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from simplerl.ops.statistics import (
    bootstrap_ratios,
    cohen_kappa,
    difference_figure,
    kappa_interval,
    majority_at_k,
    pass_at_k,
    powers_up_to,
    quantile,
    ratio_figures,
    sign_flip_test,
    t_interval,
    two_sided,
)

# -- pass@k against literals and enumeration; the bootstrap against SciPy's --------------------------------------------


def bootstrap_interval(values: np.ndarray, **options) -> tuple[float, float]:
    """Return the interval of the mean over problems."""
    low_M, high_M = bootstrap_ratios(values[:, None], np.ones((len(values), 1)), **options)
    return float(low_M[0]), float(high_M[0])


def test_literal() -> None:
    # 1 − C(5, 3) / C(7, 3) = 1 − 10/35.
    assert pass_at_k(7, 2, 3) == pytest.approx(5 / 7)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_every_choice_of_k_samples(n: int) -> None:
    for correct in range(n + 1):
        right = [i < correct for i in range(n)]
        for k in range(1, n + 1):
            chosen = [any(pick) for pick in combinations(right, k)]
            assert pass_at_k(n, correct, k) == pytest.approx(np.mean(chosen)), (n, correct, k)


def test_large_numbers_do_not_overflow() -> None:
    assert pass_at_k(10_000, 1, 5000) == pytest.approx(0.5)
    assert pass_at_k(256, 0, 128) == 0.0
    assert pass_at_k(256, 256, 1) == 1.0


@pytest.mark.parametrize(("n", "correct", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_nonsense_is_refused(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k(n, correct, k)


@pytest.mark.parametrize("kind", ["shares", "skewed"])
def test_bootstrap_agrees_with_scipy(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, 120) / 8 if kind == "shares" else rng.exponential(size=60)
    low, high = bootstrap_interval(values, resamples=8000)
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = wanted.high - wanted.low
    assert low == pytest.approx(wanted.low, abs=0.04 * width)
    assert high == pytest.approx(wanted.high, abs=0.04 * width)


def test_bootstrap_draws_the_same_each_time() -> None:
    values = np.arange(20) / 20
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_one_problem() -> None:
    assert bootstrap_interval(np.array([0.3])) == pytest.approx((0.3, 0.3))


def test_bootstrap_of_a_ratio_agrees_with_scipy() -> None:
    """A mean over samples that come in problems of different sizes."""
    rng = np.random.default_rng(3)
    below = rng.integers(1, 9, 80).astype(float)
    above = rng.binomial(below.astype(int), 0.4).astype(float)
    low, high = bootstrap_ratios(above[:, None], below[:, None], resamples=8000)
    wanted = scipy.stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=8000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = wanted.high - wanted.low
    assert low[0] == pytest.approx(wanted.low, abs=0.05 * width)
    assert high[0] == pytest.approx(wanted.high, abs=0.05 * width)


def test_bootstrap_of_nothing_is_not_a_number() -> None:
    low, high = bootstrap_ratios(np.array([[0.0, 1.0]] * 5), np.array([[0.0, 2.0]] * 5))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert (low[1], high[1]) == pytest.approx((0.5, 0.5))


def test_majority_literals() -> None:
    # Of a, b, b: subsets of 2 are ab (tie: a came first), ab, bb.
    assert majority_at_k(["a", "b", "b"], "b", 2) == pytest.approx(1 / 3)
    assert majority_at_k(["a", "b", "b"], "a", 2) == pytest.approx(2 / 3)
    assert majority_at_k(["a", "b", "b"], "b", 3) == 1.0
    assert majority_at_k(["a", "b", "b"], "b", 1) == pytest.approx(2 / 3)


def test_no_answer_has_no_vote() -> None:
    assert majority_at_k([None, None, "b"], "b", 3) == 1.0
    assert majority_at_k([None, None], "b", 2) == 0.0
    assert majority_at_k([None, "b"], "b", 1) == 0.5


def test_many_subsets_are_sampled() -> None:
    labels = ["b"] * 12 + ["a"] * 8
    exact = sum(
        scipy.stats.hypergeom.pmf(right, 20, 12, 9) for right in range(5, 10)
    )  # Nine of twenty: a majority is five.
    assert majority_at_k(labels, "b", 9) == pytest.approx(exact, abs=0.05)
    assert majority_at_k(labels, "b", 9) == majority_at_k(labels, "b", 9)


@pytest.mark.parametrize("k", [0, 3])
def test_majority_of_more_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="maj@k"):
        majority_at_k(["a", "b"], "a", k)


@pytest.mark.parametrize("size", [8, 60])
def test_sign_flip_agrees_with_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    differences = rng.normal(0.3, 1.0, size)
    wanted = scipy.stats.permutation_test(
        (differences, np.zeros(size)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).pvalue
    assert sign_flip_test(differences) == pytest.approx(wanted, abs=0.01)


def test_sign_flip_literals() -> None:
    assert sign_flip_test(np.array([1.0, 1.0, 1.0, 0.0])) == pytest.approx(2 / 8), "+++ and −−− of eight"
    assert sign_flip_test(np.zeros(5)) == 1.0
    assert sign_flip_test(np.ones(40)) == pytest.approx(1 / 20_001)


def test_powers_up_to() -> None:
    assert powers_up_to(1) == (1,)
    assert powers_up_to(7) == (1, 2, 4, 7)
    assert powers_up_to(32) == (1, 2, 4, 8, 16, 32)


def test_ratio_figures_literals() -> None:
    """Measure 0 over two of three problems; 1 is right in all; 2 is nowhere; 3 is as 1, but no share."""
    above, below = (
        np.array([[1.0, 1, 0, 1], [0, 1, 0, 1], [9, 1, 0, 1]]),
        np.array([[1.0, 1, 0, 1], [1, 1, 0, 1], [0, 1, 0, 1]]),
    )
    above[2, 0] = 0
    found = ratio_figures(above, below, ["a", "b", "c", "d"], shares={"a", "b", "c"})
    assert (found["a"]["value"], found["a"]["problems"]) == (0.5, 2)
    assert found["b"]["value"] == found["b"]["high"] == 1.0
    assert found["b"]["low"] == pytest.approx(0.025 ** (1 / 3)), "Clopper and Pearson: three of three"
    assert found["c"]["problems"] == 0
    assert np.isnan(found["c"]["value"])
    assert found["d"]["low"] == 1.0


def test_equal_differences_have_a_width() -> None:
    none = difference_figure(np.zeros(20))
    assert (none["value"], none["problems"]) == (0.0, 20)
    assert none["high"] == -none["low"] == pytest.approx(1 - 0.025 ** (1 / 20))
    every = difference_figure(np.ones(10))
    assert (every["low"], every["high"]) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    mixed = np.array([0.0, 1.0, 0.0, 0.5])
    assert (difference_figure(mixed)["low"], difference_figure(mixed)["high"]) == bootstrap_interval(mixed)


# -- Cohen's kappa against literals, and its interval ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Both 20, first only 5, second only 10, neither 15: p_o = 35/50, p_e = .5·.6 + .5·.4 = .5.
        ([20, 5, 10, 15], (0.7 - 0.5) / 0.5),
        ([5, 0, 0, 5], 1.0),
        ([0, 5, 5, 0], -1.0),
        ([1, 1, 1, 1], 0.0),
        # 98 of 100 agree and yet there is nothing in it: p_e = .01·.01 + .99·.99.
        ([0, 1, 1, 98], (0.98 - 0.9802) / (1 - 0.9802)),
    ],
)
def test_literals(counts: list[int], expected: float) -> None:
    assert cohen_kappa(np.array(counts)) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[0, 0, 0, 9], [9, 0, 0, 0], [0, 0, 0, 0]])
def test_without_variety_there_is_none(counts: list[int]) -> None:
    assert math.isnan(cohen_kappa(np.array(counts)))
    assert all(map(math.isnan, kappa_interval(np.array([counts]))))


def test_interval_holds_the_value_and_narrows_with_problems() -> None:
    few = np.tile([[2, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 2]], (3, 1))
    many = np.tile(few, (10, 1))
    widths = []
    for counts in (few, many):
        low, high = kappa_interval(counts)
        assert low < cohen_kappa(counts.sum(0)) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert kappa_interval(few) == kappa_interval(few)


def test_problems_are_the_unit() -> None:
    """Ten equal answers to one problem are one draw: the interval is as wide as with one each."""
    one = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] * 2)
    assert kappa_interval(10 * one) == pytest.approx(kappa_interval(one))


# -- Student's t against tables, SciPy and a sum by hand ---------------------------------------------------------------

#: t at 97.5%, as every table of it has them.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_of_the_table(freedom: int) -> None:
    assert quantile(0.95, freedom) == pytest.approx(TABLE[freedom], abs=5e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 13, 40])
def test_agrees_with_scipy(freedom: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.5, 9.0):
        assert two_sided(t, freedom) == pytest.approx(1 - 2 * scipy.stats.t.sf(t, freedom), abs=1e-12)
    for confidence in (0.5, 0.9, 0.99):
        assert quantile(confidence, freedom) == pytest.approx(scipy.stats.t.ppf((1 + confidence) / 2, freedom))


def test_interval_by_hand() -> None:
    # Mean 2, s = 1, so 2 ± 4.302653 / √3.
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 2.484138, 2 + 2.484138), abs=1e-6)
    # Mean 5, s = √2, so 5 ± 12.706205 · √2 / √2.
    assert t_interval([4.0, 6.0]) == pytest.approx((5.0, 5 - 12.706205, 5 + 12.706205), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    mean, low, high = t_interval([0.25])
    assert mean == 0.25
    assert math.isnan(low)
    assert math.isnan(high)
