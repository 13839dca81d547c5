"""Student's t against tables, SciPy and a sum by hand."""

import math

import pytest
import scipy.stats

from simplerl.ops.statistics import quantile, t_interval, two_sided

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


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        t_interval([])
