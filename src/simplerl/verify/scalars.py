"""Comparison of scalars: exact values where both sides are rational, algebra where they are not, and their marks.

The base of the comparison of answers. It holds an *engine* for algebra. Without one, in the calling process, a
comparison that needs algebra raises `Undecided`, unless some other part already settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from simplerl.verify.exact import exact
from simplerl.verify.nodes import Node, num
from simplerl.verify.shapes import lift, same_notation, without
from simplerl.verify.units import differ, unit_name
from simplerl.verify.words import conversion, same_but_for_powers
from simplerl.verify.work import Spent, TooBig

#: Longer lists are compared by spelling only.
MAX_ITEMS = 60
#: A decimal with this many significant digits is taken for a printed floating-point number.
FLOAT_DIGITS = 12
_FLOAT_NOISE = Fraction(4, 10**15)


class Undecided(Exception):
    """Only algebra can tell, and there is no engine here."""


class Engine(Protocol):
    """What algebra must offer; `simplerl.verify.algebra` is one."""

    def equal(self, left: Node, right: Node) -> bool: ...
    def proportion(self, left: Node, right: Node) -> int: ...
    def close(self, left: Node, right: Node, tolerance: float) -> bool: ...
    def within_limits(self, node: Node) -> bool: ...
    def rounds_to(self, decimal: Fraction, places: int, node: Node) -> bool: ...


class ScalarComparison:
    """Scalars and plain combinations; `rules` collects what was used, for the explanation."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine
        self.rules: list[str] = []

    def note(self, rule: str) -> None:
        """Remember that a rule was used."""
        if rule not in self.rules:
            self.rules.append(rule)

    def _algebra(self) -> Engine:
        if self.engine is None:
            raise Undecided
        self.note("algebra")
        return self.engine

    def equal(self, left: Node, right: Node) -> bool:
        """Compare two answers of any kind; see `Comparison`."""
        raise NotImplementedError

    def all_equal(self, left: Sequence[Node], right: Sequence[Node]) -> bool:
        """Compare element by element; one certain difference decides even where another pair is undecided."""
        if len(left) != len(right):
            return False
        undecided = False
        for pair in zip(left, right, strict=True):
            try:
                if not self.equal(*pair):
                    return False
            except Undecided:
                undecided = True
        if undecided:
            raise Undecided
        return True

    def same_multiset(self, left: Sequence[Node], right: Sequence[Node]) -> bool:
        """Compare without order, counting repetitions."""
        if len(left) != len(right) or len(left) > MAX_ITEMS:
            return False
        rest = list(right)
        undecided = False
        for item in left:
            for i, other in enumerate(rest):
                try:
                    if self.equal(item, other):
                        del rest[i]
                        break
                except Undecided:
                    undecided = True
            else:
                if undecided:
                    raise Undecided
                return False
        return True

    def scalar(self, left: Node, right: Node) -> bool:
        """Compare two expressions with their marks: units, per cent, degrees."""
        if left.op == "unit" and right.op == "unit":
            if same_but_for_powers(left.name, right.name):
                return False
            if left.name != right.name and (left.name.startswith("mod ") or right.name.startswith("mod ")):
                return False
            mine, theirs = conversion(left.name), conversion(right.name)
            if mine and theirs and mine != theirs:
                if mine[0] != theirs[0]:
                    return False
                left = Node("mul", (num(Fraction(mine[1], mine[2])), left.args[0]))
                right = Node("mul", (num(Fraction(theirs[1], theirs[2])), right.args[0]))
                return self.value(left, right)
            if differ(left.name, right.name):
                return False
        left, right = _radians(left, right), _radians(right, left)
        left, right = lift(without(left, "unit")), lift(without(right, "unit"))
        marks = (left.op, right.op)
        if marks == ("percent", "percent"):
            return self.value(left.args[0], right.args[0])
        if "percent" in marks:
            number, other = (left, right) if left.op == "percent" else (right, left)
            other = without(other, "degree")
            return self._either(number.args[0], number, other)
        if marks == ("degree", "degree"):
            return self.value(left.args[0], right.args[0])
        if "degree" in marks:
            angle, other = (left, right) if left.op == "degree" else (right, left)
            # 90° is written 90, or in radians with π or an inverse function.
            if any(part.name == "pi" or (part.op == "func" and part.name[:3] == "arc") for part in other.walk()):
                return self.value(angle, other)
            return self.value(angle.args[0], other)
        return self.value(left, right)

    def _either(self, first: Node, second: Node, other: Node) -> bool:
        """Whether one of two readings equals `other`."""
        undecided = False
        for reading in (first, second):
            try:
                if self.value(reading, other):
                    return True
            except Undecided:
                undecided = True
        if undecided:
            raise Undecided
        return False

    def value(self, left: Node, right: Node) -> bool:
        """Compare two bare expressions: exactly where both are rational, by algebra otherwise."""
        if left == right:
            return not meaningless(left)
        values = exact(left), exact(right)
        if values[0] is not None and values[1] is not None:
            self.note("exact")
            return values[0] == values[1] or _printed_float(left, values[0], values[1]) or _printed_float(
                right, values[1], values[0])  # fmt: skip
        infinite = [_infinite(node) for node in (left, right)]
        if any(infinite):
            return infinite[0] == infinite[1]
        if _no_common_ground(left, right):
            return False
        engine = self._algebra()
        left, right = same_notation(left, right)
        if engine.equal(left, right):
            return True
        for node, known, other in ((left, values[0], right), (right, values[1], left)):
            if known is not None and node.op in ("num", "neg") and (places := _float_places(known)):
                return engine.rounds_to(known, places, other)
        return False


