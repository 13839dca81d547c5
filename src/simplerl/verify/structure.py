r"""Structure before algebra: read an answer as lists, tuples, intervals, sets, relations, matrices, words or a scalar.

Brackets and separators are decided here, on tokens, before any expression is compared, so that `[0,1)` can never be
compared as if it were `(0,1)`, nor a set of guesses as if it were one of its elements.
"""

from __future__ import annotations

import re

from simplerl.verify.brackets import OPEN, enclosing, split
from simplerl.verify.expression import read_expression
from simplerl.verify.nodes import Node, Unreadable, num
from simplerl.verify.quantities import ratio, scalar
from simplerl.verify.regions import punctured
from simplerl.verify.tokens import Token, canonical, tokenize
from simplerl.verify.vocabulary import GREEK
from simplerl.verify.words import strip_lead_in, word_value

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


_SEMICOLON, _COMMAS, _UNION = frozenset({";"}), frozenset({",", "and", "or"}), frozenset({"\\cup"})
_COLON, _MINUS = frozenset({":"}), frozenset({"\\setminus", "\\backslash"})


def read_tokens(tokens: list[Token]) -> Node:
    """Read a token list as an answer."""
    while enclosing(tokens) and tokens[0].text == "{":
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
        parts, found = split(tokens, wanted)
        if len(parts) > 1:
            return _listed(tuple(read_tokens(part) for part in parts if part), found)
    parts, _ = split(tokens, _UNION)
    if len(parts) > 1:
        return Node("union", tuple(read_tokens(part) for part in parts))
    parts, _ = split(tokens, _MINUS)
    if len(parts) == 2 and [token.text for token in parts[0]] == ["\\mathbb{R}"]:
        removed = read_tokens(parts[1])
        region = punctured(list(removed.args)) if removed.op == "set" else None
        if region is not None:
            return region
    parts, _ = split(tokens, _COLON)
    if len(parts) == 2 and len(parts[0]) > 1 and parts[1] and (parts[1][0].text in OPEN or "R" in parts[1][0].text):
        # One region said twice, as in "x < 7 : (−∞, 7)": both forms must be right.
        return Node("both", tuple(read_tokens(part) for part in parts))
    parts, operators = split(tokens, RELATIONS)
    if len(parts) > 1:
        sides = tuple(_side(part) for part in parts)
        return Node("rel", sides, " ".join(operators))
    if len(tokens) > 5 and tokens[0].kind == "let" and tokens[0].text.isupper() and enclosing(tokens[1:]):
        inside = _bracketed(tokens[1:]) if tokens[1].text == "(" else None
        if inside is not None and inside.op == "seq":
            return Node("point", inside.args, tokens[0].text)
    if enclosing(tokens):
        node = _bracketed(tokens)
        if node is not None:
            return node
    if all(token.kind == "txt" or (token.kind == "op" and token.text in ".,'-()\"?!:") for token in tokens):
        return word_value(" ".join(token.text for token in tokens))
    if tokens[0].kind == "txt" and all(token.kind in ("txt", "let") for token in tokens):
        return word_value(" ".join(token.text for token in tokens))  # such as "Quadrant I"
    return ratio(tokens) or scalar(tokens)


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
    parts, _ = split(tokens[1:-1], frozenset({",", ";"}))
    if len(parts) != 2 or tokens[0].text not in "][" or tokens[-1].text not in "][":
        raise Unreadable("brackets that do not match")
    brackets = ("(" if tokens[0].text == "]" else "[") + (")" if tokens[-1].text == "[" else "]")
    return Node("seq", tuple(read_tokens(part) for part in parts), brackets)


def _bracketed(tokens: list[Token]) -> Node | None:
    r"""A tuple, an interval, a set or a set-builder; None when the brackets only group a scalar."""
    opening, closing, inner = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if opening == "\\{" and closing == "\\}":
        for mark in ("|", ":"):
            parts, _ = split(inner, frozenset({mark})) if mark == ":" else _split_bar(inner)
            if len(parts) == 2 and parts[0] and parts[1]:
                return _builder(parts)
        if not inner:
            return Node("sym", (), "\\emptyset")
        parts, _ = split(inner, _COMMAS)
        return Node("set", tuple(read_tokens(part) for part in parts if part))
    parts, _ = split(inner, frozenset({",", ";"}))
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
