"""One side of a comparison, read once: its normal form, its spelling, its tree, and other readings of the same text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from simplerl.verify.extract import closing_brace
from simplerl.verify.nodes import Node, Unreadable, num
from simplerl.verify.normalize import normalize
from simplerl.verify.numbers import number
from simplerl.verify.structure import read
from simplerl.verify.tokens import canonical, tokenize

_DOLLARS = re.compile(r"\s*\$?\s*\\\$\s*(\d[\d,]*(?:\.\d+)?)\s*\$?\s*")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_WRAPPED = ("\\boxed{", "\\fbox{")


@dataclass(frozen=True, slots=True)
class Reading:
    """One side, read once: its normal form, canonical spelling and tree (or why there is none)."""

    normal: str
    spelling: str
    node: Node | None
    problem: str


def unbox(text: str) -> str:
    r"""Return a text without an outer `\boxed{…}` round all of it."""
    text = text.strip()
    for wrapper in _WRAPPED:
        if text.startswith(wrapper) and closing_brace(text, len(wrapper)) == len(text) - 1:
            return text[len(wrapper) : -1]
    return text


@lru_cache(maxsize=4_096)
def reading(text: str) -> Reading:
    """Read a text, at most MAX_ANSWER_CHARS long; never raises."""
    normal = normalize(text)
    spelling, node, problem = "", None, ""
    try:
        spelling = canonical(tokenize(normal))
        # A comma may also separate a list: that reading comes first, the number with thousands marks second.
        value = None if "," in normal else number(normal)
        node = read(normal) if value is None else num(value)
    except Unreadable as error:
        problem = str(error)
    except RecursionError:
        problem = "nested too deeply"
    return Reading(normal, spelling, node, problem)


@lru_cache(maxsize=4_096)
def plain_number(text: str) -> tuple[str, object]:
    """The normal form of a text, and its value where it is a plain number."""
    normal = normalize(text)
    return normal, number(normal)


def in_dollars(text: str, other: str) -> str:
    """A dollar sign beside cents is a unit; elsewhere it is dropped."""
    amount = _DOLLARS.fullmatch(text) if "cent" in other else None
    return amount.group(1) + "\\text{ dollars}" if amount else text


def readings(answer: str, gold: str, mine: Reading, theirs: Reading) -> list[tuple[Node, Node]]:
    """The pairs of trees to compare: commas as separators, and as thousands marks where the digits allow it."""
    pairs = [(mine.node, theirs.node)]
    merged = merge_thousands(mine.normal), merge_thousands(theirs.normal)
    if merged != (mine.normal, theirs.normal):
        again = reading(merged[0]), reading(merged[1])
        if again[0].node is not None and again[1].node is not None:
            pairs.append((again[0].node, again[1].node))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def merge_thousands(text: str) -> str:
    """Remove commas between groups of exactly three digits."""
    return _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
