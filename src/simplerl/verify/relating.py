"""Comparison of relations, ratios and times: with each other, and relations with the values that they state."""

from __future__ import annotations

from simplerl.verify.exact import exact
from simplerl.verify.nodes import Node, is_scalar
from simplerl.verify.regions import as_region
from simplerl.verify.relations import assigned, is_chain, names_quantity
from simplerl.verify.scalars import ScalarComparison, Undecided
from simplerl.verify.shapes import (
    FLIP,
    difference,
    flip,
    function_and_y,
    is_congruence,
    is_constant,
    plausible,
    rounding,
    same_arguments,
    same_statement,
    subject,
)


class RelationComparison(ScalarComparison):
    """Equations, inequalities, approximations, ratios and clock times."""

    def _relation_and_value(self, node: Node, other: Node) -> bool | None:
        """A relation against something that is not one: an assignment, an interval, an equation of constants."""
        if other.op == "rel":
            return None
        operators = node.name.split()
        if "\\approx" in operators:
            at = operators.index("\\approx")
            if not at and names_quantity(node.args[0]):  # L ≈ 4.5 states 4.5
                stated = node.args[1] if len(operators) == 1 else Node("rel", node.args[1:], " ".join(operators[1:]))
                return self.equal(stated, other)
            if not plausible(node.args[at], node.args[at + 1]):
                return False
            precise = node.args[0] if at == 0 else Node("rel", node.args[: at + 1], " ".join(operators[:at]))
            if self.equal(precise, other):
                return True
            value = precise.args[-1] if precise.op == "rel" else precise
            stated = node.args[at + 1]
            if not (is_scalar(value) and is_scalar(stated)) or not self.equal(stated, other):
                return False
            tolerance = rounding(value, stated)
            return tolerance > 0 and self._algebra().close(value, stated, tolerance)
        if operators == ["\\equiv"]:
            return is_congruence(node) and self.equal(node.args[1], other)
        if set(operators) == {"="}:
            return self._equation_and_value(node, other)
        if operators == ["\\in"] and names_quantity(node.args[0]):
            return self.equal(node.args[1], other)
        region = as_region(node)
        if region is None or (other.op == "list" and as_region(other) is None):
            return False
        return self.equal(region, other)

    def _equation_and_value(self, node: Node, other: Node) -> bool:
        sides = node.args
        if names_quantity(sides[0]):
            return self.equal(sides[-1], other) and self._consistent(sides)
        if len(sides) == 2 and names_quantity(sides[1]) and is_scalar(sides[0]):
            return self.equal(sides[0], other)
        # A chain of constants states its value only when it is true: 7 = 8 states nothing.
        if all(is_scalar(side) and is_chain(side) for side in sides):
            return self.equal(sides[-1], other) and all(self.equal(sides[0], side) for side in sides[1:])
        # What stands first in m + n = 3 + 4 = 7 is computed, so that the last is its value.
        computed = sides[0].op in ("opaque", "func") or all(is_scalar(side) and is_chain(side) for side in sides[1:])
        return len(sides) > 2 and computed and self.equal(sides[-1], other) and self._consistent(sides)

    def _consistent(self, sides: tuple[Node, ...]) -> bool:
        """Whether the constants of a chain are one value: x = 7 = 8 states nothing."""
        constants = [side for side in sides[1:] if is_scalar(side) and is_chain(side)]
        return all(self.equal(constants[-1], side) for side in constants[:-1])

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
            names = subject(left), subject(right)
            return (names[0] == names[1] or "" in names or function_and_y(*names)) and self.equal(*regions)
        if len(left.args) == len(right.args) == 2 and all(is_scalar(n) for n in (*left.args, *right.args)):
            return self._inequalities(left, right, ops[0][0], ops[1][0])
        return False

    def _inequalities(self, left: Node, right: Node, first: str, second: str) -> bool:
        if first not in FLIP or second not in FLIP or is_constant(left) or is_constant(right):
            return False
        sign = self._algebra().proportion(difference(left), difference(right))
        return bool(sign) and first == (second if sign > 0 else FLIP[second])

    def equations(self, left: Node, right: Node) -> bool:
        """Two equations (chains): the same assignment, side by side equal, or proportional."""
        if is_constant(left) and is_constant(right):
            return same_statement(left, right)
        renamed = same_arguments(left, right)
        if renamed is None:
            return False
        right = renamed
        if len(left.args) == len(right.args) > 2:
            return self.all_equal(left.args, right.args)
        mine, theirs = assigned(left), assigned(right)
        if mine and theirs:
            same_name = mine[0] == theirs[0] or function_and_y(mine[0], theirs[0])
            if same_name:
                return self.equal(mine[1], theirs[1]) and self._consistent(left.args) and self._consistent(right.args)
            if mine[0].endswith(")") and theirs[0].endswith(")"):
                return False  # f(1) = 5 and f(2) = 5
        if len(left.args) == len(right.args):
            for sides in (right.args, right.args[::-1]):
                try:
                    if self.all_equal(left.args, sides):
                        return True
                except Undecided:
                    if self.engine is None:
                        raise
        scalars = all(is_scalar(side) for side in (*left.args, *right.args))
        if len(left.args) == len(right.args) == 2 and scalars and not (is_constant(left) or is_constant(right)):
            return bool(self._algebra().proportion(difference(left), difference(right)))
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
            if any(pair[0] == 0 or pair[1] == 0 for pair in pairs):
                return self.all_equal(left.args, right.args)
            quotients = [[Node("div", (part, node.args[0])) for part in node.args[1:]] for node in (left, right)]
            return self.all_equal(*quotients)
        first = next((pair for pair in pairs if any(pair)), None)
        return first is not None and all(first) and all(a * first[1] == b * first[0] for a, b in pairs)
