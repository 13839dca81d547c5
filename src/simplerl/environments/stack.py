"""A stack language: generated tasks of code that a tiny model can learn, judged by unit tests in our own interpreter.

    --data stack --dataset.levels 1,2,3        Program for (a+b)*c-2?  →  \\boxed{a b + c * 2 -}

A word of a program pushes a number or an input (a, b, c), replaces the two upper values by their sum, difference or
product (+ - *), or does as in Forth: dup, drop, swap, over. A program is right that leaves what the expression says as
the only value, for every one of the hidden inputs; how it does so is its own affair. A level is the number of
operations, 1 to 4. A hash of the expression decides its split, as everywhere.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator, split_of
from simplerl.core.types import Problem, Verdict
from simplerl.data.problems import distinct, generated_size
from simplerl.environments.base import Environment
from simplerl.verify import extract

LEVELS, INPUTS, OPERATORS, TEST_SHARE = (1, 2, 3, 4), "abc", "+-*", 0.1
#: Inputs on which a program is tested, words that it may have, and the largest value that it may come to.
TESTS, LONGEST, LARGEST = 8, 100, 10**30
#: Word → how many values it takes, and what it leaves of them.
WORDS: dict[str, tuple[int, Callable[..., tuple[int, ...]]]] = {
    "+": (2, lambda x, y: (x + y,)),
    "-": (2, lambda x, y: (x - y,)),
    "*": (2, lambda x, y: (x * y,)),
    "dup": (1, lambda x: (x, x)),
    "drop": (1, lambda x: ()),
    "swap": (2, lambda x, y: (y, x)),
    "over": (2, lambda x, y: (x, y, x)),
}
#: An operand, or (operator, left, right).
Tree = str | tuple[str, Any, Any]


def run(program: str, inputs: Mapping[str, int]) -> int:
    """Return the value that a program leaves. Raises ValueError for one that does not run, or leaves not just one."""
    stack: list[int] = []
    for number, word in enumerate(program.split()):
        takes, leaves = WORDS.get(word, (0, lambda: ()))
        if number == LONGEST or len(stack) < takes:
            raise ValueError(f"more than {LONGEST} words" if takes <= len(stack) else f"{word} finds too few values")
        if word in inputs or (word.isascii() and word.isdigit() and len(word) < 10):
            stack.append(inputs[word] if word in inputs else int(word))
        elif word not in WORDS:
            raise ValueError(f"no word {word[:20]!r}")
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
        if split_of(infix(tree), TEST_SHARE) == split:
            return tree


def _draw(operations: int, rng: np.random.Generator) -> Tree:
    if not operations:
        return str(rng.integers(1, 10)) if rng.random() < 0.25 else str(rng.choice(list(INPUTS)))
    left = int(rng.integers(0, operations))
    return str(rng.choice(list(OPERATORS))), _draw(left, rng), _draw(operations - 1 - left, rng)


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (1, 2, 3)) -> list[Problem]:
    """Return up to `size` different problems (0: 2,000 train, 250 test), the levels in turn; level 1 has few."""
    if not levels or not set(levels) <= set(LEVELS):
        raise ConfigError(f"data set 'stack' has the levels 1 to 4; got {list(levels)}")
    size = generated_size("stack", split, size)
    addresses = itertools.product(range(20 * size), levels)
    return distinct([(problem(seed, split, level, index) for index, level in addresses)], size)


def problem(seed: int, split: str, level: int, index: int) -> Problem:
    """Return problem number `index` of a level and split."""
    tree = expression(seed, split, level, index)
    return Problem(
        id=f"stack-{split}-s{seed}-l{level}-{index}",
        question=f"Program for {infix(tree)}?",
        answer=postfix(tree),
        source="stack",
        level=str(level),
        meta={"environment": "stack"},
    )


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
        detail = "; ".join(filter(None, [f"{passed} of {TESTS} tests pass", first]))
        return Verdict(status="wrong" if first else "correct", extracted=program, rule="tests", detail=detail)
