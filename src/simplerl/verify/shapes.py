"""Shapes: small questions about trees, and small changes to them, that comparisons need."""

from __future__ import annotations

from simplerl.verify.exact import exact
from simplerl.verify.nodes import Node, is_scalar
from simplerl.verify.relations import is_chain, name_of, names_quantity
from simplerl.verify.work import Spent, TooBig

#: Each inequality sign → what it becomes when the sides change places.
FLIP = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


def plausible(value: Node, stated: Node) -> bool:
    """Whether a stated approximation of a rational number is one at all: 6 ≈ 7 is two answers, not one."""
    numbers = [exact(node) if is_scalar(node) else None for node in (value, stated)]
    if numbers[0] is None or numbers[1] is None:
        return True
    return abs(numbers[0] - numbers[1]) <= max(map(abs, numbers)) / 50


def rounding(value: Node, stated: Node) -> float:
    """How far, relatively, a stated approximation may be off: half a unit of its last digit. Zero where it is none,
    as in 100 ≈ 101: an integer or a decimal is not rounded, it is changed."""
    digits = stated.args[0] if stated.op in ("unit", "percent", "degree") else stated
    digits = without(digits, "neg")
    literal = without(without(without(value, "unit"), "neg"), "percent")
    known = exact(literal)
    if digits.op != "num" or not digits.value or literal.op == "num" or (known is not None and known.denominator == 1):
        return 0.0
    amount = digits.value
    place = 0
    while (amount * 10**place).denominator != 1 and place < 40:
        place += 1
    while place <= 0 and amount % 10 ** (1 - place) == 0:
        place -= 1
    return 0.5 * 10.0**-place / float(amount) * (1 + 1e-9)


def flip(node: Node) -> Node | None:
    """Return a relation read from right to left, None where that has no meaning."""
    flipped = []
    for operator in reversed(node.name.split()):
        turned = FLIP.get(operator, operator if operator in ("=", "\\neq") else None)
        if turned is None:
            return None
        flipped.append(turned)
    return Node("rel", node.args[::-1], " ".join(flipped))


def unwrap(node: Node) -> Node:
    """Remove what only encloses: a list of one item, a percent sign around nothing else."""
    while node.op == "list" and len(node.args) == 1:
        node = node.args[0]
    return node


def without(node: Node, mark: str) -> Node:
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


def difference(node: Node) -> Node:
    return Node("add", (node.args[0], Node("neg", (node.args[1],))))


def is_constant(node: Node) -> bool:
    """Whether a relation holds no symbol at all: then its sides must be compared, not their proportion."""
    return all(is_chain(side) for side in node.args)


def is_congruence(node: Node) -> bool:
    """Whether `x ≡ 7 (mod 8)` can be true: 15 ≡ 7 (mod 8) is, 6 ≡ 7 (mod 8) and a bare 6 ≡ 7 are not."""
    try:
        numbers = [exact(without(side, "unit")) if is_scalar(side) else None for side in node.args]
    except Spent:
        raise
    except TooBig:
        return True
    if numbers[0] is None:
        return True
    if numbers[1] is None:
        return False
    modulus = node.args[1].name.removeprefix("mod ") if node.args[1].op == "unit" else ""
    return modulus.isdigit() and int(modulus[:9]) > 0 and (numbers[0] - numbers[1]) % int(modulus[:9]) == 0


def same_statement(left: Node, right: Node) -> bool:
    """Two equations between constants, such as `cos(3π/2) = 0`: true ones are all equivalent, so the sides must be
    the same expressions, up to the spelling of rational numbers."""
    if len(left.args) != len(right.args):
        return False
    for mine, theirs in zip(left.args, right.args, strict=True):
        numbers = [node.op in ("num", "neg", "div", "add") for node in (mine, theirs)]
        if mine != theirs and not (all(numbers) and exact(mine) is not None and exact(mine) == exact(theirs)):
            return False
    return True


def _replace(node: Node, names: dict[str, str]) -> Node:
    name = names.get(node.name, node.name) if node.op == "sym" else node.name
    return Node(node.op, tuple(_replace(arg, names) for arg in node.args), name, node.value)


def _letters(node: Node) -> list[str]:
    return [part.name for part in node.walk() if part.op == "sym"]


