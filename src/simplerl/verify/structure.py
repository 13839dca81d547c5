r"""Structure before algebra: read an answer as lists, tuples, intervals, sets, relations, matrices, words or a scalar.

Brackets and separators are decided here, on tokens, before any expression is compared, so that `[0,1)` can never be
compared as if it were `(0,1)`, nor a set of guesses as if it were one of its elements.
"""

from __future__ import annotations

import re

from simplerl.verify.counting import SCALES
from simplerl.verify.expression import read_expression
from simplerl.verify.nodes import INFINITY, MINUS_INFINITY, Node, Unreadable, num
from simplerl.verify.regions import punctured
from simplerl.verify.tokens import Token, canonical, tokenize
from simplerl.verify.vocabulary import GREEK
from simplerl.verify.words import is_unit_phrase, strip_lead_in, word_value

_OPEN, _CLOSE = {"(", "[", "{", "\\{", "\\langle"}, {")", "]", "}", "\\}", "\\rangle"}
RELATIONS = frozenset({"=", "<", ">", "\\le", "\\ge", "\\neq", "\\approx", "\\in", "\\equiv", "\\sim"})
INEQUALITIES = frozenset({"<", ">", "\\le", "\\ge"})
_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "vmatrix", "Bmatrix", "smallmatrix", "array"})
_ENVIRONMENT = re.compile(r"\\begin\s*\{(\w+)\*?\}\s*(?:\{[^{}]*\}|\[[^\[\]]*\])?(.*?)\\end\s*\{\1\*?\}", re.DOTALL)

_UNIT_FRACTION = re.compile(
    r"(?<=[\d})])\s*\\frac\s*\{\s*\\(?:text|mathrm)\s*\{([a-z ]+)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([a-z ]+)\}\s*\}$"
)
_MODULUS = re.compile(r"\s*(?:\\[pb]?mod|\(\s*mod|\\text\s*\{\s*\(?\s*mod\s*\}?)\s*\{?\s*(\w+)\s*[)}\s]*$")


def read(text: str) -> Node:
    """Return the tree of a normalised answer; raise `Unreadable` when it is not wholly understood."""
    matrix = _ENVIRONMENT.search(text)
    if matrix and matrix.group(1) in _MATRICES:
        return _read_matrix(text, matrix)
    text = _UNIT_FRACTION.sub(r" \\text{\1/\2}", strip_lead_in(text))
    modulus = _MODULUS.search(text)
    if not modulus or not modulus.start():
        return read_tokens(tokenize(text))
    return _modulo(read_tokens(tokenize(text[: modulus.start()])), "mod " + modulus.group(1))


def _modulo(node: Node, name: str) -> Node:
    """A residue keeps its modulus as a unit: it may be left out, but a different one is another answer."""
    if node.op == "rel":
        return Node("rel", (*node.args[:-1], _modulo(node.args[-1], name)), node.name)
    return Node("unit", (node,), name)


def _read_matrix(text: str, match: re.Match[str]) -> Node:
    r"""A matrix environment, alone, in brackets, after `name =`, or with a scalar factor in front."""
    before, after = text[: match.start()].strip(), text[match.end() :].strip()
    while before and after and before[-1] + after[0] in ("()", "[]"):
        before, after = before[:-1].strip(), after[1:].strip()
    name = ""
    if before.endswith("=") and not after and before.count("=") == 1:
        name, before = before[:-1].replace(" ", ""), ""
    if after:
        raise Unreadable("text behind a matrix")
    rows = []
    for line in re.split(r"\\\\(?:\[[^\]]*\])?", match.group(2)):
        line = line.replace("\\hline", "").strip()
        if line:
            rows.append(Node("row", tuple(read_tokens(tokenize(cell.strip())) for cell in line.split("&"))))
    if not rows:
        raise Unreadable("an empty matrix")
    if match.group(1) == "vmatrix":
        raise Unreadable("a determinant")
    if before in ("", "-"):
        factor = num(1 if not before else -1)
    else:
        factor = read_expression(tokenize(before.removesuffix("\\cdot").strip()))
    if factor.value != 1:
        rows = [Node("row", tuple(Node("mul", (factor, cell)) for cell in row.args)) for row in rows]
    return Node("matrix", tuple(rows), name)


