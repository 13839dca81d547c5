"""Generated arithmetic: right, of the stated difficulty, addressed, and no test question among the training ones."""

import re
from collections import Counter

import pytest

from simplerl.core.errors import ConfigError
from simplerl.data import load
from simplerl.data.arithmetic import LARGEST, LEVELS, expression
from simplerl.verify import verify


def many(level: int, split: str = "train", count: int = 300, seed: int = 0):
    return [expression(seed, split, level, index) for index in range(count)]


@pytest.mark.parametrize("level", LEVELS)
def test_answers_are_right_and_in_range(level: int) -> None:
    for drawn in many(level):
        assert re.fullmatch(r"[0-9+*()-]+", drawn.text)
        assert drawn.value == eval(drawn.text), drawn.text  # noqa: S307
        assert all(0 <= value <= LARGEST for *_, value in drawn.steps)


@pytest.mark.parametrize("level", LEVELS)
def test_workings_add_up(level: int) -> None:
    """Each step is right, and uses operands of the question or results of earlier steps."""
    for drawn in many(level, count=100):
        known = {int(number) for number in re.findall(r"\d+", drawn.text)}
        for left, operator, right, value in drawn.steps:
            assert left in known
            assert right in known
            assert {"+": left + right, "-": left - right, "*": left * right}[operator] == value
            known.add(value)


@pytest.mark.parametrize(
    ("level", "operations", "largest", "signs"),
    [(1, 1, 20, "+-"), (2, 1, 60, "+-*"), (3, 2, 20, "+-"), (4, 2, 60, "+-*"), (5, 3, 20, "+-*")],
)
def test_levels_are_as_described(level: int, operations: int, largest: int, signs: str) -> None:
    found = many(level)
    for drawn in found:
        assert len(re.findall(r"[+*-]", drawn.text)) == operations == len(drawn.steps)
        assert max(map(int, re.findall(r"\d+", drawn.text))) <= largest
    used = Counter(sign for drawn in found for sign in drawn.text if sign in "+-*")
    assert set(used) == set(signs)
    if level == 4:
        assert all(drawn.text.count("*") == 1 for drawn in found)


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_splits_are_disjoint_whatever_the_seed(seed: int) -> None:
    train = {drawn.text for s in (0, seed) for level in LEVELS for drawn in many(level, seed=s)}
    test = {drawn.text for level in LEVELS for drawn in many(level, "test", 100, seed)}
    assert len(test) > 100
    assert not train & test


def test_about_a_tenth_of_all_expressions_is_for_testing() -> None:
    from simplerl.data.arithmetic import Expression

    every = [Expression(text=f"{a}+{b}", steps=((a, "+", b, a + b),)).split for a in range(100) for b in range(100)]
    assert every.count("test") / len(every) == pytest.approx(0.1, abs=0.01)


def test_a_question_is_a_function_of_its_address() -> None:
    wanted = expression(3, "train", 5, 17)
    many(5)
    assert expression(3, "train", 5, 17) == wanted
    assert expression(4, "train", 5, 17) != wanted


def test_load_takes_levels_in_turn_without_repeating() -> None:
    problems = load("arithmetic", size=500)
    assert [p.level for p in problems[:6]] == ["1", "2", "3", "4", "5", "1"]
    assert Counter(p.level for p in problems) == dict.fromkeys("12345", 100)
    assert len({p.question for p in problems}) == len({p.id for p in problems}) == 500
    for p in problems:
        expression_text = re.fullmatch(r"What is (.+)\?", p.question)[1]
        assert str(eval(expression_text)) == p.answer  # noqa: S307
        assert verify(f"\\boxed{{{p.answer}}}", p.answer).correct


def test_more_only_adds() -> None:
    assert load("arithmetic", size=60)[:25] == load("arithmetic", size=25)


def test_default_sizes() -> None:
    assert len(load("arithmetic")) == 2000
    assert len(load("arithmetic", "test")) == 250


def test_other_seed_other_questions() -> None:
    one, other = ({p.question for p in load("arithmetic", size=200, seed=seed)} for seed in (0, 1))
    assert len(one & other) < 100


def test_chosen_levels() -> None:
    assert {p.level for p in load("arithmetic", size=20, levels=(2, 4))} == {"2", "4"}


def test_a_level_gives_all_that_it_has() -> None:
    train, test = (
        {p.question for p in load("arithmetic", split, size=5000, levels=(1,))} for split in ("train", "test")
    )
    assert len(train) > 500
    assert len(test) > 50
    assert not train & test
    both = load("arithmetic", size=2000, levels=(1, 2))
    assert len({p.question for p in both}) == 2000
    assert 400 < sum(p.level == "1" for p in both) <= len(train)  # Some questions are of both levels.


def test_limits_are_said() -> None:
    with pytest.raises(ConfigError, match="'dev'"):
        load("arithmetic", "dev")
    with pytest.raises(ConfigError, match="levels 1 to 5"):
        load("arithmetic", levels=(7,))


def test_large_numbers_come_where_they_are_asked_for() -> None:
    problems = load("arithmetic", levels=(6,), size=300)
    assert len({item.question for item in problems}) == 300
    for item in problems:
        left, sign, right = re.fullmatch(r"What is (\d+)([-+*])(\d+)\?", item.question).groups()
        value = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign]
        assert item.answer == str(value)
        assert int(left) >= 100
    held_out = {item.question for item in load("arithmetic", "test", levels=(6,))}
    assert not held_out & {item.question for item in problems}
    assert "6" not in {item.level for item in load("arithmetic")}
