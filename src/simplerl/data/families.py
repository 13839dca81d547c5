"""Families of generated arithmetic: a base, and what one, two or all of three kinds of difficulty make of it.

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
from collections.abc import Iterable

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Problem
from simplerl.data.arithmetic import LARGEST, Expression

VARIANTS = ("base", "x", "y", "z", "xy", "xz", "yz", "xyz")
#: Number of kinds of difficulty in a variant.
LEVELS = (0, 1, 2, 3)
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


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: Iterable[int] = LEVELS) -> list[Problem]:
    """Return up to `size` problems (0: all), family by family; `levels` are numbers of kinds of difficulty."""
    wanted = set(levels)
    if split not in ("train", "test") or not wanted or not wanted <= set(LEVELS):
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
