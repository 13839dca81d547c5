"""Comparison of two answers that were read: structure first, exact values next, points only where both leave it open.

Contents: names · canonical forms · regions of the number line · conditions · `Comparison` (parts, relations, scalars) ·
views. Gold and answer are treated alike. Two answers of one kind match as the table `_ALIKE` says, two of different
kinds where `_VIEWS` has one as the kind of the other. `Comparison` holds the work budget and, in a worker, an evaluator
for algebra. Without one a comparison that needs algebra raises `Undecided`, unless some other part settles it.
"""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial, reduce
from itertools import chain, pairwise, permutations, product
from typing import TYPE_CHECKING, Any

from simplerl.verify.numbers import Work, exact
from simplerl.verify.parse import INFINITY, Node, Unreadable, compound, has_symbols, is_scalar, neg, num, sym
from simplerl.verify.words import is_name, plain_words, stem, unit_of

if TYPE_CHECKING:
    from simplerl.verify.points import Evaluator

#: Longer lists are compared by spelling only.
MAX_ITEMS = 60
#: Each sign of order → what it becomes when the sides change places.
_FLIP = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt, ">": operator.gt, "\\le": operator.le, "\\ge": operator.ge,
    "=": operator.eq, "\\neq": operator.ne,
}  # fmt: skip
_CONSTANT_OF_INTEGRATION = re.compile(r"[CcK](?:_\d)?"), re.compile(r"[CcKABD](?:_\d)?")
_REALS, _EMPTY_SET, _MINUS_INFINITY = sym("\\mathbb{R}"), sym("\\emptyset"), neg(INFINITY)


class Undecided(Exception):
    """Only algebra can tell, and there is no evaluator here."""


# --- names ----------------------------------------------------------------------------------------------------------


def _is_constant(node: Node) -> bool:
    return is_scalar(node) and not has_symbols(node)


def without(node: Node, *marks: str) -> Node:
    """The tree inside some outer marks, such as a unit and a sign."""
    while node.op in marks:
        node = node.args[0]
    return node


def name_of(node: Node) -> str:
    """The name that a side of an equation gives to what is asked for: `x`, `f(1)`, `AB`, `|AB|`, `(x,y)`; else empty. A
    lower-case product is not a name: `xy = 6` is an equation of a curve."""
    op, args, name = node.op, node.args, node.name
    if op == "text":
        return name if is_name(name) else ""
    if op in ("sym", "opaque") or (op == "const" and name in ("e", "i")):
        return name.strip("‹›")
    if op == "func":
        return f"{name}{args}" if has_symbols(node) else ""
    if op == "app" or (op == "mul" and args[1].op in ("sym", "num") and re.fullmatch("[A-Z]", args[0].name)):  # E(X)
        arguments = args if op == "app" else args[1:]
        bare = all(arg.op == "sym" for arg in arguments)
        return f"{name or args[0].name}({'' if bare else arguments})"
    if op == "pow":  # the inverse or the transpose of a matrix
        return name_of(args[0]) + "^" if args[0].name.isupper() and args[1] in (neg(num(1)), sym("T")) else ""
    things = op in ("abs", "div", "mul") and all(_is_thing(arg, op == "abs") for arg in args)
    named = things or op in ("add", "seq", "ratio", "list")
    parts = [name_of(arg) for arg in args] if named else []
    return op + "".join(parts) if parts and all(parts) else ""


def _is_thing(node: Node, barred: bool) -> bool:
    """Whether a factor names a thing: a segment AB, and between bars also a vector, a set or z; |x| is a function."""
    if node.op != "sym":
        joined = ("mul",) if barred else ("mul", "div", "abs")
        return node.op in joined and all(_is_thing(arg, barred) for arg in node.args)
    other = "{" in node.name or re.match("z(?![a-z])", node.name) if barred else node.name[0] == "\\"
    return node.name[0].isupper() or bool(other)


