"""Regions of the number line: inequalities in one quantity, read as intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from simplerl.verify.exact import exact
from simplerl.verify.nodes import INFINITY, MINUS_INFINITY, Node, is_scalar, num
from simplerl.verify.relations import is_chain, names_quantity
from simplerl.verify.shapes import subject

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


def _named(node: Node) -> bool:
    return names_quantity(node) or (node.op == "abs" and node.args[0].op == "sym")


def _around_zero(bound: Node, operator: str) -> Node | None:
    """`|x| < 3` and `|x| > 3`, for a bound known to be positive."""
    if (estimate(bound) or 0) <= 0:
        return None
    if operator in _UP:
        close = _UP[operator]
        return _interval(Node("neg", (bound,)), bound, {")": "(", "]": "["}[close] + close)
    if operator in _DOWN:
        opening = _DOWN[operator]
        below = _interval(MINUS_INFINITY, Node("neg", (bound,)), "(" + {"(": ")", "[": "]"}[opening])
        return Node("union", (below, _interval(bound, INFINITY, opening + ")")))
    return None


def estimate(node: Node) -> float | None:
    """A constant as a floating-point number, enough to order the ends of intervals; None when it is not simple."""
    if node.op == "const":
        return {"inf": math.inf, "pi": math.pi, "e": math.e}.get(node.name)
    values = [estimate(arg) for arg in node.args]
    if any(value is None for value in values):
        return None
    try:
        if node.op == "num":
            return float(node.value or 0)
        return _ESTIMATES[node.op](*values) if node.op in _ESTIMATES else None
    except (ArithmeticError, ValueError):
        return None


_ESTIMATES: dict[str, Callable[..., float]] = {
    "neg": lambda a: -a, "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "root": lambda index, a: math.sqrt(a) if index == 2 else math.exp(math.log(a) / index),
}  # fmt: skip


def _pieces(region: Node) -> list[Node]:
    return list(region.args) if region.op == "union" else [region]


def _meet(first: Node, second: Node) -> Node | None:
    """What two intervals have in common; None when that is nothing. Raise `ValueError` when their order is unclear."""
    ends = [[estimate(end) for end in part.args] for part in (first, second)]
    if any(end is None for pair in ends for end in pair):
        raise ValueError
    parts = list(zip(ends, (first, second), strict=True))
    low = max(((pair[0], part.name[0] == "(", part) for pair, part in parts), key=lambda end: end[:2])
    high = min(((pair[1], part.name[1] == "]", part) for pair, part in parts), key=lambda end: end[:2])
    if low[0] > high[0] or (low[0] == high[0] and low[2].name[0] + high[2].name[1] != "[]"):
        return None
    return _interval(low[2].args[0], high[2].args[1], low[2].name[0] + high[2].name[1])


def _intersection(parts: list[Node]) -> Node | None:
    """What `x > 1 and x < 3`, or `x ≥ 1 and x ≠ 2`, leaves; None when nothing is left or it is unclear."""
    inside = _pieces(parts[0])
    try:
        for part in parts[1:]:
            met = [_meet(one, other) for one in inside for other in _pieces(part)]
            inside = [piece for piece in met if piece is not None]
    except ValueError:
        return None
    if not inside or len(inside) > 8:
        return None
    return inside[0] if len(inside) == 1 else Node("union", tuple(inside))


def _one_bound(node: Node) -> Node | None:
    """`x < 3`, `3 > x`, `x ≠ 3`."""
    left, right = node.args
    operator = node.name
    if _named(left) and is_chain(right):
        named, bound = left, right
    elif _named(right) and is_chain(left):
        named, bound = right, left
        operator = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(operator, operator)
    else:
        return None
    if not is_scalar(bound):
        return None
    if not names_quantity(named):
        return _around_zero(bound, operator)
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
    return _region_of_list(node) if node.op == "list" and len(node.args) > 1 else None


def _region_of_list(node: Node) -> Node | None:
    """Several conditions on one quantity: `or` joins their regions, `and` keeps what they share; a comma may mean
    either, and then means `and` unless nothing would be left: x < 1, x > 2 are two branches."""
    items = [item for item in node.args if not (item.op == "rel" and is_number_line(item))]
    if not items or node.name == "mixed" or any(item.op != "rel" for item in items):
        return None
    if len({subject(item) for item in items} - {""}) > 1:
        return None
    if all(item.name == "\\neq" and item.args[0] == items[0].args[0] for item in items):
        return punctured([item.args[1] for item in items])
    regions = [as_region(item) for item in items]
    if any(region is None or any(part.op != "seq" for part in _pieces(region)) for region in regions):
        return None
    parts = [region for region in regions if region is not None]
    if len(parts) == 1 or node.name != "or":
        inside = parts[0] if len(parts) == 1 else _intersection(parts)
        if inside is not None or node.name == "and":
            return inside
    if any(part.op != "seq" for part in parts):
        return None
    return Node("union", tuple(parts))
