"""Comparison of two answers that were read: structure first, exact values next, algebra only where both leave it open.

`Comparison` is symmetric: gold and answer are treated alike.
"""

from __future__ import annotations

from simplerl.verify.nodes import Node, is_scalar, num
from simplerl.verify.regions import as_region, is_number_line
from simplerl.verify.relating import RelationComparison
from simplerl.verify.relations import assigned, assignments
from simplerl.verify.scalars import Engine, Undecided, meaningless
from simplerl.verify.shapes import choose_sign, expand_signs, has_sign_choice, letters_of, unwrap
from simplerl.verify.words import plain_words, unnumbered

__all__ = ["Comparison", "Engine", "Undecided"]


class Comparison(RelationComparison):
    """One comparison of two answers of any kind."""

    def equal(self, left: Node, right: Node) -> bool:
        """Return whether two answers are equal; raise `Undecided` when only algebra can tell."""
        if left == right:
            return not meaningless(left)
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
            return self.same_multiset(expand_signs(left).args, expand_signs(right).args)
        if left.op == "seq":
            return left.name == right.name and self.all_equal(left.args, right.args)
        if left.op == "rel":
            return self.relations(left, right)
        if left.op == "matrix":
            if left.name and right.name and left.name != right.name:
                return False
            shapes = [[len(row.args) for row in node.args] for node in (left, right)]
            cells = [[cell for row in node.args for cell in row.args] for node in (left, right)]
            return shapes[0] == shapes[1] and self.all_equal(*cells)
        if left.op == "text":
            return unnumbered(left.name) == unnumbered(right.name)
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
        if node.op in ("pm", "mp") or (is_scalar(node) and has_sign_choice(node)):
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
        if node.op == "point":
            return self._point(node, other)
        if node.op == "time" and is_scalar(other) and node.name in ("am", "pm"):
            hour, *rest = (arg.value for arg in node.args)
            return not any(rest) and self.scalar(num((int(hour or 0) - 1) % 12 + 1), other)
        if node.op == "time" and other.op == "ratio":
            return self.ratio(Node("ratio", node.args[: len(other.args)]), other) and node.name in ("", "24")
        if node.op == "ratio" and len(node.args) == 2 and is_scalar(other):
            return self.scalar(Node("div", node.args), other)
        if is_number_line(node) and other.op != node.op:
            return is_number_line(other)
        return None

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

    def _text(self, node: Node, other: Node) -> bool | None:
        if other.op == "text":
            return None
        if other.op == "const" and other.name == "inf":
            return node.name == "infinitely many"
        if other.op == "sym" and other.name == "\\emptyset":
            return node.name in ("no solution", "none", "empty set")
        letters = letters_of(other)
        if node.name != unnumbered(node.name):
            return letters is not None and letters.isupper() and letters.lower() == unnumbered(node.name)
        return letters is not None and plain_words(letters) == node.name

    def _list(self, node: Node, other: Node) -> bool | None:
        region = as_region(node)
        if region is None and other.op == "seq" and other.name == "()" and len(node.args) == len(other.args):
            named = assignments(node)
            return self.all_equal(named or node.args, other.args)
        if other.op == "set":
            return self.same_multiset(expand_signs(node).args, expand_signs(other).args)
        if region is not None and other.op in ("seq", "union", "rel", "set"):
            return self.equal(region, other)
        if other.op == "list":
            regions = region, as_region(other)
            connectives = [side.name.removeprefix("either") for side in (node, other)]
            if regions[0] is not None and regions[1] is not None and any(connectives):
                return self.equal(regions[0], regions[1])
            if connectives[0] != connectives[1]:
                return False
            mine, theirs = assignments(node), assignments(other)
            nameless = other if theirs is None else node
            if (mine is None) != (theirs is None) and not any(assigned(item) for item in nameless.args):
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
        if node.name == "either" and is_scalar(other) and not has_sign_choice(other):
            # One value in several forms, as in "3/4 or 0.75": each of them must be right.
            return self.all_equal(node.args, [other] * len(node.args))
        expanded = expand_signs(node)
        if expanded is not node:
            return self.equal(expanded, other)
        return None if not is_scalar(other) or has_sign_choice(other) else False

    def _values_of_lists(self, left: Node, right: Node) -> bool | None:
        """`x=3 or x=4` against `3, 4` or `x=3,4`: one name throughout may be left out."""
        pair = []
        seen: list[set[str]] = []
        unnamed = [not any(assigned(item) for item in node.args) for node in (left, right)]
        for node in (left, right):
            names = {named[0] for item in node.args if (named := assigned(item))}
            if any(unnamed):
                names = {name.split("_")[0] for name in names}
            if len(names) > 1 or (seen and seen[0] and names and seen[0] != names):
                return None
            seen.append(names)
        for node in (left, right):
            pair.append(Node("list", tuple((assigned(item) or ("", item))[1] for item in node.args)))
        return self.same_multiset(expand_signs(pair[0]).args, expand_signs(pair[1]).args)

    def _sign_choice(self, node: Node, other: Node) -> bool | None:
        if other.op in ("rel", "text"):
            return None
        if is_scalar(other) and not has_sign_choice(other):
            return False
        both = Node("list", (choose_sign(node, 1), choose_sign(node, -1)))
        if is_scalar(other):
            other = Node("list", (choose_sign(other, 1), choose_sign(other, -1)))
        if other.op in ("list", "set"):
            return self.same_multiset(both.args, expand_signs(other).args)
        return False