def assigned(node: Node) -> tuple[str, Node] | None:
    """Return (name, value) of `x = 5` or `5 = x`; a chain gives its last value. None for anything else."""
    if node.op != "rel" or set(node.name.split()) != {"="}:
        return None
    first, last = node.args[0], node.args[-1]
    if name := name_of(first):
        return name, last
    name = name_of(last) if len(node.args) == 2 and is_scalar(first) else ""
    return (name, first) if name else None


def _subjects(node: Node) -> set[str]:
    """The names that inequalities speak of; those in words are not among them."""
    items = [item for item in (node.args if node.op == "list" else (node,)) if item.op == "rel"]
    return {
        name_of(side) for item in items for side in item.args if has_symbols(side) and "\\mathbb" not in side.name
    } - {""}


def _same_name(first: str, second: str) -> bool:
    """Whether two names may be those of one thing, as `f(x)`, `f` and `y` are."""
    arguments = first.removesuffix("()") == second.removesuffix("()") and "()" in first + second
    return first == second or arguments or ("y" in (first, second) and "(" in first + second)


def _entries(node: Node) -> tuple[list[str], list[Node]]:
    """The names of a list's items, empty for those without one, and their values."""
    pairs = [assigned(item) or ("", item) for item in node.args]
    return [name for name, _ in pairs], [value for _, value in pairs]


def _components(node: Node) -> list[Node] | None:
    """The values of a list of assignments to different names, else None. Single letters come in alphabetical order,
    which is the order of a tuple's components; x_1 = 3, x_2 = 5 are solutions of one unknown and have no order."""
    names, values = _entries(node)
    bases = {name.split("_")[0] for name in names}
    if not all(names) or len(set(names)) < len(names) or len(bases) < 2:
        return None
    single = all(len(name) == 1 for name in names)
    return [value for _, value in sorted(zip(names, values, strict=True), key=lambda pair: pair[0] if single else "")]


# --- canonical forms ------------------------------------------------------------------------------------------------


def rewrite(node: Node, change: Callable[[Node], Node]) -> Node:
    """The tree with each of its nodes changed, from the leaves up."""
    args = tuple(rewrite(arg, change) for arg in node.args)
    return change(Node(node.op, args, node.name, node.value) if args else node)


def replace(node: Node, names: dict[str, Node]) -> Node:
    """The tree with symbols replaced by name."""
    return rewrite(node, lambda part: names.get(part.name, part) if part.op == "sym" else part)


def _sign_choices(node: Node) -> list[Node]:
    r"""The two values of an expression or a relation with a `\pm`, read as + and as − throughout; else itself."""
    if not ((is_scalar(node) or node.op == "rel") and any(part.op in ("pm", "mp") for part in node.walk())):
        return [node]

    def choose(sign: str, part: Node) -> Node:
        first, second = part.args if part.op in ("pm", "mp") else (part, part)
        return part if first is part else Node("add", (first, second if part.op == sign else neg(second)))

    return [rewrite(node, partial(choose, sign)) for sign in ("pm", "mp")]


def _canonical(node: Node) -> Node:
    r"""One form for what is written in several: a list of one is its item, what holds a `\pm` the list of both values,
    and `(r,h) = (3,10)` the list r = 3, h = 10."""
    while node.op == "list" and len(node.args) == 1:
        node = node.args[0]
    if node.op in ("list", "set"):
        return Node(node.op, tuple(chain.from_iterable(map(_sign_choices, node.args))), node.name)
    choices = tuple(_sign_choices(node))
    if len(choices) > 1:
        return Node("list", choices, "and" if node.name == "\\neq" else "pm")
    if node.op != "rel" or len(node.args) != 2:
        return node
    left, right = node.args
    if node.name == "=" and left.op == right.op == "seq" and len(left.args) == len(right.args) and name_of(left):
        return Node("list", tuple(Node("rel", pair, "=") for pair in zip(left.args, right.args, strict=True)))
    return node


def _letters(node: Node) -> list[str]:
    return [part.name for part in node.walk() if part.op == "sym"]


