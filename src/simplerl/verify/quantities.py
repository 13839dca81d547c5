"""Quantities: one expression with its unit, a number in a base, the parts of a ratio, a clock time."""

from __future__ import annotations

import re

from simplerl.verify.brackets import split
from simplerl.verify.counting import SCALES
from simplerl.verify.expression import read_expression
from simplerl.verify.nodes import INFINITY, MINUS_INFINITY, Node, Unreadable, num
from simplerl.verify.tokens import Token
from simplerl.verify.words import is_unit_phrase


def ratio(tokens: list[Token]) -> Node | None:
    """`3:4`, `2:3:4`, and clock times such as `4:30 p.m.`."""
    parts, _ = split(tokens, frozenset({":"}))
    if len(parts) == 1:
        return None
    suffix = ""
    if len(parts[-1]) > 1 and all(
        token.kind == "txt" or token.text.lower() in ("p", "a", "m", ".") for token in parts[-1][1:]
    ):
        suffix = "".join(token.text for token in parts[-1][1:]).lower().replace(".", "").replace(" ", "")
        if suffix not in ("am", "pm"):
            return None
        parts[-1] = parts[-1][:1]
    texts = [part[0].text if len(part) == 1 and part[0].kind == "num" else "" for part in parts]
    if all(texts) and len(texts) in (2, 3) and all(re.fullmatch(r"\d\d", text) for text in texts[1:]):
        hour, minute = int(texts[0]), int(texts[1])
        if len(texts[0]) <= 2 and hour < 25 and minute < 60:
            return time([hour, minute, int(texts[2]) if len(texts) == 3 else 0], suffix)
    if suffix:
        return None
    return Node("ratio", tuple(scalar(part) for part in parts))


def time(parts: list[int], suffix: str) -> Node:
    """A clock time, on 24 hours where that is known."""
    hour = parts[0]
    hour += 12 if suffix == "pm" and hour < 12 else -12 if suffix == "am" and hour == 12 else 0
    return Node("time", tuple(map(num, (hour, *parts[1:]))), suffix or ("24" if hour > 12 else ""))


_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?\s*(?:\\text\s*\{)?\s*(\w+)[\s}]*")
_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip


def _base(text: str) -> Node:
    """`204_5`, `2A_{16}`, `54_{six}`."""
    match = _BASE.fullmatch(text)
    word = match.group(2).lower() if match else ""
    if not match or (word not in _BASE_WORDS and not word.isdigit()) or len(word) > 9:
        raise Unreadable("a subscript on a number")
    base = _BASE_WORDS.get(word) or int(word)
    return Node("base", (num(base),), match.group(1).upper())


def scalar(tokens: list[Token]) -> Node:
    """An expression with an optional unit behind it."""
    if len(tokens) == 1 and tokens[0].kind == "base":
        return _base(tokens[0].text)
    if [token.text for token in tokens] == ["\\infty"]:
        return INFINITY
    if [token.text for token in tokens] == ["-", "\\infty"]:
        return MINUS_INFINITY
    if len(tokens) == 2 and tokens[0].kind == "num" and tokens[1].text == "\\Omega":
        return Node("unit", (read_expression(tokens[:1]),), "ohm")
    end = _unit_start(tokens)
    if 0 < end < len(tokens):
        phrase = "".join((" " if token.kind == "txt" else "") + token.text for token in tokens[end:]).strip()
        scale = SCALES.get(phrase.lower().split()[0]) if tokens[end].kind == "txt" else None
        if scale:  # 1.5 million dollars
            inner, phrase = Node("mul", (read_expression(tokens[:end]), num(scale))), phrase.partition(" ")[2]
            if phrase and not is_unit_phrase(phrase):
                raise Unreadable(f"the words {phrase!r}")
            return Node("unit", (inner,), phrase) if phrase else inner
        hour = tokens[0].text if end == 1 and phrase.lower().replace(".", "") in ("am", "pm") else ""
        if hour.isdigit() and 1 <= int(hour) <= 12:
            return time([int(hour), 0, 0], phrase.lower().replace(".", ""))
        if not is_unit_phrase(phrase):
            raise Unreadable(f"the words {phrase!r}")
        inner = read_expression(tokens[:end])
        words = phrase.lower()
        if words in ("percent", "pct", "per cent"):
            return Node("percent", (inner,))
        return Node("degree" if words in ("degrees", "degree", "deg") else "unit", (inner,), phrase)
    return read_expression(tokens)


def _unit_start(tokens: list[Token]) -> int:
    r"""Index where a trailing unit begins: words with exponents, as in `\text{ cm}^2`, `mi / hr`; else the length."""
    first = next((i for i, token in enumerate(tokens) if token.kind == "txt"), len(tokens))
    for before, token in zip([None, *tokens[first:]], tokens[first:], strict=False):
        fits = token.kind == "txt" or token.text in ("^", "{", "}", "/", "-", "(", ")", ".", "\\cdot", "2", "3", "1")
        letter = token.kind == "let" and len(token.text) == 1 and before is not None and before.text != "-"
        if not fits and not letter:
            return len(tokens)
    return first
