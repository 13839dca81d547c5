"""Reasoning Gym: more than a hundred generated tasks, each with a scorer of its own that gives part of a mark.

    --data reasoning-gym:chain_sum,size=5000,max_terms=3

The library (extra `gym`) runs in a process of its own, for three reasons. Some tasks depend on Python's hash seed,
which is fixed there, so that a problem is a pure function of (task, options, seed, index). Some scorers evaluate the
answer as Python: there they get a reader of literals and of plain formulas in its place, and the process may not write,
connect or start anything. And what takes too long can be killed. A problem carries only its address; the scorer makes
it again.
"""

import ast
import atexit
import hashlib
import importlib.util
import itertools
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat

from simplerl.core.children import start_child
from simplerl.core.errors import ConfigError, DataError, nearest, raised_at
from simplerl.core.seeds import derive, split_of
from simplerl.core.types import Problem, Verdict, VerdictStatus
from simplerl.data.problems import ProblemSet, distinct, generated_size
from simplerl.environments.base import Environment
from simplerl.verify import extract, pool

INSTALL = "pip install 'simplerl[gym]' (or: pip install reasoning-gym==0.1.25)"
#: Share of all questions that are the test split's: decided by a hash of the question, as everywhere.
TEST_SHARE = 0.2
#: Problems that one seed of the library gives; the next ones come from another seed.
BLOCK = 500
#: Draws without a new question of the split after which a task has given all that it has.
PATIENCE = 1000
#: Seconds that the library may take for a few problems, and for a score.
DRAW_S, SCORE_S = 120.0, 10.0


class TooSlow(DataError):
    """The library took too long, and was stopped."""


