"""Regions of the number line: inequalities in one quantity, read as intervals."""

from __future__ import annotations

from itertools import pairwise

from simplerl.verify.exact import exact
from simplerl.verify.nodes import INFINITY, MINUS_INFINITY, Node, is_scalar, num
from simplerl.verify.relations import is_chain, names_quantity

_UP, _DOWN = {"<": ")", "\\le": "]"}, {">": "(", "\\ge": "["}
_LOWER, _UPPER = {"<": "(", "\\le": "["}, {">": ")", "\\ge": "]"}


def is_number_line(node: Node) -> bool:
    r"""Whether an answer says "all real numbers": ℝ, (−∞, ∞), −∞ < x < ∞."""
    if node.op == "sym":
        return node.name == "\\mathbb{R}"
    if node.op == "seq":
        return node.name == "()" and node.args == (MINUS_INFINITY, INFINITY)
    return node.op == "rel" and node.name == "\\in" and is_number_line(node.args[1])


def _interval(low: Node, high: Node, brackets: str) -> Node:
    return Node("seq", (low, high), brackets)


def _one_bound(node: Node) -> Node | None:
    """`x < 3`, `3 > x`, `x ≠ 3`."""
    left, right = node.args
    operator = node.name
    if names_quantity(left) and is_chain(right):
        bound = right
    elif names_quantity(right) and is_chain(left):
        bound, operator = left, {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(operator, operator)
    else:
        return None
    if not is_scalar(bound):
        return None
    if operator in _UP:
        return _interval(MINUS_INFINITY, bound, "(" + _UP[operator])
    if operator in _DOWN:
        return _interval(bound, INFINITY, _DOWN[operator] + ")")
    if operator == "\\neq":
        sides = _interval(MINUS_INFINITY, bound, "()"), _interval(bound, INFINITY, "()")
        return Node("union", sides)
    return None


def punctured(points: list[Node]) -> Node | None:
    """The number line without some points, as a union of intervals; None unless their order is known exactly."""
    values = [exact(point) if is_scalar(point) else None for point in points]
    if len(points) > 1 and any(value is None for value in values):
        return None
    if len(points) > 1:
        points = [num(value) for value in sorted({value for value in values if value is not None})]
    ends = [MINUS_INFINITY, *points, INFINITY]
    return Node("union", tuple(_interval(low, high, "()") for low, high in pairwise(ends)))


def _two_bounds(node: Node) -> Node | None:
    """`1 < x ≤ 2` and `2 ≥ x > 1`."""
    low, middle, high = node.args
    first, second = node.name.split()
    if not (names_quantity(middle) and is_scalar(low) and is_scalar(high) and is_chain(low) and is_chain(high)):
        return None
    if first in _LOWER and second in _UP:
        return _interval(low, high, _LOWER[first] + _UP[second])
    if first in _UPPER and second in _DOWN:
        return _interval(high, low, _DOWN[second] + _UPPER[first])
    return None


def as_region(node: Node) -> Node | None:
    """Return the interval or union that an inequality, a membership or a list of them describes, else None."""
    if node.op == "rel":
        operators = node.name.split()
        if operators == ["\\in"] and names_quantity(node.args[0]):
            return node.args[1]
        if len(operators) == 1:
            return _one_bound(node)
        return _two_bounds(node) if len(operators) == 2 else None
    if node.op == "list" and len(node.args) > 1:
        parts = [as_region(item) for item in node.args if item.op == "rel"]
        if len(parts) == len(node.args) and all(part is not None and part.op == "seq" for part in parts):
            return Node("union", tuple(part for part in parts if part is not None))
        if all(
            item.op == "rel" and item.name == "\\neq" and item.args[0] == node.args[0].args[0] for item in node.args
        ):
            return punctured([item.args[1] for item in node.args])
    return None
