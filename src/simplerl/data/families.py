"""Families of generated arithmetic: a base, and what one, two or all of three kinds of difficulty make of it.

| variant | kind of difficulty | example |
|---|---|---|
| base | a product and a term | `What is 3*4+5?` |
| x | one more operation | `What is 3*4+5-8?` |
| y | larger numbers: the factors by 3, the term by 10 | `What is 6*7+15?` |
| z | another order: the product stands behind the term | `What is 5+3*4?` |
| xy, xz, yz, xyz | several of them | `What is 15+6*7-8?` |

A family is its base. A hash of it decides its split, and every variant shows which base it is of, so that no question
of a held-out family is one of training, whatever the seeds. The seed gives the order of the families, and what each
adds in x.
"""

import itertools
from collections.abc import Iterable

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Problem
from simplerl.data.arithmetic import LARGEST, Expression

VARIANTS = ("base", "x", "y", "z", "xy", "xz", "yz", "xyz")
#: Number of kinds of difficulty in a variant.
LEVELS = (0, 1, 2, 3)
#: Values of the factors, and of the term. Terms above these are those of y.
FACTORS, TERMS = range(2, 8), range(1, 10)


def _variant(name: str, base: tuple[int, int, int], more: int) -> Expression:
    """Return a variant of a base (factor, factor, term); x adds `more`, which may be negative."""
    left, right, term = base
    if "y" in name:
        left, right, term = left + 3, right + 3, term + 10
    product = left * right
    second = (term, "+", product, term + product) if "z" in name else (product, "+", term, product + term)
    text = f"{term}+{left}*{right}" if "z" in name else f"{left}*{right}+{term}"
    steps = [(left, "*", right, product), second]
    if "x" in name:
        sign = "+-"[more < 0]
        steps.append((second[3], sign, abs(more), second[3] + more))
        text += f"{sign}{abs(more)}"
    return Expression(text=text, steps=tuple(steps))


def family(seed: int, base: tuple[int, int, int]) -> dict[str, Expression]:
    """Return variant → expression of a family, with values in 0 … 99 only; empty where it cannot be."""
    rng = generator(seed, "families", *base)
    for more in rng.permutation([number for number in range(-20, 21) if number]):
        members = {name: _variant(name.replace("base", ""), base, int(more)) for name in VARIANTS}
        if all(0 <= value <= LARGEST for member in members.values() for *_, value in member.steps):
            return members
    return {}


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: Iterable[int] = LEVELS) -> list[Problem]:
    """Return up to `size` problems (0: all), family by family; `levels` are numbers of kinds of difficulty."""
    wanted = set(levels)
    if split not in ("train", "test") or not wanted or not wanted <= set(LEVELS):
        raise ConfigError(
            f"data set 'families' has the splits train and test, and the levels 0 to 3 (how many kinds of difficulty); "
            f"got {split!r} and {sorted(wanted)}"
        )
    bases = list(itertools.product(FACTORS, FACTORS, TERMS))
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