def _radians(node: Node, other: Node) -> Node:
    """Degrees beside radians by name are converted; elsewhere the sign may be left out."""
    if node.op == "degree" and other.op == "unit" and unit_name(other.name) == "rad^1":
        return Node("div", (Node("mul", (node.args[0], Node("const", (), "pi"))), num(180)))
    return node


def meaningless(node: Node) -> bool:
    """Division by zero is equal to nothing, not even to itself."""
    return any(part.op == "div" and exact_zero(part.args[1]) for part in node.walk())


def exact_zero(node: Node) -> bool:
    """Whether an expression is exactly the number zero."""
    try:
        return exact(node) == 0
    except Spent:
        raise
    except TooBig:
        return False


def _infinite(node: Node) -> int:
    if node.op == "const" and node.name == "inf":
        return 1
    return -_infinite(node.args[0]) if node.op == "neg" else 0


def _no_common_ground(left: Node, right: Node) -> bool:
    """Two different bare symbols, or a bare symbol and a number, need no algebra."""
    simple = ("sym", "num", "const", "opaque")
    return left.op in simple and right.op in simple and not {left.op, right.op} <= {"num", "const"}


def _float_places(value: Fraction) -> int:
    """Decimal places of a terminating decimal with at least FLOAT_DIGITS significant digits, else 0."""
    denominator = value.denominator
    if denominator == 1 or denominator.bit_length() > 200:
        return 0
    places = 0
    while (10**places) % denominator:
        places += 1
        if places > 60:
            return 0
    digits = len(str(abs(value.numerator * 10**places // denominator)))
    return places if digits >= FLOAT_DIGITS else 0


def _is_short(value: Fraction) -> bool:
    """Whether a number has fewer significant digits than a printed float, or is no terminating decimal at all."""
    if value.denominator == 1:
        return len(str(abs(value.numerator)).rstrip("0")) < FLOAT_DIGITS
    return not _float_places(value)


def _printed_float(node: Node, value: Fraction, other: Fraction) -> bool:
    """Whether a long decimal is another value as a computer prints it: rounded in its last place, or off by an ulp."""
    if node.op not in ("num", "neg") or not (places := _float_places(value)):
        return False
    gap = abs(value - other)
    # 0.30000000000000004 is 0.3; two numbers of sixteen digits that are nearly the same are two numbers.
    return gap < Fraction(1, 10**places) or (gap <= _FLOAT_NOISE * abs(other) and _is_short(other))
