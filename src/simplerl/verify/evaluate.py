"""Evaluation of an expression at a point with mpmath, every operation bounded in size before it is taken."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from fractions import Fraction

from simplerl.verify.exact import MAX_FACTORIAL, exact
from simplerl.verify.nodes import Node
from simplerl.verify.work import Spent, TooBig, spend

os.environ.setdefault("MPMATH_NOGMPY", "1")  # big integers of GMP abort the process when memory runs out

import mpmath
from mpmath import mp

#: Values beyond 2^(±MAX_MAGNITUDE) are never computed.
MAX_MAGNITUDE = 60_000


#: Letters that usually stand for whole numbers.
_WHOLE_NAMES = frozenset("nkmijN")


class Undefined(Exception):
    """The expression has no real value at this point."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where to evaluate: `index` seeds the value of every symbol; `complex_` allows complex values."""

    index: int
    complex_: bool
    log_base: int
    """10 or 0 for the natural logarithm: what `\\log` without a base means."""
    steps: bool = False
    """The expressions have steps (floor, ceiling)."""
    scale: int = 1
    """How far from zero symbols reach: |x − 50| and 50 − x are the same on a small scale."""


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def symbol_value(name: str, point: Point) -> mpmath.mpf:
    """Return the value of a symbol at a point: positive at even indices, of either sign at odd ones.

    Where expressions have steps, values reach further, and are whole at even indices or always (n, k, m …): there
    `⌈x⌉` and `⌊x⌋ + 1` differ.
    """
    digest = _digest(name, point.index)
    index = point.index
    negative = index % 2 and (digest & (1 << 40) or (index % 4 == 1 and (point.steps or point.scale > 1)))
    if point.steps:
        whole = index % 2 == 0 or name[0] in _WHOLE_NAMES
        value = mp.mpf(1 + digest % (200 * point.scale)) + (0 if whole else mp.mpf(digest % 997) / 997)
        return -value if negative and name[0] not in _WHOLE_NAMES else value
    value = point.scale * (mp.mpf(digest % 10**9) / 10**9 * 3 + mp.mpf(1) / 7)
    return -value if negative else value


class Span:
    """The largest binary magnitude met since it was last reset: how many digits cancellation may have cost."""

    bits = 0


def _checked(value: object) -> object:
    """Refuse infinities, NaN and values beyond the size limit."""
    for part in (mp.re(value), mp.im(value)):
        if not mp.isfinite(part):
            raise Undefined
        if part:
            bits = abs(mp.mag(part))
            if bits > MAX_MAGNITUDE:
                raise TooBig("a value beyond the limit")
            Span.bits = max(Span.bits, bits)
    return value


#: Operations by series or iteration, whose cost grows faster with the digits than that of one multiplication.
_COSTLY = frozenset({"pow", "root", "func", "app", "const"})


def _cost(op: str) -> float:
    """Units of work for one operation at the working precision, as measured with mpmath's integers of Python."""
    digits = mp.dps
    if op in ("fact", "binom"):
        return 50 + digits**3 / 1_500
    return 25 + digits**2 / 1_000 if op in _COSTLY else 4 + digits**2 / 50_000


def evaluate(node: Node, point: Point) -> object:
    """Return the value of an expression at a point; raise `Undefined` or `TooBig`."""
    op = node.op
    if op == "num":
        value = node.value or Fraction(0)
        return mp.mpf(value.numerator) / value.denominator
    spend(_cost(op))
    if op == "sym":
        return symbol_value(node.name, point)
    if op == "const":
        return _constant(node.name, point)
    if op == "opaque":
        return symbol_value("opaque " + node.name, point)
    if op in ("unit",):
        return evaluate(node.args[0], point)
    if op not in _OPERATIONS:
        raise Undefined
    values = [evaluate(arg, point) for arg in node.args]
    return _checked(_OPERATIONS[op](node, values, point))


def _constant(name: str, point: Point) -> object:
    if name == "pi":
        return +mp.pi
    if name == "e":
        return +mp.e
    if name == "i":
        if not point.complex_:
            raise Undefined
        return mp.mpc(0, 1)
    raise Undefined


def _div(node: Node, values: list, point: Point) -> object:
    if not values[1] or abs(values[1]) < mp.mpf(10) ** -(mp.dps - 8):
        raise Undefined
    return values[0] / values[1]


def _rational(node: Node) -> Fraction | None:
    try:
        return exact(node)
    except Spent:
        raise
    except TooBig:
        return None


def _pow(node: Node, values: list, point: Point) -> object:
    base, exponent = values
    if not base:
        if mp.re(exponent) <= 0:
            raise Undefined
        return mp.mpf(0)
    if abs(mp.mag(base)) * min(abs(exponent), 10**9) > MAX_MAGNITUDE or abs(exponent) > 10**8:
        raise TooBig("a power beyond the limit")
    if point.complex_ or isinstance(base, mpmath.mpc) or base > 0:
        if not isinstance(base, mpmath.mpc) and base < 0:
            return _negative_power(base, node.args[1], exponent, point)
        return mp.power(base, exponent)
    return _negative_power(base, node.args[1], exponent, point)


