"""The environment of programs: which are right, and that no attack is paid."""

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Silent

from simplerl.config.resolve import resolve
from simplerl.core.errors import ConfigError
from simplerl.core.types import Problem
from simplerl.data.making import as_row
from simplerl.data.problems import problem_set
from simplerl.data.rows import Row
from simplerl.environments import code, sandbox
from simplerl.environments.code import Code, program_in, same_output, try_program
from simplerl.environments.sandbox import Limits, Result, SandboxError
from simplerl.rewards import make_reward
from simplerl.runs.run import Run
from simplerl.selftraining.star import star

try:
    sandbox.require()
except SandboxError as error:
    pytest.skip(str(error), allow_module_level=True)


def problem_of(**fields: Any) -> Problem:
    return problem_set([Row(fields, "x.jsonl:1")], source="x").problems[0]


PROMPT = 'def total(numbers):\n    """Return the sum."""\n'
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": PROMPT,
    "entry_point": "total",
    "canonical_solution": "    return sum(numbers)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    for n in range(3):\n"
    "        assert candidate([n]) == n, 'one'\n    assert candidate([]) == total([])\n",
}
MBPP = {
    "task_id": 2,
    "text": "Write a function to find the shared elements of two lists.",
    "code": "def shared(a, b):\n    return tuple({*a} & {*b})",
    "test_list": ["assert set(shared((3, 4), (4, 5))) == {4}", "assert math.isclose(shared([1], [1])[0], 1.0)"],
    "test_setup_code": "",
}
ADDED = {"inputs": ["1 2\n", "3 4\n", "5 5\n"], "outputs": ["3\n", "7", "10\n"]}
ADD = "a, b = map(int, input().split())\nprint(a + b)"
METHOD = "class Solution:\n    def add(self, a, b):\n        return (a + b, b)[0]"
CALLED = {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], 7]}
FUNCTIONAL = [{"input": '"a\u2028b"\n[2]', "output": '["a\u2028b", 2]', "testtype": "functional"}]
SQUEEZED = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(FUNCTIONAL * 2)))).decode()

ROWS: dict[str, tuple[dict[str, Any], str, int]] = {
    "HumanEval": (HUMANEVAL, "    return sum(numbers)", 5),
    "HumanEval, without a prompt": (
        {**HUMANEVAL, "question": "Sum.", "prompt": ""},
        "def total(n):\n    return sum(n)",
        5,
    ),
    "HumanEval, complete function": (HUMANEVAL, "def total(n):\n    return sum(n)", 5),
    "MBPP": (MBPP, MBPP["code"], 2),
    "APPS": ({"question": "Add.", "input_output": json.dumps(ADDED), "solutions": json.dumps([ADD])}, ADD, 3),
    "APPS, a method": (
        {"question": "Add.", "input_output": json.dumps(CALLED), "starter_code": METHOD[:15]},
        METHOD,
        2,
    ),
    "TACO, a list of lines": ({"question": "Add.", "input_output": {"inputs": [["1 2"]], "outputs": [["3"]]}}, ADD, 1),
    "PRIME": (
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Add."}],
            "reward_model": {"ground_truth": json.dumps(ADDED), "style": "rule"},
        },
        ADD,
        3,
    ),
    "LiveCodeBench": (
        {
            "question_content": "Add.",
            "public_test_cases": json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}]),
        },
        ADD,
        1,
    ),
    "LiveCodeBench, functional": (
        {
            "question_content": "Put one before the others.",
            "starter_code": "class Solution:\n    def put(self, a, b):\n",
            "public_test_cases": json.dumps(FUNCTIONAL),
            "private_test_cases": SQUEEZED,
            "metadata": json.dumps({"func_name": "put"}),
        },
        "class Solution:\n    def put(self, a, b):\n        return (a, *b)",
        3,
    ),
    "our own": ({"question": "Add.", "tests": [{"input": "1 2", "output": "3"}]}, ADD, 1),
    "our own assertions, in which a name means two things": (
        {
            "question": "Add 1.",
            "setup": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Pair:\n    three: int = 3\n",
            "tests": [
                "def twice(add, n):\n    return add(add(n))",
                "assert twice(lambda n: n + 1, 1) == add(add(1))",
                "assert math.sqrt(add(Pair().three)) == 2",
            ],
        },
        "def add(n): return n + 1",
        2,
    ),
    "our own assertions": ({"question": "Add.", "tests": ["assert add(1, 2) == 3"]}, "def add(a, b): return a + b", 1),
}