def _notations(left: Node, right: Node) -> Iterator[tuple[Node, Node]]:
    """Two expressions in one notation: GM is G M where either letter stands alone, and constants of integration may
    have other names: `c e^x` is `C e^x`."""
    names = set(_letters(left)), set(_letters(right))
    every = names[0] | names[1]
    runs = {
        name: reduce(lambda a, b: Node("mul", (a, b)), map(sym, name))
        for name in every
        if name.isupper() and every & set(name) - {name}
    }
    left, right = replace(left, runs), replace(right, runs)
    yield left, right
    only = sorted(names[0] - names[1]), sorted(names[1] - names[0])
    pattern = _CONSTANT_OF_INTEGRATION[len(only[0]) > 1]  # one constant is C or c; several may be A and B
    constants = len(only[0]) == len(only[1]) < 4 and all(map(pattern.fullmatch, chain(*only)))
    for order in permutations(only[0] if constants and names[0] & names[1] else ()):
        yield left, replace(right, dict(zip(only[1], map(sym, order), strict=False)))


def _same_arguments(left: Node, right: Node) -> Node:
    """Return `right` with the letters of its function's arguments exchanged for those in `left`: f(t) = 2t is
    f(x) = 2x, and f(t) = 2x is f(x) = 2t."""
    mine, theirs = left.args[0], right.args[0]
    if mine.op != "app" or theirs.op != "app" or len(mine.args) != len(theirs.args):
        return right
    pairs = [(old, new) for old, new in zip(theirs.args, mine.args, strict=True) if old.op == new.op == "sym"]
    return replace(right, {new.name: old for old, new in pairs} | {old.name: new for old, new in pairs})


# --- regions of the number line -----------------------------------------------------------------------------------


class _NoRegion(Exception):
    """Not a region, or one whose ends cannot be put in order."""


def _is_region(node: Node) -> bool:
    """Whether an answer describes a part of the number line by more than its points."""
    if node.op == "rel":
        return not {"\\in", "\\notin", "\\neq", *_FLIP}.isdisjoint(node.name.split())
    if node.op == "list":
        return node.args[0].op == "rel" and any(map(_is_region, node.args))
    return node.op == "union" or node == _REALS or (node.op == "seq" and len(node.args) == 2)


def _ends(node: Node) -> list[Node]:
    """The constants that bound a region."""
    node = _canonical(node)
    return [node] * _is_constant(node) if is_scalar(node) else [end for arg in node.args for end in _ends(arg)]


def _positions(node: Node, rank: dict[Node, int]) -> frozenset[int]:
    """The region that a node describes, as positions on the number line: the ends in order, at the odd numbers, and the
    gaps between them, at the even ones."""
    node, everything = _canonical(node), frozenset(range(rank[INFINITY]))
    if node in (_REALS, _EMPTY_SET):
        return everything if node == _REALS else frozenset()
    if node in rank:
        return frozenset({rank[node]})
    if node.op == "seq" and len(node.args) == 2 and all(arg in rank for arg in node.args):
        low, high = (rank[arg] for arg in node.args)
        inside = frozenset(range(low + (node.name[0] == "("), high + (node.name[1] == "]")))
        if everything >= inside:  # else [−∞, 2)
            return inside
    if node.op in ("set", "union"):
        first, *others = [_positions(arg, rank) for arg in node.args]
        if node.name == "minus" and not any(map(first.isdisjoint, others)):  # else nothing is taken away
            return first.difference(*others)
        if sum(map(len, others), len(first)) == len(first.union(*others)):  # else [0, 1] ∪ [0, 1]
            return first.union(*others)
    if node.op == "list" and node.name != "mixed":
        return _joined(node, rank)
    if node.op == "rel" and node.name in ("\\in", "\\notin") and name_of(node.args[0]):
        members = _positions(node.args[1], rank)
        return everything - members if node.name == "\\notin" else members
    free = [side for side in node.args if side not in rank]
    if node.op == "rel" and len(free) == 1 and name_of(free[0]) and _ORDER.keys() >= set(node.name.split()):
        sides = {position: pairwise([rank.get(side, position) for side in node.args]) for position in everything}
        holds = {
            p: all(_ORDER[sign](*pair) for sign, pair in zip(node.name.split(), sides[p], strict=True)) for p in sides
        }
        return frozenset(position for position in everything if holds[position])
    raise _NoRegion


