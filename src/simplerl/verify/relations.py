"""Relations as statements about a quantity: which side names it, and what value it is given."""

from __future__ import annotations

from simplerl.verify.nodes import Node, is_scalar


def names_quantity(node: Node) -> bool:
    """Whether a side of an equation only names what is asked for: `x`, `f(x)`, `AB`, `|AB|`, `NO/BO`, `(x,y)`.

    A lower-case product is not a name: `xy = 6` is an equation of a curve, and its 6 is not the answer.
    """
    if node.op in ("sym", "text", "app"):
        return True
    if node.op == "const":
        return node.name in ("e", "i")
    if node.op == "abs":
        return _has_length(node.args[0])
    if node.op in ("unit", "degree"):
        return names_quantity(node.args[0])
    if node.op in ("div", "mul"):
        if node.op == "div" and all(arg.op == "mul" and arg.args[0] == Node("sym", (), "d") for arg in node.args):
            return True  # dy/dx
        if node.op == "mul" and _called(node):
            return True
        return all(_is_upper_name(arg) for arg in node.args)
    if node.op == "pow":
        return False
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
    """`P(x)`, `E(X)`, `a(n)`: one letter times one bare symbol is a value of a function when it is a whole side."""
    left, right = node.args
    return left.op == "sym" and right.op in ("sym", "num") and len(left.name) == 1 and left.name.isupper()


def is_chain(node: Node) -> bool:
    """Whether an expression is a constant: no symbols."""
    return not any(part.op in ("sym", "app", "opaque") for part in node.walk())


def name_of(node: Node) -> str:
    """A spelling of the name that a side gives to a quantity."""
    if node.op == "app" or (node.op == "mul" and _called(node)):
        arguments = node.args if node.op == "app" else node.args[1:]
        fixed = ",".join(map(str, arguments)) if all(map(is_chain, arguments)) else ""
        return f"{node.name or node.args[0].name}({fixed})"
    return node.name or node.op + "".join(name_of(arg) for arg in node.args)


def assigned(node: Node) -> tuple[str, Node] | None:
    """Return (name, value) of `x = 5` or `5 = x`; a chain gives its last value. None for anything else."""
    if node.op != "rel" or set(node.name.split()) != {"="}:
        return None
    if names_quantity(node.args[0]):
        return name_of(node.args[0]), node.args[-1]
    if len(node.args) == 2 and names_quantity(node.args[1]) and is_scalar(node.args[0]):
        return name_of(node.args[1]), node.args[0]
    return None


def assignments(node: Node) -> list[Node] | None:
    """Return the values of a list of assignments to different names, else None.

    Single-letter names come in alphabetical order, which is the order of a tuple's components.
    """
    pairs = [assigned(item) for item in node.args]
    if not pairs or not all(pairs):
        return None
    named = [pair for pair in pairs if pair]
    names = [name for name, _ in named]
    if len(set(names)) != len(names) or len(names) < 2:
        return None
    if len({name.split("_")[0] for name in names}) == 1:
        return None  # x_1 = 3, x_2 = 5 counts the solutions of one unknown: they have no order
    if all(len(name) == 1 for name in names):
        named.sort(key=lambda pair: pair[0])
    return [value for _, value in named]
