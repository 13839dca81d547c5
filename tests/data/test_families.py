"""Families of arithmetic: right, each variant its base and the difficulties that it names, held-out ones apart."""

import re

import pytest

from simplerl.core.errors import ConfigError
from simplerl.data import load
from simplerl.data.arithmetic import LARGEST
from simplerl.data.families import LEVELS, VARIANTS, family
from simplerl.feed.adaptive import WE_MATH


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
    assert {int(item.level) for item in load("families")} == set(LEVELS)
    with pytest.raises(ConfigError, match=r"levels 0 to 3 .*; got 'train' and \[4\]"):
        load("families", levels=(4,))
    with pytest.raises(ConfigError, match="'dev'"):
        load("families", "dev")
