"""Separators and brackets on tokens: where a text falls into parts, and whether brackets enclose all of it."""

from __future__ import annotations

from simplerl.verify.tokens import Token

#: Brackets that hide what is between them from a separator.
OPEN, CLOSE = {"(", "[", "{", "\\{", "\\langle"}, {")", "]", "}", "\\}", "\\rangle"}


def split(tokens: list[Token], wanted: frozenset[str]) -> tuple[list[list[Token]], list[str]]:
    """Split at top-level tokens of these texts; return the parts and the separators between them."""
    parts: list[list[Token]] = [[]]
    found: list[str] = []
    depth = 0
    bars = False
    for token in tokens:
        if token.text in OPEN:
            depth += 1
        elif token.text in CLOSE:
            depth -= 1
        elif token.text == "|" and depth == 0:
            bars = not bars
        if depth == 0 and not bars and token.text in wanted and token.kind != "txt":
            found.append(token.text)
            parts.append([])
        else:
            parts[-1].append(token)
    if bars:  # unpaired bars separate nothing: read them as ordinary tokens
        return split([Token(t.kind, "¦" if t.text == "|" else t.text) for t in tokens], wanted)
    return parts, found


def enclosing(tokens: list[Token]) -> bool:
    """Whether the first token opens a bracket that the last one closes."""
    if len(tokens) < 2 or tokens[0].text not in OPEN or tokens[-1].text not in CLOSE:
        return False
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.text in OPEN) - (token.text in CLOSE)
        if not depth:
            return i == len(tokens) - 1
    return False