def _split(tokens: list[Token], wanted: frozenset[str]) -> tuple[list[list[Token]], list[str]]:
    """Split at top-level tokens of these texts; return the parts and the separators between them."""
    parts: list[list[Token]] = [[]]
    found: list[str] = []
    depth = 0
    bars = False
    for token in tokens:
        if token.text in _OPEN:
            depth += 1
        elif token.text in _CLOSE:
            depth -= 1
        elif token.text == "|" and depth == 0:
            bars = not bars
        if depth == 0 and not bars and token.text in wanted and token.kind != "txt":
            found.append(token.text)
            parts.append([])
        else:
            parts[-1].append(token)
    if bars:  # unpaired bars separate nothing: read them as ordinary tokens
        return _split([Token(t.kind, "¦" if t.text == "|" else t.text) for t in tokens], wanted)
    return parts, found


def _enclosing(tokens: list[Token]) -> bool:
    """Whether the first token opens a bracket that the last one closes."""
    if len(tokens) < 2 or tokens[0].text not in _OPEN or tokens[-1].text not in _CLOSE:
        return False
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if not depth:
            return i == len(tokens) - 1
    return False


_SEMICOLON, _COMMAS, _UNION = frozenset({";"}), frozenset({",", "and", "or"}), frozenset({"\\cup"})
_COLON, _MINUS = frozenset({":"}), frozenset({"\\setminus", "\\backslash"})


def read_tokens(tokens: list[Token]) -> Node:
    """Read a token list as an answer."""
    while _enclosing(tokens) and tokens[0].text == "{":
        tokens = tokens[1:-1]
    while tokens and (tokens[0].text in (",", "=", "\\approx", ":") or tokens[0].kind == "sep"):
        tokens = tokens[1:]
    while tokens and (tokens[-1].kind == "sep" or tokens[-1].text == "."):
        tokens = tokens[:-1]
    if not tokens:
        raise Unreadable("nothing there")
    if tokens[0].text == "]" or (tokens[-1].text == "[" and tokens[0].text in ("(", "[")):
        return _french_interval(tokens)
    for wanted in (_SEMICOLON, _COMMAS):
        parts, found = _split(tokens, wanted)
        if len(parts) > 1:
            return _listed(tuple(read_tokens(part) for part in parts if part), found)
    parts, _ = _split(tokens, _UNION)
    if len(parts) > 1:
        return Node("union", tuple(read_tokens(part) for part in parts))
    parts, _ = _split(tokens, _MINUS)
    if len(parts) == 2 and [token.text for token in parts[0]] == ["\\mathbb{R}"]:
        removed = read_tokens(parts[1])
        region = punctured(list(removed.args)) if removed.op == "set" else None
        if region is not None:
            return region
    parts, _ = _split(tokens, _COLON)
    if len(parts) == 2 and len(parts[0]) > 1 and parts[1] and (parts[1][0].text in _OPEN or "R" in parts[1][0].text):
        # One region said twice, as in "x < 7 : (−∞, 7)": both forms must be right.
        return Node("both", tuple(read_tokens(part) for part in parts))
    parts, operators = _split(tokens, RELATIONS)
    if len(parts) > 1:
        sides = tuple(_side(part) for part in parts)
        return Node("rel", sides, " ".join(operators))
    if len(tokens) > 5 and tokens[0].kind == "let" and tokens[0].text.isupper() and _enclosing(tokens[1:]):
        inside = _bracketed(tokens[1:]) if tokens[1].text == "(" else None
        if inside is not None and inside.op == "seq":
            return Node("point", inside.args, tokens[0].text)
    if _enclosing(tokens):
        node = _bracketed(tokens)
        if node is not None:
            return node
    if all(token.kind == "txt" or (token.kind == "op" and token.text in ".,'-()\"?!:") for token in tokens):
        return word_value(" ".join(token.text for token in tokens))
    if tokens[0].kind == "txt" and all(token.kind in ("txt", "let") for token in tokens):
        return word_value(" ".join(token.text for token in tokens))  # such as "Quadrant I"
    return _ratio(tokens) or _scalar(tokens)


def _listed(items: tuple[Node, ...], found: list[str]) -> Node:
    """A list; between inequalities its connective matters: the name is `and`, `or`, empty (a comma), or `mixed`. Other
    answers are alternatives where each is joined by `or`: then the name is `either`."""
    words = {word for word in found if word in ("and", "or")}
    if not words or not any(item.op == "rel" and set(item.name.split()) & INEQUALITIES for item in items):
        return Node("list", items, "either" if set(found) == {"or"} else "")
    return Node("list", items, "mixed" if len(words) == 2 else words.pop())