def _joined(node: Node, rank: dict[Node, int]) -> frozenset[int]:
    """Several conditions on one quantity: `or` joins their regions, `and` keeps what they share; a comma may mean
    either, and then means `and` unless nothing would be left: x < 1, x > 2 are two branches."""
    if any(item.op != "rel" for item in node.args):
        raise _NoRegion
    regions = [_positions(item, rank) for item in node.args]
    shared = frozenset.intersection(*regions)
    both = node.name == "and" or (shared and node.name not in ("or", "either"))
    return shared if both or {item.name for item in node.args} == {"\\neq"} else frozenset.union(*regions)


# --- conditions -------------------------------------------------------------------------------------------------------


def _set_name(node: Node) -> str:
    r"""The letter of a set of numbers, `Z` of `\mathbb{Z}` or `Z`, with its mark; empty for any other symbol."""
    name = node.name.replace("\\mathbb{", "").replace("}", "")
    return name.replace("^+", "^*").replace("_+", "^*") if name[:1] in "RZNQC" and len(name) in (1, 3) else ""


def _is_set_of_numbers(condition: Node) -> bool:
    r"""Whether a condition only says what kind of number a letter is: `k \in \mathbb{Z}`."""
    if condition.op != "rel" or len(condition.args) != 2 or condition.args[1].op not in ("sym", "num"):
        return False
    variable, bound = condition.args
    if condition.name in ("\\ge", ">") and variable.name in ("n", "k", "m"):  # the terms of a sequence
        return bound.op == "num" and bound.value in (0, 1)
    return condition.name == "\\in" and bool(_set_name(bound))


def _label(node: Node) -> str:
    """What an item of a list says that it counts: `ducks` in 12 ducks; empty where it says nothing."""
    node = _canonical(node)
    if node.op == "rel" and node.name == "=" and (node.args[0].op == "text" or node.args[0].name in ("\\max", "\\min")):
        words = node.args[0].name.lstrip("\\")
    else:
        unit = unit_of(node.name) if node.op == "unit" else None
        words = plain_words(node.name) if unit is not None and unit.counts else ""
    return " ".join(map(stem, words.split()))


# --- comparison -------------------------------------------------------------------------------------------------------


