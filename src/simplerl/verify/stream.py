"""The tokens of one expression, read from left to right, and questions about the next few of them."""

from __future__ import annotations

from simplerl.verify.nodes import Unreadable
from simplerl.verify.tokens import Token

#: A longer expression is not read; trees stay far below Python's recursion limit.
MAX_OPERATIONS = 700


class Stream:
    """A token list; `at` is the next token."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = list(tokens)
        self.at = 0
        self.open_bars = 0
        self.size = 0

    def grow(self) -> None:
        """Count an operation: chains nest, and everything behind this reader recurses over them."""
        self.size += 1
        if self.size > MAX_OPERATIONS:
            raise Unreadable("too many operations")

    def peek(self) -> str:
        """Text of the next token, empty at the end."""
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def kind(self) -> str:
        """Kind of the next token, empty at the end."""
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def kind_after(self) -> str:
        """Kind of the token after the next one, empty at the end."""
        return self.tokens[self.at + 1].kind if self.at + 1 < len(self.tokens) else ""

    def take(self) -> Token:
        """Consume one token."""
        if self.at >= len(self.tokens):
            raise Unreadable("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, text: str) -> None:
        """Consume one token that must be `text`."""
        if self.take().text != text:
            raise Unreadable(f"{text!r} is missing")

    def number_in_parentheses(self) -> bool:
        r"""Whether a parenthesis follows that holds a number and nothing else: `(2)`, `(-0.5)`, `(\frac12)`."""
        if self.peek() != "(":
            return False
        number = False
        for i in range(self.at + 1, len(self.tokens)):
            token = self.tokens[i]
            if token.text == ")":
                return number
            number = number or token.kind in ("num", "sci") or token.text == "\\pi"
            signed = token.text in ("-", "+") and i == self.at + 1
            if not (signed or token.kind in ("num", "sci") or token.text in ("/", "\\frac", "\\pi", "{", "}")):
                return False
        return False