class _Library:
    """The library in its process, which starts at the first request and anew after it was killed or has died."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = os.getpid()  # A process that is forked from this one starts one of its own.
        atexit.register(self.end)

    def ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        """Return the reply. Raises TooSlow after the seconds, DataError where the process dies."""
        what = f"reasoning-gym:{request['task']}"
        with self.lock:
            try:
                self._ensure_process()
                self.socket.settimeout(seconds)
                self.socket.sendall(json.dumps(request).encode() + b"\n")
                reply: dict[str, Any] = json.loads(self.replies.readline())
                return reply
            except BaseException as error:  # Also when interrupted: the reply to come is nobody's.
                self.end()
                if isinstance(error, TimeoutError):
                    raise TooSlow(f"{what} took more than {seconds:g} s and was stopped") from error
                if isinstance(error, OSError | ValueError):
                    raise DataError(f"the process of reasoning-gym died on {what}") from error
                raise

    def _ensure_process(self) -> None:
        if self.process is None or self.process.poll() is not None or self.owner != os.getpid():
            self.end()
            if importlib.util.find_spec("reasoning_gym") is None:
                raise ConfigError(f"data set 'reasoning-gym' needs the library: {INSTALL}")
            command = ("-c", "from simplerl.environments.gym import main; main()")
            self.owner = os.getpid()
            self.process, self.socket = start_child(command, {}, Path(os.devnull), {"PYTHONHASHSEED": "0"})
            self.replies = self.socket.makefile("rb")
            self.socket.settimeout(DRAW_S)
            self.replies.readline()

    def end(self) -> None:
        """Kill the process."""
        if self.process is not None and self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            self.replies.close()
            self.socket.close()
        self.process = None


_LIBRARY = _Library()


def load(
    split: str = "train",
    *,
    size: int = 0,
    seed: int = 0,
    levels: tuple[int, ...] = (),
    task: str = "",
    options: Mapping[str, Any] | None = None,
) -> ProblemSet:
    """Return `size` different problems of a task of Reasoning Gym (0: 2,000 train, 250 test).

    `options` are the task's own; `levels` are those of its curriculum, in turn: every attribute at that level, or at
    its highest. A task that has no more different questions gives fewer problems, and says so.
    """
    size, options = generated_size("reasoning-gym", split, size), dict(options or {})
    told = _LIBRARY.ask(DRAW_S, do="check", task=task, options=options, levels=list(levels))
    if "error" in told:
        raise ConfigError(f"data set 'reasoning-gym': {told['error']}")
    streams = {level: _draws(task, options, level, split, seed) for level in levels or (None,)}
    problems = distinct(streams.values(), size, PATIENCE)
    if not problems:
        raise DataError(f"reasoning-gym:{task} gives no question for the split {split!r} with these options")
    few = {f"the task {task} has no more different questions for this split": [each.id for each in problems]}
    return ProblemSet(
        problems=problems,
        decisions=few if len(problems) < size else {},
        origin={"generated": f"reasoning-gym:{task}", "version": told["version"], "options": options},
    )


def _draws(task: str, options: dict[str, Any], level: int | None, split: str, seed: int) -> Iterator[Problem | None]:
    """Yield problems without end, None for one of the other split: block by block, each with a seed of its own."""
    what = hashlib.blake2b(json.dumps([options, level], sort_keys=True).encode(), digest_size=3).hexdigest()
    for block in itertools.count():
        # The library adds the index to its seed: seeds must lie far apart, and below 2^32.
        own = derive(seed, "reasoning-gym", task, split, block) % 2**31
        index = 0
        while index < BLOCK:
            address = {"task": task, "options": options, "level": level, "seed": own}
            reply = _LIBRARY.ask(DRAW_S, do="draw", **address, index=index)
            if "error" in reply:
                raise DataError(f"reasoning-gym:{task} cannot make problem {index} of seed {own}: {reply['error']}")
            for question, answer in reply["items"]:
                yield (
                    None
                    if split_of(" ".join(question.split()), TEST_SHARE) != split
                    else Problem(
                        id=f"{task}-{what}-{split}-s{seed}-{block * BLOCK + index}",
                        question=question,
                        answer=answer,
                        source=task,
                        level="" if level is None else str(level),
                        meta={"environment": "reasoning-gym", "gym": {**address, "index": index}},
                    )
                )
                index += 1


@dataclass(frozen=True, kw_only=True)
class ReasoningGym(Environment):
    """Judges an answer by the scorer of its task: 1 is right, anything between 0 and 1 part of a mark."""

    policy: str = "boxed"
    """How the final answer is found; in a run it is that of the verifier."""
    max_seconds: PositiveFloat = 300.0
    """Seconds for a score, waiting for the library included, which answers one request at a time."""

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return what the task's scorer says of the answer; None for a problem of another source."""
        address = problem.meta.get("gym")
        if address is None:
            return None
        answer = extract(text, self.policy)
        verdict = partial(Verdict, extracted=answer, rule=f"gym:{address['task']}")
        if answer is None:
            return verdict(status="no_answer", detail="no answer found")
        try:
            reply = _LIBRARY.ask(SCORE_S, do="score", **address, question=problem.question, answer=answer)
        except DataError as error:
            return verdict(status="timeout" if isinstance(error, TooSlow) else "error", detail=str(error))
        if "error" in reply:
            return verdict(status="error", detail=f"the scorer raised {reply['error']}")
        score = reply["score"]
        status: VerdictStatus = "correct" if score == 1 else "wrong"
        return verdict(status=status, detail=f"{address['task']} scores it {score:g}", score=score)


# --- in the process of the library ----------------------------------------------------------------------------------

#: Modules whose scorers evaluate an answer that should be a list.
_EVALUATE = (
    "algorithmic.string_insertion",
    "algorithmic.spiral_matrix",
    "algorithmic.binary_matrix",
    "games.n_queens",
)
#: Formulas that a scorer may give to sympy, which evaluates them: numbers, single letters, functions of analysis. Not
#: `Integral`: it would restate the question.
_FORMULA = re.compile(
    r"(?:(?:a?(?:sin|cos|tan)h?|exp|log|ln|sqrt|Abs|erf|pi|[A-Za-z])(?![A-Za-z_])|\d+(?:\.\d*)?(?![A-Za-z_])|[-+*/^()=,\s])*"
)
#: Powers of powers and very long numbers: nothing but a way to be slow.
_SLOW = re.compile(r"\*\*\s*[\w.]+\s*\*\*|\*\*\s*\(*\s*-?\d{4}|\d{30}")
#: Seconds after which a reply is sent with the problems that are made, and how many are at most.
_REPLY_S, _REPLY_ITEMS = 2.0, 50
_MEMORY_BYTES = 1 << 30
#: Not empty while an answer is scored: what sympy is given then may be the answer.
_scoring: list[bool] = []


