"""Generated arithmetic: the task of the cubs. Five levels by number and size of operations, all values in 0 … 99.

A sixth, only where it is asked for, has numbers that are too large to know: a calculator's.

| level | operations | example |
|---|---|---|
| 1 | one of + −, operands ≤ 20 | `What is 17-9?` |
| 2 | one of + − ×, operands ≤ 60 | `What is 12*7?` |
| 3 | two of + − | `What is 8+19-4?` |
| 4 | two, one of them × | `What is 30-4*6?` |
| 5 | three, perhaps with brackets | `What is (3+4)*5-6?` |
| 6 | one of + − ×, 3 to 4 digits | `What is 4821*37?` |

A question is a pure function of (seed, split, level, index). Train and test are disjoint by construction, for every
seed: a hash of the expression alone decides its split, so no expression can be in both.

Families are a data set of their own: a base, and what one, two or all of three kinds of difficulty make of it.

| variant | kind of difficulty | example |
|---|---|---|
| base | a product and a term | `What is 3*7+4?` |
| x | one more operation: the term is a product | `What is 3*7+4*2?` |
| y | larger numbers: the first factor by 4 | `What is 7*7+4?` |
| z | another order: the term comes first | `What is 4+3*7?` |
| xy, xz, yz, xyz | several of them | `What is 4*2+7*7?` |

A family is its base. A hash of it decides its split, and every variant shows which base it is of, so that no question
of a held-out family is one of training, whatever the seeds: the first factor of y is above 5, and the term in x below
the product. The seed gives the order of the families, and the factor that each has in x.
"""

import ast
import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator, split_of
from simplerl.core.types import Problem
from simplerl.data.problems import distinct, generated_size

LEVELS = (1, 2, 3, 4, 5)
LARGE = 6
TEST_SHARE = 0.1
LARGEST = 99
OPERATORS = {ast.Add: ("+", operator.add), ast.Sub: ("-", operator.sub), ast.Mult: ("*", operator.mul)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """An arithmetic expression with its working: the order in which a person would do it."""

    text: str
    steps: tuple[tuple[int, str, int, int], ...]
    """(left, operator, right, value) of each operation, in order; the last value is the expression's."""

    @property
    def value(self) -> int:
        """The value of the expression."""
        return self.steps[-1][3]

    @property
    def working(self) -> str:
        """The steps as equations, then the value in a box: a response that begins with a space, as after `plain`."""
        lines = [f"{left}{operator}{right}={value}." for left, operator, right, value in self.steps]
        return f" {' '.join(lines)} \\boxed{{{self.value}}}"

    @property
    def split(self) -> str:
        """`train` or `test`, decided by a hash of the text alone."""
        return split_of(self.text, TEST_SHARE)


def worked(text: str) -> Expression:
    """Return an expression with its working: what an operation needs comes before it, the left one first."""
    steps: list[tuple[int, str, int, int]] = []

    def value(node: Any) -> int:
        if isinstance(node, ast.Constant):
            return int(str(node.value))
        left, right = value(node.left), value(node.right)
        sign, operate = OPERATORS[type(node.op)]
        steps.append((left, sign, right, operate(left, right)))
        return steps[-1][3]

    value(ast.parse(text, mode="eval").body)
    return Expression(text=text, steps=tuple(steps))


def _candidate(level: int, rng: np.random.Generator) -> str:
    """Draw one expression of a level, from left to right; its values may lie out of range."""

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def sign() -> str:
        return "+-"[number(0, 1)]

    def product(low: int, high: int) -> str:
        return f"{number(low, high)}*{number(low, high)}"

    if level == 1:
        return f"{number(1, 20)}{sign()}{number(1, 20)}"
    if level == 2:
        which = "+-*"[number(0, 2)]
        high = 20 if which == "*" else 60
        return f"{number(2, high)}{which}{number(2, high)}"
    if level == 3:
        return f"{number(1, 20)}{sign()}{number(1, 20)}{sign()}{number(1, 20)}"
    if level == 4:
        term = product(2, 12)
        return f"{term}{sign()}{number(1, 20)}" if number(0, 1) else f"{number(1, 60)}{sign()}{term}"
    if level == LARGE:
        which, left = "+-*"[number(0, 2)], number(100, 9999)
        return f"{left}{which}{number(12, 99) if which == '*' else number(100, max(101, left))}"
    form = number(0, 2)
    if form == 0:
        return f"({number(1, 12)}{sign()}{number(1, 12)})*{number(2, 9)}{sign()}{number(1, 20)}"
    if form == 1:
        return f"{product(2, 12)}{sign()}{number(1, 20)}{sign()}{number(1, 20)}"
    first, second = product(2, 9), product(2, 9)
    return f"{first}{sign()}{second}"


def expression(seed: int, split: str, level: int, index: int) -> Expression:
    """Return expression number `index` of a level and split. Different indices may give the same expression."""
    rng = generator(seed, "arithmetic", split, level, index)
    while True:
        drawn = worked(_candidate(level, rng))
        most = LARGEST if level < LARGE else math.inf
        if drawn.split == split and all(0 <= value <= most for *_, value in drawn.steps):
            return drawn


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = LEVELS) -> list[Problem]:
    """Return up to `size` distinct problems (0: 2,000 train, 250 test), the levels in turn.

    A level of which no new question comes up in 2,000 draws has given all that it has: level 1 has about 550 and 60.
    """
    size = generated_size("arithmetic", split, size)
    if not levels or not set(levels) <= {*LEVELS, LARGE}:
        raise ConfigError(f"data set 'arithmetic' has the levels 1 to 5, and 6 (large numbers); got {list(levels)}")
    streams = {level: _problems(seed, split, level) for level in levels}
    return distinct([streams[level] for level in levels], size, patience=2000)


