r"""Words: answers in prose, choice letters, lead-ins and units."""

from __future__ import annotations

import re

from simplerl.verify.counting import number_in_words
from simplerl.verify.nodes import Node, num
from simplerl.verify.numbers import number
from simplerl.verify.vocabulary import ANSWER_WORDS, NOT_A_UNIT

_LEAD_IN = re.compile(
    r"^\s*(?:\\text\s*\{\s*)?(?:(?:the|so|thus|hence|therefore),?\s+)*(?:final\s+|correct\s+)?"
    r"(?:answer|solution|result|choice|option)s?\s*(?:is|are|:|=|equals)\s*:?\s*(?P<brace>\})?\s*(?:=\s*)?",
    re.IGNORECASE,
)
_THERE_IS = re.compile(r"^(?:there (?:is|are|exists?)|it has|the equation has) (?=no |infinitely )")
#: March 5th; in 5th alone the ending is left to the reader of numbers.
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAY = re.compile(rf"((?:{_MONTHS}) \d{{1,2}})(?:st|nd|rd|th)\b")
_ARTICLES = re.compile(r"^(?:an?|the)\s+")
#: Ways of saying the same thing, each mapped to one of them.
_SYNONYMS = {
    "dne": "does not exist", "doesn't exist": "does not exist", "no solutions": "no solution",
    "there is no solution": "no solution", "there are no solutions": "no solution",
    "no real solutions": "no solution", "no real solution": "no solution", "no solution exists": "no solution",
    "no solutions exist": "no solution",
    "infinite": "infinitely many", "infinity": "infinitely many", "infinitely many solutions": "infinitely many",
    "first quadrant": "quadrant i", "second quadrant": "quadrant ii", "third quadrant": "quadrant iii",
    "fourth quadrant": "quadrant iv",
    "all reals": "all real numbers", "all real": "all real numbers",
}  # fmt: skip


