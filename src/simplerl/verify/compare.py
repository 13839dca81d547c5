"""Comparison of two answers that were read: structure first, exact values next, algebra only where both leave it open.

`Comparison` is symmetric: gold and answer are treated alike. It holds an *engine* for algebra. Without one, in the
calling process, a comparison that needs algebra raises `Undecided`, unless some other part already settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from simplerl.verify.exact import TooBig, exact
from simplerl.verify.nodes import Node, is_scalar, num
from simplerl.verify.regions import as_region, is_number_line
from simplerl.verify.relations import assigned, assignments, is_chain, names_quantity
from simplerl.verify.words import conversion, plain_words, same_but_for_powers

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
    def rounds_to(self, decimal: Fraction, places: int, node: Node) -> bool: ...


class Comparison:
    """One comparison; `rules` collects what was used, for the explanation."""

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

    # -- combinations ------------------------------------------------------------------------------------------------

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

    # -- the dispatch ------------------------------------------------------------------------------------------------

    def equal(self, left: Node, right: Node) -> bool:
        """Return whether two answers are equal; raise `Undecided` when only algebra can tell."""
        if left == right:
            return not _meaningless(left)
        left, right = unwrap(left), unwrap(right)
        for first, second in ((left, right), (right, left)):
            answer = self._one_sided(first, second)
            if answer is not None:
                return answer
        if left.op != right.op:
            if is_scalar(left) and is_scalar(right):
                return self.scalar(left, right)
            return False
        self.note("structure")
        if left.op == "list" or left.op == "set" or left.op == "union":
            return self.same_multiset(left.args, right.args)
        if left.op == "seq":
            return left.name == right.name and self.all_equal(left.args, right.args)
        if left.op == "rel":
            return self.relations(left, right)
        if left.op == "matrix":
            if left.name and right.name and left.name != right.name:
                return False
            return len(left.args) == len(right.args) and all(
                len(a.args) == len(b.args) for a, b in zip(left.args, right.args, strict=True)
            ) and self.all_equal([x for r in left.args for x in r.args], [x for r in right.args for x in r.args])  # fmt: skip
        if left.op == "text":
            return left.name == right.name
        if left.op == "base":
            return left.args == right.args and left.name == right.name
        if left.op == "time":
            return self.time(left, right)
        if left.op == "ratio":
            return self.ratio(left, right)
        return self.scalar(left, right)

    def _one_sided(self, node: Node, other: Node) -> bool | None:
        """Rules for two different kinds of answer, seen from `node`; None when none applies."""
        if node.op == "both":
            return all(self.equal(part, other) for part in node.args)
        if node.op == "text":
            return self._text(node, other)
        if node.op == "rel":
            return self._relation_and_value(node, other)
        if node.op in ("pm", "mp") or (is_scalar(node) and _has_sign_choice(node)):
            return self._sign_choice(node, other)
        if node.op == "list":
            return self._list(node, other)
        if node.op == "set" and len(node.args) == 1 and is_scalar(other):
            return self.equal(node.args[0], other)
        if node.op == "union" and other.op != "union" and len(node.args) == 2 and is_number_line(other):
            return False
        if node.op == "matrix" and other.op == "seq" and other.name == "()":
            column = [row.args[0] for row in node.args if len(row.args) == 1]
            return len(column) == len(node.args) and self.all_equal(column, other.args)
        if node.op == "base" and is_scalar(other):
            # The base may be left out when the digits are the same; a converted value is another answer.
            return other.op == "num" and other.value == (int(node.name) if node.name.isdigit() else None)
        if node.op == "time" and other.op == "ratio":
            return self.ratio(Node("ratio", node.args[: len(other.args)]), other) and node.name in ("", "24")
        if node.op == "ratio" and len(node.args) == 2 and is_scalar(other):
            return self.scalar(Node("div", node.args), other)
        if is_number_line(node) and other.op != node.op:
            return is_number_line(other)
        return None

    def _text(self, node: Node, other: Node) -> bool | None:
        if other.op == "text":
            return None
        if other.op == "const" and other.name == "inf":
            return node.name == "infinitely many"
        if other.op == "sym" and other.name == "\\emptyset":
            return node.name in ("no solution", "none", "empty set", "no real solution")
        letters = _letters(other)
        return letters is not None and plain_words(letters) == node.name

    def _list(self, node: Node, other: Node) -> bool | None:
        if other.op == "seq" and other.name == "()" and len(node.args) == len(other.args):
            named = assignments(node)
            return self.all_equal(named or node.args, other.args)
        if other.op == "set":
            return self.same_multiset(_expand_list(node).args, _expand_list(other).args)
        region = as_region(node)
        if region is not None and other.op in ("seq", "union", "rel", "set"):
            return self.equal(region, other)
        if other.op == "list":
            mine, theirs = assignments(node), assignments(other)
            if (mine is None) != (theirs is None):
                return self.all_equal(mine or node.args, theirs or other.args)
            same = [assigned(item) for item in node.args], [assigned(item) for item in other.args]
            if (all(same[0]) and same[0] != same[1]) or (all(same[1]) and same[0] != same[1]):
                return self._values_of_lists(node, other)
            return None
        if is_scalar(other) and other.op == "sym" and other.name.isupper() and len(other.name) == len(node.args):
            names = [item.name for item in node.args if item.op == "sym" and len(item.name) == 1]
            return sorted(names) == sorted(other.name)
        if len(node.args) == 1:
            return self.equal(node.args[0], other)
        expanded = _expand_list(node)
        if expanded is not node:
            return self.equal(expanded, other)
        return None if not is_scalar(other) or _has_sign_choice(other) else False

    def _values_of_lists(self, left: Node, right: Node) -> bool | None:
        """`x=3 or x=4` against `3, 4` or `x=3,4`: one name throughout may be left out."""
        pair = []
        seen: list[set[str]] = []
        for node in (left, right):
            names = {named[0] for item in node.args if (named := assigned(item))}
            if len(names) > 1 or (seen and seen[0] and names and seen[0] != names):
                return None
            seen.append(names)
        for node in (left, right):
            pair.append(Node("list", tuple((assigned(item) or ("", item))[1] for item in node.args)))
        return self.same_multiset(_expand_list(pair[0]).args, _expand_list(pair[1]).args)

    # -- plus-minus --------------------------------------------------------------------------------------------------

    def _sign_choice(self, node: Node, other: Node) -> bool | None:
        if other.op in ("rel", "text"):
            return None
        if is_scalar(other) and not _has_sign_choice(other):
            return False
        both = Node("list", (choose_sign(node, 1), choose_sign(node, -1)))
        if is_scalar(other):
            other = Node("list", (choose_sign(other, 1), choose_sign(other, -1)))
        if other.op in ("list", "set"):
            return self.same_multiset(both.args, _expand_list(other).args)
        return False

    # -- relations ---------------------------------------------------------------------------------------------------

    def _relation_and_value(self, node: Node, other: Node) -> bool | None:
        """A relation against something that is not one: an assignment, an interval, an equation of constants."""
        if other.op == "rel":
            return None
        operators = node.name.split()
        if "\\approx" in operators:
            at = operators.index("\\approx")
            if not _plausible(node.args[at], node.args[at + 1]):
                return False
            precise = node.args[0] if at == 0 else Node("rel", node.args[: at + 1], " ".join(operators[:at]))
            if self.equal(precise, other):
                return True
            value = precise.args[-1] if precise.op == "rel" else precise
            stated = node.args[at + 1]
            if not (is_scalar(value) and is_scalar(stated)) or not self.equal(stated, other):
                return False
            return self._algebra().close(value, stated, 0.02)
        if set(operators) == {"\\equiv"} and len(node.args) == 2:
            return self.equal(node.args[1], other)
        if set(operators) == {"="}:
            return self._equation_and_value(node, other)
        if operators == ["\\in"] and names_quantity(node.args[0]):
            return self.equal(node.args[1], other)
        region = as_region(node)
        return self.equal(region, other) if region is not None and other.op != "list" else False

    def _equation_and_value(self, node: Node, other: Node) -> bool:
        sides = node.args
        if names_quantity(sides[0]):
            return self.equal(sides[-1], other)
        if len(sides) == 2 and names_quantity(sides[1]) and is_scalar(sides[0]):
            return self.equal(sides[0], other)
        # A chain of constants states its value only when it is true: 7 = 8 states nothing.
        if all(is_scalar(side) and is_chain(side) for side in sides):
            return self.equal(sides[-1], other) and all(self.equal(sides[0], side) for side in sides[1:])
        return len(sides) > 2 and self.equal(sides[-1], other) and sides[0].op in ("opaque", "func")

    def relations(self, left: Node, right: Node) -> bool:
        """Compare two relations."""
        ops = left.name.split(), right.name.split()
        if set(ops[0]) == set(ops[1]) == {"="}:
            return self.equations(left, right)
        if ("\\approx" in ops[0]) != ("\\approx" in ops[1]):
            node, other = (left, right) if "\\approx" in ops[0] else (right, left)
            at = node.name.split().index("\\approx")
            cut = Node("rel", node.args[: at + 1], " ".join(node.name.split()[:at])) if at else node.args[0]
            return self.equal(cut, other)
        if ops[0] == ops[1] and len(left.args) == len(right.args):
            try:
                if self.all_equal(left.args, right.args):
                    return True
            except Undecided:
                if self.engine is None:
                    raise
        flipped = flip(right)
        if flipped is not None and flipped.name == left.name and self.all_equal(left.args, flipped.args):
            return True
        regions = as_region(left), as_region(right)
        if regions[0] is not None and regions[1] is not None and (regions[0].op != "rel" or regions[1].op != "rel"):
            names = _subject(left), _subject(right)
            return (names[0] == names[1] or "" in names) and self.equal(*regions)
        if len(left.args) == len(right.args) == 2 and all(is_scalar(n) for n in (*left.args, *right.args)):
            return self._inequalities(left, right, ops[0][0], ops[1][0])
        return False

    def _inequalities(self, left: Node, right: Node, first: str, second: str) -> bool:
        if first not in _FLIP or second not in _FLIP or _is_constant(left) or _is_constant(right):
            return False
        sign = self._algebra().proportion(_difference(left), _difference(right))
        return bool(sign) and first == (second if sign > 0 else _FLIP[second])

    def equations(self, left: Node, right: Node) -> bool:
        """Two equations (chains): the same assignment, side by side equal, or proportional."""
        if _is_constant(left) and _is_constant(right):
            return _same_statement(left, right)
        if len(left.args) == len(right.args) > 2:
            return self.all_equal(left.args, right.args)
        mine, theirs = assigned(left), assigned(right)
        if mine and theirs:
            same_name = mine[0] == theirs[0] or _function_and_y(mine[0], theirs[0])
            if same_name:
                return self.equal(mine[1], theirs[1])
        if len(left.args) == len(right.args):
            for sides in (right.args, right.args[::-1]):
                try:
                    if self.all_equal(left.args, sides):
                        return True
                except Undecided:
                    if self.engine is None:
                        raise
        scalars = all(is_scalar(side) for side in (*left.args, *right.args))
        if len(left.args) == len(right.args) == 2 and scalars and not (_is_constant(left) or _is_constant(right)):
            return bool(self._algebra().proportion(_difference(left), _difference(right)))
        return False

    def time(self, left: Node, right: Node) -> bool:
        """Clock times, on 24 hours; without a.m. or p.m. a time on a 12-hour dial may mean either."""
        (hour, *rest), (other_hour, *other_rest) = (
            [int(arg.value or 0) for arg in node.args] for node in (left, right)
        )
        if rest != other_rest or bool(left.name) == bool(right.name):
            return rest == other_rest and hour == other_hour
        named, bare = (left, right) if left.name else (right, left)
        return hour == other_hour or (named.name != "24" and bool((hour - other_hour) % 12 == 0) and bare is not named)

    def ratio(self, left: Node, right: Node) -> bool:
        """`3:4` and `6:8` are the same ratio."""
        if len(left.args) != len(right.args):
            return False
        pairs = [(exact(a), exact(b)) for a, b in zip(left.args, right.args, strict=True)]
        if any(a is None or b is None for a, b in pairs):
            return self.all_equal(left.args, right.args)
        return all(a * pairs[0][1] == b * pairs[0][0] for a, b in pairs) and bool(pairs[0][0]) == bool(pairs[0][1])

    # -- scalars -----------------------------------------------------------------------------------------------------

    def scalar(self, left: Node, right: Node) -> bool:
        """Compare two expressions with their marks: units, per cent, degrees."""
        if left.op == "unit" and right.op == "unit":
            if same_but_for_powers(left.name, right.name):
                return False
            mine, theirs = conversion(left.name), conversion(right.name)
            if mine and theirs and mine != theirs:
                if mine[0] != theirs[0]:
                    return False
                left = Node("mul", (num(Fraction(mine[1], mine[2])), left.args[0]))
                right = Node("mul", (num(Fraction(theirs[1], theirs[2])), right.args[0]))
                return self.value(left, right)
        left, right = lift(_without(left, "unit")), lift(_without(right, "unit"))
        marks = (left.op, right.op)
        if marks == ("percent", "percent"):
            return self.value(left.args[0], right.args[0])
        if "percent" in marks:
            number, other = (left, right) if left.op == "percent" else (right, left)
            other = _without(other, "degree")
            return self._either(number.args[0], number, other)
        if marks == ("degree", "degree"):
            return self.value(left.args[0], right.args[0])
        if "degree" in marks:
            angle, other = (left, right) if left.op == "degree" else (right, left)
            # 90° is written 90, or in radians with π.
            if any(part.op == "const" and part.name == "pi" for part in other.walk()):
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
            return not _meaningless(left)
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
        if engine.equal(left, right):
            return True
        for node, known, other in ((left, values[0], right), (right, values[1], left)):
            if known is not None and node.op in ("num", "neg") and (places := _float_places(known)):
                return engine.rounds_to(known, places, other)
        return False


_FLIP = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def _plausible(value: Node, stated: Node) -> bool:
    """Whether a stated approximation of a rational number is one at all: 6 ≈ 7 is two answers, not one."""
    numbers = [exact(node) if is_scalar(node) else None for node in (value, stated)]
    if numbers[0] is None or numbers[1] is None:
        return True
    return abs(numbers[0] - numbers[1]) <= max(map(abs, numbers)) / 50


def flip(node: Node) -> Node | None:
    """Return a relation read from right to left, None where that has no meaning."""
    flipped = []
    for operator in reversed(node.name.split()):
        turned = _FLIP.get(operator, operator if operator in ("=", "\\neq") else None)
        if turned is None:
            return None
        flipped.append(turned)
    return Node("rel", node.args[::-1], " ".join(flipped))


def unwrap(node: Node) -> Node:
    """Remove what only encloses: a list of one item, a percent sign around nothing else."""
    while node.op == "list" and len(node.args) == 1:
        node = node.args[0]
    return node


def _without(node: Node, mark: str) -> Node:
    while node.op == mark:
        node = node.args[0]
    return node


def lift(node: Node) -> Node:
    """Move a percent or degree sign outwards over a sign or a factor: −3° is (−3)°, 2x% is (2x)%."""
    if node.op in ("neg", "mul") and node.args:
        inner = lift(node.args[-1])
        if inner.op in ("percent", "degree"):
            return Node(inner.op, (Node(node.op, (*node.args[:-1], inner.args[0])),))
    return node


def _difference(node: Node) -> Node:
    return Node("add", (node.args[0], Node("neg", (node.args[1],))))


def _is_constant(node: Node) -> bool:
    """Whether a relation holds no symbol at all: then its sides must be compared, not their proportion."""
    return all(is_chain(side) for side in node.args)


def _same_statement(left: Node, right: Node) -> bool:
    """Two equations between constants, such as `cos(3π/2) = 0`: true ones are all equivalent, so the sides must be
    the same expressions, up to the spelling of rational numbers."""
    if len(left.args) != len(right.args):
        return False
    for mine, theirs in zip(left.args, right.args, strict=True):
        numbers = [node.op in ("num", "neg", "div", "add") for node in (mine, theirs)]
        if mine != theirs and not (all(numbers) and exact(mine) is not None and exact(mine) == exact(theirs)):
            return False
    return True


def _subject(node: Node) -> str:
    """The name that an inequality speaks of, empty when it is a function value or unclear."""
    names = [side.name for side in node.args if side.op == "sym"]
    return names[0] if len(names) == 1 else ""


def _function_and_y(first: str, second: str) -> bool:
    """`f(x) = …` and `y = …` name the same thing."""
    return ("y" in (first, second)) and any("(" in name for name in (first, second))


def _letters(node: Node) -> str | None:
    """The letters of a bare run such as `odd`, which the reader took for a product of symbols."""
    if node.op == "sym" and node.name.isalpha():
        return node.name
    if node.op == "const" and node.name in ("e", "i"):
        return node.name
    if node.op == "mul":
        parts = [_letters(part) for part in node.args]
        return "".join(part or "" for part in parts) if all(parts) else None
    return None


def _has_sign_choice(node: Node) -> bool:
    return any(part.op in ("pm", "mp") for part in node.walk())


def choose_sign(node: Node, sign: int) -> Node:
    r"""Read `\pm` as + (sign 1) or − (sign −1) throughout, and `\mp` as the opposite."""
    args = tuple(choose_sign(arg, sign) for arg in node.args)
    if node.op in ("pm", "mp"):
        positive = (sign > 0) == (node.op == "pm")
        return Node("add", (args[0], args[1] if positive else Node("neg", (args[1],))))
    return Node(node.op, args, node.name, node.value) if args else node


def _expand_list(node: Node) -> Node:
    r"""Replace each item that holds a `\pm` by its two values."""
    if node.op not in ("list", "set") or not any(_has_sign_choice(item) for item in node.args):
        return node
    items: list[Node] = []
    for item in node.args:
        items.extend([choose_sign(item, 1), choose_sign(item, -1)] if _has_sign_choice(item) else [item])
    return Node(node.op, tuple(items), node.name)


def _meaningless(node: Node) -> bool:
    """Division by zero is equal to nothing, not even to itself."""
    return any(part.op == "div" and exact_zero(part.args[1]) for part in node.walk())


def exact_zero(node: Node) -> bool:
    """Whether an expression is exactly the number zero."""
    try:
        return exact(node) == 0
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


def _printed_float(node: Node, value: Fraction, other: Fraction) -> bool:
    """Whether a long decimal is another value as a computer prints it: rounded in its last place, or off by an ulp."""
    if node.op not in ("num", "neg") or not (places := _float_places(value)):
        return False
    gap = abs(value - other)
    return gap < Fraction(1, 10**places) or gap <= _FLOAT_NOISE * abs(other)
