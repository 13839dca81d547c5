"""A function as a reward: both signatures, columns, None, and whatever it may return or raise."""

import math

import numpy as np
import pytest

from simplerl.core.errors import ConfigError
from simplerl.core.registry import remember
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict
from simplerl.rewards import make_reward
from simplerl.rewards.function import FunctionReward

PROBLEM = Problem(id="7", question="2+3?", answer="5", source="test", level="1", meta={"topic": "sums"})
RIGHT = Verdict(status="correct", extracted="5", rule="test", detail="")
WRONG = Verdict(status="wrong", extracted="6", rule="test", detail="")


def completion(text: str) -> Completion:
    return Completion(
        token_ids=np.arange(len(text), dtype=np.int32),
        logprobs=np.zeros(len(text), np.float32),
        text=text,
        stop_reason="eos",
        versions=(),
    )


def score(function, *texts: str):
    reward = FunctionReward(source="mine", function=function)
    return reward.score(PROBLEM, [completion(text) for text in texts], [RIGHT, WRONG, WRONG][: len(texts)])


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


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], r"returned 1 values for 2 responses"),
        ([1.0, 2.0, 3.0], r"returned 3 values for 2 responses"),
        (0.5, r"returned float, not a list of numbers"),
        ("12", r"returned str, not a list"),
        (None, r"returned NoneType, not a list"),
        ({1: 2, 3: 4}, r"returned dict, not a list"),
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


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, "0.5", b"1", [1.0], object(), 10**400, 1j])
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
        assert each == Undecided(f"reward mine raised KeyError: 'no such thing' ({__file__}:{line})")


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
    without, both, failed = mixture.score(
        PROBLEM, [completion("a"), completion("b"), completion("c")], [RIGHT, WRONG, RIGHT]
    )
    assert without == Scored(1.0, {"correctness": 1.0})
    assert both == Scored(0.5, {"correctness": 0.0, "sometimes": 1.0})
    assert isinstance(failed, Undecided)
    assert failed.applies
    only = make_reward("mixture", {"rewards": [{"name": name}]}).score(PROBLEM, [completion("a")], [RIGHT])
    assert isinstance(only[0], Undecided)


def test_two_parts_of_one_name_are_an_error(tmp_path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "r.py").write_text("def short(prompts, completions):\n    return [0.0]\n")
    rewards = [{"name": f"{tmp_path}/{directory}/r.py:short"} for directory in ("a", "b")]
    with pytest.raises(ConfigError, match="two rewards of the mixture are called 'short'"):
        make_reward("mixture", {"rewards": rewards})


@pytest.mark.parametrize("function", [lambda: 1, lambda a: 1, lambda prompts, answers: [1.0], 3])
def test_a_function_of_another_signature_is_refused(function: object) -> None:
    with pytest.raises(ConfigError, match="a reward is a function"):
        FunctionReward(source="mine", function=function)  # type: ignore[arg-type]


def test_a_function_has_no_parameters(tmp_path) -> None:
    (tmp_path / "r.py").write_text("def short(prompts, completions):\n    return [0.0]\n")
    with pytest.raises(ConfigError, match="is a function and has no parameters; leave out limit"):
        make_reward(f"{tmp_path}/r.py:short", {"limit": 3})
