r"""Words: one table of units, one of words, and what answers in words, choices and numbers in words mean.

What may stand beside a value is listed in `tables.toml`: a unit, a noun that counts or measures, a word that introduces
an answer. A word that is not listed is never dropped: the text beside it is then not understood, or compared as words.
"""

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files

#: The tables: words, units and notation as data, so that a word is added in one place.
TABLES = tomllib.loads(files("simplerl.verify").joinpath("tables.toml").read_text(encoding="utf-8"))


def pattern(text: str) -> re.Pattern[str]:
    """Compile a regular expression of the tables, in which <<name>> stands for one of its parts."""
    while "<<" in text:
        text = re.sub(r"<<(\w+)>>", lambda part: TABLES["parts"][part.group(1)], text)
    return re.compile(text)


def word_set(name: str) -> frozenset[str]:
    """The words of a table."""
    return frozenset(TABLES[name].split())


NOUNS, UNIT_WORDS, GLUED_UNITS = word_set("nouns"), word_set("unit_words"), word_set("glued_units")
ANSWER_WORDS, UPPER_WORDS, ADVERBS = word_set("answer_words"), word_set("upper_words"), word_set("adverbs")
GREEK, TEXT_COMMANDS, DECORATIONS = word_set("greek"), word_set("text_commands"), word_set("decorations")
_BESIDE_UNITS, _ALONE, _DENIALS = word_set("beside_units"), word_set("alone"), word_set("denials")
_BESIDE_NOUNS = _BESIDE_UNITS | word_set("beside_nouns")
_QUANTITIES, _VERBS, _LEADING_WORDS = word_set("quantities"), word_set("verbs"), word_set("leading_words")
_PREPOSITIONS, _LEAD_INS, _NOT_FIRST = word_set("prepositions"), word_set("lead_ins"), word_set("not_first")
_WORDS = {name: pattern(text) for name, text in TABLES["words"].items()}
_DATES = [pattern(text) for text in TABLES["dates"]]
_MONTHS = TABLES["months"].split()

# --- numbers in words ---------------------------------------------------------------------------------------------

_SMALL, _TENS, _ORDINALS = (TABLES[name].split() for name in ("small_numbers", "tens", "ordinals"))
#: Words that multiply the number in front of them: 1.5 million, 3 dozen, 3 halves.
SCALES = {word: Fraction(1, i) for i, word in enumerate(_ORDINALS) if i > 2} | {
    word: Fraction(factor) for word, factor in TABLES["scales"].items()
}
_NUMBERS = {name: i for i, name in enumerate(_SMALL)} | {
    f"{ten} {_SMALL[i]}".removesuffix(" zero"): 10 * tens + i for tens, ten in enumerate(_TENS, 2) for i in range(10)
}


def scale_of(word: str) -> Fraction | None:
    """The factor that a word behind a number stands for: dozen, million, halves; None for any other word."""
    word = word.lower()
    return SCALES.get(word) or SCALES.get(word.removesuffix("s"))


def number_in_words(text: str) -> Fraction | None:
    """The number that English words say, all of them: seven, minus two, three fifths, two and a half, a dozen."""
    if not _WORDS["only_letters"].fullmatch(text.strip()):
        return None
    first, *others = words = text.lower().replace("-", " ").split()
    if words[-3:] == ["and", "a", "half"] and (value := number_in_words(" ".join(words[:-3]))) is not None:
        return value + Fraction(1, 2)
    if (cardinal := _NUMBERS.get(" ".join(words))) is not None:
        return Fraction(cardinal)
    if not others:
        return Fraction(_ORDINALS.index(first)) if first in _ORDINALS[1:] else None
    scale, head = scale_of(words[-1]), _NUMBERS.get(" ".join(words[:-1]))
    head = 1 if words[:-1] == ["a"] else head
    return scale * head if scale and head is not None and (scale < 1 or words[-1].startswith("dozen")) else None