def main() -> None:
    """Answer requests (`do`: check, draw or score) until the input closes."""
    actions: dict[str, Callable[..., dict[str, Any]]] = {"check": _check, "draw": _draw, "score": _score}

    def reply_to(do: str, **request: Any) -> dict[str, Any]:
        try:
            return actions[do](**request)
        except BaseException as error:  # A scorer that evaluates may meet `exit()` too.
            return {"error": raised_at(error)}

    _import_library()
    pool.serve(reply_to, _MEMORY_BYTES)


def _import_library() -> None:
    """Import the library, with a reader of plain formulas where a scorer would have sympy evaluate any text."""
    import sympy
    from sympy.parsing import sympy_parser

    parse = sympy_parser.parse_expr

    def harmless(text: str, *args: Any, **kwargs: Any) -> Any:
        if _scoring and (len(text) > 1000 or not _FORMULA.fullmatch(text) or _SLOW.search(text)):
            raise ValueError("not a plain formula")
        return parse(text, *args, **kwargs)

    sympy_parser.parse_expr = sympy.parse_expr = harmless
    import reasoning_gym

    for name in _EVALUATE:
        vars(sys.modules[f"{reasoning_gym.__name__}.{name}"])["eval"] = ast.literal_eval


def _check(task: str, options: dict[str, Any], levels: list[int]) -> dict[str, Any]:
    """Say which version this is, or what is wrong with a task, its options or its levels."""
    from reasoning_gym.factory import CURRICULA, DATASETS

    known = sorted(set(DATASETS) - {"composite"})
    if task not in known:
        return {"error": f"unknown task {task!r}; {nearest(task, known)} Write reasoning-gym:TASK"}
    names = [field.name for field in fields(DATASETS[task][1]) if field.name not in ("seed", "size")]
    for name in options:
        if name not in names:
            return {"error": f"the task {task!r} has no option {name!r}; {nearest(name, names)}"}
    if levels and task not in CURRICULA:
        return {"error": f"the task {task!r} has no levels; set its options: {', '.join(names)}"}
    for level in levels or (None,):
        try:
            _dataset(task, json.dumps(options), level, 0)
        except Exception as error:
            return {"error": f"the task {task!r} does not take {options or level}: {error or type(error).__name__}"}
    return {"version": version("reasoning-gym")}


@lru_cache(maxsize=64)
def _dataset(task: str, options: str, level: int | None, seed: int) -> Any:
    """Return the library's data set of a block."""
    from reasoning_gym.factory import CURRICULA, DATASETS

    kind, settings = DATASETS[task]
    config = settings()
    if level is not None:
        curriculum = CURRICULA[task]()
        curriculum.set_global_level(level)
        config = curriculum.generate_configuration()
    for name, value in {**json.loads(options), "seed": seed, "size": BLOCK}.items():
        setattr(config, name, tuple(value) if isinstance(value, list) else value)
    if hasattr(config, "validate"):
        config.validate()
    return kind(config=config)


@lru_cache(maxsize=4096)
def _entry(task: str, options: str, level: int | None, seed: int, index: int) -> Any:
    """Return a problem as the library makes it; a few tasks draw from the random numbers that all share."""
    random.seed(seed + index)
    return _dataset(task, options, level, seed)[index]


def _draw(index: int, options: dict[str, Any], **address: Any) -> dict[str, Any]:
    """Return problems from an index on, as many as are made in a few seconds: pairs of question and answer."""
    end, items = time.monotonic() + _REPLY_S, list[tuple[str, str]]()
    while time.monotonic() < end and len(items) < _REPLY_ITEMS and index < BLOCK:
        entry = _entry(**address, options=json.dumps(options), index=index)
        items.append((str(entry["question"]), "" if entry["answer"] is None else str(entry["answer"])))
        index += 1
    return {"items": items}


def _score(question: str, answer: str, options: dict[str, Any], index: int, **address: Any) -> dict[str, Any]:
    """Return the score of an answer."""
    entry = _entry(**address, options=json.dumps(options), index=index)
    if entry["question"] != question:
        raise ValueError("the library makes another problem than the one that was asked: another version?")
    _scoring.append(True)
    try:
        score = float(_dataset(**address, options=json.dumps(options)).score_answer(answer, entry))
    finally:
        _scoring.clear()
    if not 0 <= score <= 1:
        raise ValueError(f"a score of {score}")
    return {"score": score}