def _side(tokens: list[Token]) -> Node:
    """One side of a relation: words may name a quantity."""
    if not tokens:
        raise Unreadable("a relation without one of its sides")
    if _calls(tokens):
        arguments = [token for token in tokens[2:-1] if token.text != ","]
        return Node("app", tuple(read_expression([token]) for token in arguments), tokens[0].text)
    return read_tokens(tokens)


def _calls(tokens: list[Token]) -> bool:
    """Whether a whole side is a value of a function, as in `p(1) = 2` or `y(t) = e^{-t}`: a letter before numbers or
    other letters in parentheses. `x(x+1) = 0` and `xy = 6` are equations."""
    texts = [token.text for token in tokens]
    if len(texts) < 4 or len(texts) % 2 or tokens[0].kind != "let" or texts[1] != "(" or texts[-1] != ")":
        return False
    arguments = tokens[2:-1:2]
    return all(text == "," for text in texts[3:-1:2]) and all(
        token.kind == "num" or (token.kind == "let" and len(token.text) == 1 and token.text != texts[0])
        for token in arguments
    )


def _french_interval(tokens: list[Token]) -> Node:
    """`]a,b[`, with the bracket turned away where the end is not included."""
    parts, _ = _split(tokens[1:-1], frozenset({",", ";"}))
    if len(parts) != 2 or tokens[0].text not in "][" or tokens[-1].text not in "][":
        raise Unreadable("brackets that do not match")
    brackets = ("(" if tokens[0].text == "]" else "[") + (")" if tokens[-1].text == "[" else "]")
    return Node("seq", tuple(read_tokens(part) for part in parts), brackets)


def _bracketed(tokens: list[Token]) -> Node | None:
    r"""A tuple, an interval, a set or a set-builder; None when the brackets only group a scalar."""
    opening, closing, inner = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if opening == "\\{" and closing == "\\}":
        for mark in ("|", ":"):
            parts, _ = _split(inner, frozenset({mark})) if mark == ":" else _split_bar(inner)
            if len(parts) == 2 and parts[0] and parts[1]:
                return _builder(parts)
        if not inner:
            return Node("sym", (), "\\emptyset")
        parts, _ = _split(inner, _COMMAS)
        return Node("set", tuple(read_tokens(part) for part in parts if part))
    parts, _ = _split(inner, frozenset({",", ";"}))
    if len(parts) == 1:
        if opening == "[" and closing == "]":
            return Node("seq", (read_tokens(inner),), "[]")
        if opening + closing in ("()",):
            return read_tokens(inner)
        return None
    brackets = {"\\langle": "(", "\\{": "{"}.get(opening, opening) + {"\\rangle": ")", "\\}": "}"}.get(closing, closing)
    if brackets not in ("()", "[]", "[)", "(]"):
        raise Unreadable("brackets that do not match")
    return Node("seq", tuple(read_tokens(part) for part in parts), brackets)


def _split_bar(tokens: list[Token]) -> tuple[list[list[Token]], list[str]]:
    """Split a set-builder at its first bar; bars in pairs are absolute values."""
    if sum(token.text == "|" for token in tokens) % 2 == 0:
        return [tokens], []
    for i, token in enumerate(tokens):
        if token.text == "|":
            return [tokens[:i], tokens[i + 1 :]], ["|"]
    return [tokens], []


def _builder(parts: list[list[Token]]) -> Node:
    r"""`\{x \in \mathbb{R} : x > 2\}` is its condition: one real symbol, of which the condition speaks.

    Anything else in front of the bar (`2n`, another set) is part of the answer, which then equals only itself.
    """
    head = [token.text for token in parts[0]]
    symbol = parts[0][0].kind == "let" or head[0][1:] in GREEK
    if symbol and head[1:] in ([], ["\\in", "\\mathbb{R}"]) and head[0] in [token.text for token in parts[1]]:
        return read_tokens([Token("sep", "and") if token.text in (",", ";") else token for token in parts[1]])
    return Node("opaque", (), canonical([*parts[0], Token("op", "|"), *parts[1]]))


def _ratio(tokens: list[Token]) -> Node | None:
    """`3:4`, `2:3:4`, and clock times such as `4:30 p.m.`."""
    parts, _ = _split(tokens, frozenset({":"}))
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
            return _time([hour, minute, int(texts[2]) if len(texts) == 3 else 0], suffix)
    if suffix:
        return None
    return Node("ratio", tuple(_scalar(part) for part in parts))


def _time(parts: list[int], suffix: str) -> Node:
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


def _scalar(tokens: list[Token]) -> Node:
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
            return _time([int(hour), 0, 0], phrase.lower().replace(".", ""))
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
