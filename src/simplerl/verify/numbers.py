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

if TYPE_CHECKING:
    from simplerl.verify.parse import Node

#: A number with more digits is not read as a number; it can still equal the gold literally.
MAX_DIGITS = 1_000
#: The largest power of ten read exactly, as in `1e999`.
MAX_POWER_OF_TEN = 1_000
#: No number in an exact computation grows beyond this many bits (about 9,000 digits).
MAX_BITS = 30_000
#: The largest argument of an exact factorial or binomial coefficient.
MAX_FACTORIAL = 2_100
#: Units of work for one judgement in a worker, and in the calling process, which must never be kept.
BUDGET, QUICK_BUDGET = 400_000, 5_000


class TooBig(Exception):
    """A number that would outgrow the limits: it is never computed."""


class Spent(TooBig):
    """The work budget is used up."""


class Work:
    """The work budget of one judgement, counted in operations and not in seconds.

    Every operation on numbers is charged before it is taken, by its kind and the size of its numbers; one unit is about
    a microsecond of a current core. The same answer meets the same end on every machine: how long a response computes
    must not be a way to be left out of the loss.
    """

    __slots__ = ("left",)

    def __init__(self, units: float = BUDGET) -> None:
        self.left = units

    def spend(self, units: float) -> None:
        """Charge an operation before it is taken; raise `Spent` when the budget does not hold it, now or later."""
        if units > self.left:
            self.left = -1.0
            raise Spent("more work than one answer may cause")
        self.left -= units


# --- plain numbers ------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"([-+]?)\s?(\d+|\d{1,3}(?:,\d{3})+)?(?:\.(\d*))?", re.ASCII)
_DIGITS = r"(?:\{\s?([-+]?\d+)\s?\}|(\d))"
_FRACTION = re.compile(rf"([-+]?)\s?(\d+)?\s?\\frac\s?{_DIGITS}\s?{_DIGITS}", re.ASCII)
_SLASH = re.compile(r"([-+]?)\s?(?:(\d+)\s)?(\d+)\s?/\s?(\d+)", re.ASCII)
_SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]([-+]?\d+)", re.ASCII)
#: A repeating decimal without its sign, for the lexer too.
REPEATING = (
    r"(\d*)\.(\d*)(?:\\dot\s?\{?\s?(\d)\s?\}?(\d*)\\dot\s?(?:\{\s?(\d)\s?\}|(\d))"
    r"|\\(?:overline|bar|dot)\s?(?:\{\s?(\d+)\s?\}|(\d))|(?<=\.)\((\d+)\))"
)
_REPEATING = re.compile(r"([-+]?)\s?" + REPEATING, re.ASCII)
_ELLIPSIS = re.compile(r"([-+]?)\s?(\d*)\.(\d+)\s?\\ldots", re.ASCII)


def plain(text: str) -> Fraction | None:
    """Return the value of a signed integer or decimal (thousands separators allowed), else None."""
    match = _PLAIN.fullmatch(text)
    if not match or len(text) > MAX_DIGITS:
        return None
    sign, whole, decimals = match.groups()
    if not whole and not decimals:
        return None
    whole = (whole or "0").replace(",", "")
    value = Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(whole))
    return -value if sign == "-" else value


def _ratio(sign: str, whole: str | None, top: str, bottom: str) -> Fraction | None:
    """A fraction or mixed number; None for a denominator 0, and for signs behind a whole number."""
    if not int(bottom) or (whole and not (top + bottom).isdecimal()):
        return None
    value = int(whole or 0) + Fraction(int(top), int(bottom))
    return -value if sign == "-" else value


def _repeating(sign: str, whole: str, fixed: str, cycle: str) -> Fraction:
    scale = 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return -value if sign == "-" else value