# --- units and counted nouns --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """What words behind a value measure or count: dimension → exponent, with the factors to its base unit (two for
    a name with two meanings, such as ton). Counted nouns are dimensions whose name begins with `#`."""

    dimensions: tuple[tuple[str, int], ...]
    factors: tuple[Fraction, ...] = (Fraction(1),)

    @property
    def counts(self) -> bool:
        """Whether a counted noun is part of it."""
        return any(name[0] == "#" for name, _ in self.dimensions)


def stem(word: str) -> str:
    """The singular of a noun, as the table of nouns has it."""
    for ending, new in ((r"(?<=..)ies$", "y"), (r"(?:(?<=[sxzo])|(?<=[cs]h))es$", ""), (r"(?<![sui])s$", "")):
        if (singular := re.sub(ending, new, word)) != word:
            return singular
    return word


@lru_cache(maxsize=1)
def _unit_tables() -> tuple[dict[str, Unit], dict[str, Unit]]:
    """Symbol → unit with case, and name in lower case → unit; made at first use."""
    tables: tuple[dict[str, Unit], dict[str, Unit]] = ({}, {})
    for line in TABLES["units"].strip().splitlines():
        head, *texts = line.split("|")
        dimension_text, factor_text = head.split()
        parts = re.findall(r"([a-zA-Z-]*[a-zA-Z])(-?\d)?(?:,|$)", dimension_text)
        dimensions = tuple((name, int(power or 1)) for name, power in parts)
        for text, table, prefixes in zip(texts, tables, (TABLES["prefixes"], TABLES["long_prefixes"]), strict=True):
            for entry in text.split():
                for prefix, power in {"": "1", **(prefixes if entry[-1] == "*" else {})}.items():
                    factors = tuple(Fraction(factor) * Fraction(power) for factor in factor_text.split(","))
                    table.setdefault(prefix + entry.rstrip("*"), Unit(dimensions, factors))
    symbols, names = tables
    for loose, unit in symbols.items():
        names.setdefault(loose.lower(), unit)
    names["mw"] = Unit((("mw", 1),))  # milli or mega: in lower case nobody can tell
    return tables


def _unit_word(word: str) -> Unit | None:
    symbols, names = _unit_tables()
    lower = word.lower()
    shouted = word.isupper() and not re.fullmatch("P?[A-Z]", word)  # a G is no g, and P is peta, not pico
    cased = word.islower() or shouted or (word.istitle() and len(word) > 3)  # in mB or Mw the case is meant
    spellings = ((lower, stem(lower)) if cased else ()) + ((lower[:-1],) if lower[-1:] == "s" else ())
    return symbols.get(word) or next((names[name] for name in spellings if name in names), None)


def _counted(word: str) -> str:
    """The noun that a word counts with, or nothing."""
    return next((noun for noun in (stem(word), word) if noun in NOUNS), "")


#: One factor of a unit: what it is divided by, multiplied with or a power of, its name, and its power.
_FACTOR = re.compile(
    r"\s*(?:(/|per\b)|·)?\s*(?:(square|sq|cubic|cu)(?![a-z'-])\s*)?([A-Za-z][A-Za-z'-]*)"
    r"(?:(?:\s*\^\s*)?(-?\d)|\s+(squared|cubed)\b)?\s*",
    re.ASCII | re.IGNORECASE,
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_UNIT_SPELLINGS = [(pattern(find), new) for find, new in TABLES["unit_spellings"]]


@lru_cache(maxsize=4_096)
def unit_of(phrase: str) -> Unit | None:
    """What the words behind a value measure or count, all of them; None when any of them is not understood."""
    text = TABLES["chinese_units"].get(phrase.strip(), phrase)
    for find, new in _UNIT_SPELLINGS:
        text = find.sub(new, text.strip())
    factors: list[tuple[Unit, int]] = []  # with their powers
    meaning = aside = False  # whether something is measured or counted, and whether "of" or "per" leads away from it
    adjective, at, sign = False, 0, 1
    while at < len(text):
        if not (match := _FACTOR.match(text, at)):
            return None
        per, area, word, exponent, raised = match.groups()
        at, lower = match.end(), word.lower()
        sign, aside = (-1, False) if per else (sign, aside)
        power = sign * _POWERS.get((area or raised or "").lower(), 1) * int(exponent or 1)
        unit = _unit_word(word) if not aside and (len(word) > 1 or len(text) < 14) else None
        if unit is not None or ((noun := _counted(lower)) and not raised and lower not in _POWERS):
            factors += [] if aside else [(unit or Unit((("#" + noun, 1),)), power)]
            sign, meaning, adjective = 1, True, adjective and unit is not None
        elif lower not in _BESIDE_NOUNS or exponent or raised or area or (adjective and lower in _BESIDE_UNITS):
            return None  # an adjective is followed by its noun: not "wide of the mark"
        else:
            adjective = adjective or (lower not in _BESIDE_UNITS and not aside)
            aside = aside or (lower in ("of", "in", "for", "from", "on", "at", "to") and meaning)
            meaning = meaning or lower in _ALONE or lower == "them"
    if not meaning or sign < 0 or adjective or (aside and lower in _PREPOSITIONS):
        return None
    exponents, values = Counter[str](), [Fraction(1)]
    for unit, power in factors:
        exponents.update({name: exponent * power for name, exponent in unit.dimensions})
        values = [a * b**power for a in values for b in unit.factors]
    return Unit(tuple(sorted((name, power) for name, power in exponents.items() if power)), tuple(values))


def is_name(text: str) -> bool:
    """Whether words only name the quantity that is asked for: `Area`, `The probability`, `total cost of`."""
    words = re.findall(r"[^\s,:]+", text.lower())
    if not words or len(words) > 12 or words[-1] in _PREPOSITIONS or words[0] in _NOT_FIRST:
        return False
    quantities = [word in _QUANTITIES or stem(word) in NOUNS for word in words]
    return any(quantities) and all(
        quantity or word in _LEADING_WORDS or (len(word) == 1 and i) or number_in_words(word) is not None
        for i, (word, quantity) in enumerate(zip(words, quantities, strict=True))
    )


def is_lead_in(text: str) -> bool:
    """Whether words in front of an answer only introduce it: `the answer is`, `there are`, `so`, `exactly`."""
    words = re.findall(r"[^\s,:]+", text.lower())
    if len(words) > 12 or words[:1] == ["at"] or (len(words) < 3 and words[-1:] in (["square"], ["cube"])):  # at least
        return False
    if ADVERBS.issuperset(words):
        return True
    if words[-1] in _VERBS or text.rstrip().endswith(":"):
        rest = words[:-1] if words[-1] in _VERBS else words
        return _PREPOSITIONS.isdisjoint(rest[-1:]) and (_LEADING_WORDS.issuperset(rest) or is_name(" ".join(rest)))
    return " ".join(words).removeprefix("the ").replace(" ", "-") in _LEAD_INS


# --- answers in words ---------------------------------------------------------------------------------------------


def opened(text: str) -> str:
    r"""The text with its `\text{…}` groups opened."""
    return _WORDS["text_group"].sub(r" \1 ", text)


def date_of(text: str) -> str | None:
    """A date in one spelling, year-month-day with what is not stated left empty; None for anything else."""
    text = re.sub(r"\s+,", ",", " ".join(opened(text).split())).strip(" .")
    for form in _DATES if len(text) < 40 else ():
        if match := form.fullmatch(text):
            parts = match.groupdict()
            named = [i for i, name in enumerate(_MONTHS, 1) if name[:3] == (parts.get("n") or "")[:3].lower()]
            month, day = named[0] if named else int(parts["m"]), int(parts["d"])
            if 1 <= month <= 12 and 1 <= day <= 31:
                return f"{parts.get('y') or ''}-{month}-{day}"
    return None


def plain_words(text: str) -> str:
    """Return words for comparison: lower case, single spaces, no surrounding punctuation or article, and one of several
    ways of saying the same thing."""
    words = " ".join(re.sub(r"[\"“”*_]", " ", text).lower().split()).strip(" .,;:!?'")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words)
    words = _WORDS["there_is"].sub("", _WORDS["article"].sub("", words)).removesuffix(" only")
    return TABLES["synonyms"].get(words, words)


def words_of_markup(text: str) -> str | None:
    r"""Return the plain words of a normalised answer, with `\text{…}` opened; None when it holds mathematics."""
    content = opened(text)
    return plain_words(content) or None if _WORDS["prose"].fullmatch(content) else None


def comparable_words(text: str) -> str | None:
    """Return a spelling that two answers in words share; None unless the text is really words, not mathematics.
    Short names keep their case (AB is not ab), and beside digits nothing in front is dropped (.5, -5)."""
    content = opened(text)
    words = re.findall(r"[^\W\d_]+", content)
    spoken = any(len(word) > 3 or word.lower() in ANSWER_WORDS or word > "\u2e00" for word in words)
    if not spoken or words_of_markup(text) is None or _WORDS["notation"].search(content):
        return None
    exact = re.search(r"\d|\b[A-Z]{2,3}\b", content)
    return " ".join(content.split()).rstrip(" .,;:?") if exact else plain_words(content)


# --- choices ------------------------------------------------------------------------------------------------------


def choice_letter(text: str) -> str | None:
    """Return the letter when a text is a choice letter, bare or in parentheses."""
    match = _WORDS["choice"].fullmatch(text)
    return match.group(1) if match else None


def chosen_letter(answer: str) -> str | None:
    """Return the letter that an answer chooses, alone or in front of the option's text (`A. 5`, `(B) blue`)."""
    if (letter := choice_letter(answer)) is not None:
        return letter
    if named := _WORDS["named_choice"].fullmatch(answer):
        return named.group(1) or named.group(2)
    match = _WORDS["option"].fullmatch(answer)
    if not match:
        return None
    # Another letter, a sign of more, or a denial makes it a hedge rather than a choice.
    letter, rest = match.groups()
    hedged = set(re.findall(r"(?<![A-Za-z\\])[A-J](?![A-Za-z'])", rest)) - {letter}
    shown = re.sub(r"\\(?:text|mathrm)\s*\{", "", rest)
    denied = _DENIALS & {*re.findall(r"[a-z']+", rest.lower())} or _WORDS["not_an_option"].match(shown)
    bracketed = re.match(r"\s*\(", rest) and re.search(r"[A-Za-z]{2}", rest)
    return None if hedged or denied or bracketed else letter