class Comparison:
    """One comparison of two answers of any kind; `rule` is for the explanation."""

    def __init__(self, work: Work, engine: Evaluator | None = None) -> None:
        self.work = work
        self.engine = engine
        #: The most expensive rule that was used.
        self.rule = "structure"

    def _algebra(self) -> Evaluator:
        if self.engine is None:
            raise Undecided
        self.rule = "algebra"
        return self.engine

    def _exact(self, node: Node) -> Fraction | None:
        return exact(node, self.work) if is_scalar(node) else None

    def equal(self, left: Node, right: Node) -> bool:
        """Return whether two answers are equal; raise `Undecided` when only algebra can tell."""
        left, right = _canonical(left), _canonical(right)
        if left == right:
            return True
        for node, other in ((left, right), (right, left)):
            if node.op == "both":
                return all(self.equal(part, other) for part in node.args)
        if left.op == "rel" == right.op or left.op != right.op or left.op in ("list", "union"):
            same = self._same_region(left, right)
            if same is not None:
                return same
        if left.op == right.op and left.op in _ALIKE:
            return _ALIKE[left.op](self, left, right)
        for node, other in ((left, right), (right, left)) if left.op != right.op else ():
            if node.op in ("cond", "rel"):
                return self._conditions(node, other) if node.op == "cond" else self._relation(node, other)
            if (view := _VIEWS.get(node.op, lambda *_: None)(node, other)) is not None:
                return self.equal(view, other)
        return is_scalar(left) and is_scalar(right) and self.scalar(left, right)

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

    def _ordered(self, left: Node, right: Node) -> bool:
        return left.name == right.name and self.all_equal(left.args, right.args)

    def _bag(self, left: Node, right: Node) -> bool:
        if left.op == "set" and sum(i.op == "set" for i in left.args) != sum(i.op == "set" for i in right.args):
            return False  # {{1}} is not {1}
        return left.name == right.name and self.same_multiset(left.args, right.args)

    def _ratio(self, left: Node, right: Node) -> bool:
        """`3:4` and `6:8` are the same ratio."""
        quotients = [[Node("div", (part, node.args[-1])) for part in node.args[:-1]] for node in (left, right)]
        return len(left.args) == len(right.args) and self.all_equal(*quotients)

    def _same_region(self, left: Node, right: Node) -> bool | None:
        """Whether two answers describe the same part of the number line; None where they do not describe one."""
        kinds = {left.op, right.op}
        if not (_is_region(left) and _is_region(right)) and kinds != {"set", "union"}:
            return None
        mine, theirs = _subjects(left), _subjects(right)
        if len(mine) > 1 or len(theirs) > 1:
            return None
        try:
            rank = self._ranked(dict.fromkeys(_ends(left) + _ends(right)))
            regions = _positions(left, rank), _positions(right, rank)
        except _NoRegion:
            return None
        named = not mine or not theirs or _same_name(*mine, *theirs)
        return named and bool(regions[0]) and regions[0] == regions[1]

    def _ranked(self, ends: Iterable[Node]) -> dict[Node, int]:
        """The position of each end on the number line: odd numbers in their order, and the infinities outside."""
        values: dict[Node, Any] = {end: self._exact(end) for end in ends if end not in (INFINITY, _MINUS_INFINITY)}
        if len(values) > MAX_ITEMS:
            raise _NoRegion
        if None in values.values() and len(values) > 1:
            values = {end: self._algebra().constant(end) for end in values}
            if None in values.values():
                raise _NoRegion
        rank, position, last = {_MINUS_INFINITY: -1}, -1, INFINITY
        for end in sorted(values, key=lambda end: values[end]):
            position += 0 if self.value(end, last) else 2
            rank[end] = position
            last = end
        return rank | {INFINITY: position + 2}

    def _conditions(self, left: Node, right: Node) -> bool:
        """Values with conditions: the same ones on both sides, up to the name of a whole number that runs. Where only
        one side has any, they may only say what kind of number a letter is."""
        sides = [node.args if node.op == "cond" else (node,) for node in (left, right)]
        (value, *mine), (other, *theirs) = sides
        running = [[c.args[0].name for c in side[1:] if _is_set_of_numbers(c)] for side in sides]
        running = [own or sorted({*_letters(side[0])} & {*"kmnl"}) for own, side in zip(running, sides, strict=True)]
        if len(running[0]) == len(running[1]) == 1:
            other = replace(other, {running[1][0]: sym(running[0][0])})
        sets = [{_set_name(c.args[1]) for c in side if _is_set_of_numbers(c)} - {""} for side in (mine, theirs)]
        kept = [[c for c in side if not _is_set_of_numbers(c)] for side in (mine, theirs)]
        if mine and theirs:
            return (not all(sets) or sets[0] == sets[1]) and self.same_multiset(*kept) and self.equal(value, other)
        return not any(kept) and self.equal(value, other)

    def _lists(self, left: Node, right: Node) -> bool:
        """Two lists: named values by name, else without order; one name throughout may be left out, and so may its
        numbering."""
        if all(map(_label, (*left.args, *right.args))):
            return self.same_multiset(left.args, right.args)
        choices = all(item.op == "text" or (item.op == "sym" and item.name.isupper()) for item in left.args)
        if left.name != right.name and (choices or any(map(_components, (left, right)))):
            return False  # A or B chooses nothing, and x = 1 or y = 2 is not both
        (mine, my_values), (theirs, their_values) = _entries(left), _entries(right)
        components = _components(left), _components(right)
        if (components[0] is None) != (components[1] is None) and not (any(mine) and any(theirs)):
            return self.all_equal(components[0] or left.args, components[1] or right.args)
        if not (any("_" in name for name in mine) and any("_" in name for name in theirs)):
            mine, theirs = ([name.split("_")[0] for name in side] for side in (mine, theirs))
        if len({*mine, *theirs} - {""}) < 2 and len(set(mine)) == len(set(theirs)) == 1:
            return self.same_multiset(my_values, their_values)
        return self.same_multiset(left.args, right.args)

    # --- relations ------------------------------------------------------------------------------------------------

    def _relation(self, node: Node, other: Node) -> bool:
        """A relation against something that is not one: an assignment, a membership, an equation of constants."""
        signs = node.name.split()
        if "\\approx" in signs:
            return self._approximation(node, other)
        if signs in (["\\in"], ["\\equiv"]) and name_of(node.args[0]):
            return (other.op != "list" or node.args[1].op == "set") and self.equal(node.args[1], other)
        # A chain states its last value: 7 = 8 states nothing, nor does x = 7 = 8; the first of m + n = 3 + 4 = 7 is
        # computed.
        sides, named = node.args, assigned(node)
        constant = [*map(_is_constant, sides)]
        computed = all(constant) or (len(sides) > 2 and (all(constant[1:]) or sides[0].op == "opaque"))
        stated = set(signs) == {"="} and bool(named or computed) and self._consistent(sides[named is not None :])
        return stated and self.equal(named[1] if named else sides[-1], other)

    def _consistent(self, sides: Sequence[Node]) -> bool:
        """Whether the constants of a chain are one value."""
        constants = list(filter(_is_constant, sides))
        return all(self.equal(constants[-1], side) for side in constants[:-1])

    def _approximation(self, node: Node, other: Node) -> bool:
        """`A ≈ B` is A, and B where A is computed; `L ≈ 4.5` is L = 4.5; 6 ≈ 7 is two answers, not one."""
        signs = node.name.split()
        at = signs.index("\\approx")
        value, stated = pair = node.args[at : at + 2]
        if not at and name_of(value):
            return self.equal(Node("rel", pair, "="), other)
        precise, rounded = (Node("rel", (*node.args[:at], side), " ".join(signs[:at])) if at else side for side in pair)
        if self._near(value, stated, 1) and self.equal(precise, other):
            return True
        return value.op != "num" and self._near(value, stated, 2) and self.equal(rounded, other)

    def _near(self, value: Node, stated: Node, part: int) -> bool:
        """Whether a constant differs from a decimal by less than a part of a unit of its last digit."""
        if stated.op == "percent" != value.op:
            value = Node("mul", (num(100), value))
        value, stated = (without(side, "unit", "degree", "percent") for side in (value, stated))
        decimal = self._exact(stated)
        if decimal is None or not _is_constant(value):
            return False
        places = next((places for places in range(60) if 10**places % decimal.denominator == 0), 0)
        return self._algebra().close(value, stated, Fraction(999, 1000 * part * 10**places))

    def _relations(self, left: Node, right: Node) -> bool:
        """Compare two relations."""
        signs = left.name.split(), right.name.split()
        if set(signs[0]) == set(signs[1]) == {"="}:
            return self._equations(left, right)
        for node, other in ((left, right), (right, left)):
            if "\\approx" in node.name.split() and "\\approx" not in other.name.split():
                return self._approximation(node, other)
        turned = [_FLIP.get(op, op if op in ("=", "\\neq") else "") for op in reversed(signs[1])]
        for operators, sides in ((signs[1], right.args), (turned, right.args[::-1])):
            if signs[0] == operators and self.all_equal(left.args, sides):
                return True
        first, second = signs[0][0], signs[1][0]
        sign = self._proportion(left, right) if {first, second} <= _FLIP.keys() else 0
        return bool(sign) and first == (second if sign > 0 else _FLIP[second])

    def _proportion(self, left: Node, right: Node) -> int:
        """The sign of k where one relation between expressions is k times the other; 0 where it is not."""
        sides = (*left.args, *right.args)
        variable = all(any(map(has_symbols, node.args)) for node in (left, right))
        if not (len(left.args) == len(right.args) == 2 and all(map(is_scalar, sides)) and variable):
            return 0
        differences = (Node("add", (node.args[0], neg(node.args[1]))) for node in (left, right))
        engine = self._algebra()
        return next(filter(None, (engine.proportion(*pair) for pair in _notations(*differences))), 0)

    def _equations(self, left: Node, right: Node) -> bool:
        """Two equations (chains): the same assignment, side by side equal, or proportional."""
        if not any(map(has_symbols, (*left.args, *right.args))):
            return False  # true statements about numbers are all equivalent: only the same one counts
        right = _same_arguments(left, right)
        named, other = assigned(left), assigned(right)
        if named and other:
            if _same_name(named[0], other[0]):
                return self.equal(named[1], other[1]) and all(map(self._consistent, (left.args[1:], right.args[1:])))
            if named[0].endswith(")") and other[0].endswith(")"):
                return False  # f(1) = 5 and f(2) = 5
        same = any(self.all_equal(left.args, sides) for sides in (right.args, right.args[::-1]))
        return same or bool(self._proportion(left, right))

    # --- scalars --------------------------------------------------------------------------------------------------

    def scalar(self, left: Node, right: Node) -> bool:
        """Compare two expressions with their marks: units, per cent, degrees."""
        if "label" in (left.op, right.op):  # words that are no unit must be there on both sides
            same = left.op == right.op and plain_words(left.name) == plain_words(right.name)
            return same and self.scalar(left.args[0], right.args[0])
        if left.op == right.op == "unit" and left.name != right.name:
            mine, theirs = unit_of(left.name), unit_of(right.name)
            if mine is None or theirs is None:
                return False  # two moduli
            if mine.dimensions == theirs.dimensions and mine.factors != theirs.factors:
                factors = product(mine.factors, theirs.factors)
                return any(
                    self.value(*(Node("mul", (num(f), n.args[0])) for f, n in zip(pair, (left, right), strict=True)))
                    for pair in factors
                )
            if mine.dimensions != theirs.dimensions and not (mine.counts or theirs.counts):
                return False
        names = [unit_of(node.name) for node in (left, right) if node.op == "unit"]
        left, right = without(left, "unit"), without(right, "unit")
        if left.op == right.op and left.op in ("percent", "degree"):
            return self.value(left.args[0], right.args[0])
        for marked, other in ((left, right), (right, left)):
            if marked.op == "percent":
                other = without(other, "degree")
                return self.value(marked.args[0], other) or self.value(marked, other)
            if marked.op == "degree" and other.op != "percent":
                # 90° is written 90, or in radians: by name, with π or an inverse function.
                radians = any(part.name == "pi" or part.name.startswith("arc") for part in other.walk())
                radians = radians or any(unit is not None and unit.dimensions == (("rad", 1),) for unit in names)
                return self.value(marked if radians else marked.args[0], other)
        return self.value(left, right)

    def value(self, left: Node, right: Node) -> bool:
        """Compare two bare expressions: exactly where both are rational, by algebra otherwise."""
        if left == right:
            return True
        mine, theirs = self._exact(left), self._exact(right)
        if mine is not None and theirs is not None:
            self.rule = "exact" if self.rule == "structure" else self.rule
            return mine == theirs
        infinite = [{INFINITY: 1, _MINUS_INFINITY: -1}.get(node, 0) for node in (left, right)]
        if any(infinite):
            return infinite[0] == infinite[1]
        simple = {"sym", "num", "const", "opaque"}
        if {left.op, right.op} <= simple and not {left.op, right.op} <= {"num", "const"}:
            return False  # a bare symbol needs no algebra
        engine = self._algebra()
        return any(engine.equal(*pair) for pair in _notations(left, right))