def _ellipsis(sign: str, whole: str, decimals: str) -> Fraction | None:
    """`0.333…` is a repeating decimal when its digits end with one short cycle written out at least three times."""
    for length in range(1, len(decimals) // 2 + 1):
        cycle = decimals[-length:]
        repeats = 1
        while decimals[: len(decimals) - repeats * length].endswith(cycle):
            repeats += 1
        if repeats >= 3 or (repeats == 2 and length >= 5):
            return _repeating(sign, whole, decimals[: len(decimals) - repeats * length], cycle)
    return None


def number(text: str) -> Fraction | None:
    """Return the exact value of a normalised text that is one number, else None."""
    if len(text) > MAX_DIGITS:
        return None
    value = plain(text)
    if value is not None:
        return value
    if match := _FRACTION.fullmatch(text):
        sign, whole, top, top_digit, bottom, bottom_digit = match.groups()
        return _ratio(sign, whole, top or top_digit, bottom or bottom_digit)
    if match := _SLASH.fullmatch(text):
        return _ratio(*match.groups())
    if match := _SCIENTIFIC.fullmatch(text):
        return scientific(*match.groups())
    if match := _REPEATING.fullmatch(text):
        sign, whole, fixed, first, middle, last, last_digit, *cycles = match.groups()
        cycle = first + middle + (last or last_digit) if first else next(cycle for cycle in cycles if cycle)
        return _repeating(sign, whole, fixed, cycle)
    if match := _ELLIPSIS.fullmatch(text):
        return _ellipsis(*match.groups())
    return None


def scientific(mantissa: str, exponent: str) -> Fraction | None:
    """Return mantissa × 10^exponent exactly, or None beyond the cap (an answer of that size is a bomb)."""
    if len(exponent) > 6 or abs(int(exponent)) > MAX_POWER_OF_TEN:
        return None
    return Fraction(mantissa) * Fraction(10) ** int(exponent)


# --- rational arithmetic ------------------------------------------------------------------------------------------


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        rooted = _root(base, exponent.denominator) if exponent.denominator <= 12 and base > 0 else None
        return None if rooted is None else _power(rooted, Fraction(exponent.numerator))
    power = exponent.numerator
    if base in (0, 1, -1):
        if base == 0 and power <= 0:
            return None
        return base if power % 2 or base == 0 else base * base
    if abs(power) * _bits(base) > MAX_BITS:
        raise TooBig("a power beyond the limit")
    return base**power


def _root(value: Fraction, index: int) -> Fraction | None:
    """The exact index-th root of a rational, if it is rational."""
    if value < 0:
        if index % 2 == 0:
            return None
        positive = _root(-value, index)
        return None if positive is None else -positive
    parts = []
    for part in (value.numerator, value.denominator):
        if index == 2:
            root = math.isqrt(part)
        else:
            if part.bit_length() > 900:
                return None
            root = round(part ** (1 / index))
        if root**index != part:
            return None
        parts.append(root)
    return Fraction(parts[0], parts[1])


def _factorial(value: Fraction, step: int = 1) -> Fraction | None:
    """n!, or with step 2 the double factorial n!! = n (n−2) (n−4) …"""
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise TooBig("a factorial beyond the limit")
    return Fraction(math.factorial(value.numerator) if step == 1 else math.prod(range(value.numerator, 1, -2)))


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
    if top.denominator != 1 or bottom.denominator != 1 or top < 0 or bottom < 0:
        return None
    if top > MAX_FACTORIAL:
        raise TooBig("a binomial coefficient beyond the limit")
    return Fraction(math.comb(top.numerator, bottom.numerator))


def _function(name: str, values: list[Fraction]) -> Fraction | None:
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name in ("gcd", "lcm") and all(value.denominator == 1 for value in values):
        if name == "gcd":
            return Fraction(math.gcd(*(value.numerator for value in values)))
        if sum(_bits(value) for value in values) > MAX_BITS:
            raise TooBig("a multiple beyond the limit")
        return Fraction(math.lcm(*(value.numerator for value in values)))
    if name in ("floor", "ceil") and len(values) == 1:
        return Fraction(math.floor(values[0]) if name == "floor" else math.ceil(values[0]))
    return None


#: Operation → its value; None where that is not rational.
_RATIONAL: dict[str, Callable[..., Fraction | None]] = {
    "add": operator.add,
    "neg": operator.neg,
    "mul": operator.mul,
    "div": lambda a, b: a / b if b else None,
    "pow": _power,
    "fact": _factorial,
    "fact2": lambda n: _factorial(n, 2),
    "abs": abs,
    "root": lambda index, a: _root(a, int(index)) if index.denominator == 1 and 2 <= index <= 12 else None,
    "binom": _binomial,
    "percent": lambda a: a / 100,
}


def exact(node: Node, work: Work) -> Fraction | None:
    """Return the value of a rational expression, None if it is not one; raise `TooBig` beyond the limits."""
    if node.op == "num":
        return node.value
    if node.op not in _RATIONAL and node.op != "func":
        return None
    values = []
    for arg in node.args:
        value = exact(arg, work)
        if value is None:
            return None
        values.append(value)
    work.spend(1 + 1.5e-6 * sum(map(_bits, values)) ** 2)
    result = _function(node.name, values) if node.op == "func" else _RATIONAL[node.op](*values)
    if result is not None and _bits(result) > 2 * MAX_BITS:
        raise TooBig("a number beyond the limit")
    return result
