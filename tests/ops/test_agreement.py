"""Cohen's kappa against literals, and its interval."""

import math

import numpy as np
import pytest

from simplerl.ops.statistics import cohen_kappa, kappa_interval


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


def test_refuses_what_is_no_table() -> None:
    for counts in (np.zeros((0, 4)), np.zeros((2, 3)), np.zeros(4)):
        with pytest.raises(ValueError, match="kappa"):
            kappa_interval(counts)
