"""Exact values: rational arithmetic on expression trees, with every step bounded before it is taken."""

from __future__ import annotations

import math
from fractions import Fraction

from simplerl.verify.nodes import Node
from simplerl.verify.work import TooBig, spend

__all__ = ["MAX_BITS", "MAX_FACTORIAL", "TooBig", "exact"]

#: No number in an exact computation grows beyond this many bits (about 9,000 digits).
MAX_BITS = 30_000
#: The largest argument of an exact factorial or binomial coefficient.
MAX_FACTORIAL = 2_100


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        if exponent.denominator <= 12 and base > 0:
            rooted = _root(base, exponent.denominator)
            return None if rooted is None else _power(rooted, Fraction(exponent.numerator))
        return None
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


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise TooBig("a factorial beyond the limit")
    return Fraction(math.factorial(value.numerator))


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
    if top.denominator != 1 or bottom.denominator != 1 or top < 0 or bottom < 0:
        return None
    if top > MAX_FACTORIAL:
        raise TooBig("a binomial coefficient beyond the limit")
    return Fraction(math.comb(top.numerator, bottom.numerator))


def _listed(name: str, values: list[Fraction]) -> Fraction | None:
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


def exact(node: Node) -> Fraction | None:
    """Return the value of a rational expression, None if it is not one; raise `TooBig` beyond the limits."""
    if node.op == "num":
        return node.value
    if node.op not in _RATIONAL_OPS:
        return None
    values = []
    for arg in node.args:
        value = exact(arg)
        if value is None:
            return None
        values.append(value)
    spend(1 + 1.5e-6 * sum(map(_bits, values)) ** 2)
    result = _apply(node, values)
    if result is not None and _bits(result) > 2 * MAX_BITS:
        raise TooBig("a number beyond the limit")
    return result


_RATIONAL_OPS = frozenset(
    {"add", "neg", "mul", "div", "pow", "fact", "abs", "root", "binom", "func", "percent"}
)  # fmt: skip


def _apply(node: Node, values: list[Fraction]) -> Fraction | None:
    op = node.op
    if op == "add":
        return values[0] + values[1]
    if op == "neg":
        return -values[0]
    if op == "mul":
        return values[0] * values[1]
    if op == "div":
        return values[0] / values[1] if values[1] else None
    if op == "pow":
        return _power(values[0], values[1])
    if op == "fact":
        return _factorial(values[0])
    if op == "abs":
        return abs(values[0])
    if op == "root":
        index = values[0]
        return _root(values[1], index.numerator) if index.denominator == 1 and 2 <= index <= 12 else None
    if op == "binom":
        return _binomial(values[0], values[1])
    if op == "percent":
        return values[0] / 100
    return _listed(node.name, values)
