r"""Tokens of a normalised answer, and what the tokeniser knows of words.

A run of letters in LaTeX is a product of symbols, but in a plain-text answer it may be a word or a unit. `\text{…}`
settles it; a bare run is a word when it is a known unit or answer word, or has four or more letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from simplerl.verify.nodes import MAX_DEPTH, Unreadable
from simplerl.verify.vocabulary import ANSWER_WORDS, DECORATIONS, GLUED_UNITS, TEXT_COMMANDS, UNIT_WORDS, UPPER_WORDS
from simplerl.verify.words import is_unit_phrase


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: num · let (one letter or a name) · cmd · op · txt (words) · sep (comma, and, or, ;)."""

    kind: str
    text: str
    spaced: bool = False
    """Whether a space stood before it."""


#: Function names → canonical name.
FUNCTIONS: dict[str, str] = {
    **{name: name for name in (
        "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "coth",
        "ln", "log", "exp", "cis", "max", "min", "gcd", "lcm", "arccot", "arcsec", "arccsc", "sqrt", "lg", "det",
    )},
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "arsinh": "arcsinh", "arcsinh": "arcsinh",
    "arccosh": "arccosh", "arctanh": "arctanh", "sh": "sinh", "ch": "cosh",
}  # fmt: skip


#: A whole `\text{…}` that measures something, or tells the time.
_MEASURED = re.compile(r"\$?(\d+(?:,\d{3})*(?:\.\d+)?)((?::[0-5]\d(?=\D|$)| ?[a-zA-Z])[^\d$]*|)", re.ASCII)
#: What shows that letters in front of it are factors, not a unit: mg \sin θ.
_FACTOR = re.compile(
    r"\s*\\(?:sin|cos|tan|cot|sec|csc|ln|log|sqrt|frac|theta|alpha|beta|phi|mu|omega|rho|Delta)(?![a-zA-Z])"
)


_TOKEN = re.compile(
    r"(?P<space>\s*)(?:"
    r"(?P<base>(?<![\w.])(?:\d+_(?:\{\s*(?:\\text\s*\{)?\s*\w+\s*\}?\s*\}|\d+)"
    r"|\d[0-9A-Fa-f]*_(?:\{\s*(?:1[1-9]|2\d|3[0-6])\s*\}|(?:1[1-9]|2\d|3[0-6]))))"
    r"|(?P<sci>(?:1|\d+\.\d+)[eE][-+]?\d+|\d+[eE](?:[-+]?\d{2,}|\+\d+)|\d+[eE]\d+(?![\w^]))"
    r"|(?P<num>\d+(?:\.\d+|\.(?=\s*[/*)]))?|\.\d+)"
    r"|(?P<cmd>\\[a-zA-Z]+|\\.)"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<op><=|>=|!=|<|>|:=|\*\*|==|\.\.\.|.))",
    re.DOTALL | re.ASCII,
)
_SIGNS = {"<=": r"\le", ">=": r"\ge", "!=": r"\neq", "==": "=", ":=": "=", "**": "^", "...": r"\ldots"}


