"""Exploration and exploitation against hand-computed literals, identities, and all subsets counted one by one."""

import itertools
import math
import time

import hypothesis
import hypothesis.strategies as st
import pytest

from simplerl.ops.exploration import (
    distinct_equations,
    distinct_n,
    equations,
    normalised,
    pass_at_k_s,
    query_effect,
    reward_at_k_s,
    unique_classes,
)
from simplerl.ops.statistics import pass_at_k

# -- Pass@K-S ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "classes", "k", "s", "expected"),
    [
        (4, [2, 1], 4, 1, 1.0),
        (4, [2, 1], 4, 2, 1.0),
        (4, [2, 1], 4, 3, 0.0),
        (4, [2, 1], 2, 2, 2 / 6),  # of the 6 pairs, two hold one of each: {a1, b} and {a2, b}
        (4, [2, 1], 3, 2, 3 / 4),  # of the 4 triples only {a1, a2, w} has one unique right response
        (4, [3], 4, 2, 0.0),  # three times the same is one
        (3, [1, 1, 1], 2, 2, 1.0),
        (3, [], 3, 1, 0.0),
    ],
)
def test_pass_at_k_s_literals(n: int, classes: list[int], k: int, s: int, expected: float) -> None:
    assert pass_at_k_s(n, classes, k, s) == pytest.approx(expected, abs=1e-12)


@hypothesis.given(st.integers(1, 12), st.data())
def test_pass_at_k_1_is_pass_at_k(n: int, data) -> None:
    labels = data.draw(st.lists(st.sampled_from("abc."), min_size=n, max_size=n))
    k = data.draw(st.integers(1, n))
    right = [label for label in labels if label != "."]
    assert pass_at_k_s(n, unique_classes(right), k, 1) == pytest.approx(pass_at_k(n, len(right), k), abs=1e-12)


@hypothesis.given(st.lists(st.sampled_from("abcd.."), min_size=1, max_size=7), st.data())
def test_pass_at_k_s_is_the_mean_over_all_subsets(labels: list[str], data) -> None:
    k = data.draw(st.integers(1, len(labels)))
    s = data.draw(st.integers(1, 4))
    subsets = list(itertools.combinations(labels, k))
    plain = sum(len(set(subset) - {"."}) >= s for subset in subsets) / len(subsets)
    right = [label for label in labels if label != "."]
    assert pass_at_k_s(len(labels), unique_classes(right), k, s) == pytest.approx(plain, abs=1e-12)


def test_pass_at_k_s_with_hundreds_of_samples() -> None:
    """P(both of two single right ones among k of n) = k(k−1)/(n(n−1))."""
    assert pass_at_k_s(400, [1, 1], 64, 2) == pytest.approx(64 * 63 / (400 * 399))


@pytest.mark.parametrize("given", [(2, [1], 3, 1), (2, [1], 0, 1), (2, [2, 1], 2, 1), (2, [1], 2, 0), (2, [0], 2, 1)])
def test_pass_at_k_s_refuses(given) -> None:
    with pytest.raises(ValueError, match="Pass@K-S"):
        pass_at_k_s(*given)


# -- Reward@K-S ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "right", "k", "s", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, False, True], 3, 1, 1.0),
        ([0.9, 0.8, 0.1], [True, False, True], 3, 2, 0.0),
        ([0.9, 0.8, 0.1], [True, True, False], 3, 2, 1.0),
        ([1, 1, 1, 1], [True, True, False, False], 4, 1, 1 / 2),  # all equal: chance
        ([1, 1, 1, 1], [True, True, False, False], 4, 2, 1 / 6),  # one of six pairs
        ([2, 1, 1], [True, True, False], 3, 2, 1 / 2),  # the second place is drawn of two
        ([2, 1, 1], [False, True, True], 3, 2, 0.0),
        ([2, 1, 0], [True, False, True], 2, 1, 2 / 3),  # pairs: {r,w} r first, {r,r} r first, {w,r} w first
    ],
)
def test_reward_at_k_s_literals(rewards, right, k: int, s: int, expected: float) -> None:
    assert reward_at_k_s(rewards, right, k, s) == pytest.approx(expected, abs=1e-12)