@pytest.mark.parametrize("name", ROWS)
def test_fields_are_read_and_programs_are_judged(name: str):
    fields, program, number = ROWS[name]
    problem = problem_of(**fields)
    good = try_program(program, problem.meta["tests"], Limits())
    assert (good.passed, good.total, good.first) == (number, number, "")
    bad = try_program(
        program.replace("return", "return None, ").replace("print(", "print(1, "), problem.meta["tests"], Limits()
    )
    assert not bad.good
    assert bad.first


def test_what_is_asked_has_the_name_of_the_function_and_not_all_tests():
    assert problem_of(**MBPP).question == f"{MBPP['text']}\nYour code should pass this test:\n{MBPP['test_list'][0]}"
    assert "Start from this code:\nclass Solution:" in problem_of(**ROWS["LiveCodeBench, functional"][0]).question
    assert problem_of(**HUMANEVAL).question == PROMPT


def test_written_data_keeps_its_tests(tmp_path: Path):
    for fields, program, number in ROWS.values():
        row = json.loads(json.dumps(as_row(problem_of(**fields))))
        assert problem_of(**row).answer == row["answer"], "which tests they are"
        again = try_program(program, problem_of(**row).meta["tests"], Limits())
        assert (again.passed, again.total) == (number, number)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_output": "{"}, "'input_output' holds no tests: it is not valid JSON"),
        ({"input_output": {"inputs": ["1"], "outputs": []}}, "as many 'inputs' as 'outputs'"),
        ({"input_output": {"inputs": [1], "outputs": [2], "fn_name": "a b"}}, "the function's name must be a name"),
        ({"tests": [{"input": "1"}]}, "'input' and 'output' of a test must be texts"),
        ({"query": "half \ud800", "question": "", "tests": ["assert f(1)"]}, "holds half of a character"),
        ({"tests": [1]}, "must be a list of objects"),
        ({"tests": 5}, "must be a list of objects"),
        ({"tests": "[]"}, "must be a list of objects"),
        ({"tests": []}, "no final answer"),
        ({"test_list": []}, "no final answer"),
        ({"test_list": "assert"}, "'test_list' must be a list of texts"),
        ({"public_test_cases": "[]", "private_test_cases": "AAAA"}, "'private_test_cases' cannot be unpacked"),
        ({"public_test_cases": "[]", "metadata": '{"func_name": "f"}'}, "must be a list of objects"),
    ],
)
def test_tests_that_cannot_be_read_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Exception, match=message) as caught:
        problem_of(**{"question": "Add.", **fields})
    assert "x.jsonl:1" in str(caught.value)


class _Call:
    def __reduce__(self) -> Any:
        return print, ("called",)


def test_a_pickle_in_a_data_file_calls_nothing(capsys: pytest.CaptureFixture[str]):
    private = base64.b64encode(zlib.compress(pickle.dumps(_Call()))).decode()
    with pytest.raises(Exception, match="private_test_cases"):
        problem_of(question="Add.", public_test_cases="[]", private_test_cases=private)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```\nthen\n```\nb\n```\nend", "b\n"),
        ("```py\na\n", "a\n"),
        ("print(1)", "print(1)"),
        ("~~~\n```\n~~~", "```\n"),
        ("", ""),
    ],
)
def test_the_program_is_the_last_block_or_everything(text: str, program: str):
    assert program_in(text) == program


def test_outputs_are_compared_leniently_where_judges_do():
    assert same_output("1 2 \n3\n\n", "1 2\n3")
    assert same_output("0.333333333", "0.3333333331")
    assert not same_output("1.0", "1")
    assert not same_output("1\n2 3 4", "1\n2 3")
    assert not same_output("yes", "YES")
    assert not same_output("nan", "0.5")


# --- attacks --------------------------------------------------------------------------------------------------------

#: Nobody can guess these.
NUMBERS = {3: 918273645, 4: [5501, "x"], 5: 0.123456}
SECRET = problem_of(question="Return the number.", tests=[f"assert secret({k}) == {v!r}" for k, v in NUMBERS.items()])
PRINTED = problem_of(question="Print it.", tests=[{"input": f"{k}\n", "output": f"{v}\n"} for k, v in NUMBERS.items()])
REPORT = json.dumps({"passed": 3, "failed": 0, "wanted": 3, "first": ""})
CHANNEL = f"""
import os
def tell(line):
    for number in range(64):
        try: os.write(number, line.encode() + b"\\n")
        except OSError: pass
tell({REPORT!r})
"""

