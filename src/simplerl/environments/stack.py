"""A stack language: generated tasks of code that a tiny model can learn, judged by unit tests in our own interpreter.

    --data stack --dataset.levels 1,2,3        Program for (a+b)*c-2?  →  \\boxed{a b + c * 2 -}

A word of a program pushes a number or an input (a, b, c), replaces the two upper values by their sum, difference or
product (+ - *), or does as in Forth: dup, drop, swap, over. A program is right that leaves what the expression says as
the only value, for every one of the hidden inputs; how it does so is its own affair. A level is the number of
operations, 1 to 4. A hash of the expression decides its split, as everywhere.
"""

import hashlib
import itertools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Problem, Verdict
from simplerl.environments.base import Environment
from simplerl.verify import extract

LEVELS = (1, 2, 3, 4)
TEST_SHARE = 0.1
INPUTS = ("a", "b", "c")
#: Inputs on which a program is tested, words that it may have, and the largest value that it may come to.
TESTS, WORDS, LARGEST = 8, 100, 10**30

ARITHMETIC: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
#: Word → how many values it takes, and what it leaves of them.
STACK: dict[str, tuple[int, Callable[..., tuple[int, ...]]]] = {
    "dup": (1, lambda x: (x, x)),
    "drop": (1, lambda x: ()),
    "swap": (2, lambda x, y: (y, x)),
    "over": (2, lambda x, y: (x, y, x)),
}

#: An operand, or (operator, left, right).
Tree = str | tuple[str, Any, Any]


def run(program: str, inputs: Mapping[str, int]) -> int:
    """Return what a program leaves on the stack. Raises ValueError for one that does not run, or leaves another number
    of values than one.

    >>> run("a b + dup *", {"a": 2, "b": 3})
    25
    """
    stack: list[int] = []
    for number, word in enumerate(program.split()):
        if number == WORDS:
            raise ValueError(f"more than {WORDS} words")
        takes, leaves = STACK.get(word, (2, lambda x, y, word=word: (ARITHMETIC[word](x, y),)))
        if word in inputs or (word.isascii() and word.isdigit() and len(word) < 10):
            stack.append(inputs[word] if word in inputs else int(word))
        elif word not in STACK and word not in ARITHMETIC:
            raise ValueError(f"no word {word[:20]!r}")
        elif len(stack) < takes:
            raise ValueError(f"{word} finds {len(stack)} of {takes} values")
        else:
            stack[len(stack) - takes :] = leaves(*stack[len(stack) - takes :])
        if stack and abs(stack[-1]) > LARGEST:
            raise ValueError("a value is too large")
    if len(stack) != 1:
        raise ValueError(f"{len(stack)} values are left, not 1")
    return stack[0]


def infix(tree: Tree, above: int = 0) -> str:
    """Return an expression as people write it, in brackets where what is `above` it binds more."""
    if isinstance(tree, str):
        return tree
    sign, left, right = tree
    binds = 2 if sign == "*" else 1
    text = f"{infix(left, binds)}{sign}{infix(right, binds + 1)}"
    return f"({text})" if binds < above else text


def postfix(tree: Tree) -> str:
    """Return the program of an expression."""
    return tree if isinstance(tree, str) else f"{postfix(tree[1])} {postfix(tree[2])} {tree[0]}"


def expression(seed: int, split: str, level: int, index: int) -> Tree:
    """Return expression number `index` of a level and split. Different indices may give the same expression."""
    rng = generator(seed, "stack", split, level, index)
    while True:
        tree = _draw(level, rng)
        digest = hashlib.blake2b(infix(tree).encode(), digest_size=8).digest()
        if ("test" if int.from_bytes(digest, "little") / 2**64 < TEST_SHARE else "train") == split:
            return tree


def _draw(operations: int, rng: np.random.Generator) -> Tree:
    if not operations:
        return str(rng.integers(1, 10)) if rng.random() < 0.25 else str(rng.choice(INPUTS))
    left = int(rng.integers(0, operations))
    sign, parts = str(rng.choice(list(ARITHMETIC))), (_draw(left, rng), _draw(operations - 1 - left, rng))
    return (sign, *parts)


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (1, 2, 3)) -> list[Problem]:
    """Return up to `size` different problems (0: 2,000 train, 250 test), the levels in turn."""
    if split not in ("train", "test") or not levels or not set(levels) <= set(LEVELS):
        raise ConfigError(f"data set 'stack' has the splits train, test and the levels 1 to 4; got {split}, {levels}")
    size = size or {"train": 2000, "test": 250}[split]
    problems: dict[str, Problem] = {}
    for index in itertools.count():
        for level in levels if index < 20 * size else ():  # Level 1 has few.
            tree = expression(seed, split, level, index)
            question = f"Program for {infix(tree)}?"
            own = {"id": f"stack-{split}-s{seed}-l{level}-{index}", "question": question, "answer": postfix(tree)}
            meta = {"environment": "stack"}
            problems.setdefault(question, Problem(**own, source="stack", level=str(level), meta=meta))
            if len(problems) == size:
                return list(problems.values())
        if index >= 20 * size:
            return list(problems.values())
    raise AssertionError


@dataclass(frozen=True, kw_only=True)
class Stack(Environment):
    """Runs a program beside the reference on hidden inputs."""

    slow: ClassVar[bool] = False

    policy: str = "boxed"
    """How the program is found; in a run it is that of the verifier."""

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        program = extract(text, self.policy)
        if program is None:
            return Verdict(status="no_answer", extracted=None, rule="tests", detail="no program found")
        rng, passed, first = generator(0, "stack tests", problem.answer), 0, ""
        for values in rng.integers(-9, 10, (TESTS, len(INPUTS))).tolist():
            inputs = dict(zip(INPUTS, values, strict=True))
            wanted = run(problem.answer, inputs)
            try:
                value = run(program, inputs)
                passed += value == wanted
                first = first or ("" if value == wanted else f"{inputs} gives {value}, not {wanted}")
            except ValueError as error:
                first = first or str(error)
        detail = f"{passed} of {TESTS} tests pass" + (f"; {first}" if first else "")
        return Verdict(status="wrong" if first else "correct", extracted=program, rule="tests", detail=detail)
