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

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator, split_of
from simplerl.core.types import Problem
from simplerl.data.problems import distinct, generated_size

LEVELS = (1, 2, 3, 4, 5)
LARGE = 6
TEST_SHARE = 0.1
LARGEST = 99


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


def _candidate(level: int, rng: np.random.Generator) -> Expression:
    """Draw one expression of a level; its values may lie out of range."""

    def operand(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def sign() -> str:
        return "+-"[operand(0, 1)]

    def step(left: int, operator: str, right: int) -> tuple[int, str, int, int]:
        value = {"+": left + right, "-": left - right, "*": left * right}[operator]
        return (left, operator, right, value)

    text, form = "", operand(0, 2) if level == 5 else -1
    if level == 1:
        steps = [step(operand(1, 20), sign(), operand(1, 20))]
    elif level == 2:
        operator = "+-*"[operand(0, 2)]
        bounds = (2, 20) if operator == "*" else (2, 60)
        steps = [step(operand(*bounds), operator, operand(*bounds))]
    elif level == 3:
        first = step(operand(1, 20), sign(), operand(1, 20))
        steps = [first, step(first[3], sign(), operand(1, 20))]
    elif level == 4:
        product = step(operand(2, 12), "*", operand(2, 12))
        if operand(0, 1):
            steps = [product, step(product[3], sign(), operand(1, 20))]
        else:
            steps = [product, step(operand(1, 60), sign(), product[3])]
            text = f"{steps[1][0]}{steps[1][1]}{product[0]}*{product[2]}"
    elif form == 0:  # (a ± b) * c ± d
        first = step(operand(1, 12), sign(), operand(1, 12))
        second = step(first[3], "*", operand(2, 9))
        steps = [first, second, step(second[3], sign(), operand(1, 20))]
        text = f"({first[0]}{first[1]}{first[2]})*{second[2]}{steps[2][1]}{steps[2][2]}"
    elif form == 1:  # a * b ± c ± d
        first = step(operand(2, 12), "*", operand(2, 12))
        second = step(first[3], sign(), operand(1, 20))
        steps = [first, second, step(second[3], sign(), operand(1, 20))]
    elif level == LARGE:
        operator, left = "+-*"[operand(0, 2)], operand(100, 9999)
        steps = [step(left, operator, operand(12, 99) if operator == "*" else operand(100, max(101, left)))]
    else:  # a * b ± c * d
        first = step(operand(2, 9), "*", operand(2, 9))
        second = step(operand(2, 9), "*", operand(2, 9))
        steps = [first, second, step(first[3], sign(), second[3])]
        text = f"{first[0]}*{first[2]}{steps[2][1]}{second[0]}*{second[2]}"
    # Where nothing else is said, every operation goes on from the value of the one before.
    in_a_row = f"{steps[0][0]}" + "".join(f"{operator}{right}" for _, operator, right, _ in steps)
    return Expression(text=text or in_a_row, steps=tuple(steps))


def expression(seed: int, split: str, level: int, index: int) -> Expression:
    """Return expression number `index` of a level and split. Different indices may give the same expression."""
    rng = generator(seed, "arithmetic", split, level, index)
    while True:
        drawn = _candidate(level, rng)
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
    left += 4 * ("y" in name)
    products = [(left, "*", right, left * right)]
    texts, values = [f"{left}*{right}", f"{term}"], [left * right, term]
    if "x" in name:
        products.append((term, "*", factor, term * factor))
        texts[1], values[1] = f"{term}*{factor}", term * factor
    if "z" in name:
        products, texts, values = products[::-1], texts[::-1], values[::-1]
    return Expression(text="+".join(texts), steps=(*products, (values[0], "+", values[1], sum(values))))


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
