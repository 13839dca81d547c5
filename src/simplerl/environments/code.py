"""Problems with unit tests: the policy writes a program, the tests decide. See docs/environments.md, "Running code".

The program is the last fenced block of the response, or all of it. Programs that read and write run once for each test
and what they print is compared here; functions are called from another sandbox, in which the tests run (`inside.py`).
What a test expects is never where the program is.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from simplerl.core.errors import ConfigError
from simplerl.core.types import Call, Problem, Turn, Verdict
from simplerl.environments.base import Environment
from simplerl.environments.sandbox import Limits, Result, converse, require, run

#: Programs whose outcome is kept.
CACHED = 4096
#: A program may take so many times the seconds of one test for all tests.
PATIENCE = 6
_BLOCK = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)
_INSIDE = Path(__file__).with_name("inside.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """What the tests say of a program."""

    passed: int
    total: int
    first: str = ""  # The first test that fails, and how
    lost: bool = False  # The sandbox failed: this says nothing of the program

    @property
    def good(self) -> bool:
        """Whether every test passes, and there is one."""
        return self.passed == self.total > 0


def program_in(text: str) -> str:
    """Return the program of a response: its last fenced block, or the complete text."""
    blocks = _BLOCK.findall(text)
    return str(blocks[-1][1] if blocks else text)


def same_output(output: str, expected: str) -> bool:
    """Return whether outputs are the same but for white space at the ends of lines, and the last digits of reals."""
    ours, theirs = ([line.rstrip() for line in text.strip().splitlines()] for text in (output, expected))
    if ours == theirs:
        return True
    words, wanted = output.split(), expected.split()
    return len(words) == len(wanted) and all(map(_same_word, words, wanted))


def _same_word(word: str, wanted: str) -> bool:
    if word == wanted or "." not in wanted:
        return word == wanted
    try:
        return math.isclose(float(word), float(wanted), rel_tol=1e-6, abs_tol=1e-9)
    except ValueError:
        return False


def completed(prompt: str, program: str) -> str:
    """Return a program with the prompt that it completes; of one that writes the function anew, what stands before."""
    head = max(_FUNCTION.finditer(prompt), key=lambda match: match.start(), default=None)
    if head and any(match[1] == head[1] for match in _FUNCTION.finditer(program)):
        prompt = prompt[: head.start()]
    return f"{prompt}\n{program}" if prompt else program


def try_program(program: str, tests: Mapping[str, Any], limits: Limits, *, only_all: bool = True) -> Tested:
    """Run a program's tests, where `only_all` up to the first that fails. Raises SandboxError without a sandbox."""
    program = completed(tests.get("prefix", ""), program)
    return _outputs(program, tests, limits, only_all) if "inputs" in tests else _calls(program, tests, limits, only_all)


def failing(tests: Mapping[str, Any], program: str) -> str:
    """Return how tests fail on a program that should pass them; empty where they pass. Raises SandboxError."""
    tested = try_program(program, tests, Code().limits)
    return "" if tested.good else " ".join(f"{tested.passed} of {tested.total} pass: {tested.first}".split())


def _outputs(program: str, tests: Mapping[str, Any], limits: Limits, only_all: bool) -> Tested:
    total, passed, first, left = len(tests["inputs"]), 0, "", PATIENCE * limits.seconds
    for given, expected in zip(tests["inputs"], tests["outputs"], strict=True):
        result = run(program, stdin=given, limits=limits)
        left -= result.seconds
        if result.status == "lost":
            return Tested(passed=passed, total=total, first=result.stderr[-200:], lost=True)
        good = result.status == "ok" and same_output(result.stdout, expected)
        passed += good
        if not good and not first:
            shown = [f"{name}:\n{_cut(text)}" for name, text in (("Input", given), ("Expected", expected))]
            first = "\n".join([*shown, f"Output:\n{_cut(result.stdout)}", *_how(result, limits)])
        if (only_all and not good) or left <= 0:
            break
    return Tested(passed=passed, total=total, first=first or ("" if passed == total else "out of time"))


def _calls(program: str, tests: Mapping[str, Any], limits: Limits, only_all: bool) -> Tested:
    inside = _INSIDE.read_text(encoding="utf-8")
    driver = {"program.py": f"{inside}\ntest({only_all})\n", "setup.py": tests["setup"], "tests.py": tests["code"]}
    result = converse(driver, {"program.py": f"{inside}\nserve()\n", "solution.py": program}, limits=limits)
    if result.status == "lost":
        return Tested(passed=0, total=1, first=result.stderr[-200:], lost=True)
    try:
        report = json.loads(result.stdout)
    except ValueError:  # The tests did not come to their end.
        return Tested(passed=0, total=1, first="\n".join(_how(result, limits) or ["the tests ended early"]))
    total = max(report["wanted"], report["passed"] + report["failed"])
    return Tested(passed=report["passed"], total=total, first=_cut(report["first"], 1500))


