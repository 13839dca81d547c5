"""Rewards: the values of every branch, and that an undecided verdict never becomes a number."""

from __future__ import annotations

import numpy as np
import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.types import UNDECIDED, Completion, Problem, Scored, Undecided, Verdict
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
    (scored,) = reward.score(PROBLEM, [completion(BOX, tokens=80)], [verdict("correct")])
    assert scored.value == pytest.approx(1 + 0.1 - 1)
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


def test_rlsp_pays_for_length_and_correct_short_beats_wrong_long():
    reward = make_reward("rlsp")
    assert reward(PROBLEM, completion(BOX, tokens=100), verdict("correct")) == pytest.approx(1 - 0.2)
    assert reward(PROBLEM, completion(NO_BOX, tokens=100), verdict("wrong")) == pytest.approx(-0.5 - 0.2)
    short, long = (
        reward(PROBLEM, completion(BOX, 25), verdict("correct")),
        reward(PROBLEM, completion(BOX, 10**6), verdict("wrong")),
    )
    assert short > long


TOOLS = "<think>a</think><search>q</search><python>1</python><think>b</think><answer>{}</answer>"


@pytest.mark.parametrize(
    ("text", "extracted", "status", "value"),
    [
        (TOOLS.format("the red fox"), "the red fox", "wrong", 2 * 2 / 5 + 0.1),
        (TOOLS.format("a fox").replace("<python>", "<p>"), "a fox", "wrong", 2 * 1 / 4),
        (TOOLS.format("dog"), "dog", "wrong", 0.0),
        (TOOLS.format("5.0"), "5.0", "correct", 1.1),
        (TOOLS.format("red fox") + "<answer>again</answer>", "red fox", "correct", -1),
        ("<answer>red fox</answer>", "red fox", "correct", -1),
        (TOOLS.format(""), None, "no_answer", -1),
    ],
)
def test_tool_star_is_f1_with_a_bonus_for_both_tools(text, extracted, status, value):
    problem = Problem(id="1", question="?", answer="red fox", source="test")
    judged = Verdict(status=status, extracted=extracted, rule="test", detail="")
    assert make_reward("tool-star")(problem, completion(text), judged) == pytest.approx(value)


def test_curiosity_is_what_the_others_do_not_say():
    reward = make_reward("curiosity")
    same, other = "one two three four five six", "seven eight nine ten eleven twelve"
    values = [s.value for s in reward.score(PROBLEM, [completion(t) for t in (same, same, other)], [None] * 3)]
    assert values == [0, 0, 1]
    half = "one two three four nine ten eleven"  # Of its 5, 4, 3 n-grams of 3, 4, 5 words 2, 1, 0 are in the first.
    values = [s.value for s in reward.score(PROBLEM, [completion(same), completion(half)], [None] * 2)]
    assert values[1] == pytest.approx(1 - (2 / 5 + 1 / 4 + 0) / 3)
    (alone,) = reward.score(PROBLEM, [completion(same)], [None])
    assert not alone.applies
    noise = [f"{i} {i + 1} {i + 2} {i + 3} {i + 4} {i + 5}" for i in (10, 20)]
    assert [s.value for s in reward.score(PROBLEM, list(map(completion, noise)), [None] * 2)] == [1, 1], "its exploit"


GOOD = "```python\ndef test_add():\n    assert add(1, 2) == 3\n    assert add(0, 0) == 0\n```"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (GOOD, 1),
        ("Here it is:\n" + GOOD, 1),
        ("def test_add(self):\n    self.assertEqual(add(1, 2), 3)", 1),
        (GOOD.replace("add(0, 0) == 0", "add(1, 2) == 3"), 0.75),
        (GOOD.replace("assert add(0, 0) == 0", "assert True"), 0.75),
        ("if x:\n    assert add(1, 2)", 0.75),
        ("try:\n    assert add(1, 2)\nexcept ValueError:\n    pass", 0.75),
        ("add(1, 2)", -1),
        ("assert sub(1, 2)", -1),
        ("assert add(1", -1),
        ("", -1),
        ("assert " + "(" * 5000, -1),
    ],
)
def test_unit_tests_are_read_and_not_run(text, value):
    problem = Problem(id="1", question="?", answer="", source="test", meta={"entry_point": "add"})
    assert make_reward("rlsqm")(problem, completion(text), verdict("wrong")) == value


@pytest.mark.parametrize("status", sorted(UNDECIDED))
@pytest.mark.parametrize("name", ["correctness", "simplerl-v0", "independent", "r1-tags", "length"])
def test_an_undecided_verdict_has_no_reward(name, status):
    (scored,) = make_reward(name).score(PROBLEM, [completion(BOX)], [verdict(status)])
    assert isinstance(scored, Undecided)
    assert status in scored.detail


def test_length_costs_right_answers_only():
    reward = make_reward("length", {"limit": 100})
    assert reward(PROBLEM, completion(tokens=25), verdict("correct")) == pytest.approx(-0.25)
    assert reward(PROBLEM, completion(tokens=25), verdict("wrong")) == 0
    everywhere = make_reward("length", {"limit": 100, "only_correct": False})
    assert everywhere(PROBLEM, completion(tokens=500), verdict("wrong")) == -1