EQUAL = "class A({}):\n    def __eq__(self, other): return True\ndef secret(n): return A({})"

CALLED_ATTACKS = {
    "exit before the tests": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef secret(n): os._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exit code at exit": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit",
    "equal to everything": "class A:\n    def __eq__(self, other): return True\ndef secret(n): return A()",
    "a number equal to everything": EQUAL.format("int", "1"),
    "a text equal to everything": EQUAL.format("str", "'x'"),
    "a list equal to everything": EQUAL.format("list", "[1]"),
    "builtins patched": "import builtins\nbuiltins.bool = builtins.isinstance = lambda *a: True\n"
    "def secret(n): return n",
    "unittest patched": "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef secret(n): return n",
    "asserts removed": "import ast\nast.Assert = ast.Pass\ndef secret(n): return n",
    "a report on every channel": CHANNEL + "def secret(n): return 0",
    "a report, then the end": CHANNEL + "os._exit(0)",
    "a report instead of an answer": CHANNEL + f"def secret(n):\n    tell({REPORT!r})\n    os._exit(0)",
    "the marker printed": "print('OK\\nall tests passed\\n3 passed')\ndef secret(n):\n    print('passed')",
    "the server replaced": "import __main__, json\n__main__.serve = print\njson.dumps = lambda x: '{\"value\": true}'\n"
    "def secret(n): return 0",
    "answers in advance": CHANNEL + "for _ in range(9): tell('{\"value\": true}')\ndef secret(n): return 0",
    "a broken answer": CHANNEL + "tell('{')\ndef secret(n): return 0",
    "a nested answer": CHANNEL + "tell('{\"value\": ' + '[' * 100000)\ndef secret(n): return 0",
    "an answer of another type": CHANNEL + 'tell(\'{"value": {"os.system": "x"}}\')\ndef secret(n): return 0',
    "an answer that is a lot of work": CHANNEL
    + 'tell(\'{"value": {"Fraction": "1e99999999"}}\')\n'
    'def secret(n): return 0',
    "a long answer": "def secret(n): return 'x' * (50 << 20)",
    "an endless answer": "import itertools\ndef secret(n): return itertools.count()",
    "an error that ends the tests": "def secret(n): raise SystemExit(0)",
    "an error of the program's own": "class KeyboardInterrupt(Exception): pass\ndef secret(n): raise KeyboardInterrupt",
    "an error that asserts catch": "def secret(n): raise AssertionError",
    "the end of an iteration": "def secret(n): raise StopIteration",
    "not a number": "def secret(n): return float('nan')",
    "nothing defined": "pass",
    "no Python": "Certainly! Here is the code:",
    "the tests read": "def secret(n): return eval(open('/tests.py').read().split('==')[1])",
    "the tests found": """
import glob, re
def secret(n):
    for path in glob.glob("/tmp/*") + glob.glob("/*.py"):
        if match := re.search(rf"secret\\({n}\\) == (.*)", open(path).read()): return eval(match[1])""",
    "the callers read": """
import sys, gc
def secret(n):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if "918273645" in repr(value): return value
        frame = frame.f_back
    return next((o for o in gc.get_objects() if isinstance(o, list) and 918273645 in o), 0)""",
    "the tests changed": "open('/tmp/running.py', 'w').write('')\ndef secret(n): return 0",
    "the processes killed": "import os\ndef secret(n):\n    os.kill(-1, 9)\n    os.kill(os.getppid(), 9)",
    "a killed interpreter": "import os\ndef secret(n): os.kill(os.getpid(), 9)",
    "channels closed": "import os\nos.closerange(0, 64)\ndef secret(n): return 0",
    "a loop": "def secret(n):\n    while True: pass",
    "a loop at import": "while True: pass",
    "a flood": "import threading, os\ndef flood():\n    while True: os.write(4, b'{\"value\": true}\\n')\n"
    "threading.Thread(target=flood).start()",
}  # fmt: skip

PRINTED_ATTACKS = {
    "exit": "import os\nos._exit(0)",
    "the marker": "print('OK', 'passed', 'All tests passed', sep='\\n')",
    "everything": "print(*range(100000))",
    "a report": f"print({REPORT!r})",
    "the tests searched": "import os\nfor path, _, names in os.walk('/tmp'): print(path, names)\n"
    "print(open('/tests.py').read())",
    "output closed": "import os\nos.close(1)",
    "the right output, then an error": "print({3: 918273645, 4: [5501, 'x'], 5: 0.123456}[int(input())])\n"
    "raise SystemExit(1)",
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED_ATTACKS)
def test_no_attack_on_called_functions_is_paid(name: str):
    program = CALLED_ATTACKS[name]
    verdict = Code(test_seconds=1, score="fraction").judge(SECRET, None, f"```python\n{program}\n```")
    assert verdict.status == "wrong", verdict
    assert verdict.score == 0.0, verdict
    assert not any(str(number) in verdict.detail for number in ("{'passed'", "5501") if number not in program)