#: How two structures of one kind match.
_ALIKE: dict[str, Callable[[Comparison, Node, Node], bool]] = {
    "seq": Comparison._ordered, "matrix": Comparison._ordered, "row": Comparison._ordered,
    "point": Comparison._ordered, "base": Comparison._ordered, "set": Comparison._bag, "union": Comparison._bag,
    "list": Comparison._lists, "rel": Comparison._relations,
    "ratio": Comparison._ratio, "pieces": Comparison._bag, "cond": Comparison._conditions,
}  # fmt: skip


# --- views: a structure as the kind of answer that another one is; None where it is not of that kind ----------------


def _text_as(node: Node, other: Node) -> Node | None:
    """Words that mean what the other is, or the letters of which it was read as the product."""
    if other in (INFINITY, _EMPTY_SET):
        senses = ("infinitely many",) if other == INFINITY else ("no solution", "none", "empty set", "the empty set")
        return other if node.name in senses else None
    product = all(part.op in ("mul", "sym") or part.name in ("e", "i") for part in other.walk())
    return other if product and node.name == plain_words("".join(part.name for part in other.walk())) else None


def _list_as(node: Node, other: Node) -> Node | None:
    """A list as a tuple of its components, a set, one value in several forms, or one value in parts."""
    names, values = _entries(node)
    first, *rest = node.args
    if other.op == "seq" and other.name == "()" and node.name not in ("either", "pm"):
        components = _components(node)
        return Node("seq", tuple(components or node.args), "()") if components or not any(names) else None
    if other.op == "set":
        return Node("set", tuple(values) if len({name.split("_")[0] for name in names}) == 1 else node.args)
    if not is_scalar(other):
        return None
    if other.op == "sym" and sorted(other.name) == sorted(item.name for item in node.args):
        return other  # A, B, D is ABD
    if node.name == "either":  # as in "3/4 or 0.75": each of them must be right
        return Node("both", node.args)
    if node.name == "and" and first.op == "num" and rest[0].op == "div":
        top, bottom = (arg.value or 0 for arg in rest[0].args)
        return Node("add", node.args) if 0 < top < bottom else None  # 7 and 1/2
    with contextlib.suppress(Unreadable):
        return compound(list(node.args))  # 1 hour and 30 minutes
    return None


