"""pass@k against literals and enumeration; the bootstrap against SciPy's."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats

from simplerl.ops.statistics import bootstrap_interval, pass_at_k


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


def test_bootstrap_is_fixed_by_its_seed() -> None:
    values = np.arange(20) / 20
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_higher_confidence_is_wider() -> None:
    values = np.arange(20) / 20
    narrow, wide = bootstrap_interval(values, confidence=0.5), bootstrap_interval(values, confidence=0.99)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_one_problem_and_none() -> None:
    assert bootstrap_interval(np.array([0.3])) == pytest.approx((0.3, 0.3))
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_interval(np.array([]))
