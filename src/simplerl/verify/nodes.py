"""The tree that an answer is read into: one frozen node type for expressions and for the structures around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

#: Deeper nesting is refused before any recursion.
MAX_DEPTH = 40


class Unreadable(Exception):
    """The text is not mathematics that the reader knows; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation and its arguments.

    Expressions: `num` (value), `sym` (name), `const` (pi, e, i, inf), `add`, `mul`, `div`, `pow`, `neg`, `pm`, `mp`,
    `fact`, `abs`, `root` (index, radicand), `func` (name), `app` (unknown function, name), `binom`, `opaque` (name).
    Postfix marks: `percent`, `degree`, `unit` (name). Structures: `list`, `seq` (name: its two brackets), `set`,
    `union`, `rel` (name: operators joined by spaces), `matrix` (rows of `row`), `text` (name), `ratio`, `time`,
    `base` (name: digits; one argument),
    `both` (the same answer in two forms), `point` (a tuple with its name in front).
    """

    op: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction | None = None

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it, in order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.args))


#: Structures; everything else is a scalar expression.
STRUCTURES = frozenset(
    {"list", "seq", "set", "union", "rel", "matrix", "text", "ratio", "time", "base", "both", "point"}
)


def num(value: int | Fraction) -> Node:
    """Return a number node."""
    return Node("num", (), "", Fraction(value))


def is_scalar(node: Node) -> bool:
    """Whether a node is an expression rather than a structure of them."""
    return node.op not in STRUCTURES


INFINITY = Node("const", (), "inf")
MINUS_INFINITY = Node("neg", (INFINITY,))
