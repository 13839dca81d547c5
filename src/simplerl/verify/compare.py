"""Comparison of two answers that were read: structure first, exact values next, points only where both leave it open.

`Comparison` is symmetric: gold and answer are treated alike. It holds the work budget and, in a worker, an evaluator
for algebra. Without one, in the calling process, a comparison that needs algebra raises `Undecided`, unless some other
part already settles it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, permutations
from typing import TYPE_CHECKING

from simplerl.verify.numbers import Spent, TooBig, Work, exact
from simplerl.verify.parse import (
    INEQUALITIES,
    INFINITY,
    MINUS_INFINITY,
    Node,
    Unreadable,
    compound,
    has_symbols,
    is_scalar,
    neg,
    num,
    sym,
)
from simplerl.verify.words import is_name, plain_words, stem, unit_of, unnumbered

if TYPE_CHECKING:
    from simplerl.verify.points import Evaluator

#: Longer lists are compared by spelling only.
MAX_ITEMS = 60
#: A decimal with this many significant digits is taken for a printed floating-point number.
FLOAT_DIGITS = 12
_FLOAT_NOISE = Fraction(4, 10**15)
#: Each inequality sign → what it becomes when the sides change places.
_FLIP = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_CONSTANT_OF_INTEGRATION = re.compile(r"[CcK](?:_\d)?"), re.compile(r"[CcKABD](?:_\d)?")


class Undecided(Exception):
    """Only algebra can tell, and there is no evaluator here."""


# --- what trees say -----------------------------------------------------------------------------------------------


def _signs(node: Node) -> list[str]:
    return node.name.split()


def _is_constant(node: Node) -> bool:
    return is_scalar(node) and not has_symbols(node)


def names_quantity(node: Node) -> bool:
    """Whether a side of an equation only names what is asked for: `x`, `f(x)`, `AB`, `|AB|`, `NO/BO`, `(x,y)`.

    A lower-case product is not a name: `xy = 6` is an equation of a curve, and its 6 is not the answer.
    """
    if node.op in ("sym", "app", "opaque"):
        return True
    if node.op == "text":
        return is_name(node.name)
    if node.op == "const":
        return node.name in ("e", "i")
    if node.op == "abs":
        return _has_length(node.args[0])
    if node.op in ("unit", "degree"):
        return names_quantity(node.args[0])
    if node.op == "func":
        return has_symbols(node)
    if node.op == "pow":  # the inverse or the transpose of a matrix
        return node.args[0].op == "sym" and node.args[0].name.isupper() and node.args[1] in (neg(num(1)), sym("T"))
    if node.op == "add":
        return all(arg.op == "sym" or (arg.op == "add" and names_quantity(arg)) for arg in node.args)
    if node.op == "seq" and node.name == "[]" and len(node.args) == 1:
        return node.args[0].op == "sym" and node.args[0].name.isupper()  # the area [ABC]
    if node.op in ("div", "mul"):
        if node.op == "div" and all(arg.op == "mul" and arg.args[0] == sym("d") for arg in node.args):
            return True  # dy/dx
        if node.op == "mul" and _called(node):
            return True
        if node.op == "mul" and node.args[0] == sym("m") and node.args[1].name.startswith("\\angle"):
            return True
        return all(_is_upper_name(arg) for arg in node.args)
    if node.op in ("seq", "ratio", "list"):
        return bool(node.args) and all(names_quantity(arg) for arg in node.args)
    return False


def _has_length(node: Node) -> bool:
    """Whether bars mean the length or modulus of this: a segment, a vector, a set, z; |x| is a function of x."""
    if node.op == "sym":
        return node.name[0].isupper() or "{" in node.name or node.name.rstrip("'").split("_")[0] == "z"
    return node.op == "mul" and all(_has_length(arg) for arg in node.args)


def _is_upper_name(node: Node) -> bool:
    if node.op == "sym":
        return node.name[0].isupper() or node.name.startswith("\\")
    return node.op in ("mul", "div", "abs") and all(_is_upper_name(arg) for arg in node.args)


def _called(node: Node) -> bool:
    """`P(x)`, `E(X)`, `a(n)`: one letter times one bare symbol is a value of a function when it is a complete side."""
    left, right = node.args
    return left.op == "sym" and right.op in ("sym", "num") and len(left.name) == 1 and left.name.isupper()


def name_of(node: Node) -> str:
    """A spelling of the name that a side gives to a quantity."""
    if node.op == "app" or (node.op == "mul" and _called(node)):
        arguments = node.args if node.op == "app" else node.args[1:]
        fixed = ",".join(map(str, arguments)) if not any(map(has_symbols, arguments)) else ""
        return f"{node.name or node.args[0].name}({fixed})"
    if node.op == "div" and all(arg.op == "mul" and arg.args[0] == sym("d") for arg in node.args):
        return node.args[0].args[1].name + "'"  # dy/dx is y'
    if node.op == "mul" and node.args[0] == sym("m") and node.args[1].name.startswith("\\angle"):
        return node.args[1].name
    return node.name or node.op + "".join(name_of(arg) for arg in node.args)


def assigned(node: Node) -> tuple[str, Node] | None:
    """Return (name, value) of `x = 5` or `5 = x`; a chain gives its last value. None for anything else."""
    if node.op != "rel" or set(_signs(node)) != {"="}:
        return None
    if names_quantity(node.args[0]):
        return name_of(node.args[0]), node.args[-1]
    if len(node.args) == 2 and names_quantity(node.args[1]) and is_scalar(node.args[0]):
        return name_of(node.args[1]), node.args[0]
    return None


def _assignments(node: Node) -> list[Node] | None:
    """Return the values of a list of assignments to different names, else None.

    Single-letter names come in alphabetical order, which is the order of a tuple's components.
    """
    named = [pair for item in node.args if (pair := assigned(item))]
    names = [name for name, _ in named]
    if len(named) < len(node.args) or len(set(names)) != len(names) or len(names) < 2:
        return None
    if len({name.split("_")[0] for name in names}) == 1:
        return None  # x_1 = 3, x_2 = 5 counts the solutions of one unknown: they have no order
    if all(len(name) == 1 for name in names):
        named.sort(key=lambda pair: pair[0])
    return [value for _, value in named]


def replace(node: Node, names: dict[str, Node]) -> Node:
    """The tree with symbols replaced by name."""
    if node.op == "sym" and node.name in names:
        return names[node.name]
    return Node(node.op, tuple(replace(arg, names) for arg in node.args), node.name, node.value) if node.args else node


def _unwrap(node: Node) -> Node:
    while node.op == "list" and len(node.args) == 1:
        node = node.args[0]
    return node


def without(node: Node, *marks: str) -> Node:
    """The tree inside some outer marks, such as a unit and a sign."""
    while node.op in marks:
        node = node.args[0]
    return node


def _by_component(node: Node) -> Node:
    """`(r, h) = (3, 10)` as the list r = 3, h = 10."""
    if node.op != "rel" or node.name != "=" or node.args[0].op != "seq" or node.args[1].op != "seq":
        return node
    names, values = (side.args for side in node.args)
    if len(names) != len(values) or not all(map(names_quantity, names)):
        return node
    return Node("list", tuple(Node("rel", pair, "=") for pair in zip(names, values, strict=True)))


def _lift(node: Node) -> Node:
    """Move a percent or degree sign outwards over a sign or a factor: −3° is (−3)°, 2x% is (2x)%."""
    if node.op in ("neg", "mul") and node.args:
        inner = _lift(node.args[-1])
        if inner.op in ("percent", "degree"):
            return Node(inner.op, (Node(node.op, (*node.args[:-1], inner.args[0])),))
    return node


def _difference(node: Node) -> Node:
    return Node("add", (node.args[0], neg(node.args[1])))


def _subject(node: Node) -> str:
    """The name that an inequality speaks of, x in |x| < 5; empty when it is in words or unclear."""
    sides = [side.args[0] if side.op == "abs" and side.args[0].op == "sym" else side for side in node.args]
    names = [name_of(side) for side in sides if names_quantity(side) and side.op != "text" and has_symbols(side)]
    return names[0] if len(names) == 1 else ""


def _function_and_y(first: str, second: str) -> bool:
    """`f(x) = …`, `f = …` and `y = …` name the same thing."""
    if "y" in (first, second) and any("(" in name for name in (first, second)):
        return True
    return first.removesuffix("()") == second.removesuffix("()") and "()" in first + second


def _letters_of(node: Node) -> str:
    """The letters of a bare run such as `odd`, which the reader took for a product of symbols; empty for others."""
    if (node.op == "sym" and node.name.isalpha()) or (node.op == "const" and node.name in ("e", "i")):
        return node.name
    parts = [_letters_of(part) for part in node.args] if node.op == "mul" else []
    return "".join(parts) if all(parts) else ""


def has_sign_choice(node: Node) -> bool:
    """Whether an expression holds a ±."""
    return any(part.op in ("pm", "mp") for part in node.walk())


def _choose_sign(node: Node, sign: int) -> Node:
    r"""Read `\pm` as + (sign 1) or − (sign −1) throughout, and `\mp` as the opposite."""
    args = tuple(_choose_sign(arg, sign) for arg in node.args)
    if node.op in ("pm", "mp"):
        positive = (sign > 0) == (node.op == "pm")
        return Node("add", (args[0], args[1] if positive else neg(args[1])))
    return Node(node.op, args, node.name, node.value) if args else node


def _expand_signs(node: Node) -> Node:
    r"""Replace each item that holds a `\pm` by its two values."""
    if node.op not in ("list", "set") or not any(has_sign_choice(item) for item in node.args):
        return node
    items = [[_choose_sign(item, sign) for sign in ((1, -1) if has_sign_choice(item) else (1,))] for item in node.args]
    return Node(node.op, tuple(chain.from_iterable(items)), node.name)


def _letters(node: Node) -> list[str]:
    return [part.name for part in node.walk() if part.op == "sym"]


def _split_runs(node: Node, singles: set[str]) -> Node:
    if node.op == "sym" and 1 < len(node.name) < 4 and node.name.isupper() and set(node.name) & singles:
        product = sym(node.name[0])
        for letter in node.name[1:]:
            product = Node("mul", (product, sym(letter)))
        return product
    return Node(node.op, tuple(_split_runs(arg, singles) for arg in node.args), node.name, node.value)


def _notations(left: Node, right: Node) -> Iterator[tuple[Node, Node]]:
    """Two expressions in one notation: GM is G M where either letter stands alone, and constants of integration may
    have other names: `C e^x` is `c e^x`."""
    names = _letters(left), _letters(right)
    singles = {name for name in (*names[0], *names[1]) if len(name) == 1 and name.isupper()}
    if singles and any(len(name) > 1 and name.isupper() for name in (*names[0], *names[1])):
        left, right = _split_runs(left, singles), _split_runs(right, singles)
    only = sorted(set(names[0]) - set(names[1])), sorted(set(names[1]) - set(names[0]))
    pattern = _CONSTANT_OF_INTEGRATION[len(only[0]) > 1]  # one constant is C or c; several may be A and B
    constants = all(pattern.fullmatch(name) for side in only for name in side)
    if not (1 <= len(only[0]) == len(only[1]) <= 3 and constants and set(names[0]) - set(only[0])):
        yield left, right
        return
    for order in permutations(only[0]):
        yield left, replace(right, dict(zip(only[1], map(sym, order), strict=True)))


def _same_arguments(left: Node, right: Node) -> Node | None:
    """Return `right` with the letters of its function's arguments as in `left`: f(t) = 2t is f(x) = 2x. None when the
    letters differ and cannot be exchanged, as in f(t) = 2x."""
    mine, theirs = left.args[0], right.args[0]
    if mine.op != "app" or theirs.op != "app" or mine.name != theirs.name or len(mine.args) != len(theirs.args):
        return right
    if mine.args == theirs.args:
        return right
    if not all(arg.op == "sym" for arg in (*mine.args, *theirs.args)):
        return None if any(map(has_symbols, (*mine.args, *theirs.args))) else right  # f(2x) is not f(x)
    names = {old.name: new for old, new in zip(theirs.args, mine.args, strict=True)}
    free = set(_letters(right)) - set(names)
    if len(names) < len(theirs.args) or free & {new.name for new in names.values()}:
        return None
    return replace(right, names)


def _infinite(node: Node) -> int:
    return {INFINITY: 1, MINUS_INFINITY: -1}.get(node, 0)


def _no_common_ground(left: Node, right: Node) -> bool:
    """Two different bare symbols, or a bare symbol and a number, need no algebra."""
    simple = ("sym", "num", "const", "opaque")
    return left.op in simple and right.op in simple and not {left.op, right.op} <= {"num", "const"}


def _float_places(value: Fraction) -> int:
    """Decimal places of a terminating decimal with at least FLOAT_DIGITS significant digits, else 0."""
    if value.denominator == 1 or (places := _decimal_places(value, 60)) is None:
        return 0
    return places if len(str(abs(value.numerator * 10**places // value.denominator))) >= FLOAT_DIGITS else 0


def _decimal_places(value: Fraction, limit: int) -> int | None:
    return next((places for places in range(limit) if 10**places % value.denominator == 0), None)


def _printed_float(node: Node, value: Fraction, other: Fraction) -> bool:
    """Whether a long decimal is another value as a computer prints it: rounded in its last place, or off by an ulp."""
    if node.op not in ("num", "neg") or not (places := _float_places(value)):
        return False
    whole_number = other.denominator == 1
    long = len(str(abs(other.numerator)).rstrip("0")) >= FLOAT_DIGITS if whole_number else _float_places(other)
    gap = abs(value - other)
    # 0.30000000000000004 is 0.3; two numbers of sixteen digits that are nearly the same are two numbers.
    return gap < Fraction(1, 10**places) or (gap <= _FLOAT_NOISE * abs(other) and not long)


# --- regions of the number line: unions of intervals ----------------------------------------------------------------

_ESTIMATES: dict[str, Callable[..., float]] = {
    "neg": operator.neg,
    "add": operator.add,
    "mul": operator.mul,
    "div": operator.truediv,
    "root": lambda index, a: math.sqrt(a) if index == 2 else math.exp(math.log(a) / index),
}


class _Unclear(Exception):
    """No region, or one whose ends cannot be put in order."""


def _is_number_line(node: Node) -> bool:
    r"""Whether an answer says "all real numbers": ℝ, (−∞, ∞), −∞ < x < ∞."""
    if node.op == "sym":
        return node.name == "\\mathbb{R}"
    if node.op == "seq":
        return node.name == "()" and node.args == (MINUS_INFINITY, INFINITY)
    return node.op == "rel" and node.name == "\\in" and _is_number_line(node.args[1])


def _interval(low: Node, high: Node, brackets: str) -> Node:
    return Node("seq", (low, high), brackets)


def _estimate(node: Node) -> float | None:
    """A constant as a floating-point number, enough to order the ends of intervals; None when it is not simple."""
    if node.op == "const":
        return {"inf": math.inf, "pi": math.pi, "e": math.e}.get(node.name)
    values = [_estimate(arg) for arg in node.args]
    try:
        if node.op == "num":
            return float(node.value or 0)
        return None if None in values or node.op not in _ESTIMATES else _ESTIMATES[node.op](*values)
    except (ArithmeticError, ValueError):
        return None


def _intervals(region: Node) -> list[Node]:
    parts = region.args if region.op == "union" and region.name != "minus" else (region,)
    return [_interval(MINUS_INFINITY, INFINITY, "()") if _is_number_line(part) else part for part in parts]


def _inner_end(side: int, first: Node, second: Node) -> tuple[Node, str]:
    """The end of two intervals, lower (side 0) or upper (1), that is further inside, with its bracket."""
    ends = [(part.args[side], part.name[side]) for part in (first, second)]
    finite = [end for end in ends if not _infinite(end[0])]
    if len(finite) < 2:
        return (finite or ends)[0]
    values = [_estimate(end) for end, _ in ends]
    if values[0] is None or values[1] is None:
        raise _Unclear
    if values[0] == values[1]:
        return ends[ends[0][1] in "[]"]
    return ends[(values[0] < values[1]) == (side == 0)]


def _meet(first: Node, second: Node) -> list[Node]:
    """What two intervals have in common, if anything."""
    if any(part.op != "seq" or not all(map(is_scalar, part.args)) for part in (first, second)):
        raise _Unclear
    (low, opening), (high, closing) = _inner_end(0, first, second), _inner_end(1, first, second)
    ends = _estimate(low), _estimate(high)
    if ends[0] is None or ends[1] is None or ends[0] < ends[1] or (ends[0] == ends[1] and opening + closing == "[]"):
        return [_interval(low, high, opening + closing)]
    return []


def _intersection(regions: Iterable[list[Node]]) -> list[Node]:
    inside = [_interval(MINUS_INFINITY, INFINITY, "()")]
    for region in regions:
        inside = [piece for one in inside for other in region for piece in _meet(one, other)]
        if len(inside) > MAX_ITEMS:
            raise _Unclear
    return inside


def _complement(region: Node) -> list[Node]:
    """The number line without an interval, or without the points of a set."""
    if region.op == "set":
        return _intersection(_complement(_interval(point, point, "[]")) for point in region.args)
    if region.op != "seq" or len(region.args) != 2:
        raise _Unclear
    low, high = region.args
    below = _interval(MINUS_INFINITY, low, "(" + {"[": ")", "(": "]"}[region.name[0]])
    above = _interval(high, INFINITY, {"]": "(", ")": "["}[region.name[1]] + ")")
    return [part for part, empty in ((below, _infinite(low) < 0), (above, _infinite(high) > 0)) if not empty]


def _bounded(left: Node, sign: str, right: Node) -> list[Node]:
    """The region of `x < 3`, `3 > x`, `x ≠ ±3`, `|x| < 3`."""
    for subject, bound in ((left, right), (right, left)):
        distance = not names_quantity(subject) and subject.op == "abs" and subject.args[0].op == "sym"
        if (distance or names_quantity(subject)) and _is_constant(bound):
            break
    else:
        raise _Unclear
    sign = sign if subject is left else _FLIP.get(sign, sign)
    if sign == "\\neq" and not distance:
        return _complement(_expand_signs(Node("set", (bound,))))
    if sign not in _FLIP or (distance and (_estimate(bound) or 0) <= 0):
        raise _Unclear
    closed = sign in ("\\le", ">")  # what > excludes is closed
    low = neg(bound) if distance else MINUS_INFINITY
    below = _interval(low, bound, ("[" if closed and distance else "(") + ("]" if closed else ")"))
    return [below] if sign in ("<", "\\le") else _complement(below)


def as_region(node: Node) -> Node | None:
    """Return the interval or union that an inequality, a membership or a list of them describes, else None."""
    try:
        parts = _region(node)
    except _Unclear:
        return None
    return Node("union", tuple(parts)) if len(parts) > 1 else parts[0] if parts else None


def _region(node: Node) -> list[Node]:
    if node.op == "union" and node.name == "minus":
        return _intersection([_intervals(as_region(node.args[0]) or node.args[0]), _complement(node.args[1])])
    if node.op == "list" and len(node.args) > 1:
        return _region_of_list(node)
    if node.op != "rel":
        raise _Unclear
    signs = _signs(node)
    if signs in (["\\in"], ["\\notin"]) and names_quantity(node.args[0]):
        values = node.args[1]
        return _complement(values) if signs == ["\\notin"] else _intervals(as_region(values) or values)
    if sum(not _is_constant(side) for side in node.args) > 1:
        raise _Unclear
    return _intersection([_bounded(*part) for part in zip(node.args, signs, node.args[1:], strict=False)])


def _region_of_list(node: Node) -> list[Node]:
    """Several conditions on one quantity: `or` joins their regions, `and` keeps what they share; a comma may mean
    either, and then means `and` unless nothing would be left: x < 1, x > 2 are two branches."""
    items = [item for item in node.args if not (item.op == "rel" and _is_number_line(item))]
    if items and items[0].op == "rel" and items[0].name == "\\neq" and all(map(is_scalar, items[1:])):  # x ≠ 1, 2
        items = [Node("rel", (items[0].args[0], value), "\\neq") for value in (items[0].args[1], *items[1:])]
    if not items or node.name == "mixed" or any(item.op != "rel" for item in items):
        raise _Unclear
    if len({_subject(item) for item in items} - {""}) > 1:
        raise _Unclear
    regions = [_region(item) for item in items]
    if node.name != "or" or all(item.name == "\\neq" for item in items):
        inside = _intersection(regions)
        if inside or node.name == "and":
            return inside
    parts = [part for region in regions for part in region]
    if any(part.op != "seq" for part in parts):
        raise _Unclear
    return parts


# --- comparison ---------------------------------------------------------------------------------------------------


class Comparison:
    """One comparison of two answers of any kind; `rules` collects what was used, for the explanation."""

    def __init__(self, work: Work, engine: Evaluator | None = None) -> None:
        self.work = work
        self.engine = engine
        self.rules: set[str] = set()

    @property
    def rule(self) -> str:
        """The most expensive rule that was used."""
        return next((rule for rule in ("algebra", "exact") if rule in self.rules), "structure")

    def _algebra(self) -> Evaluator:
        if self.engine is None:
            raise Undecided
        self.rules.add("algebra")
        return self.engine

    def _exact(self, node: Node) -> Fraction | None:
        return exact(node, self.work) if is_scalar(node) else None

    def _meaningless(self, node: Node) -> bool:
        """Division by zero is equal to nothing, not even to itself."""
        try:
            return any(part.op == "div" and self._exact(part.args[1]) == 0 for part in node.walk())
        except Spent:
            raise
        except TooBig:
            return False

    def equal(self, left: Node, right: Node) -> bool:
        """Return whether two answers are equal; raise `Undecided` when only algebra can tell."""
        if left == right:
            return not self._meaningless(left)
        left, right = _unwrap(left), _unwrap(right)
        if "list" in (left.op, right.op):
            left, right = _by_component(left), _by_component(right)
        for first, second in ((left, right), (right, left)):
            answer = self._one_sided(first, second)
            if answer is not None:
                return answer
        if left.op != right.op:
            return is_scalar(left) and is_scalar(right) and self.scalar(left, right)
        if left.op in ("list", "set", "union"):
            if left.name != right.name and "minus" in (left.name, right.name):
                return False
            items = _expand_signs(left).args, _expand_signs(right).args
            if left.op == "set" and sorted(i.op == "set" for i in items[0]) != sorted(i.op == "set" for i in items[1]):
                return False  # {{1}} is not {1}
            return self.same_multiset(*items)
        if left.op == "seq":
            return left.name == right.name and self.all_equal(left.args, right.args)
        if left.op == "matrix":
            shapes = [[len(row.args) for row in node.args] for node in (left, right)]
            cells = [[cell for row in node.args for cell in row.args] for node in (left, right)]
            return shapes[0] == shapes[1] and self.all_equal(*cells)
        by_op: dict[str, Callable[[Node, Node], bool]] = {
            "rel": self.relations,
            "text": lambda a, b: unnumbered(a.name) == unnumbered(b.name),
            "date": self._date,
            "base": lambda a, b: a.args == b.args and a.name == b.name,
            "time": self._time,
            "ratio": self._ratio,
            "pieces": self._pieces,
            "prose": lambda a, b: self.all_equal(a.args, b.args),
            "cond": self._conditions,
        }
        return by_op.get(left.op, self.scalar)(left, right)

    def _one_sided(self, node: Node, other: Node) -> bool | None:
        """Rules for two different kinds of answer, seen from `node`; None when none applies."""
        if node.op == "both":
            return all(self.equal(part, other) for part in node.args)
        if node.op == "cond" and other.op != "cond":
            return self._domain(node, other)
        if node.op == "text":
            return self._text(node, other)
        if node.op == "rel":
            return self._relation_and_value(node, other)
        if node.op in ("pm", "mp") or (is_scalar(node) and has_sign_choice(node)):
            return self._sign_choice(node, other)
        if node.op == "list":
            return self._list(node, other)
        if node.op == "set" and len(node.args) == 1 and is_scalar(other):
            if node.args[0] == sym("\\emptyset") or node.args[0].op == "set":
                return False
            return self.equal(node.args[0], other)
        if node.op == "union" and node.name == "minus" and (region := as_region(node)) is not None:
            return self.equal(region, other)
        if node.op == "union" and other.op != "union" and len(node.args) == 2 and _is_number_line(other):
            return False
        if node.op == "matrix" and other.op == "seq" and other.name == "()":
            cells = [cell for row in node.args for cell in row.args]
            flat = len(node.args) == 1 or all(len(row.args) == 1 for row in node.args)
            return flat and self.all_equal(cells, other.args)
        if is_scalar(node) and other.op in ("seq", "matrix") and any("\\hat{" in name for name in _letters(node)):
            return self._vector(node, other)
        if node.op == "base" and is_scalar(other):
            # The base may be left out when the digits are the same; a converted value is another answer.
            # In words ("17 base 8") it says that the digits are not the value.
            return node.value is None and other.op == "num" and node.name.isdecimal() and other.value == int(node.name)
        if node.op == "point":
            return self._point(node, other)
        if node.op == "time" and is_scalar(other) and node.name in ("am", "pm"):
            hour, *rest = (arg.value for arg in node.args)
            return not any(rest) and self.scalar(num((int(hour or 0) - 1) % 12 + 1), other)
        if node.op == "time" and other.op == "ratio":
            return self._ratio(Node("ratio", node.args[: len(other.args)]), other) and node.name in ("", "24")
        if node.op == "ratio" and len(node.args) == 2 and is_scalar(other):
            if any(self._exact(arg) == 0 for arg in node.args):
                return False
            return self.scalar(Node("div", node.args), other)
        if _is_number_line(node) and other.op != node.op:
            return _is_number_line(other)
        return None

    # --- parts ----------------------------------------------------------------------------------------------------

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
        """Compare without order, counting repetitions; items that say what they count are matched by that."""
        if len(left) != len(right) or len(left) > MAX_ITEMS:
            return False
        labels = [[_label(item) for item in side] for side in (left, right)]
        if len(left) > 1 and all(all(side) and len(set(side)) == len(side) for side in labels):
            if sorted(labels[0]) == sorted(labels[1]):
                right = [right[labels[1].index(label)] for label in labels[0]]
            return self.all_equal(left, right)
        rest = list(right)
        for item in left:
            match = next((i for i, other in enumerate(rest) if self.equal(item, other)), None)
            if match is None:
                return False
            del rest[match]
        return True

    def _date(self, left: Node, right: Node) -> bool:
        """Dates agree in what both state: a year may be left out."""
        (year, *day), (other_year, *other_day) = left.name.split("-"), right.name.split("-")
        return day == other_day and (year == other_year or not year or not other_year)

    def _time(self, left: Node, right: Node) -> bool:
        """Clock times, on 24 hours; without a.m. or p.m. a time on a 12-hour dial may mean either."""
        (hour, *rest), (other_hour, *other_rest) = (
            [int(arg.value or 0) for arg in node.args] for node in (left, right)
        )
        if rest != other_rest or bool(left.name) == bool(right.name):
            return rest == other_rest and hour == other_hour
        named, bare = (left, right) if left.name else (right, left)
        return hour == other_hour or (named.name != "24" and bool((hour - other_hour) % 12 == 0) and bare is not named)

    def _ratio(self, left: Node, right: Node) -> bool:
        """`3:4` and `6:8` are the same ratio."""
        if len(left.args) != len(right.args):
            return False
        pairs = [(self._exact(a), self._exact(b)) for a, b in zip(left.args, right.args, strict=True)]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if len(known) < len(pairs):
            if any(pair[0] == 0 or pair[1] == 0 for pair in pairs):
                return self.all_equal(left.args, right.args)
            quotients = [[Node("div", (part, node.args[0])) for part in node.args[1:]] for node in (left, right)]
            return self.all_equal(*quotients)
        first = next((pair for pair in known if any(pair)), None)
        return first is not None and all(first) and all(a * first[1] == b * first[0] for a, b in known)

    def _point(self, node: Node, other: Node) -> bool | None:
        """`P(3,4)` is a point with its name or a number of permutations, `C(5,2)` a point or a binomial coefficient."""
        if other.op == "point":
            return node.name == other.name and self.all_equal(node.args, other.args)
        if other.op in ("seq", "list"):
            return self.equal(Node("seq", node.args, "()"), other)
        if not is_scalar(other) or node.name not in ("C", "P") or len(node.args) != 2:
            return False
        chosen = Node("binom", node.args)
        return self.scalar(chosen if node.name == "C" else Node("mul", (chosen, Node("fact", node.args[1:]))), other)

    def _vector(self, node: Node, other: Node) -> bool:
        r"""`1\mathbf{i}+2\mathbf{j}` is the vector (1, 2)."""
        cells = other.args if other.op == "seq" else [cell for row in other.args for cell in row.args]
        units = ["\\hat{i}", "\\hat{j}", "\\hat{k}"]
        if len(cells) not in (2, 3) or (len(cells) == 2 and units[2] in _letters(node)):
            return False
        origin = replace(node, {unit: num(0) for unit in units})
        parts = [replace(node, {unit: num(int(unit == own)) for unit in units}) for own in units[: len(cells)]]
        return self.value(origin, num(0)) and self.all_equal(parts, cells)

    def _text(self, node: Node, other: Node) -> bool | None:
        if other.op == "text":
            return None
        if other.op == "const" and other.name == "inf":
            return node.name == "infinitely many"
        if other.op == "sym" and other.name == "\\emptyset":
            return node.name in ("no solution", "none", "empty set", "the empty set")
        letters = _letters_of(other)
        if node.name != unnumbered(node.name):
            return letters.isupper() and letters.lower() == unnumbered(node.name)
        return bool(letters) and plain_words(letters) == node.name

    # --- conditions and pieces ------------------------------------------------------------------------------------

    def _domain(self, node: Node, other: Node) -> bool:
        """A value with a domain behind it, against one without: the domain must say nothing new."""
        value = node.args[0]
        running = _running(node)
        letters = set(_letters(other)) - set(_letters(value))
        if len(running) == len(letters) == 1 and letters <= set("kmnl") and running[0] not in _letters(other):
            value = replace(value, {running[0]: sym(letters.pop())})
        return all(_is_set_of_numbers(c) or self._natural(value, c) for c in node.args[1:]) and self.equal(value, other)

    def _natural(self, value: Node, condition: Node) -> bool:
        """Whether a function is undefined wherever a condition on its variable fails: √x and x ≥ 0."""
        expression = value.args[-1] if value.op == "rel" else value
        if condition.op != "rel" or len(condition.args) != 2 or condition.args[0].op != "sym":
            return False
        if not is_scalar(expression):
            return False
        (variable, bound), bound_value = condition.args, self._exact(condition.args[1])
        steps = {"\\neq": (0,), ">": (0, -1, -7), "\\ge": (-1, -7), "<": (0, 1, 7), "\\le": (1, 7)}.get(condition.name)
        if steps is None or bound_value is None or bound.op == "text":
            return False
        engine = self._algebra()
        return not any(
            engine.is_defined(replace(expression, {variable.name: num(bound_value + Fraction(step, 3))}))
            for step in steps
        )

    def _conditions(self, left: Node, right: Node) -> bool:
        """Two values with conditions: the same up to the name of a whole number that runs."""
        names = _running(left), _running(right)
        if len(names[0]) == len(names[1]) == 1:
            right = replace(right, {names[1][0]: sym(names[0][0])})
        kept = [[c for c in node.args[1:] if not _is_set_of_numbers(c)] for node in (left, right)]
        sets = [
            {_set_name(c.args[1]) for c in node.args[1:] if c.op == "rel" and c.name == "\\in"} - {""}
            for node in (left, right)
        ]
        if all(sets) and sets[0] != sets[1]:
            return False
        return self.same_multiset(*kept) and self.equal(left.args[0], right.args[0])

    def _pieces(self, left: Node, right: Node) -> bool:
        """Functions in pieces: the same values under the same conditions; one piece may be "otherwise"."""
        rest, unmatched = list(right.args), []
        for piece in left.args:
            for other in rest:
                if piece.op == other.op == "cond" and self.all_equal(piece.args[1:], other.args[1:]):
                    if not self.equal(piece.args[0], other.args[0]):
                        return False
                    rest.remove(other)
                    break
            else:
                unmatched.append(piece)
        if len(unmatched) != len(rest) or len(rest) > 1:
            return False
        if not rest:
            return True
        last = unmatched[0], rest[0]
        return any(piece.op != "cond" for piece in last) and self.equal(*(without(piece, "cond") for piece in last))

    # --- lists ----------------------------------------------------------------------------------------------------

    def _list(self, node: Node, other: Node) -> bool | None:
        region = as_region(node)
        if region is None and other.op == "seq" and other.name == "()" and len(node.args) == len(other.args):
            named = _assignments(node)
            if named is None and any(item.op == "rel" for item in node.args):
                return False  # x = 3 or x = 8 is not (3, 8)
            return (named is None or node.name != "either") and self.all_equal(named or node.args, other.args)
        if other.op == "set":
            values = [(assigned(item) or ("", item)) for item in node.args]
            bare = Node("list", tuple(value for _, value in values))
            if len({name.split("_")[0] for name, _ in values}) > 1:
                bare = node
            return self.same_multiset(_expand_signs(bare).args, _expand_signs(other).args)
        if region is not None and other.op in ("seq", "union", "rel", "set"):
            return self.equal(region, other)
        if other.op == "list":
            return self._two_lists(node, other, region)
        if is_scalar(other) and other.op == "sym" and other.name.isupper() and len(other.name) == len(node.args):
            names = [item.name for item in node.args if item.op == "sym" and len(item.name) == 1]
            return sorted(names) == sorted(other.name)
        if len(node.args) == 1:
            return self.equal(node.args[0], other)
        if is_scalar(other) and len(node.args) == 2 and node.args[0].op == "num" and node.args[1].op == "div":
            whole, part = self._exact(node.args[0]), self._exact(node.args[1])
            if (
                whole is not None
                and part is not None
                and whole.denominator == 1
                and 0 < part < 1
                and node.name == "and"
            ):
                return self.value(num(whole + part), other)
        if is_scalar(other) and all(item.op == "unit" for item in node.args):
            try:
                return self.scalar(compound(list(node.args)), other)  # 1 hour and 30 minutes
            except Unreadable:
                return False
        if node.name == "either" and is_scalar(other) and not has_sign_choice(other):
            # One value in several forms, as in "3/4 or 0.75": each of them must be right.
            return self.all_equal(node.args, [other] * len(node.args))
        expanded = _expand_signs(node)
        if expanded is not node:
            return self.equal(expanded, other)
        return None if not is_scalar(other) or has_sign_choice(other) else False

    def _two_lists(self, node: Node, other: Node, region: Node | None) -> bool | None:
        labels = [[_label(item) for item in side.args] for side in (node, other)]
        if all(map(all, labels)):
            return self.same_multiset(node.args, other.args)
        regions = region, as_region(other)
        connectives = [side.name.removeprefix("either") for side in (node, other)]
        if regions[0] is not None and regions[1] is not None and any(connectives):
            return self.equal(regions[0], regions[1])
        if connectives[0] != connectives[1] and (set(connectives) != {"", "and"} or any(regions)):
            return False
        if (
            "either" in (node.name, other.name)
            and node.name != other.name
            and all(i.op == "text" or (i.op == "sym" and i.name.isupper()) for i in node.args)
        ):
            return False  # A or B chooses nothing
        mine, theirs = _assignments(node), _assignments(other)
        nameless = other if theirs is None else node
        if (mine is None) != (theirs is None) and not any(assigned(item) for item in nameless.args):
            return self.all_equal(mine or node.args, theirs or other.args)
        same = [assigned(item) for item in node.args], [assigned(item) for item in other.args]
        if (all(same[0]) and same[0] != same[1]) or (all(same[1]) and same[0] != same[1]):
            return self._values_of_lists(node, other)
        return None

    def _values_of_lists(self, left: Node, right: Node) -> bool | None:
        """`x=3 or x=4` against `3, 4` or `x=3,4`: one name throughout may be left out, and so may its numbering."""
        names = [[named[0] for item in node.args if (named := assigned(item))] for node in (left, right)]
        numbered = [any("_" in name for name in side) for side in names]
        if not all(names) or numbered[0] != numbered[1]:
            names = [[name.split("_")[0] for name in side] for side in names]
        sets = [set(side) for side in names]
        if any(len(side) > 1 for side in sets) or (all(sets) and sets[0] != sets[1]):
            return None
        values = [Node("list", tuple((assigned(i) or ("", i))[1] for i in node.args)) for node in (left, right)]
        return self.same_multiset(_expand_signs(values[0]).args, _expand_signs(values[1]).args)

    def _sign_choice(self, node: Node, other: Node) -> bool | None:
        if other.op in ("rel", "text"):
            return None
        if is_scalar(other) and has_sign_choice(other):
            other = Node("list", (other,))
        if other.op not in ("list", "set"):
            return False
        return self.same_multiset(_expand_signs(Node("list", (node,))).args, _expand_signs(other).args)

    # --- relations ------------------------------------------------------------------------------------------------

    def _relation_and_value(self, node: Node, other: Node) -> bool | None:
        """A relation against something that is not one: an assignment, an interval, an equation of constants."""
        if other.op == "rel":
            return None
        operators = _signs(node)
        if "\\approx" in operators:
            return self._approximation(node, other)
        if operators == ["\\equiv"]:
            return self._is_congruence(node) and self.equal(node.args[1], other)
        if set(operators) == {"="}:
            return self._equation_and_value(node, other)
        if operators == ["\\in"] and names_quantity(node.args[0]):
            return (other.op != "list" or node.args[1].op == "set" or as_region(other) is not None) and self.equal(
                node.args[1], other
            )
        region = as_region(node)
        if region is None or (other.op == "list" and as_region(other) is None):
            return False
        return self.equal(region, other)

    def _approximation(self, node: Node, other: Node) -> bool:
        operators = _signs(node)
        at = operators.index("\\approx")
        if not at and names_quantity(node.args[0]):  # L ≈ 4.5 states 4.5
            rest = Node("rel", node.args[1:], " ".join(operators[1:]))
            return self.equal(node.args[1] if len(operators) == 1 else rest, other)
        if not self._plausible(*node.args[at : at + 2]):
            return False
        precise = node.args[0] if at == 0 else Node("rel", node.args[: at + 1], " ".join(operators[:at]))
        if self.equal(precise, other):
            return True
        value = precise.args[-1] if precise.op == "rel" else precise
        stated = node.args[at + 1]
        if not (is_scalar(value) and is_scalar(stated)) or not self.equal(stated, other):
            return False
        tolerance = self._rounding(value, stated)
        return tolerance > 0 and self._algebra().close(value, stated, tolerance)

    def _plausible(self, value: Node, stated: Node) -> bool:
        """Whether a stated approximation can be one: of a constant, and near it; 6 ≈ 7 is two answers, not one."""
        bare = [without(side, "unit", "degree", "percent") for side in (value, stated)]
        if not all(_is_constant(side) for side in bare):
            return False
        exact, near = self._exact(bare[0]), self._exact(bare[1])
        if exact is not None and near is not None:
            return abs(exact - near) <= max(abs(exact), abs(near)) / 50
        return self._algebra().close(bare[0], bare[1], 0.02)

    def _rounding(self, value: Node, stated: Node) -> float:
        """How far, relatively, a stated approximation may be off: half a unit of its last digit. Zero where it is none,
        as in 100 ≈ 101: an integer or a decimal is not rounded, it is changed."""
        digits = without(stated, "unit", "percent", "degree", "neg")
        literal = without(value, "unit", "neg", "percent")
        known = self._exact(literal)
        exact_value = literal.op == "num" or (known is not None and known.denominator == 1)
        if digits.op != "num" or not digits.value or exact_value:
            return 0.0
        amount = digits.value
        place = _decimal_places(amount, 40) or 0
        while place <= 0 and amount % 10 ** (1 - place) == 0:
            place -= 1
        return 0.5 * 10.0**-place / float(amount) * (1 + 1e-9)

    def _is_congruence(self, node: Node) -> bool:
        """Whether `x ≡ 7 (mod 8)` can be true: 15 ≡ 7 (mod 8) is, 6 ≡ 7 (mod 8) and a bare 6 ≡ 7 are not."""
        try:
            numbers = [self._exact(without(side, "unit")) for side in node.args]
        except Spent:
            raise
        except TooBig:
            return True
        if numbers[0] is None:
            return True
        modulus = node.args[1].name.removeprefix("mod ") if node.args[1].op == "unit" else ""
        known = numbers[1] is not None and modulus.isdecimal() and int(modulus[:9]) > 0
        return known and (numbers[0] - (numbers[1] or 0)) % int(modulus[:9]) == 0

    def _equation_and_value(self, node: Node, other: Node) -> bool:
        sides = node.args
        if names_quantity(sides[0]):
            return self.equal(sides[-1], other) and self._consistent(sides)
        if len(sides) == 2 and names_quantity(sides[1]) and is_scalar(sides[0]):
            return self.equal(sides[0], other)
        # A chain of constants states its value only when it is true: 7 = 8 states nothing.
        if all(_is_constant(side) for side in sides):
            return self.equal(sides[-1], other) and all(self.equal(sides[0], side) for side in sides[1:])
        # What stands first in m + n = 3 + 4 = 7 is computed, so that the last is its value.
        computed = sides[0].op in ("opaque", "func") or all(_is_constant(side) for side in sides[1:])
        return len(sides) > 2 and computed and self.equal(sides[-1], other) and self._consistent(sides)

    def _consistent(self, sides: tuple[Node, ...]) -> bool:
        """Whether the constants of a chain are one value: x = 7 = 8 states nothing."""
        constants = [side for side in sides[1:] if _is_constant(side)]
        return all(self.equal(constants[-1], side) for side in constants[:-1])

    def relations(self, left: Node, right: Node) -> bool:
        """Compare two relations."""
        ops = _signs(left), _signs(right)
        if set(ops[0]) == set(ops[1]) == {"="}:
            return self._equations(left, right)
        if ("\\approx" in ops[0]) != ("\\approx" in ops[1]):
            node, other = (left, right) if "\\approx" in ops[0] else (right, left)
            at = _signs(node).index("\\approx")
            cut = Node("rel", node.args[: at + 1], " ".join(_signs(node)[:at])) if at else node.args[0]
            named = not at and names_quantity(node.args[0])
            return (named or self._plausible(*node.args[at : at + 2])) and self.equal(cut, other)
        turned = [_FLIP.get(op, op if op in ("=", "\\neq") else "") for op in reversed(ops[1])]
        for operators, sides in ((ops[1], right.args), (turned, right.args[::-1])):
            if ops[0] == operators and self.all_equal(left.args, sides):
                return True
        region, others = as_region(left), as_region(right)
        if region is not None and others is not None and (region.op != "rel" or others.op != "rel"):
            names = _subject(left), _subject(right)
            return (names[0] == names[1] or "" in names or _function_and_y(*names)) and self.equal(region, others)
        if len(left.args) == len(right.args) == 2 and all(is_scalar(n) for n in (*left.args, *right.args)):
            first, second = ops[0][0], ops[1][0]
            if not {first, second} <= _FLIP.keys() or not all(any(map(has_symbols, n.args)) for n in (left, right)):
                return False
            sign = self._algebra().proportion(_difference(left), _difference(right))
            return bool(sign) and first == (second if sign > 0 else _FLIP[second])
        return False

    def _equations(self, left: Node, right: Node) -> bool:
        """Two equations (chains): the same assignment, side by side equal, or proportional."""
        constant = [not any(map(has_symbols, node.args)) for node in (left, right)]
        if all(constant):
            return self._same_statement(left, right)
        components = _by_component(left), _by_component(right)
        if components[0] is not left and components[1] is not right:
            return self.equal(*components)
        renamed = _same_arguments(left, right)
        if renamed is None:
            return False
        right = renamed
        if len(left.args) == len(right.args) > 2:
            return self.all_equal(left.args, right.args)
        mine, theirs = assigned(left), assigned(right)
        if mine and theirs:
            if mine[0] == theirs[0] or _function_and_y(mine[0], theirs[0]):
                return self.equal(mine[1], theirs[1]) and self._consistent(left.args) and self._consistent(right.args)
            if mine[0].endswith(")") and theirs[0].endswith(")"):
                return False  # f(1) = 5 and f(2) = 5
        if any(self.all_equal(left.args, sides) for sides in (right.args, right.args[::-1])):
            return True
        scalars = all(is_scalar(side) for side in (*left.args, *right.args))
        if len(left.args) == len(right.args) == 2 and scalars and not any(constant):
            engine = self._algebra()
            return any(engine.proportion(*pair) for pair in _notations(_difference(left), _difference(right)))
        return False

    def _same_statement(self, left: Node, right: Node) -> bool:
        """Two equations between constants, such as `cos(3π/2) = 0`: true ones are all equivalent, so the sides must be
        the same expressions, up to the spelling of rational numbers."""

        def same(mine: Node, theirs: Node) -> bool:
            rational = all(node.op in ("num", "neg", "div", "add") for node in (mine, theirs))
            return mine == theirs or (rational and None is not self._exact(mine) == self._exact(theirs))

        return len(left.args) == len(right.args) and all(map(same, left.args, right.args))

    # --- scalars --------------------------------------------------------------------------------------------------

    def scalar(self, left: Node, right: Node) -> bool:
        """Compare two expressions with their marks: units, per cent, degrees."""
        if "label" in (left.op, right.op):  # words that are no unit must be there on both sides
            same = left.op == right.op and plain_words(left.name) == plain_words(right.name)
            return same and self.scalar(left.args[0], right.args[0])
        if left.op == "unit" and right.op == "unit" and left.name != right.name:
            if left.name.startswith("mod ") or right.name.startswith("mod "):
                return False
            mine, theirs = unit_of(left.name), unit_of(right.name)
            if mine and theirs and mine.dimensions == theirs.dimensions:
                if mine.factors != theirs.factors:
                    return any(
                        self.value(Node("mul", (num(first), left.args[0])), Node("mul", (num(second), right.args[0])))
                        for first in mine.factors
                        for second in theirs.factors
                    )
            elif (mine and theirs and not (mine.counts or theirs.counts)) or (
                mine and theirs and _power_of_unit(mine) != _power_of_unit(theirs)
            ):
                return False
        left, right = _radians(left, right), _radians(right, left)
        left, right = _lift(without(left, "unit")), _lift(without(right, "unit"))
        marks = (left.op, right.op)
        if marks in (("percent", "percent"), ("degree", "degree")):
            return self.value(left.args[0], right.args[0])
        if "percent" in marks:
            percentage, other = (left, right) if left.op == "percent" else (right, left)
            other = without(other, "degree")
            return self.value(percentage.args[0], other) or self.value(percentage, other)
        if "degree" in marks:
            angle, other = (left, right) if left.op == "degree" else (right, left)
            # 90° is written 90, or in radians with π or an inverse function.
            if any(part.name == "pi" or (part.op == "func" and part.name[:3] == "arc") for part in other.walk()):
                return self.value(angle, other)
            return self.value(angle.args[0], other)
        return self.value(left, right)

    def value(self, left: Node, right: Node) -> bool:
        """Compare two bare expressions: exactly where both are rational, by algebra otherwise."""
        if left == right:
            return not self._meaningless(left)
        if not (is_scalar(left) and is_scalar(right)):
            return self.equal(left, right)
        known, theirs = self._exact(left), self._exact(right)
        if known is not None and theirs is not None:
            self.rules.add("exact")
            return known == theirs or _printed_float(left, known, theirs) or _printed_float(right, theirs, known)
        infinite = [_infinite(node) for node in (left, right)]
        if any(infinite):
            return infinite[0] == infinite[1]
        if _no_common_ground(left, right):
            return False
        engine = self._algebra()
        if any(engine.equal(*pair) for pair in _notations(left, right)):
            return True
        for node, value, other in ((left, known, right), (right, theirs, left)):
            if value is not None and node.op in ("num", "neg") and (places := _float_places(value)):
                return engine.rounds_to(value, places, other)
        return False


def _label(node: Node) -> str:
    """What an item of a list says that it counts: `ducks` in 12 ducks; empty where it says nothing."""
    node = _unwrap(node)
    if node.op == "label":
        return plain_words(node.name)
    if node.op == "rel" and node.name == "=" and (node.args[0].op == "text" or node.args[0].name in ("\\max", "\\min")):
        return " ".join(stem(word) for word in node.args[0].name.lstrip("\\").split())
    unit = unit_of(node.name) if node.op == "unit" else None
    if unit is None or not unit.counts:
        return ""
    return " ".join(stem(word) for word in plain_words(node.name).split())


def _power_of_unit(unit: object) -> int:
    return max((abs(power) for _, power in getattr(unit, "dimensions", ())), default=1)


def _is_set_of_numbers(condition: Node) -> bool:
    r"""Whether a condition only says what kind of number a letter is: `k \in \mathbb{Z}`."""
    if condition.op != "rel" or len(condition.args) != 2 or condition.args[1].op not in ("sym", "num"):
        return False
    variable, bound = condition.args
    if condition.name in ("\\ge", ">") and variable.name in ("n", "k", "m"):  # the terms of a sequence
        return bound.op == "num" and bound.value in (0, 1)
    return condition.name == "\\in" and bool(_set_name(bound))


def _running(node: Node) -> list[str]:
    """The letters of the whole numbers that run through the conditions of a value."""
    return [c.args[0].name for c in node.args[1:] if _is_set_of_numbers(c) and c.args[0].op == "sym"]


def _set_name(node: Node) -> str:
    r"""The letter of a set of numbers, `Z` of `\mathbb{Z}` or `Z`, with its mark; empty for any other symbol."""
    name = node.name.replace("\\mathbb{", "").replace("}", "")
    return name.replace("^+", "^*").replace("_+", "^*") if name[:1] in "RZNQC" and len(name) in (1, 3) else ""


def _radians(node: Node, other: Node) -> Node:
    """Degrees beside radians by name are converted; elsewhere the sign may be left out."""
    if (
        node.op == "degree"
        and other.op == "unit"
        and (unit := unit_of(other.name))
        and unit.dimensions == (("rad", 1),)
    ):
        return Node("div", (Node("mul", (node.args[0], Node("const", (), "pi"))), num(180)))
    return node


__all__ = ["INEQUALITIES", "Comparison", "Undecided", "as_region", "assigned", "names_quantity"]