def _split_runs(node: Node, singles: set[str]) -> Node:
    if node.op == "sym" and 1 < len(node.name) < 4 and node.name.isupper() and set(node.name) & singles:
        product = Node("sym", (), node.name[0])
        for letter in node.name[1:]:
            product = Node("mul", (product, Node("sym", (), letter)))
        return product
    return Node(node.op, tuple(_split_runs(arg, singles) for arg in node.args), node.name, node.value)


def same_notation(left: Node, right: Node) -> tuple[Node, Node]:
    """Read two expressions in one notation: GM is G M where either letter stands alone, and a constant of integration
    is C or c."""
    names = _letters(left), _letters(right)
    singles = {name for name in (*names[0], *names[1]) if len(name) == 1 and name.isupper()}
    if singles and any(len(name) > 1 and name.isupper() for name in (*names[0], *names[1])):
        left, right = _split_runs(left, singles), _split_runs(right, singles)
    for first, second in (("C", "c"), ("c", "C")):
        if names[0].count(first) == names[1].count(second) == 1 and first not in names[1] and second not in names[0]:
            if _is_term(left, first) and _is_term(right, second):
                right = _replace(right, {second: first})
            break
    return left, right


def _is_term(node: Node, name: str) -> bool:
    """Whether a symbol is by itself a term of a sum."""
    return node.op == "add" and any((arg.op == "sym" and arg.name == name) or _is_term(arg, name) for arg in node.args)


def same_arguments(left: Node, right: Node) -> Node | None:
    """Return `right` with the letters of its function's arguments as in `left`: f(t) = 2t is f(x) = 2x. None when the
    letters differ and cannot be exchanged, as in f(t) = 2x."""
    mine, theirs = left.args[0], right.args[0]
    if mine.op != "app" or theirs.op != "app" or mine.name != theirs.name or len(mine.args) != len(theirs.args):
        return right
    if mine.args == theirs.args or not all(arg.op == "sym" for arg in (*mine.args, *theirs.args)):
        return right
    names = {old.name: new.name for old, new in zip(theirs.args, mine.args, strict=True)}
    free = {part.name for part in right.walk() if part.op == "sym"} - set(names)
    if len(names) < len(theirs.args) or free & set(names.values()):
        return None
    return _replace(right, names)


def subject(node: Node) -> str:
    """The name that an inequality speaks of, x in |x| < 5; empty when it is in words or unclear."""
    sides = [side.args[0] if side.op == "abs" and side.args[0].op == "sym" else side for side in node.args]
    names = [name_of(side) for side in sides if names_quantity(side) and side.op != "text" and not is_chain(side)]
    return names[0] if len(names) == 1 else ""


def function_and_y(first: str, second: str) -> bool:
    """`f(x) = …` and `y = …` name the same thing."""
    return ("y" in (first, second)) and any("(" in name for name in (first, second))


def letters_of(node: Node) -> str | None:
    """The letters of a bare run such as `odd`, which the reader took for a product of symbols."""
    if node.op == "sym" and node.name.isalpha():
        return node.name
    if node.op == "const" and node.name in ("e", "i"):
        return node.name
    if node.op == "mul":
        parts = [letters_of(part) for part in node.args]
        return "".join(part or "" for part in parts) if all(parts) else None
    return None


def has_sign_choice(node: Node) -> bool:
    return any(part.op in ("pm", "mp") for part in node.walk())


def choose_sign(node: Node, sign: int) -> Node:
    r"""Read `\pm` as + (sign 1) or − (sign −1) throughout, and `\mp` as the opposite."""
    args = tuple(choose_sign(arg, sign) for arg in node.args)
    if node.op in ("pm", "mp"):
        positive = (sign > 0) == (node.op == "pm")
        return Node("add", (args[0], args[1] if positive else Node("neg", (args[1],))))
    return Node(node.op, args, node.name, node.value) if args else node


def expand_signs(node: Node) -> Node:
    r"""Replace each item that holds a `\pm` by its two values."""
    if node.op not in ("list", "set") or not any(has_sign_choice(item) for item in node.args):
        return node
    items: list[Node] = []
    for item in node.args:
        items.extend([choose_sign(item, 1), choose_sign(item, -1)] if has_sign_choice(item) else [item])
    return Node(node.op, tuple(items), node.name)
