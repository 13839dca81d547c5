r"""Normalisation: one function for gold and answer alike that removes what carries no meaning.

`normalise(text)` undoes typesetting and nothing else: it never drops a letter, a digit or a sign. It is idempotent, and
linear in the length, which the caller caps. Row ends (`\\`, `\cr`) become `\row`, a wide space `\quad`: both may
separate the parts of an answer. The rules are in `tables.toml`.
"""

import re
import unicodedata

from simplerl.verify.words import TABLES, pattern

#: Characters → their spelling in LaTeX, commands → the usual one.
_SYMBOLS: dict[str, str] = TABLES["symbols"]
_ALIASES: dict[str, str] = TABLES["aliases"]


def _unicode(text: str) -> str:
    """Spell non-ASCII mathematics in LaTeX, then fold what is left with NFKC; circled digits stay what they are."""
    pieces: list[str] = []
    for char in text:
        kind, _, code = ("", "", "") if char in _SYMBOLS else unicodedata.decomposition(char).partition(" ")
        if kind in ("<super>", "<sub>") and " " not in code:
            mark = "^{" if kind == "<super>" else "_{"
            raised = chr(int(code, 16)).replace("\u2212", "-") + "}"
            if pieces and pieces[-1].startswith(mark):
                pieces[-1] = pieces[-1][:-1] + raised
            else:
                pieces.append(mark + raised)
        elif char in _SYMBOLS:
            pieces.append(_SYMBOLS[char])
        elif char <= "\x7f" or "①" <= char < "Ⓐ":
            pieces.append(char)
        else:
            pieces.append(unicodedata.normalize("NFKC", char) if unicodedata.category(char) != "Cf" else "")
    return "".join(pieces)


def _alias(match: re.Match[str]) -> str:
    new = _ALIASES.get(match.group(1))
    if new is None:
        return match.group()
    # A command that becomes a sign no longer needs the space that ended its name, and letters must not run into it.
    return "\\" + new + " " if new[0].isalpha() else new + (" " if new[-1].isalpha() else "")


_FUNCTIONS = {
    "@alias": _alias,
    "@digits": lambda match: match.group(1) + re.sub(r"\D", "", match.group(2)),
    "@minutes": lambda match: rf"{{{match[1]}\frac{{{int(match[2]) * 60 + int(match[3] or 0)}}}{{3600}}}}^\circ ",
    "@primes": lambda match: "'" * match.group().count("'"),
}
_RULES = [(frozenset(near), pattern(find), _FUNCTIONS.get(new, new)) for near, find, new in TABLES["rules"]]
_ENDS = [(pattern(find), new) for find, new in TABLES["ends"]]


def normalise(text: str) -> str:
    """Return the text without typesetting. Applied to gold and answer alike; idempotent."""
    if not text.isascii():
        text = _unicode(text)
    if text.isdecimal():  # what most answers are
        return text
    characters = set(text)
    for near, find, new in _RULES:
        if not near or not near.isdisjoint(characters):
            text, count = find.subn(new, text)
            characters = set(text) if count else characters
    text, before = " ".join(text.split()), ""
    while text != before:
        before = text
        for find, new in _ENDS:
            text = find.sub(new, text.strip())
    return text