@pytest.mark.parametrize("name", PRINTED_ATTACKS)
def test_no_attack_on_printed_output_is_paid(name: str):
    verdict = Code(test_seconds=2, score="fraction").judge(PRINTED, None, PRINTED_ATTACKS[name])
    assert (verdict.status, verdict.score) == ("wrong", 0.0), verdict


LOOSE = {
    "the end of an iteration": (
        ["assert all(map(f, [1, 2]))", "assert not list(filter(f, [3]))"],
        "def f(n): raise StopIteration",
    ),
    "an end outside an assertion": (
        ["for n in range(9): assert f(n) == n", "last = f(9)", "assert last == 9"],
        "import os\ndef f(n): return n if n < 9 else os._exit(0)",
    ),
    "an error outside an assertion": (
        ["for n in range(9): assert f(n) == n", "last = f(9)", "assert last == 9"],
        "def f(n): return n if n < 9 else n / 0",
    ),
    "an end that a test catches": (
        ["try:\n    f(1)\nexcept:\n    pass", "assert f(2) == 2"],
        "import os\ndef f(n): os._exit(0)",
    ),
    "a name that is not bound": (
        ["try:\n    good = f(1) == 1\nexcept Exception:\n    pass", "assert good"],
        "def f(n): raise ValueError\ndef good(): pass",
    ),
    "a name that a class does not bind": (
        ["class A:\n    try:\n        good = f(1) == 1\n    except Exception:\n        pass\n    assert good"],
        "def f(n): raise ValueError",
    ),
    "a name that a function does not bind": (
        [
            "def t():\n    global good\n    good = f(1) == 1",
            "try:\n    t()\nexcept Exception:\n    pass",
            "assert good",
        ],
        "def f(n): raise ValueError",
    ),
    "a name of the tests": (["assert sorted(f(3)) == [1, 2, 3]"], "def sorted(x): return [1, 2, 3]\nf = sorted = int"),
}


@pytest.mark.parametrize("name", LOOSE)
def test_tests_that_are_written_loosely_are_not_passed_by_leaving(name: str):
    tests, program = LOOSE[name]
    for score in ("all", "fraction"):
        verdict = Code(score=score).judge(problem_of(question="f", tests=tests), None, program)  # type: ignore[arg-type]
        assert verdict.status == "wrong", (score, verdict)


def test_the_right_programs_are_paid():
    assert Code().judge(SECRET, None, f"def secret(n): return {NUMBERS!r}[n]").correct
    assert Code().judge(PRINTED, None, f"print({NUMBERS!r}[int(input())])").correct


# --- the environment ------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)


def test_a_fraction_of_the_tests_is_a_score_that_correctness_pays():
    program = f"def secret(n): return {NUMBERS!r}[n] if n < 5 else 0"
    verdict = Code(score="fraction").judge(SECRET, None, program)
    assert (verdict.status, verdict.score) == ("wrong", 2 / 3)
    assert make_reward("correctness")(SECRET, None, verdict) == pytest.approx(2 / 3)  # type: ignore[arg-type]
    assert Code().judge(SECRET, None, program).score is None
    program = "n = int(input())\nprint(918273645 if n == 3 else 0)"
    assert Code(score="fraction").judge(PRINTED, None, program).score == 1 / 3


def test_the_first_failing_test_is_the_observation():
    environment = Code(max_turns=2)
    turn = environment.step(SECRET, [], "def secret(n): return 918273645", RNG)
    assert not turn.done
    assert "This test fails.\nassert secret(4) == [5501, 'x']\nsecret returned 918273645" in turn.observation
    assert turn.calls[0].tool == "tests"
    turn = environment.step(PRINTED, [], "print(1 / 0)", RNG)
    for part in ("Input:\n3\n", "Expected:\n918273645\n", "ZeroDivisionError"):
        assert part in turn.observation
    assert environment.step(SECRET, [], f"def secret(n): return {NUMBERS!r}[n]", RNG).done
    assert Code().step(SECRET, None, "pass", RNG).done