#: Words that may stand before an answer: hedges before anything, currencies and years before a number, `the point`
#: before its coordinates.
_BEFORE = (
    r"(?:(?:approximately|about|around|roughly|exactly)|(?:usd|rs\.?|rmb|eur|gbp|(?:the )?year)(?=\s*\}?\s*[\d.])"
    r"|(?:the )?points?(?=\s*\}?\s*\())"
)
_ABOUT = re.compile(
    rf"^\s*(?:\\text\s*\{{\s*{_BEFORE}\s*(?:\}}\s*|(?=[\d.]+\s*\}}))|{_BEFORE}(?![a-z]))(?=\s*\S)", re.IGNORECASE
)
#: "All real numbers except 2", in words or with the number behind them.
_EXCEPT = re.compile(
    r"^\s*(?:\\text\s*\{\s*)?(?:all\s+)?real\s+numbers\s*,?\s+(?:except|excluding|other\s+than)(?:\s+for)?\s*"
    r"(?:\}\s*)?(?:[a-zA-Z]\s*=\s*)?([^{}a-zA-Z]+?)\s*\}?\s*$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"^\s*\\text\s*\{\s*([A-Za-z][A-Za-z', ]{1,60})\s(?:is|are|equals)\s*:?\s*\}(?=\s*\S)")
_HEDGES = frozenset({"not", "or", "either", "neither", "if", "when", "unless", "one", "another", "wrong", "and", "no"})
_NAMED_TWICE = re.compile(r"^(.*\d)\s*(?:\\text\s*\{\s*)?\(\s*([a-z][a-z -]*)\)\s*\}?$")


def strip_lead_in(text: str) -> str:
    r"""Remove "the answer is" from the start of an answer; `\text{The answer is D}` becomes `\text{D}`."""
    text = _EXCEPT.sub(r"\\mathbb{R}\\setminus\\{\1\\}", text)
    sentence = _SENTENCE.match(text)
    if sentence and not set(sentence.group(1).lower().split()) & _HEDGES:
        text = text[sentence.end() :]  # the probability is …
    about = _ABOUT.match(text)
    if about:
        opened = "{" in about.group() and "}" not in about.group()
        text = ("\\text{" if opened else "") + text[about.end() :]
    twice = _NAMED_TWICE.match(text)
    if twice and number_in_words(twice.group(2)) == number(twice.group(1)):
        text = twice.group(1)  # 7 (seven)
    match = _LEAD_IN.match(text)
    if not match or match.end() == 0:
        return text
    rest = text[match.end() :].strip()
    if not rest:
        return text
    opened = "{" in match.group() and not match.group("brace")
    return "\\text{" + rest if opened else rest


def plain_words(text: str) -> str:
    """Return words for comparison: lower case, single spaces, no surrounding punctuation or article."""
    words = " ".join(re.sub(r"[\"“”*_]", " ", text).lower().split()).strip(" .,;:!?'")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words)
    return _settled(_ARTICLES.sub("", words))


def _settled(words: str) -> str:
    """One of several ways of saying the same thing; words in lower case."""
    words = _DAY.sub(r"\1", _THERE_IS.sub("", words))
    words = re.sub(r"(?<=[a-z]) and (?=\d)", " ", words)  # 3 hours and 20 minutes
    return _SYNONYMS.get(words, words)


_QUADRANT = re.compile(r"quadrant (?=(?:i{1,3}|iv)$)")


def unnumbered(words: str) -> str:
    """`quadrant ii` is `ii`; other words stay what they are."""
    return _QUADRANT.sub("", words)


def word_value(text: str) -> Node:
    """Return the node of an answer in words; some words are mathematics."""
    words = plain_words(text)
    if words == "all real numbers":
        return Node("sym", (), "\\mathbb{R}")
    value = number_in_words(words)
    if value is not None:
        return num(value)
    return Node("text", (), words)


def _opened(text: str) -> str:
    return re.sub(r"\\(?:text|textbf|textit|mathrm|mbox|textrm|mathbf)\s*\{([^{}]*)\}", r" \1 ", text)


def words_of_markup(text: str) -> str | None:
    r"""Return the plain words of a normalised answer, with `\text{…}` opened; None when it holds mathematics."""
    opened = _opened(text)
    if not re.fullmatch(r"[\w\s.,;:'\"()?!-]*", opened) or not re.search(r"[^\W\d_]", opened):
        return None
    return plain_words(opened) or None


#: Primes, factorials and arguments: `f'`, `(n)!`, `f(x)`.
_NOTATION = re.compile(r"(?<![A-Za-z])[A-Za-z]'|\)\s*!|[A-Za-z]\s*\(\s*[A-Za-z]\s*[,)]")


def comparable_words(text: str) -> str | None:
    """Return a spelling that two answers in words share; None unless the text is really words, not mathematics.

    Names of up to three letters keep their case (AB is not ab), and beside digits nothing in front is dropped (.5, -5).
    """
    opened = _opened(text)
    if words_of_markup(text) is None or _NOTATION.search(opened):
        return None
    pieces = re.findall(r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+|\S", re.sub(r"[\"“”*_]", " ", opened))
    known = [len(piece) > 3 or piece.lower() in ANSWER_WORDS for piece in pieces]
    if not any(known_word and piece[0].isalpha() for known_word, piece in zip(known, pieces, strict=True)):
        return None
    words = " ".join(piece.lower() if lower else piece for piece, lower in zip(pieces, known, strict=True))
    if any(piece[-1].isdigit() for piece in pieces):
        return words.rstrip(" .,;:?")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words.strip(" .,;:!?'"))
    words = re.sub(r"^(?:an?|the) ", "", words, flags=re.IGNORECASE)
    return _either_order(_settled(words))


def _either_order(words: str) -> str:
    """`Bob and Alice` are `Alice and Bob`: two names or things without anything else, in order of the alphabet."""
    pair = words.split(" and ")
    return " and ".join(sorted(pair)) if len(pair) == 2 and all(len(item.split()) == 1 for item in pair) else words


def is_unit_phrase(phrase: str) -> bool:
    """Whether the words behind a number are a unit or what is counted, rather than a second statement."""
    words = re.findall(r"[a-z']+", phrase.lower())
    if not words or len(words) > 8 or len(phrase) > 60:
        return False
    return not any(word in NOT_A_UNIT for word in words) and not re.search(
        r"[\d=<>?]", re.sub(r"\^\{?-?\d\}?", "", phrase)
    )


_CHOICE_GOLD = re.compile(r"\(?\s*(?:\\text\s*\{)?\s*\(?\s*([A-J])\s*\)?\s*\}?\s*\)?")
_CHOICE_ANSWER = re.compile(
    r"\(?\s*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*\(?\s*([A-J])"
    r"\s*(?:\)\s*\}?|[.:]\s*\}?|\}\s*[).:]?| (?=\(.*\)$))(?:[\s:.,].*|\\.*|\(.*)?",
    re.DOTALL,
)


_NAMED_CHOICE = re.compile(r"(?:\\text\s*\{)?\s*(?i:option|choice|answer)\s*\(?([A-J])\)?\s*\}?")


def choice_letter(gold: str) -> str | None:
    """Return the letter when the gold is a choice letter, bare or in parentheses."""
    match = _CHOICE_GOLD.fullmatch(gold)
    return match.group(1) if match else None


def chosen_letter(answer: str) -> str | None:
    """Return the letter that an answer chooses, alone or in front of the option's text (`A. 5`, `(B) blue`)."""
    if (letter := choice_letter(answer)) is not None:
        return letter
    if named := _NAMED_CHOICE.fullmatch(answer):
        return named.group(1)
    match = _CHOICE_ANSWER.fullmatch(answer)
    if not match:
        return None
    # Another letter, or a denial, makes it a hedge rather than a choice.
    rest = answer[match.end(1) :]
    hedged = set(re.findall(r"(?<![A-Za-z\\])[A-H](?![A-Za-z'])", rest)) - {match.group(1)}
    denied = any(word in {"not", "or", "wrong", "incorrect", "false"} for word in re.findall(r"[a-z]+", rest.lower()))
    return None if hedged or denied else match.group(1)


#: Unit → (dimension, factor): only units whose conversion is exact and whose name is not ambiguous.
_CONVERT: dict[str, tuple[str, tuple[int, int]]] = {
    "mm": ("length", (1, 1000)), "cm": ("length", (1, 100)), "m": ("length", (1, 1)), "km": ("length", (1000, 1)),
    "meter": ("length", (1, 1)), "kilometer": ("length", (1000, 1)), "centimeter": ("length", (1, 100)),
    "metre": ("length", (1, 1)), "kilometre": ("length", (1000, 1)), "centimetre": ("length", (1, 100)),
    "in": ("feet", (1, 12)), "inch": ("feet", (1, 12)), "inche": ("feet", (1, 12)), "ft": ("feet", (1, 1)),
    "foot": ("feet", (1, 1)), "feet": ("feet", (1, 1)), "yd": ("feet", (3, 1)), "yard": ("feet", (3, 1)),
    "mile": ("feet", (5280, 1)), "mi": ("feet", (5280, 1)),
    "mg": ("mass", (1, 1000)), "g": ("mass", (1, 1)), "kg": ("mass", (1000, 1)), "gram": ("mass", (1, 1)),
    "kilogram": ("mass", (1000, 1)),
    "s": ("time", (1, 1)), "sec": ("time", (1, 1)), "second": ("time", (1, 1)), "min": ("time", (60, 1)),
    "minute": ("time", (60, 1)), "h": ("time", (3600, 1)), "hr": ("time", (3600, 1)), "hour": ("time", (3600, 1)),
    "day": ("time", (86400, 1)), "week": ("time", (604800, 1)),
    "cent": ("money", (1, 100)), "dollar": ("money", (1, 1)),
}  # fmt: skip


def conversion(unit: str) -> tuple[str, int, int] | None:
    """Return (dimension, numerator, denominator) of a simple unit with an optional exponent, else None."""
    match = re.fullmatch(r"\s*([a-zA-Z]+)\s*(?:\^\s*\{?\s*([23])\s*\}?)?\s*", unit)
    if not match:
        return None
    name, power = match.group(1), int(match.group(2) or 1)
    known = _CONVERT.get(name) or _CONVERT.get(name.lower().removesuffix("s"))
    if not known:
        return None
    dimension, (top, bottom) = known
    return f"{dimension}^{power}", top**power, bottom**power


def same_but_for_powers(first: str, second: str) -> bool:
    """Whether two units differ in nothing but their exponents, as cm² and cm³ do."""
    first, second = (re.sub(r"[\s{}.]", "", unit.lower()) for unit in (first, second))
    return (
        first != second
        and re.sub(r"\^?-?\d", "", first) == re.sub(r"\^?-?\d", "", second)
        and ("^" in first and "^" in second)
    )