def _group(text: str, at: int) -> tuple[str, int]:
    """Return the content of the brace group that opens at or after `at`, and the index behind it."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at >= len(text) or text[at] != "{":
        if at < len(text) and text[at] != "\\":
            return text[at], at + 1
        raise Unreadable("a command without its argument")
    depth, start = 0, at + 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return text[start:at], at + 1
        at += 1
    raise Unreadable("an unclosed brace")


def _unit_may_follow(out: list[Token]) -> bool:
    """Whether what stands before can carry a unit: a value, or a unit and a slash."""
    if not out:
        return False
    if out[-1].text == "/":
        return len(out) > 1 and (out[-2].kind == "txt" or out[-2].text in "}23")
    return out[-1].kind != "op" or out[-1].text in "})%|"


def _glued_unit(number: str, run: str) -> bool:
    """Whether letters written right behind a number are its unit or ordinal: 5cm, 3rd; in 4kn, 24abcd they are not."""
    if run in ("st", "nd", "rd", "th"):
        last = {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
        return run == ("th" if number[-2:-1] == "1" else last)
    return run in UNIT_WORDS and (len(run) > 2 or run in GLUED_UNITS)


def _stands_as_unit(run: str, out: list[Token]) -> bool:
    """Whether a bare run is a unit: alone or behind a value; inside `\\frac{Mm}{r^2}` it is a product of symbols."""
    return run in UNIT_WORDS and (not out or len(run) > 3 or _unit_may_follow(out))


def _measured(content: str, match: re.Match[str], spaced: bool, out: list[Token]) -> None:
    """The tokens of a whole answer in text, such as `12 cm` or `4:30 PM`."""
    if match.group(2)[:1] == ":":
        out.extend(tokenize(content))
        return
    out.append(Token("num", match.group(1).replace(",", ""), spaced))
    if match.group(2):
        out.append(Token("txt", match.group(2), True))


def _words(content: str, spaced: bool, out: list[Token], *, bare: bool = False, roman: bool = False) -> None:
    r"""Append the tokens of a `\text{…}` group, a roman group or a bare run of letters."""
    content = re.sub(r"\s+", " ", content.replace("\\", " ")).strip()
    lower = content.lower().strip(" .")
    if not lower or lower in {",", ":"}:
        if lower:
            out.append(Token("sep" if lower == "," else "op", lower, spaced))
        return
    measured = None if bare or out else _MEASURED.fullmatch(content)
    if measured and (not measured.group(2) or is_unit_phrase(measured.group(2)) or measured.group(2)[0] == ":"):
        _measured(content, measured, spaced, out)
    elif lower == "to" and out and (out[-1].kind == "num" or out[-1].text in (")", "}")):
        out.append(Token("op", ":", spaced))  # 3 to 4
    elif lower.strip(" ,;") in {"and", "or"}:
        out.append(Token("sep", lower.strip(" ,;"), spaced))
    elif lower in UNIT_WORDS and len(lower) > 1 and not bare and _unit_may_follow(out):
        out.append(Token("txt", content, spaced))
    elif content in FUNCTIONS or content == "pi":
        out.append(Token("cmd", "\\" + FUNCTIONS.get(content, content), spaced))
    elif len(content) == 1 and content.isalpha():
        after_value = bool(out) and (out[-1].kind in ("num", "txt") or out[-1].text in ("}", ")", r"\circ"))
        after_value = after_value or (bool(out) and out[-1].text == "/" and _unit_may_follow(out))
        unit = not bare and after_value and lower in "mslghkcfnjwva" and content not in ("j", "k")
        out.append(Token("txt" if unit else "let", content, spaced))
    elif (not bare and re.fullmatch(r"[-+]?\d+(?:\.\d+)?", content)) or (
        not bare and re.fullmatch(r"\(?[A-Z]\)?(?:\s*(?:,|,? and )\s*\(?[A-Z]\)?)*", content)
    ):
        out.extend(tokenize(content))
    elif (bare or roman) and content.isupper() and len(content) <= 3 and content not in UPPER_WORDS:
        out.append(Token("let", content, spaced))  # the name of a segment, an angle or a triangle, such as AB
    elif roman and re.fullmatch(r"[a-z]{2,3}", content) and lower not in ANSWER_WORDS:
        out.extend(Token("let", letter, spaced and not i) for i, letter in enumerate(content))
    elif bare and not spaced and out and out[-1].kind == "num" and not _glued_unit(out[-1].text, lower):
        out.extend(Token("let", letter) for letter in content)
    elif not bare or _stands_as_unit(lower, out) or lower in ANSWER_WORDS or len(content) >= 4:
        out.append(Token("txt", content, spaced))
    elif re.fullmatch(r"[A-Z][a-z]{2,}", content):
        out.append(Token("let", content, spaced))  # a name such as Tom
    else:
        out.extend(Token("let", letter, spaced and not i) for i, letter in enumerate(content))


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a normalised text; raise `Unreadable` for unbalanced or too deeply nested text."""
    out: list[Token] = []
    at = depth = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            break
        at = match.end()
        kind, piece, spaced = match.lastgroup or "op", match.group(match.lastgroup or 0), bool(match.group("space"))
        if kind == "cmd":
            name = piece[1:]
            if name in TEXT_COMMANDS:
                content, at = _group(text, at)
                _words(content, spaced, out, roman=name == "mathrm")
            elif name in DECORATIONS:
                content, at = _group(text, at)
                out.append(Token("let", f"\\{name}{{{content.replace(' ', '')}}}", spaced))
            elif piece == r"\%":
                out.append(Token("op", "%", spaced))
            else:
                out.append(Token("cmd", piece, spaced))
        elif kind == "word":
            if (
                piece in ("min", "sec")
                and out
                and out[-1].kind == "num"
                and not re.match(r"\s*[({\\]", text[at : at + 4])
            ):
                out.append(Token("txt", piece, spaced))  # minutes, not the minimum of something
            elif piece in GLUED_UNITS and _FACTOR.match(text, at):
                out.extend(Token("let", letter, spaced and not i) for i, letter in enumerate(piece))
            else:
                _words(piece, spaced, out, bare=True)
        elif kind == "op":
            if piece in "{([":
                depth += 1
                if depth > MAX_DEPTH:
                    raise Unreadable("nested too deeply")
            elif piece in "})]":
                depth -= 1
            piece = _SIGNS.get(piece, piece)
            out.append(Token("sep" if piece in ",;" else "cmd" if piece[0] == "\\" else "op", piece, spaced))
        else:
            out.append(Token("num" if kind == "num" else kind, piece, spaced))
        if len(out) > 1_500:
            raise Unreadable("too many tokens")
    return out


def canonical(tokens: list[Token]) -> str:
    r"""Return a spelling that equal token sequences share: no spaces, `x^{2}` as `x^2`, words in lower case."""
    pieces: list[str] = []
    connected = any(token.text in ("<", ">", "\\le", "\\ge") for token in tokens)  # there, "and" is not "or"
    for i, token in enumerate(tokens):
        text = token.text
        if token.kind == "txt":
            text = "‹" + " ".join(text.lower().split()) + "›"
        elif token.kind == "sep":
            text = f" {text} " if connected and text in ("and", "or") else ","
        elif text in "{}" and token.kind == "op":
            # Braces round a single token carry no meaning: x^{2} is x^2, \frac{1}{2} is \frac12.
            if text == "{" and i + 2 < len(tokens) and tokens[i + 2].text == "}" and tokens[i + 1].text not in "{}":
                text = "{" if len(tokens[i + 1].text) > 1 and tokens[i + 1].kind == "num" else ""
            elif text == "}" and i >= 2 and tokens[i - 2].text == "{" and tokens[i - 1].text not in "{}":
                number_next = i + 1 < len(tokens) and tokens[i + 1].kind == "num"
                long_number = len(tokens[i - 1].text) > 1 and tokens[i - 1].kind == "num"
                text = "}" if long_number else " " if number_next else ""
        if pieces and text[:1].isalnum() and _runs_on(pieces[-1], text):
            text = " " + text
        pieces.append(text)
    return "".join(pieces)


def _runs_on(before: str, after: str) -> bool:
    """Whether two tokens would read as one when written without a space."""
    if before.lstrip()[:1] == "\\":
        return after[0].isalpha()
    return before[-1:].isdigit() and after[0].isdigit()