def _matrix_as(node: Node, other: Node) -> Node | None:
    """One row or one column is a tuple."""
    cells = [cell for row in node.args for cell in row.args]
    line = other.op == "seq" and len(cells) in (len(node.args), len(node.args[0].args))
    return Node("seq", tuple(cells), "()") if line else None


def _point_as(node: Node, other: Node) -> Node | None:
    """`P(3,4)` is a point with its name or a number of permutations, `C(5,2)` a point or a binomial coefficient."""
    if other.op in ("seq", "list"):
        return Node("seq", node.args, "()")
    return Node("binom", node.args) if is_scalar(other) and node.name == "C" and len(node.args) == 2 else None


_VIEWS: dict[str, Callable[[Node, Node], Node | None]] = {
    "text": _text_as, "list": _list_as, "matrix": _matrix_as, "point": _point_as,
    # {5} is 5, but {∅} is not ∅
    "set": lambda node, other: (
        node.args[0] if len(node.args) == 1 and is_scalar(other) and node.args[0] != _EMPTY_SET else None
    ),
    # The base may be left out when the digits are the same; a converted value is another answer. In words ("17 base
    # 8") it says that the digits are not the value.
    "base": lambda node, other: (
        num(int(node.name)) if node.value is None and other.op == "num" and node.name.isdecimal() else None
    ),
    "ratio": lambda node, other: Node("div", node.args) if is_scalar(other) and len(node.args) == 2 else None,
}  # fmt: skip
