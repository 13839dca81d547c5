"""Rewards: the values of every branch, and that an undecided verdict never becomes a number."""

from __future__ import annotations

import numpy as np
import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.types import UNDECIDED, Completion, Problem, Scored, Verdict
from simplerl.rewards import REWARDS, make_reward
from simplerl.rewards.builtin import in_r1_format

PROBLEM = Problem(id="1", question="2+3?", answer="5", source="test")


def completion(text: str = "", tokens: int = 3) -> Completion:
    return Completion(
        token_ids=np.zeros(tokens, np.int32),
        logprobs=np.zeros(tokens, np.float32),
        text=text,
        stop_reason="eos",
        versions=(),
    )


def verdict(status: str) -> Verdict:
    return Verdict(status=status, extracted=None, rule="test", detail="for a test")


BOX, NO_BOX, OPEN_BOX, EMPTY_BOX = r"so \boxed{5}", "so 5", r"so \boxed{5", r"so \boxed{}"
R1, R1_BAD = "<think>2+3</think>\n<answer>5</answer>", "<answer>5</answer>"
TABLE = [
    ("correctness", BOX, "correct", 1),
    ("correctness", NO_BOX, "wrong", 0),
    ("correctness", NO_BOX, "no_answer", 0),
    ("simplerl-v0", BOX, "correct", 1),
    ("simplerl-v0", BOX, "wrong", -0.5),
    ("simplerl-v0", NO_BOX, "no_answer", -1),
    ("simplerl-v0", OPEN_BOX, "no_answer", -1),
    ("simplerl-v0", EMPTY_BOX, "no_answer", -1),
    ("independent", BOX, "correct", 1),
    ("independent", NO_BOX, "correct", 0.5),
    ("independent", BOX, "wrong", -0.5),
    ("independent", NO_BOX, "wrong", -1),
    ("independent", NO_BOX, "no_answer", -1),
    ("r1-tags", R1, "correct", 1),
    ("r1-tags", R1_BAD, "correct", 0.5),
    ("r1-tags", R1, "wrong", -0.5),
    ("r1-tags", R1_BAD, "wrong", -1),
    ("r1-tags", "", "no_answer", -1),
    ("format", BOX, "wrong", 1),
    ("format", EMPTY_BOX, "correct", 0),
]


@pytest.mark.parametrize(("name", "text", "status", "value"), TABLE)
def test_values(name, text, status, value):
    reward = make_reward(name)
    assert reward(PROBLEM, completion(text), verdict(status)) == value
    assert reward.score(PROBLEM, [completion(text)], [verdict(status)]) == [Scored(value, {name: value})]


@pytest.mark.parametrize("status", sorted(UNDECIDED))
@pytest.mark.parametrize("name", ["correctness", "simplerl-v0", "independent", "r1-tags", "length"])
def test_an_undecided_verdict_has_no_reward(name, status):
    with pytest.raises(ValueError, match=status):
        make_reward(name)(PROBLEM, completion(BOX), verdict(status))


def test_every_registered_reward_has_its_name_and_is_frozen():
    for name, kind in REWARDS.items():
        assert kind.name == name
        assert kind.__dataclass_params__.frozen
        assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize(("tokens", "value"), [(0, 0), (60, 0), (70, -0.25), (80, -0.5), (100, -1), (250, -1)])
def test_overlong_falls_linearly_over_the_buffer(tokens, value):
    reward = make_reward("overlong", {"limit": 100, "buffer": 40})
    assert reward(PROBLEM, completion(tokens=tokens), verdict("wrong")) == pytest.approx(value)


def test_overlong_has_the_buffer_of_the_paper():
    assert REWARDS["overlong"]().buffer == 4096
    with pytest.raises(ConfigError, match="buffer"):
        make_reward("overlong", {"limit": 100})


def test_length_costs_right_answers_only():
    reward = make_reward("length", {"limit": 100})
    assert reward(PROBLEM, completion(tokens=25), verdict("correct")) == pytest.approx(-0.25)
    assert reward(PROBLEM, completion(tokens=25), verdict("wrong")) == 0
    everywhere = make_reward("length", {"limit": 100, "only_correct": False})
    assert everywhere(PROBLEM, completion(tokens=500), verdict("wrong")) == -1


def test_mixture_adds_weighted_values_and_keeps_the_parts():
    reward = make_reward(
        "mixture",
        {
            "rewards": [
                {"name": "correctness"},
                {"name": "format", "weight": 0.1},
                {"name": "overlong", "weight": 2.0, "params": {"limit": 100, "buffer": 40}},
            ]
        },
    )
    assert reward(PROBLEM, completion(BOX, tokens=80), verdict("correct")) == pytest.approx(1 + 0.1 - 1)
    (scored,) = reward.score(PROBLEM, [completion(BOX, tokens=80)], [verdict("correct")])
    assert scored.parts == {"correctness": 1, "format": 1, "overlong": -0.5}


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], "at least one"),
        ([{"name": "corectness"}], "did you mean 'correctness'"),
        ([{"name": "correctness", "wieght": 2}], "did you mean 'weight'"),
        ([{"name": "correctness", "params": {"corect": 2}}], "did you mean 'correct'"),
        ([{"name": "correctness"}, {"name": "correctness"}], "twice"),
        ([{"name": "correctness", "weight": "2"}], "number"),
        ([{"name": "correctness", "weight": float("inf")}], "finite.*inf"),
        ([{"name": "correctness", "weight": float("nan")}], "finite.*nan"),
        ([{"name": "correctness", "weight": 1e39}], "at most"),
        ([{"name": ["correctness"]}], "must be text"),
        ([{"name": "correctness", "params": 3}], "params of 'correctness' must be a table"),
        (["correctness"], "table"),
    ],
)
def test_a_wrong_mixture_says_what_is_wrong(rewards, message):
    with pytest.raises(ConfigError, match=message):
        make_reward("mixture", {"rewards": rewards})


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (R1, True),
        ("  " + R1 + "\n", True),
        (R1 + "<|im_end|>", True),
        (R1 + " more", False),
        ("well " + R1, False),
        (R1 + R1, False),
        ("<think></think><answer> </answer>", False),
        ("<answer>5</answer><think>2+3</think>", False),
    ],
)
def test_r1_format(text, good):
    assert in_r1_format(text) is good


def test_r1_format_with_the_thought_opened_by_the_prompt():
    text = "2+3</think><answer>5</answer>"
    assert not in_r1_format(text)
    assert in_r1_format(text, opened=True)
    assert make_reward("r1-tags", {"think_in_prompt": True})(PROBLEM, completion(text), verdict("correct")) == 1
