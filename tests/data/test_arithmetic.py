"""Generated arithmetic and its families: right, each what it says it is, held-out questions apart."""

import re
from collections import Counter

import pytest

from simplerl.core.errors import ConfigError
from simplerl.data import load
from simplerl.data.arithmetic import LARGEST, LEVELS, VARIANTS, expression, family
from simplerl.feed.adaptive import WE_MATH
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


def test_answers_are_right_and_their_workings_add_up() -> None:
    for item in load("families", size=400):
        text = re.fullmatch(r"What is ([0-9+*-]+)\?", item.question)[1]
        assert str(eval(text)) == item.answer  # noqa: S307
        *steps, boxed = item.meta["solution"].split()
        assert boxed == rf"\boxed{{{item.answer}}}"
        for left, right in (step.rstrip(".").split("=") for step in steps):
            assert 0 <= eval(left) == int(right) <= LARGEST  # noqa: S307
        assert len(steps) == len(re.findall(r"[+*-]", text))


def test_a_variant_is_its_base_and_the_difficulties_that_it_names() -> None:
    texts = {name: member.text for name, member in family(0, (3, 7, 4)).items()}
    more = texts["x"].removeprefix("3*7+4*")
    assert more in {"2", "3", "4", "5"}, "below the product"
    assert texts == {
        "base": "3*7+4",
        "x": f"3*7+4*{more}",
        "y": "7*7+4",
        "z": "4+3*7",
        "xy": f"7*7+4*{more}",
        "xz": f"4*{more}+3*7",
        "yz": "4+7*7",
        "xyz": f"4*{more}+7*7",
    }


def test_every_family_is_complete_and_the_sampler_knows_its_variants() -> None:
    problems = load("families")
    assert set(VARIANTS) == set(WE_MATH)
    families = [problems[i : i + 8] for i in range(0, len(problems), 8)]
    assert len({members[0].meta["family"] for members in families}) == len(families) > 200
    for members in families:
        assert tuple(item.meta["variant"] for item in members) == VARIANTS
        assert len({item.meta["family"] for item in members}) == 1
        assert [item.level for item in members] == list("01112223")


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_held_out_families_share_no_question_with_training_whatever_the_seed(seed: int) -> None:
    train = [item for s in (0, seed) for item in load("families", seed=s)]
    test = load("families", "test", seed=seed)
    assert len({item.meta["family"] for item in test}) > 15
    for key in (lambda item: item.question, lambda item: item.meta["family"]):
        assert not {key(item) for item in train} & {key(item) for item in test}
    assert len({item.id for item in [*load("families"), *test]}) == len(load("families")) + len(test)


def test_a_problem_is_a_function_of_its_address() -> None:
    assert load("families", size=60)[:25] == load("families", size=25)
    assert load("families", seed=1) == load("families,seed=1")
    assert load("families", seed=1)[0] != load("families")[0]


def test_levels_count_the_difficulties() -> None:
    assert {item.meta["variant"] for item in load("families", levels=(0, 3))} == {"base", "xyz"}
    assert {int(item.level) for item in load("families")} == {0, 1, 2, 3}
    with pytest.raises(ConfigError, match=r"levels 0 to 3 .*; got 'train' and \[4\]"):
        load("families", levels=(4,))
    with pytest.raises(ConfigError, match="'dev'"):
        load("families", "dev")