def _negative_power(base: object, exponent_node: Node, exponent: object, point: Point) -> object:
    """A negative base: integer powers, odd roots (real), anything else only in complex arithmetic."""
    if not isinstance(exponent, mpmath.mpc) and exponent == mp.floor(exponent):
        return mp.power(base, exponent)
    rational = _rational(exponent_node)
    if rational is not None and rational.denominator % 2:
        value = mp.power(-base, exponent)
        return -value if rational.numerator % 2 else value
    if point.complex_:
        return mp.power(mp.mpc(base), exponent)
    raise Undefined


def _root(node: Node, values: list, point: Point) -> object:
    index, radicand = values
    rational = _rational(node.args[0])
    if not radicand:
        return mp.mpf(0)
    if isinstance(index, mpmath.mpc) or not index:
        raise Undefined
    if not isinstance(radicand, mpmath.mpc) and radicand < 0:
        if rational is not None and rational.denominator == 1 and rational.numerator % 2:
            return -mp.power(-radicand, 1 / index)
        if not point.complex_:
            raise Undefined
        radicand = mp.mpc(radicand)
    return mp.sqrt(radicand) if index == 2 else mp.power(radicand, 1 / index)


def _fact(node: Node, values: list, point: Point) -> object:
    if isinstance(values[0], mpmath.mpc) or values[0] <= -1:
        raise Undefined
    if values[0] > 4 * MAX_FACTORIAL:
        raise TooBig("a factorial beyond the limit")
    if values[0] == mp.floor(values[0]):
        return mp.mpf(math.factorial(int(values[0])))
    return mp.factorial(values[0])


def _binom(node: Node, values: list, point: Point) -> object:
    if any(isinstance(value, mpmath.mpc) or abs(value) > 4 * MAX_FACTORIAL for value in values):
        raise TooBig("a binomial coefficient beyond the limit")
    bottom = _rational(node.args[1])
    if bottom is not None and bottom.denominator == 1 and 0 <= bottom <= 60:
        # Written out, so that it is a polynomial in the upper argument, also at negative points.
        product = mp.mpf(1)
        for i in range(int(bottom)):
            product *= (values[0] - i) / mp.mpf(i + 1)
        return product
    return mp.binomial(values[0], values[1])


def _app(node: Node, values: list, point: Point) -> object:
    """An unknown function: a generic smooth function fixed by its name."""
    total = mp.mpf(_digest("app", node.name) % 997) / 997
    for i, value in enumerate(values):
        factor = mp.mpf(_digest(node.name, i, "scale") % 9973) / 9973 + 1
        if abs(mp.re(value)) > 10**6:
            raise TooBig("an argument beyond the limit")
        total += mp.sin(value * factor + i) + value * value * factor / (3 + i)
    return total


_REAL_DOMAIN = {"ln": lambda v: v > 0, "arcsin": lambda v: abs(v) <= 1, "arccos": lambda v: abs(v) <= 1,
                "arccosh": lambda v: v >= 1, "arctanh": lambda v: abs(v) < 1}  # fmt: skip
_FUNCTIONS = {
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "cot": mp.cot, "sec": mp.sec, "csc": mp.csc, "arcsin": mp.asin,
    "arccos": mp.acos, "arctan": mp.atan, "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh, "coth": mp.coth,
    "exp": mp.exp, "arcsinh": mp.asinh, "arccosh": mp.acosh, "arctanh": mp.atanh,
    "arccot": lambda v: mp.pi / 2 - mp.atan(v), "floor": mp.floor, "ceil": mp.ceil,
}  # fmt: skip


def _func(node: Node, values: list, point: Point) -> object:
    name = node.name
    if name in ("ln", "log"):
        return _logarithm(node, values, point)
    if name in ("max", "min") and not any(isinstance(value, mpmath.mpc) for value in values):
        return max(values) if name == "max" else min(values)
    function = _FUNCTIONS.get(name)
    if function is None or len(values) != 1:
        raise Undefined
    value = values[0]
    if abs(value) > 10**6 or (name in ("exp", "sinh", "cosh", "tanh", "coth") and abs(value) > MAX_MAGNITUDE / 2):
        raise TooBig("an argument beyond the limit")
    domain = _REAL_DOMAIN.get(name)
    if domain and not point.complex_ and not domain(value):
        raise Undefined
    try:
        return function(value)
    except (ZeroDivisionError, ValueError) as error:
        raise Undefined from error


def _logarithm(node: Node, values: list, point: Point) -> object:
    value = values[0]
    if not value or (not point.complex_ and value < 0):
        raise Undefined
    result = mp.log(value)
    if len(values) == 2:
        if not values[1] or values[1] == 1 or (not point.complex_ and values[1] < 0):
            raise Undefined
        return result / mp.log(values[1])
    return result / mp.log(10) if node.name == "log" and point.log_base == 10 else result


_OPERATIONS = {
    "add": lambda n, v, p: v[0] + v[1],
    "neg": lambda n, v, p: -v[0],
    "mul": lambda n, v, p: v[0] * v[1],
    "percent": lambda n, v, p: v[0] / 100,
    "degree": lambda n, v, p: v[0] * mp.pi / 180,
    "abs": lambda n, v, p: abs(v[0]),
    "div": _div,
    "pow": _pow,
    "root": _root,
    "fact": _fact,
    "binom": _binom,
    "app": _app,
    "func": _func,
}
