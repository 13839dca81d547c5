r"""The parts of an expression: numbers, symbols, groups, and commands with their arguments."""

from __future__ import annotations

from fractions import Fraction

from simplerl.verify.nodes import INFINITY, Node, Unreadable, num
from simplerl.verify.numbers import scientific
from simplerl.verify.stream import Stream
from simplerl.verify.tokens import FUNCTIONS, Token, canonical
from simplerl.verify.vocabulary import GREEK

_ARGUMENT_LISTS = frozenset({"max", "min", "gcd", "lcm"})
_CLOSERS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
#: Letters that name a function when a parenthesis follows.
_FUNCTION_LETTERS = frozenset("fghFGH")
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh"}


class Primaries(Stream):
    """What an expression is built of. Sums, products and powers are in `expression.py`."""

    def sum(self) -> Node:
        """A sum; see `expression.py`."""
        raise NotImplementedError

    def product(self, *, argument: bool = False) -> Node:
        """A product; see `expression.py`."""
        raise NotImplementedError

    def exponent(self) -> Node:
        """An exponent; see `expression.py`."""
        raise NotImplementedError

    def argument(self) -> Node:
        r"""An argument of `\frac` and its like: a group, or one token (of a number, one digit)."""
        if self.peek() == "{":
            return self.group("{")
        if self.kind() == "num" and len(self.peek()) > 1 and self.peek().isdigit():
            token = self.tokens[self.at]
            self.tokens[self.at : self.at + 1] = [Token("num", token.text[0]), Token("num", token.text[1:])]
        return self.primary()

    def group(self, opening: str) -> Node:
        """A bracketed sum."""
        self.expect(opening)
        bars, self.open_bars = self.open_bars, 0
        node = self.sum()
        self.open_bars = bars
        self.expect(_CLOSERS[opening])
        return node

    def primary(self) -> Node:
        """A number, a symbol, a group or a command with its arguments."""
        self.grow()
        token = self.take()
        if token.kind == "num":
            return self.mixed(token)
        if token.kind == "sci":
            value = scientific(*token.text.lower().split("e"))
            if value is None:
                raise Unreadable("a power of ten beyond the limit")
            return num(value)
        if token.kind == "let":
            return self.symbol(token.text)
        if token.kind == "cmd":
            return self.command(token.text)
        if token.text == "|":
            self.open_bars += 1
            inner = self.sum()
            self.open_bars -= 1
            self.expect("|")
            return Node("abs", (inner,))
        if token.text in ("(", "[", "{"):
            self.at -= 1
            return self.group(token.text)
        raise Unreadable(f"{token.text!r} is out of place")

    def mixed(self, token: Token) -> Node:
        r"""A number, or a mixed number: `2\frac58` and `1 1/2` are sums, unlike `x\frac12`."""
        if len(token.text) > 1_000:
            raise Unreadable("too many digits")
        whole = Node("num", (), "", Fraction(token.text))
        rest = self.tokens[self.at : self.at + 3]
        if token.text.isdigit() and rest and rest[0].text == "\\frac":
            mark, saved = self.at, list(self.tokens)
            self.take()
            top, bottom = self.argument(), self.argument()
            proper = top.op == bottom.op == "num" and 0 < (top.value or 0) < (bottom.value or 0)
            if proper and self.peek() not in ("^", "!"):
                return Node("add", (whole, Node("div", (top, bottom))), "mixed")
            self.at, self.tokens = mark, saved
        if (
            token.text.isdigit()
            and [t.kind for t in rest] == ["num", "op", "num"]
            and rest[1].text == "/"
            and rest[0].spaced
            and rest[0].text.isdigit()
            and rest[2].text.isdigit()
        ):
            self.at += 3
            return Node("add", (whole, Node("div", (num(int(rest[0].text)), num(int(rest[2].text))))), "mixed")
        return whole

    def symbol(self, name: str) -> Node:
        """A symbol with its subscript and primes; `e`, `i` are constants; `f(x)` is an application."""
        if self.peek() == "_":
            self.take()
            name += "_" + self.subscript()
        while self.peek() == "'":
            name += self.take().text
        if name in ("e", "i"):
            return Node("const", (), name)
        letter = name[0]
        if letter in _FUNCTION_LETTERS and len(name.rstrip("'").split("_")[0]) == 1:
            if [t.text for t in self.tokens[self.at : self.at + 5]] == ["^", "{", "-", "1", "}"] and (
                self.at + 5 < len(self.tokens) and self.tokens[self.at + 5].text == "("
            ):
                self.at += 5
                name += "^-1"
            if self.peek() == "(":
                return Node("app", self.arguments(), name)
        # I(0) is a value of a function: who multiplies I by a number writes the number in front.
        return Node("app", self.arguments(), name) if self.number_in_parentheses() else Node("sym", (), name)

    def subscript(self) -> str:
        """The canonical spelling of a subscript."""
        if self.peek() != "{":
            return self.take().text
        depth, start = 0, self.at
        while True:
            text = self.take().text
            depth += (text == "{") - (text == "}")
            if not depth:
                return canonical(self.tokens[start + 1 : self.at - 1])

    def arguments(self, opening: str = "(") -> tuple[Node, ...]:
        """A list of sums in parentheses, or in the braces of a set."""
        self.expect(opening)
        bars, self.open_bars = self.open_bars, 0
        items = [self.sum()]
        while self.kind() == "sep" and self.peek() == ",":
            self.take()
            items.append(self.sum())
        self.open_bars = bars
        self.expect(_CLOSERS[opening])
        return tuple(items)

    def command(self, text: str) -> Node:
        """A LaTeX command with its arguments."""
        name = text[1:]
        if name == "frac":
            return Node("div", (self.argument(), self.argument()))
        if name == "sqrt":
            return self.root()
        if name == "binom":
            return Node("binom", (self.argument(), self.argument()))
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name == "pi":
            return Node("const", (), "pi")
        if name == "infty":
            return INFINITY
        if name in ("lfloor", "lceil"):
            self.at -= 1
            return Node("func", (self.group(text),), "floor" if name == "lfloor" else "ceil")
        if name in ("ldots", "emptyset"):
            return Node("sym", (), text)
        if name in ("angle", "triangle"):
            braced = self.peek() == "{"
            return Node("sym", (), text + (self.subscript() if braced or self.kind() == "let" else ""))
        if name in ("imath", "jmath"):
            return Node("const", (), "i")
        if text == "\\Gamma" and self.peek() == "(":
            return Node("fact", (Node("add", (self.group("("), num(-1))),))
        if text == "\\zeta" and self.peek() == "(":
            return Node("app", self.arguments(), text)
        if name in GREEK:
            return self.symbol(text)
        raise Unreadable(f"unknown command {text}")

    def root(self) -> Node:
        r"""`\sqrt[n]{x}`, `\sqrt2`, and the plain-text `sqrt(2)`."""
        index: Node = num(2)
        if self.peek() == "[":
            index = self.group("[")
        if self.peek() == "{":
            return Node("root", (index, self.group("{")))
        # TeX takes one digit, also behind a space; but whoever writes \sqrt 15 means the whole number.
        spaced = self.kind() == "num" and self.tokens[self.at].spaced
        return Node("root", (index, self.primary() if spaced else self.argument()))

    def function(self, name: str) -> Node:
        r"""A named function: `\sin^2 x`, `\log_2 8`, `\ln(x+1)`, `\sin 2x`, `\max(3,7)`."""
        base: tuple[Node, ...] = ()
        exponent: Node | None = None
        while self.peek() in ("_", "^") or (self.peek() == "'" and name == "log"):
            if self.take().text == "_":
                base = (self.argument() if self.peek() == "{" else self.primary_number(),)
            else:
                exponent = self.exponent()
        if name == "lg":
            name, base = "log", (num(10),)
        if base and name not in ("log", "ln"):
            raise Unreadable(f"a subscript on {name}")
        if self.peek() == "(":
            inner = self.arguments()
        elif self.peek() == "{":
            inner = (self.group("{"),)
        elif self.peek() == "\\{" and name in _ARGUMENT_LISTS:
            inner = self.arguments("\\{")
        elif self.peek() == "-":
            self.take()
            inner = (Node("neg", (self.product(argument=True),)),)
        else:
            inner = (self.product(argument=True),)
        if name == "cis" and len(inner) == 1:
            turned = Node("mul", (Node("const", (), "i"), Node("func", inner, "sin")))
            node = Node("add", (Node("func", inner, "cos"), turned))
            return node if exponent is None else Node("pow", (node, exponent))
        if len(inner) > 1 and name not in _ARGUMENT_LISTS:
            raise Unreadable(f"several arguments for {name}")
        if exponent is not None and exponent == Node("neg", (num(1),)) and name in _INVERSES:
            name, exponent = _INVERSES[name], None
        node = Node("root", (num(2), *inner)) if name == "sqrt" else Node("func", (*inner, *base), name)
        return node if exponent is None else Node("pow", (node, exponent))

    def primary_number(self) -> Node:
        r"""The base of `\log_2 8`: one token, of a number one digit when more digits follow, as TeX reads it."""
        return self.primary() if self.kind() != "num" else num(Fraction(self.take().text))
