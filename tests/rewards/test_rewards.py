"""Rewards: the values of every branch; functions of both signatures; what is undecided never becomes a number."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.registry import remember
from simplerl.core.types import UNDECIDED, Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards import REWARDS, FunctionReward, make_reward
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
        ([{"name": "correctness", "params": {"wrong": "low"}}], "correctness.wrong = 'low': .* number"),
        ([{"name": "correctness"}, {"name": "correctness"}], "twice"),
        ([{"name": "correctness", "weight": "two"}], "number"),
        ([{"name": "correctness", "weight": float("inf")}], "inf: must be a finite number"),
        ([{"name": "correctness", "weight": float("nan")}], "nan: must be a finite number"),
        ([{"name": "correctness", "weight": 1e39}], "at most"),
        ([{"name": ["correctness"]}], r"rewards.name = \['correctness'\]: .* string"),
        ([{"name": "correctness", "params": 3}], "rewards.params = 3: .* dictionary"),
        (["correctness"], "rewards = .* dictionary"),
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


SUMS = Problem(id="7", question="2+3?", answer="5", source="test", level="1", meta={"topic": "sums"})
RIGHT = Verdict(status="correct", extracted="5", rule="test", detail="")
WRONG = Verdict(status="wrong", extracted="6", rule="test", detail="")


def response(text: str) -> Completion:
    return Completion(
        token_ids=np.arange(len(text), dtype=np.int32),
        logprobs=np.zeros(len(text), np.float32),
        text=text,
        stop_reason="eos",
        versions=(),
    )


def score(function, *texts: str):
    reward = FunctionReward(source="mine", function=function)
    return reward.score(SUMS, [response(text) for text in texts], [RIGHT, WRONG, WRONG][: len(texts)])


def test_trl_signature_is_called_once_with_the_samples_of_a_problem() -> None:
    calls = []

    def mine(prompts, completions, **columns):
        calls.append((prompts, completions, columns))
        return [float(len(text)) for text in completions]

    assert score(mine, "a", "bbb") == [Scored(1.0, {"mine": 1.0}), Scored(3.0, {"mine": 3.0})]
    ((prompts, completions, columns),) = calls
    assert (prompts, completions) == (["2+3?", "2+3?"], ["a", "bbb"])
    assert columns == {
        "answer": ["5", "5"],
        "id": ["7", "7"],
        "source": ["test", "test"],
        "level": ["1", "1"],
        "topic": ["sums", "sums"],
        "verdict": ["correct", "wrong"],
        "completion_ids": [[0], [0, 1, 2]],
    }


def test_trl_signature_gets_only_the_columns_that_it_names() -> None:
    def mine(completions, answer):
        return [float(gold in text) for text, gold in zip(completions, answer, strict=True)]

    assert [each.value for each in score(mine, "is 5", "is 6")] == [1.0, 0.0]


def test_our_signature_is_called_for_each_response() -> None:
    def mine(problem, completion, verdict):
        return float(verdict.correct) + len(completion.token_ids) / 10 + (problem.level == "1")

    assert [each.value for each in score(mine, "ab", "abc")] == [2.2, 1.3]


def test_our_signature_may_say_the_parts() -> None:
    def mine(problem, completion, verdict):
        return Scored(0.5, {"style": 0.25, "tone": 0.25}) if verdict.correct else Undecided("cannot tell")

    assert score(mine, "a", "b") == [Scored(0.5, {"style": 0.25, "tone": 0.25}), Undecided("cannot tell")]


def test_functions_may_be_async_where_a_loop_runs_already_too() -> None:
    async def both(prompts, completions):
        await asyncio.sleep(0)
        return [float(len(text)) for text in completions]

    async def one(problem, completion, verdict):
        return float(len(completion.text))

    async def raises(prompts, completions):
        raise KeyError("gone")

    async def notebook(function):
        return score(function, "a", "bb")

    for function in (both, one):
        assert [each.value for each in score(function, "a", "bb")] == [1.0, 2.0]
        assert [each.value for each in asyncio.run(notebook(function))] == [1.0, 2.0]
    assert all("raised KeyError: 'gone'" in each.detail for each in score(raises, "a", "bb"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], r"returned 1 values for 2 responses"),
        ([1.0, 2.0, 3.0], r"returned 3 values for 2 responses"),
        (0.5, r"returned float, not a list of numbers"),
        ("12", r"returned str, not a list"),
        (None, r"returned NoneType, not a list"),
        ({1: 2, 3: 4}, r"returned dict, not a list"),
        (np.array(1.0), r"returned ndarray, not a list of numbers"),
    ],
)
def test_a_result_of_the_wrong_shape_makes_all_undecided(value: object, message: str) -> None:
    def mine(prompts, completions):
        return value

    for each in score(mine, "a", "b"):
        assert isinstance(each, Undecided)
        assert each.applies
        assert message in each.detail
        assert f"{__file__}:" in each.detail, "file and line of the function"


@pytest.mark.parametrize(
    "odd",
    [
        math.nan,
        math.inf,
        -math.inf,
        "0.5",
        b"1",
        [1.0],
        object(),
        10**400,
        1j,
        1e300,
        Scored(math.nan),
        Scored(1.0, {"a": "b"}),
    ],
)
def test_a_value_that_is_not_a_finite_number_makes_its_response_undecided(odd: object) -> None:
    def mine(prompts, completions):
        return [odd, 1.0]

    first, second = score(mine, "a", "b")
    assert isinstance(first, Undecided)
    assert "not a finite number" in first.detail
    assert f"{__file__}:" in first.detail
    assert second == Scored(1.0, {"mine": 1.0})


@pytest.mark.parametrize("number", [True, 1, np.float32(1.0), np.int64(1)])
def test_numbers_of_any_kind_are_numbers(number: object) -> None:
    assert score(lambda prompts, completions: [number], "a")[0].value == 1.0


def test_a_function_that_raises_makes_all_undecided_and_says_where() -> None:
    def mine(prompts, completions):
        raise KeyError("no such thing")

    line = mine.__code__.co_firstlineno + 1
    for each in score(mine, "a", "b"):
        assert each.detail.endswith(f"raised KeyError: 'no such thing' ({__file__}:{line})")


def test_a_function_that_cannot_be_called_is_named_with_its_place() -> None:
    def mine(prompts, completions, ground_truth):
        return [1.0]

    (each,) = score(mine, "a")
    assert f"reward mine ({__file__}:{mine.__code__.co_firstlineno}) raised TypeError: " in each.detail


def test_none_means_that_the_reward_does_not_apply() -> None:
    def mine(prompts, completions):
        return [None, 1.0]

    first, second = score(mine, "a", "b")
    assert isinstance(first, Undecided)
    assert not first.applies
    assert second == Scored(1.0, {"mine": 1.0})


def test_a_mixture_goes_on_without_what_does_not_apply_and_not_without_what_failed() -> None:
    def sometimes(prompts, completions):
        return [None, 1.0, math.nan][: len(completions)]

    name = remember(sometimes)
    mixture = make_reward("mixture", {"rewards": [{"name": "correctness"}, {"name": name, "weight": 0.5}]})
    without, both, failed = mixture.score(SUMS, [response("a"), response("b"), response("c")], [RIGHT, WRONG, RIGHT])
    assert without == Scored(1.0, {"correctness": 1.0})
    assert both == Scored(0.5, {"correctness": 0.0, "sometimes": 1.0})
    assert isinstance(failed, Undecided)
    assert failed.applies
    only = make_reward("mixture", {"rewards": [{"name": name}]}).score(SUMS, [response("a")], [RIGHT])
    assert isinstance(only[0], Undecided)


def test_two_parts_of_one_name_are_an_error(tmp_path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "r.py").write_text("def short(prompts, completions):\n    return [0.0]\n")
    rewards = [{"name": f"{tmp_path}/{directory}/r.py:short"} for directory in ("a", "b")]
    with pytest.raises(ConfigError, match="two rewards of the mixture are called 'short'"):
        make_reward("mixture", {"rewards": rewards})


def test_classes_without_a_name_are_told_apart(tmp_path) -> None:
    head = "from simplerl.rewards import Reward\n"
    bodies = (
        f"class {name}(Reward):\n    def __call__(self, *_):\n        return {v}\n" for name, v in (("A", 1), ("B", 2))
    )
    (tmp_path / "r.py").write_text(head + "".join(bodies))
    mixture = make_reward("mixture", {"rewards": [{"name": f"{tmp_path}/r.py:{name}"} for name in "AB"]})
    assert mixture.score(SUMS, [response("a")], [RIGHT]) == [Scored(3.0, {"A": 1.0, "B": 2.0})]


@pytest.mark.parametrize("function", [lambda: 1, lambda a: 1, lambda prompts, answers: [1.0], 3])
def test_a_function_of_another_signature_is_refused(function: object) -> None:
    with pytest.raises(ConfigError, match="a reward is a function"):
        FunctionReward(source="mine", function=function)  # type: ignore[arg-type]


def test_a_function_has_no_parameters(tmp_path) -> None:
    (tmp_path / "r.py").write_text("def short(prompts, completions):\n    return [0.0]\n")
    with pytest.raises(ConfigError, match="is a function and has no parameters; leave out limit"):
        make_reward(f"{tmp_path}/r.py:short", {"limit": 3})
