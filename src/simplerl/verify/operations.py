"""One operation of an evaluation: what it is undefined for, and where its value would be too large to compute."""

from __future__ import annotations

import math
from fractions import Fraction

from simplerl.verify.exact import MAX_FACTORIAL, exact
from simplerl.verify.nodes import Node
from simplerl.verify.points import Point, Undefined, digest, mp, mpmath
from simplerl.verify.work import Spent, TooBig

#: Values beyond 2^(±MAX_MAGNITUDE) are never computed.
MAX_MAGNITUDE = 60_000


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
    total = mp.mpf(digest("app", node.name) % 997) / 997
    for i, value in enumerate(values):
        factor = mp.mpf(digest(node.name, i, "scale") % 9973) / 9973 + 1
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


#: Operation → its value from the node, the values of its arguments, and the point.
OPERATIONS = {
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
