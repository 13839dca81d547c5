"""Reasoning Gym: addressed problems, its own scores, hostile answers, and what cannot be meant."""

import importlib.util
import signal
import sys

import pytest

from simplerl import data
from simplerl.core.errors import ConfigError
from simplerl.core.types import Problem
from simplerl.environments import gym
from simplerl.environments.gym import ReasoningGym

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("reasoning_gym"), reason="needs the extra `gym`")


def problems(task: str, split: str = "train", **options) -> list[Problem]:
    return data.read(f"reasoning-gym:{task}", split, **options).problems


def judged(problem: Problem, answer: str):
    verdict = ReasoningGym().judge(problem, None, f"\\boxed{{{answer}}}")
    assert verdict is not None
    return verdict


def test_problems_are_addressed_whatever_process_makes_them() -> None:
    """`knight_swap` and `isomorphic_strings` depend on the hash seed, `codeio` on random numbers that all share."""
    tasks = ("chain_sum", "isomorphic_strings", "codeio")
    first = {task: problems(task, size=4) for task in tasks}
    gym._LIBRARY.end()
    assert {task: problems(task, size=4) for task in tasks} == first
    assert problems("chain_sum", size=4, seed=1) != first["chain_sum"]
    assert all(judged(each[0], each[0].answer).score == 1 for each in first.values())


def test_splits_are_disjoint_by_question() -> None:
    name = "reasoning-gym:chain_sum,max_terms=2,max_digits=1"
    train, test = (data.read(name, split, size=150) for split in ("train", "test"))
    asked = [{problem.question for problem in each.problems} for each in (train, test)]
    assert not asked[0] & asked[1]
    assert len(asked[0]) + len(asked[1]) <= 200, "10 × 10 sums and as many differences"
    assert any("no more different questions" in note for note in test.notes), "few questions are said"
    assert {problem.source for problem in train.problems} == {"chain_sum"}


def test_levels_take_turns() -> None:
    drawn = problems("chain_sum", size=6, levels=(0, 3))
    assert [problem.level for problem in drawn] == ["0", "3"] * 3
    digits = [max(map(len, filter(str.isdigit, problem.question.split()))) for problem in drawn]
    assert max(digits[::2]) < max(digits[1::2])


def test_scores_are_partial() -> None:
    (problem,) = problems("n_queens", size=1)
    rows = [row.split() for row in problem.answer.split("\n")]
    assert judged(problem, problem.answer).correct
    half = judged(problem, str(rows))
    assert (half.status, half.score) == ("wrong", 0.5), "a list of lists is half a mark there"
    assert judged(problem, "Q").score == 0
    none = ReasoningGym().judge(problem, None, "no box")
    assert none is not None
    assert (none.status, none.score) == ("no_answer", None)
    assert ReasoningGym().judge(Problem(id="a", question="Q", answer="1", source="s"), None, "1") is None


HOSTILE = (
    "__import__('os').system('touch {marker}')",
    "open('{marker}', 'w')",
    "[open('{marker}', 'w')]",
    "exit()",
    "[__import__('os')._exit(0)]",
    "().__class__.__bases__[0].__subclasses__()",
    "9**9**9**9",
    "Integral(x, x)",
    "(" * 300,
)


@pytest.mark.parametrize("task", ["n_queens", "string_insertion", "countdown", "simple_integration"])
def test_hostile_answers_are_not_evaluated(task: str, tmp_path) -> None:
    (problem,) = problems(task, size=1)
    before = gym._LIBRARY.process
    for answer in HOSTILE:
        verdict = judged(problem, answer.format(marker=tmp_path / "marker"))
        assert verdict.status == "wrong", answer
        assert verdict.score < 0.1
    assert list(tmp_path.iterdir()) == []
    assert gym._LIBRARY.process is before, "nothing of it has ended the process"
    assert judged(problem, problem.answer).correct


def test_what_goes_wrong_is_never_a_score(monkeypatch) -> None:
    """A scorer that raises, one that is too slow, and a library that makes another problem."""
    (problem,) = problems("chain_sum", size=1)
    address = problem.meta["gym"]
    lost = Problem(id="x", question="?", answer="", source="s", meta={"gym": address})
    assert judged(lost, "1").status == "error"
    assert "another problem" in judged(lost, "1").detail
    unknown = Problem(id="x", question="?", answer="", source="s", meta={"gym": {**address, "task": "nothing"}})
    assert "KeyError" in judged(unknown, "1").detail
    monkeypatch.setattr(gym, "SCORE_S", 0.2)
    gym._LIBRARY.process.send_signal(signal.SIGSTOP)
    slow = judged(problem, problem.answer)
    assert (slow.status, slow.score) == ("timeout", None)
    monkeypatch.undo()
    gym._LIBRARY.ask(60.0, do="check", task="chain_sum", options={}, levels=[])
    monkeypatch.setattr(gym._LIBRARY.process, "poll", lambda: None)
    gym._LIBRARY.process.kill()
    assert judged(problem, problem.answer).status == "error", "it died"
    assert judged(problem, problem.answer).correct, "a new process goes on"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reasoning-gym", "unknown task ''"),
        ("reasoning-gym:chainsum", "unknown task 'chainsum'; did you mean 'chain_sum'"),
        ("reasoning-gym:composite", "unknown task 'composite'"),
        ("reasoning-gym:chain_sum,max_term=3", "no option 'max_term'; did you mean 'max_terms'"),
        ("reasoning-gym:chain_sum,max_terms=1", "does not take .*max_terms must be >= min_terms"),
        ("reasoning-gym:chain_sum,max_terms=two", "does not take"),
        ("reasoning-gym:chain_sum,levels=-1", "does not take -1"),
    ],
)
def test_bad_input(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data.read(name, size=2)
    with pytest.raises(ConfigError, match="splits train and test"):
        data.read("reasoning-gym:chain_sum", "dev")


def test_without_the_library(monkeypatch) -> None:
    gym._LIBRARY.end()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'simplerl\[gym\]'"):
        problems("chain_sum")


def test_the_library_is_not_in_this_process() -> None:
    assert "reasoning_gym" not in sys.modules