@hypothesis.given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_with_correctness_as_reward_best_of_k_is_pass_at_k(right: list[bool], data) -> None:
    k = data.draw(st.integers(1, len(right)))
    rewards = [float(ok) for ok in right]
    assert reward_at_k_s(rewards, right, k, 1) == pytest.approx(pass_at_k(len(right), sum(right), k), abs=1e-12)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5), st.data())
def test_reward_at_k_s_is_the_mean_over_all_subsets_and_orders(samples, data) -> None:
    k = data.draw(st.integers(1, len(samples)))
    s = data.draw(st.integers(1, k))
    outcomes = [
        all(ok for _, ok in sorted(order, key=lambda sample: -sample[0])[:s])
        for subset in itertools.combinations(samples, k)
        for order in itertools.permutations(subset)  # sorting is stable: each order of equals is as likely
    ]
    rewards, right = zip(*samples, strict=True)
    assert reward_at_k_s(rewards, right, k, s) == pytest.approx(sum(outcomes) / len(outcomes), abs=1e-12)


def test_reward_at_k_s_refuses() -> None:
    for rewards, right, k, s in (([1.0], [True], 1, 2), ([1.0], [True], 2, 1), ([math.nan], [True], 1, 1)):
        with pytest.raises(ValueError, match="Reward@K-S"):
            reward_at_k_s(rewards, right, k, s)


# -- distinct, diverse ---------------------------------------------------------------------------------------------


def test_responses_are_compared_by_their_words() -> None:
    assert normalised("  2+2=4.\n\n \\boxed{4} ") == normalised("2+2=4. \\boxed{4}") == "2+2=4. \\boxed{4}"
    assert unique_classes(["a", "b", "a"]) == [2, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 20-5=15. 15-7=8. \\boxed{8}", ["20-5=15", "15-7=8"]),
        ("20 - 5 = 15, then 15 - 7 = 8", ["20-5=15", "15-7=8"]),
        ("2 + 2 = 4 = 8 / 2", ["2+2=4=8/2"]),
        ("so $x^2=\\frac{1}{2}$; done", ["x^2=\\frac{1}{2}"]),
        ("1.5+0.5=2.0.", ["1.5+0.5=2.0"]),
        ("x == y, = 3, a <= b", []),
        ("x = 15\n- y = 3", ["x=15", "-y=3"]),
        ("a = b, = c", ["a=b"]),
        ("no equation", []),
    ],
)
def test_equations(text: str, expected: list[str]) -> None:
    assert equations(text) == expected


@pytest.mark.parametrize("text", ["." * 300_000, "a" * 300_000, " " * 300_000, "=" * 300_000, "a=" * 150_000])
def test_equations_take_linear_time(text: str) -> None:
    began = time.perf_counter()
    assert len(equations(text)) <= 1
    assert time.perf_counter() - began < 2


def test_distinct_equations_literals() -> None:
    assert distinct_equations(["1+1=2. 2+2=4", "2+2=4", "2+2 = 4"]) == pytest.approx(2 / 4)
    assert distinct_equations(["nothing"]) == 0.0
    assert distinct_equations([]) == 0.0


def test_distinct_n_literals() -> None:
    assert distinct_n(["a b c", "a b d"], 2) == (3, 4)  # ab twice, bc, bd
    assert distinct_n(["a b c", "a b d"], 1) == (4, 6)
    assert distinct_n(["a"], 2) == (0, 0)


# -- query effect --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unique", "selected", "expected"),
    [(2, 2, 1 / 3), (16, 64, 0.25), (6, 6, 1), (3, 4, 0.375), (7, 8, 0.875), (0, 3, 0)],
)
def test_query_effect_literals_of_b_star(unique: int, selected: int, expected: float) -> None:
    assert query_effect(unique, selected, 6) == pytest.approx(expected)


def test_query_effect_of_nothing_is_nothing() -> None:
    assert query_effect(0, 0, 6) == 0.0
    with pytest.raises(ValueError, match="query effect"):
        query_effect(3, 2, 6)
