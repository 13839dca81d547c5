r"""Reading one scalar expression: a precedence parser over tokens that reads all of it or refuses it.

It never guesses: two adjacent numbers, an unknown command or a stray word make the text `Unreadable`. Sums, products,
integrals and limits are never expanded; they become `opaque` symbols that equal only themselves. Linear in the number
of tokens; the tokeniser caps depth and length.
"""

from __future__ import annotations

from simplerl.verify.nodes import Node, Unreadable, num
from simplerl.verify.primaries import Primaries
from simplerl.verify.tokens import FUNCTIONS, Token, canonical

_OPAQUE = frozenset({"\\sum", "\\prod", "\\int", "\\iint", "\\oint", "\\lim", "\\bigcup", "\\bigcap", "\\limsup"})


def read_expression(tokens: list[Token]) -> Node:
    """Return the tree of a scalar expression; raise `Unreadable` unless every token is understood."""
    if not tokens:
        raise Unreadable("nothing there")
    if any(token.text in _OPAQUE for token in tokens):
        return Node("opaque", (), canonical(tokens))
    reader = _Reader(tokens)
    node = reader.sum()
    if reader.at < len(reader.tokens):
        raise Unreadable(f"{reader.tokens[reader.at].text!r} is out of place")
    return node


class _Reader(Primaries):
    """Recursive descent: sums of products of powers of primaries."""

    def sum(self) -> Node:
        """sum := [sign] product {sign product}"""
        node = self.signed()
        while self.peek() in ("+", "-", "\\pm", "\\mp"):
            sign = self.take().text
            self.grow()
            right = self.product()
            if sign in ("+", "-"):
                node = Node("add", (node, right if sign == "+" else Node("neg", (right,))))
            else:
                node = Node(sign[1:], (node, right))
        return node

    def signed(self) -> Node:
        """signed := [sign] product"""
        if self.peek() in ("+", "-", "\\pm", "\\mp"):
            self.grow()
            sign = self.take().text
            inner = self.signed()
            return {"+": lambda: inner, "-": lambda: Node("neg", (inner,))}.get(
                sign, lambda: Node(sign[1:], (num(0), inner))
            )()
        return self.product()

    def starts_factor(self) -> bool:
        """Whether the next token begins another factor of an implicit product."""
        kind, text = self.kind(), self.peek()
        if kind in ("num", "let", "sci"):
            return True
        if kind == "op":
            return text in ("(", "{", "[") or (text == "|" and not self.open_bars)
        return kind == "cmd" and text not in (
            "\\cdot", "\\times", "\\div", "\\pm", "\\mp", "\\rfloor", "\\rceil", "\\}", "\\circ",
        )  # fmt: skip

    def product(self, *, argument: bool = False) -> Node:
        """product := factor {[* or /] factor}; the argument of `\\sin x` ends at an operator or the next function."""
        node = factor = self.power()
        while True:
            text = self.peek()
            number_times_letter = argument and node.op == "num" and text == "\\cdot" and self.kind_after() == "let"
            if (not argument or number_times_letter) and text in ("*", "\\cdot", "\\times", "/", "\\div"):
                self.take()
                factor = self.factor_with_sign()
                node = Node("mul" if text in ("*", "\\cdot", "\\times") else "div", (node, factor))
            elif self.starts_factor():
                if self.kind() in ("num", "sci") and (factor.op == "num" or factor.name == "mixed"):
                    raise Unreadable("two numbers side by side")
                if argument and (text[1:] in FUNCTIONS or text == "("):
                    return node
                factor = self.power()
                node = Node("mul", (node, factor))
            else:
                return node

    def factor_with_sign(self) -> Node:
        """A factor that may carry its own sign, as in `2 \\cdot -3`."""
        if self.peek() in ("+", "-"):
            sign = self.take().text
            inner = self.power()
            return Node("neg", (inner,)) if sign == "-" else inner
        return self.power()

    def power(self) -> Node:
        """power := primary {^ exponent | ! | % | degree}"""
        node = self.primary()
        while True:
            text = self.peek()
            self.grow()
            if text == "^":
                self.take()
                node = self.raised(node)
            elif text == "!":
                self.take()
                if self.peek() == "!":
                    raise Unreadable("a double factorial")
                node = Node("fact", (node,))
            elif text == "%":
                self.take()
                node = Node("percent", (node,))
            elif text == "\\circ":
                self.take()
                node = Node("degree", (node,))
            else:
                return node

    def raised(self, base: Node) -> Node:
        """What follows `^`: a degree sign, or an exponent."""
        if self.peek() == "\\circ":
            self.take()
            return Node("degree", (base,))
        if self.peek() == "{" and [t.text for t in self.tokens[self.at + 1 : self.at + 3]] == ["\\circ", "}"]:
            self.at += 3
            return Node("degree", (base,))
        return Node("pow", (base, self.exponent()))

    def exponent(self) -> Node:
        """A braced group, a parenthesis, or one signed token with its arguments; towers are read from the top."""
        self.grow()
        if self.peek() in ("+", "-"):
            sign = self.take().text
            inner = self.exponent()
            return Node("neg", (inner,)) if sign == "-" else inner
        node = self.primary()
        if self.peek() == "^" and not self.degree_follows():
            self.take()
            node = Node("pow", (node, self.exponent()))
        return node

    def degree_follows(self) -> bool:
        """Whether the next tokens are a raised degree sign."""
        ahead = [token.text for token in self.tokens[self.at + 1 : self.at + 3]]
        return ahead[:1] == ["\\circ"] or ahead == ["{", "\\circ"]