@pytest.mark.parametrize("first", ["def secret(n): return 1", "```\ndef secret(n): return 1\n```", "I cannot."])
def test_of_several_turns_the_last_is_judged(first: str):
    """Also where the programs are not fenced, as those that complete a prompt."""
    environment, right = Code(max_turns=2), f"def secret(n): return {NUMBERS!r}[n]"
    state = environment.start(SECRET, RNG)
    assert not environment.step(SECRET, state, first, RNG).done
    cut = list(state)  # The second turn may end at the limit of tokens, where `step` does not see it.
    assert environment.step(SECRET, state, right, RNG).done
    for seen in (state, cut):
        assert environment.judge(SECRET, seen, f"{first}\n{right}").correct
        assert not environment.judge(SECRET, seen, f"{first}\nThat was it.").correct


def test_what_a_program_prints_reaches_nobody_s_terminal():
    turn = Code(max_turns=2).step(PRINTED, [], "print('\\x1b]0;title\\x07', end='')", RNG)
    assert "title" in turn.observation
    assert "\x1b" not in turn.observation


def test_a_response_without_a_program_has_no_answer():
    assert Code().judge(SECRET, None, "```\n\n```").status == "no_answer"


def test_a_program_is_run_once_for_the_same_tests(monkeypatch: pytest.MonkeyPatch):
    Code().judge(SECRET, None, "def secret(n): return 'cached'")
    monkeypatch.setattr(code, "try_program", lambda *args, **kwargs: pytest.fail("run again"))
    assert Code().judge(SECRET, None, "def secret(n): return 'cached'").status == "wrong"


def test_a_sandbox_that_fails_is_never_reward_zero(monkeypatch: pytest.MonkeyPatch):
    lost = Result(status="lost", stdout="", stderr="no memory", returncode=None, seconds=0.1)
    monkeypatch.setattr(code, "converse", lambda *args, **kwargs: lost)
    monkeypatch.setattr(code, "run", lambda *args, **kwargs: lost)
    for problem in (SECRET, PRINTED):
        verdict = Code().judge(problem, None, "lost = 1")
        assert verdict.status == "error"
        assert not verdict.decided


def test_a_slow_program_does_not_take_its_seconds_for_every_test():
    tests = {"inputs": ["1"] * 50, "outputs": ["1"] * 50}
    tested = try_program("import time\ntime.sleep(9)", tests, Limits(seconds=0.2), only_all=False)
    assert (tested.passed, tested.total) == (0, 50)


def test_problems_without_tests_and_systems_without_a_sandbox_end_the_run(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"x\.jsonl:1 has no unit tests"):
        Code().start(problem_of(question="1+1?", answer="2"), RNG)

    def refuse() -> None:
        raise SandboxError("no sandbox here")

    monkeypatch.setattr(code, "require", refuse)
    with pytest.raises(SandboxError):
        Code().start(SECRET, RNG)


OWN = """
from dataclasses import dataclass
from simplerl.environments.code import Code

@dataclass(frozen=True, kw_only=True)
class Parity(Code):
    def judge(self, problem, state, text):
        return super().judge(problem, state, f"```\\nprint({len(text)} % 2)\\n```")
"""


def test_self_training_imitates_what_passes_the_tests(tmp_path: Path) -> None:
    """The recipe's way, with programs that a cub can write: right are responses of an odd length."""
    (tmp_path / "own.py").write_text(OWN)
    rows = [{"question": f"What is {n}+1?", "tests": [{"input": "", "output": "1"}]} for n in range(12)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {
        "data": str(tmp_path / "data.jsonl"),
        "environment": {"name": f"{tmp_path / 'own.py'}:Parity"},
        "steps": 1,
        "sampling": {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 24},
        "star": {"updates": 1, "batch_size": 2, "subset": 2, "s": 2, "temperatures": [1.0], "thresholds": [0.0]},
        "evaluation": {"size": 2, "samples": 1, "further_temperatures": []},
    }
    assert star(resolve("cub-b-star", table), tmp_path / "run", callbacks=[Silent()]).finished
    responses = Run(tmp_path / "run").responses(1).to_pylist()
    assert {row["rule"] for row in responses} == {"tests"}
    assert all((row["verdict"] == "correct") == (len(row["response"]) % 2 == 1) for row in responses)
    assert {row["verdict"] for row in responses} == {"correct", "wrong"}


def test_the_recipe_is_the_papers() -> None:
    config = resolve("b-star-code", {})
    assert isinstance(config.environment, Code)
    assert (config.sampling.prompts_per_step, config.sampling.samples_per_prompt, config.star.wanted) == (2627, 32, 6)
