"""Numbers: plain ones read from text, rational arithmetic on trees, and the work that a judgement may cost.

Integers, decimals, fractions, mixed numbers, repeating decimals and scientific notation become a `Fraction`, so that
equality is exact at any size and a nearly right number is simply another number. Every pattern is anchored and linear,
and every step of an exact computation is bounded before it is taken, so that both run safely in the calling process.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from simplerl.verify.words import TABLES, pattern

if TYPE_CHECKING:
    from simplerl.verify.parse import Node

#: Limits: digits of a number that is read and its power of ten (`1e999`), bits of any number that is computed exactly
#: (about 9,000 digits), and the argument of a factorial or binomial coefficient.
MAX_DIGITS, MAX_POWER_OF_TEN, MAX_BITS, MAX_FACTORIAL = 1_000, 1_000, 30_000, 2_100
#: Units of work for one judgement in a worker, and in the calling process, which must never be kept.
BUDGET, QUICK_BUDGET = 400_000, 5_000


class TooBig(Exception):
    """A number that would outgrow the limits: it is never computed."""


class Spent(TooBig):
    """The work budget is used up."""


class Work:
    """The work budget of one judgement, counted in operations, by their kind and the size of their numbers, so that it
    ends alike on every machine. One unit is about a microsecond of a current core."""

    __slots__ = ("left",)

    def __init__(self, units: float = BUDGET) -> None:
        self.left = units

    def spend(self, units: float) -> None:
        """Charge an operation before it is taken; raise `Spent` when the budget does not hold it, now or later."""
        if units > self.left:
            self.left = -1.0
            raise Spent("more work than one answer may cause")
        self.left -= units


_FORMS = [pattern(rf"(?xa) (?P<sign>[-+]?)\s?(?:{form})") for form in TABLES["number_forms"]]


def number(text: str) -> Fraction | None:
    """Return the exact value of a normalised text that is one number within the limits, else None."""
    for form in _FORMS if len(text) <= MAX_DIGITS else ():
        if match := form.fullmatch(text):
            return _value(**{name: (part or "").strip("{} ") for name, part in match.groupdict().items()})
    return None


def _value(
    sign: str, whole: str, fixed: str = "", cycle: str = "", top: str = "", bottom: str = "1", power: str = ""
) -> Fraction | None:
    """whole.fixed cycle cycle … + top/bottom, times a power of ten; None for a denominator 0 or beyond the cap."""
    if not int(bottom) or len(power) > 6 or abs(int(power or 0)) > MAX_POWER_OF_TEN:
        return None
    scale, cycle = 10 ** len(fixed), re.sub(r"\D", "", cycle)
    value = Fraction(int((whole.replace(",", "") or "0") + fixed), scale) + Fraction(int(top or 0), int(bottom))
    if cycle:
        value += Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    if power:
        value *= Fraction(10) ** int(power)
    return -value if sign == "-" else value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    power = exponent.numerator
    if exponent.denominator != 1:
        root = _root(Fraction(exponent.denominator), base) if base > 0 else None
        return None if root is None else _power(root, Fraction(power))
    if base == 0 and power <= 0:
        return None
    if abs(base) in (0, 1):
        return base ** (power % 2 or 2)
    if abs(power) * _bits(base) > MAX_BITS:
        raise TooBig("a power beyond the limit")
    return base**power


def _root(index: Fraction, value: Fraction) -> Fraction | None:
    """The exact index-th root of a rational, if it is rational."""
    if index.denominator != 1 or not 2 <= index <= 12 or (value < 0 and index % 2 == 0):
        return None
    roots = []
    for part in (abs(value.numerator), value.denominator):
        if index != 2 and part.bit_length() > 900:
            return None
        roots.append(math.isqrt(part) if index == 2 else round(part ** (1 / int(index))))
        if roots[-1] ** int(index) != part:
            return None
    return Fraction(roots[0], roots[1]) if value >= 0 else -Fraction(roots[0], roots[1])


def _of_integers(
    function: Callable[..., int], *, least: float = 0, most: float = math.inf
) -> Callable[..., Fraction | None]:
    """A function of whole numbers from `least` on, undefined for others, and never computed beyond `most`."""

    def apply(*values: Fraction) -> Fraction | None:
        if any(value.denominator != 1 or value < least for value in values):
            return None
        if values[0] > most or sum(map(_bits, values)) > MAX_BITS:
            raise TooBig("a function of whole numbers beyond the limit")
        return Fraction(function(*(value.numerator for value in values)))

    return apply


#: Operation or function → its value; None where that is not rational.
_RATIONAL: dict[str, Callable[..., Fraction | None]] = {
    "add": operator.add, "neg": operator.neg, "mul": operator.mul, "div": lambda a, b: a / b if b else None,
    "pow": _power, "root": _root, "abs": abs, "percent": lambda a: a / 100,
    "fact": _of_integers(math.factorial, most=MAX_FACTORIAL), "binom": _of_integers(math.comb, most=MAX_FACTORIAL),
    "fact2": _of_integers(lambda n: math.prod(range(n, 1, -2)), most=MAX_FACTORIAL),
    "max": lambda *values: max(values), "min": lambda *values: min(values),
    "gcd": _of_integers(math.gcd, least=-math.inf), "lcm": _of_integers(math.lcm, least=-math.inf),
    "floor": lambda a: Fraction(math.floor(a)), "ceil": lambda a: Fraction(math.ceil(a)),
}  # fmt: skip


def exact(node: Node, work: Work) -> Fraction | None:
    """Return the value of a rational expression, None if it is not one; raise `TooBig` beyond the limits."""
    if node.op == "num":
        return node.value
    operation = _RATIONAL.get(node.name if node.op == "func" else node.op)
    if operation is None:
        return None
    values = [value for arg in node.args if (value := exact(arg, work)) is not None]
    if len(values) < len(node.args):
        return None
    work.spend(1 + 1.5e-6 * sum(map(_bits, values)) ** 2)
    result = operation(*values)
    if result is not None and _bits(result) > 2 * MAX_BITS:
        raise TooBig("a number beyond the limit")
    return result