def _how(result: Result, limits: Limits) -> list[str]:
    """Return lines on how a program ended, where that is worth a word."""
    said = {"timeout": f"Stopped after {limits.seconds:g} s.", "output": f"Wrote more than {limits.output_kb} KB."}
    if result.status in said:
        return [said[result.status]]
    return [f"Error:\n{_cut(result.stderr.strip()[-500:], 500)}"] if result.status == "failed" else []


def _cut(text: str, most: int = 300) -> str:
    """Return the beginning of a text without control characters: what a program prints is hostile."""
    plain = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text[:most].rstrip())
    return plain if len(text) <= most else f"{plain} …"


@dataclass(frozen=True, kw_only=True)
class Code(Environment):
    """Programs, judged by unit tests in a sandbox; with `max_turns` above 1 the first failing test is shown."""

    max_turns: PositiveInt = 1
    """Programs that may be handed in. After each but the last the first failing test is the observation."""
    max_seconds: PositiveFloat = 600.0
    """Seconds for all tests of a response, waiting for a free core included; after that it is undecided."""
    observation_tokens: PositiveInt = 512
    """Tokens of a failing test that is shown; of a longer one the middle is left out."""
    score: Literal["all", "fraction"] = "all"
    """What counts: all tests, or the share of them that pass."""
    test_seconds: PositiveFloat = 5.0
    """Seconds by the clock for a test of what is printed (six times as many for all of them), or for all calls."""
    memory_mb: PositiveInt = 512
    """Address space of a program."""
    instruct: bool = True
    """Whether the question is followed by the form of the answer; never where it is a beginning to be completed."""

    @property
    def limits(self) -> Limits:
        """Limits of one test."""
        return Limits(seconds=self.test_seconds, memory_mb=self.memory_mb)

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        """Return the problem with the form of the answer after its question."""
        tests = _tests(problem)
        if not self.instruct or "prefix" in tests:
            return problem
        how = " that reads standard input and writes standard output" if "inputs" in tests else ""
        return replace(problem, question=f"{problem.question}\n\nWrite a Python program{how}, in one fenced block.")

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return the turns so far. Raises SandboxError where nothing can be run, ConfigError for no tests."""
        require()
        _tests(problem)
        return list[str]()

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """End after a program that passes, or with the last; else show the first failing test."""
        if self.max_turns == 1:
            return Turn()
        state.append(text)
        tested = self._try(problem, program_in(text))
        call = Call(tool="tests", arguments=program_in(text), result=tested.first or f"{tested.passed} pass")
        done = tested.good or tested.lost
        shown = "" if done else f"\n\nThis test fails.\n{tested.first}\n\n"
        return Turn(observation=shown, done=done, calls=(call,))

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict:
        turns = state or [text]  # The last program counts; one that was cut at a limit has not been seen by `step`.
        program = program_in(text.removeprefix("\n".join(turns)) or turns[-1])
        if not program.strip():
            return Verdict(status="no_answer", extracted=None, rule="tests", detail="there is no program")
        tested = self._try(problem, program)
        share = f"{tested.passed} of {tested.total} tests pass"
        if tested.lost:
            detail = f"the sandbox failed: {' '.join(tested.first.split())[:200]}"
            return Verdict(status="error", extracted=program, rule="tests", detail=detail)
        return Verdict(
            status="correct" if tested.good else "wrong",
            extracted=program,
            rule="tests",
            detail=share if tested.good else f"{share}; {' '.join(tested.first.split())[:200]}",
            score=tested.passed / max(tested.total, 1) if self.score == "fraction" else None,
        )

    def _try(self, problem: Problem, program: str) -> Tested:
        key = (program, problem.answer, self.score, self.limits)
        tested = _CACHE.get(key)
        if tested is None:
            tested = try_program(program, _tests(problem), self.limits, only_all=self.score == "all")
            if len(_CACHE) >= CACHED:
                _CACHE.clear()
            if not tested.lost:
                _CACHE[key] = tested
        return tested


#: (program, tests, settings) → what came of it.
_CACHE: dict[Any, Tested] = {}


def _tests(problem: Problem) -> Mapping[str, Any]:
    if "tests" not in problem.meta:
        raise ConfigError(
            f"{problem.meta.get('place', problem.id)} has no unit tests; the environment code takes the fields of "
            "APPS, TACO, PRIME, LiveCodeBench, HumanEval and MBPP, or `tests` (docs/environments.md)"
        )
    tests: Mapping[str, Any] = problem.meta["tests"]
    return tests