def _problems(seed: int, split: str, level: int) -> Iterator[Problem]:
    """Yield the problems of a level without end."""
    for index in itertools.count():
        drawn = expression(seed, split, level, index)
        yield Problem(
            id=f"arithmetic-{split}-s{seed}-l{level}-{index}",
            question=f"What is {drawn.text}?",
            answer=str(drawn.value),
            source="arithmetic",
            level=str(level),
            meta={"solution": drawn.working},
        )


VARIANTS = ("base", "x", "y", "z", "xy", "xz", "yz", "xyz")
#: Values of the first factor (those above are y's), the second, and the term with its factor in x.
FIRST, SECOND, TERMS = range(2, 6), range(2, 13), range(2, 10)


def _variant(name: str, base: tuple[int, int, int], factor: int) -> Expression:
    """Return a variant of a base (first factor, second, term); in x the term is multiplied by `factor`."""
    left, right, term = base
    terms = [f"{left + 4 * ('y' in name)}*{right}", f"{term}*{factor}" if "x" in name else f"{term}"]
    return worked("+".join(reversed(terms) if "z" in name else terms))


def family(seed: int, base: tuple[int, int, int]) -> dict[str, Expression]:
    """Return variant → expression of a family, with values up to 99 only; empty where it cannot be."""
    left, right, term = base
    for factor in map(int, generator(seed, "families", *base).permutation(TERMS)):
        if term * factor < left * right and (left + 4) * right + term * factor <= LARGEST:
            return {name: _variant(name.replace("base", ""), base, factor) for name in VARIANTS}
    return {}


def load_families(
    split: str = "train", *, size: int = 0, seed: int = 0, levels: Iterable[int] = (0, 1, 2, 3)
) -> list[Problem]:
    """Return up to `size` problems (0: all), family by family; `levels` are numbers of kinds of difficulty."""
    wanted = set(levels)
    if split not in ("train", "test") or not wanted or not wanted <= {0, 1, 2, 3}:
        raise ConfigError(
            f"data set 'families' has the splits train and test, and the levels 0 to 3 (how many kinds of difficulty); "
            f"got {split!r} and {sorted(wanted)}"
        )
    bases = list(itertools.product(FIRST, SECOND, TERMS))
    order = generator(seed, "families", "order").permutation(len(bases))
    families = [members for index in order if (members := family(seed, bases[index]))]
    problems = [
        Problem(
            id=f"families-{split}-s{seed}-{members['base'].text}-{name}",
            question=f"What is {member.text}?",
            answer=str(member.value),
            source="families",
            level=str(level),
            meta={"solution": member.working, "family": members["base"].text, "variant": name},
        )
        for members in families
        if members["base"].split == split
        for name, member in members.items()
        if (level := len(name.replace("base", ""))) in wanted
    ]
    return problems[: size or None]
