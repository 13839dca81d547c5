"""Evaluation of an expression at a point with mpmath, every operation bounded in size before it is taken."""

from __future__ import annotations

from fractions import Fraction

from simplerl.verify.nodes import Node
from simplerl.verify.operations import MAX_MAGNITUDE, OPERATIONS
from simplerl.verify.points import Point, Undefined, mp, symbol_value
from simplerl.verify.work import TooBig, spend

__all__ = ["Point", "Span", "Undefined", "evaluate"]


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
    if op not in OPERATIONS:
        raise Undefined
    values = [evaluate(arg, point) for arg in node.args]
    return _checked(OPERATIONS[op](node, values, point))


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
