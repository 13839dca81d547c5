r"""Words: one table of units, one of words, and what answers in words, choices and numbers in words mean.

What may stand beside a value is listed here: a unit, a noun that counts or measures, a word that introduces an answer.
A word that is not listed is never dropped: the text beside it is then not understood, or compared as words.
"""

from __future__ import annotations

import re
import tomllib
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


#: What is counted, in the singular; only these nouns may stand behind a number.
NOUNS = word_set("nouns")
#: Words that may stand with a unit or a noun behind a number, and change nothing.
_BESIDE_UNITS = word_set("beside_units")
#: Words that may stand with a counted noun only: in "7 negative" or "7 more" they change the value.
_BESIDE_NOUNS = _BESIDE_UNITS | word_set("beside_nouns")
#: Words that say by themselves that something is counted.
_ALONE = word_set("alone")
#: Bare runs of letters that are units, not products of symbols. One-letter units count only in a text group.
UNIT_WORDS = word_set("unit_words")
#: Short units that may stand right behind a number, as in 5cm; other short runs, as in 4kn, are products of symbols.
GLUED_UNITS = word_set("glued_units")
#: Bare runs of letters that are words of an answer, not products of symbols.
ANSWER_WORDS = word_set("answer_words")
#: Upper-case runs that are words, not the name of a segment or an angle.
UPPER_WORDS = word_set("upper_words")
#: Names of quantities: before an equals sign, a colon or "is" they say what is asked for.
_QUANTITIES = word_set("quantities")
#: Words that lead to an answer ("she has 12"), and words that may stand beside the name of a quantity.
_VERBS, _LEADING_WORDS, _PREPOSITIONS = word_set("verbs"), word_set("leading_words"), word_set("prepositions")
ADVERBS, _LEAD_INS = word_set("adverbs"), word_set("lead_ins")
#: Words with which the name of a quantity does not begin: "triple: 5" is fifteen, although triples are counted too.
_NOT_FIRST = _PREPOSITIONS - {"to"} | {"one", "another", "some", "a", "and", "both", "triple"}
#: Commands that stand for a letter, whose argument is text, and that decorate a letter into another symbol.
GREEK, TEXT_COMMANDS, DECORATIONS = word_set("greek"), word_set("text_commands"), word_set("decorations")
#: In the text of an option, words that deny or hedge the choice.
_DENIALS = word_set("denials")
#: Ways of saying the same thing, each mapped to one of them.
_SYNONYMS: dict[str, str] = TABLES["synonyms"]

_ARTICLES = re.compile(r"^(?:an?|the)\s+")
_THERE_IS = re.compile(
    r"^(?:the )?(?:limit|integral|series|sum|value|derivative|expression|answer|sequence) (?:is )?"
    r"(?=does not exist|undefined|diverge|converge|not defined|infinit)"
    r"|^(?:there (?:is|are|exists?)|it has|the equation has) (?=no |infinitely )"
)
_MONTHS = TABLES["months"].split()
_MONTH = "|".join(name[:3] + f"(?:{name[3:]})?" if name != "may" else name for name in _MONTHS)
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})",
        r"(?P<m>\d{1,2})[-/](?P<d>\d{1,2})[-/](?P<y>\d{4})",
        rf"(?P<n>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y>\d{{4}}))?",
        rf"(?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<n>{_MONTH})\.?(?:,? (?P<y>\d{{4}}))?",
        r"(?P<y>\d{4}) ?年 ?(?P<m>\d{1,2}) ?月 ?(?P<d>\d{1,2}) ?日",
    )
)
# --- numbers in words ---------------------------------------------------------------------------------------------

_SMALL, _TENS, _ORDINALS = (TABLES[name].split() for name in ("small_numbers", "tens", "ordinals"))
_VALUES = {word: i for i, word in enumerate(_SMALL)} | {word: 10 * i for i, word in enumerate(_TENS, 2)}
#: Words that multiply the number in front of them: 1.5 million, 3 dozen, 3 halves.
SCALES = {word: Fraction(1, i) for i, word in enumerate(_ORDINALS) if i > 2} | {
    word: Fraction(factor) for word, factor in TABLES["scales"].items()
}
_GROUPS = {name: int(SCALES[name]) for name in ("thousand", "million", "billion", "trillion")}


def scale_of(word: str) -> Fraction | None:
    """The factor that a word behind a number stands for: dozen, million, halves; None for any other word."""
    word = word.lower()
    return SCALES.get(word) or SCALES.get(word.removesuffix("s"))


def _fits(group: int, before: str, value: int) -> bool:
    """Whether a number may follow what was said: twenty one, hundred five; not five six, nor one zero."""
    if not before or before in _GROUPS or before in ("hundred", "and"):
        return value > 0 or (not before and not group)
    return before in _TENS and 0 < value < 10


def _cardinal(words: list[str]) -> int | None:
    """The whole number that words say, all of them, else None."""
    if not words or len(words) > 16 or words[0] == "and":
        return None
    total = group = 0
    last = 10**15
    for before, word in zip(["", *words], words, strict=False):
        if word == "and":
            if before not in ("hundred", *_GROUPS) or word == words[-1]:
                return None
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _GROUPS and group and _GROUPS[word] < last:
            last = _GROUPS[word]
            total, group = total + group * last, 0
        elif word in _VALUES and _fits(group, before, _VALUES[word]):
            group += _VALUES[word]
        else:
            return None
    return total + group


def number_in_words(text: str) -> Fraction | None:
    """The number that English words say, all of them: seven, minus two, three fifths, two and a half, a dozen."""
    lower = text.lower().strip()
    if not re.fullmatch(r"[a-z][a-z\s-]{1,119}", lower):
        return None
    words = lower.replace("-", " ").split()
    if words[0] in ("negative", "minus") and len(words) > 1:
        value = number_in_words(" ".join(words[1:]))
        return None if value is None else -value
    cardinal = _cardinal(words)
    if cardinal is not None:
        return Fraction(cardinal)
    if len(words) == 1 and words[0] in _ORDINALS[1:]:
        return Fraction(_ORDINALS.index(words[0]))
    if words[-3:] == ["and", "a", "half"]:
        head = _cardinal(words[:-3])
        return None if head is None else head + Fraction(1, 2)
    scale = scale_of(words[-1])
    if scale is not None and (scale < 1 or words[-1].startswith("dozen")) and len(words) > 1:
        head = 1 if words[:-1] in (["a"], ["one"]) else _cardinal(words[:-1])
        return None if head is None else head * scale
    return None


# --- units and counted nouns --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """What words behind a value measure or count: dimension → exponent, with the factors to its base unit.

    Counted nouns are dimensions whose name begins with `#`. A name with two meanings (ton) has two factors.
    """

    dimensions: tuple[tuple[str, int], ...]
    factors: tuple[Fraction, ...] = (Fraction(1),)

    @property
    def counts(self) -> bool:
        """Whether a counted noun is part of it."""
        return any(name[0] == "#" for name, _ in self.dimensions)


def stem(word: str) -> str:
    """The singular of a noun, as the table of nouns has it."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(?:s|x|ch|sh|z|o)es$", word):
        return word[:-2]
    if word.endswith("ves"):
        return word[:-1]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


@lru_cache(maxsize=1)
def _unit_tables() -> tuple[dict[str, Unit], dict[str, Unit]]:
    """Symbol → unit with case, and name in lower case → unit; made at first use."""
    symbols: dict[str, Unit] = {}
    names: dict[str, Unit] = {}
    for line in TABLES["units"].strip().splitlines():
        head, symbol_text, name_text = line.split("|")
        dimension_text, factor_text = head.split()
        dimensions = tuple(
            (match.group(1), int(match.group(2) or 1))
            for part in dimension_text.split(",")
            if (match := re.fullmatch(r"([a-zA-Z-]*[a-zA-Z])(-?\d)?", part))
        )
        factors = tuple(map(Fraction, factor_text.split(",")))
        for text, table, prefixes in (
            (symbol_text, symbols, TABLES["prefixes"]),
            (name_text, names, TABLES["long_prefixes"]),
        ):
            for entry in text.split():
                name = entry.rstrip("*").partition(":")[0]
                own = Fraction(entry.partition(":")[2] or 1)
                table.setdefault(name, Unit(dimensions, tuple(factor * own for factor in factors)))
                if entry.endswith("*"):
                    for prefix, power in prefixes.items():
                        scaled = tuple(factor * Fraction(power) for factor in factors)
                        table.setdefault(prefix + name, Unit(dimensions, scaled))
    for loose in (*symbols, "kwh"):
        names.setdefault(loose.lower(), symbols.get(loose) or symbols["kWh"])
    names["mw"] = Unit((("mw", 1),))  # milli or mega: in lower case nobody can tell
    return symbols, names


def _unit_word(word: str) -> Unit | None:
    symbols, names = _unit_tables()
    lower = word.lower()
    shouted = word.isupper() and not re.fullmatch("P[A-Z]", word)  # P is peta, not pico
    cased = word.islower() or shouted or (word.istitle() and len(word) > 3)  # in mB or Mw the case is meant
    spellings = ((lower, stem(lower)) if cased else ()) + ((lower[:-1],) if lower[-1:] == "s" else ())
    return symbols.get(word) or next((names[name] for name in spellings if name in names), None)


_UNIT_PIECE = re.compile(r"\^\s*-?\d|(?<=[A-Za-z])-?\d|[/·]|\bper\b|[A-Za-z][A-Za-z'-]*|\S", re.ASCII)
_POWER_BEFORE, _POWER_BEHIND = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}, {"squared": 2, "cubed": 3}


@lru_cache(maxsize=4_096)
def unit_of(phrase: str) -> Unit | None:
    """What the words behind a value measure or count, all of them; None when any of them is not understood."""
    text = TABLES["chinese_units"].get(phrase.strip(), phrase)
    text = re.sub(r"\\(?:text|mathrm|mbox|textrm|rm)(?![a-z])", " ", text.replace("\\cdot", "·").replace("\\mu", "u"))
    text = re.sub(r"[{}]|(?<=[a-z])\.", "", text).replace("µ", "u").replace("μ", "u")
    text = re.sub(r"/\s*\(([^()]*)\)", lambda m: " / " + " / ".join(m.group(1).replace("·", " ").split()), text)
    text = re.sub(r"light years?", "lightyear", re.sub(r"(?:fl\.?|fluid) (?:oz|ounces?)\b", "floz", text))
    text = re.sub(r"(?<=[A-Za-z])\s*-\s*(?=[A-Za-z]{1,2}\b)", "·", text)
    text = re.sub(r"^\s*\((.*)\)\s*$", r"\1", text.strip())
    if len(text) > 80 or not text:
        return None
    exponents: dict[str, int] = {}
    factors: tuple[Fraction, ...] = (Fraction(1),)
    sign, before = 1, 1
    last: tuple[Unit, int] | None = None
    words = text.split()
    if len(words) > 1 and words[0].lower() in ("of", "in", "for") and not all(map(_known_word, words[1:])):
        return None
    meaning = after_of = False
    adjectives = 0  # 2 while one waits for its noun

    def multiply(unit: Unit, power: int) -> None:
        nonlocal factors
        for name, exponent in unit.dimensions:
            exponents[name] = exponents.get(name, 0) + exponent * power
        factors = tuple(a * b**power for a in factors for b in unit.factors)

    for match in _UNIT_PIECE.finditer(text):
        piece, lower = match.group(), match.group().lower()
        if piece[-1].isdecimal():
            raised = piece[0] == "^" or text[match.start() - 1].isalpha()
            if last is None or not raised or abs(int(piece.strip("^ "))) > 9:
                return None
            multiply(last[0], (int(piece.strip("^ ")) - 1) * last[1])
            last = None
        elif lower in _POWER_BEHIND and last is not None:
            multiply(last[0], (_POWER_BEHIND[lower] - 1) * last[1])
        elif lower in ("/", "per"):
            sign, after_of = -1, False
        elif lower == "·":
            continue
        elif lower in _POWER_BEFORE:
            before = _POWER_BEFORE[lower]
        elif (unit := _unit_word(piece)) is not None and not after_of and (len(piece) > 1 or len(text) < 14):
            last = unit, sign * before
            multiply(*last)
            sign, before, meaning = 1, 1, True
        elif stem(lower) in NOUNS or lower in NOUNS or lower in ("times", "people", "unit", "units"):
            if not after_of:
                last = Unit((("#" + (stem(lower) if stem(lower) in NOUNS else lower), 1),)), sign * before
                multiply(*last)
            sign, before, meaning, adjectives = 1, 1, True, min(adjectives, 1)
        elif lower in _BESIDE_NOUNS:
            adjectives = adjectives if lower in _BESIDE_UNITS else 2 if not after_of else adjectives
            after_of = after_of or (lower in ("of", "in", "for", "from", "on", "at", "to") and meaning)
            meaning = meaning or lower in _ALONE or lower in ("them", "old")
        else:
            return None
    if not meaning or sign < 0 or adjectives == 2 or re.search(r"\bper cent\b", text, re.IGNORECASE):
        return None
    if adjectives and not any(name[0] == "#" for name in exponents):
        return None
    return Unit(tuple(sorted((name, power) for name, power in exponents.items() if power)), factors)


def _known_word(word: str) -> bool:
    lower = word.lower()
    return lower in _BESIDE_NOUNS or stem(lower) in NOUNS or lower in NOUNS or _unit_word(word) is not None


def is_name(text: str) -> bool:
    """Whether words only name the quantity that is asked for: `Area`, `The probability`, `total cost of`."""
    words = re.findall(r"[^\s,:]+", text.lower())
    if not words or len(words) > 12 or words[-1] in _PREPOSITIONS or words[0] in _NOT_FIRST:
        return False
    known = all(
        word in _QUANTITIES
        or word in _LEADING_WORDS
        or (len(word) == 1 and word != words[0])
        or stem(word) in NOUNS
        or number_in_words(word) is not None
        or word.isdecimal()
        for word in words
    )
    return known and any(word in _QUANTITIES or stem(word) in NOUNS for word in words)


def measures_by_name(text: str) -> bool:
    """Whether the name of a quantity may stand right before its value, as in `length 8`: not where it computes."""
    return text.lower().split()[-1] in _QUANTITIES - word_set("operations")


def is_lead_in(text: str) -> bool:
    """Whether words in front of an answer only introduce it: `the answer is`, `there are`, `so`, `exactly`."""
    lower = text.lower().strip(" ,:")
    if not lower:
        return True
    words = re.findall(r"[^\s,:]+", lower)
    if len(words) > 12:
        return False
    if ADVERBS.issuperset(words):
        return True
    if words[-1] in _VERBS or text.rstrip().endswith(":"):
        rest = words[:-1] if words[-1] in _VERBS else words
        return _PREPOSITIONS.isdisjoint(rest[-1:]) and (_LEADING_WORDS.issuperset(rest) or is_name(" ".join(rest)))
    return lower.removeprefix("the ").replace(" ", "-") in _LEAD_INS


# --- answers in words ---------------------------------------------------------------------------------------------


def date_of(text: str) -> str | None:
    """A date in one spelling, year-month-day with what is not stated left empty; None for anything else."""
    text = " ".join(re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text).split()).strip(" .")
    text = re.sub(r"\s+,", ",", text)
    for pattern in _DATES if len(text) < 40 else ():
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            named = [i for i, name in enumerate(_MONTHS, 1) if name[:3] == (parts.get("n") or "")[:3].lower()]
            month = named[0] if named else int(parts["m"])
            day = int(parts["d"])
            if 1 <= month <= 12 and 1 <= day <= 31:
                return f"{parts.get('y') or ''}-{month}-{day}"
    return None


def plain_words(text: str) -> str:
    """Return words for comparison: lower case, single spaces, no surrounding punctuation or article."""
    words = " ".join(re.sub(r"[\"“”*_]", " ", text).lower().split()).strip(" .,;:!?'")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words)
    return _settled(_ARTICLES.sub("", words))


def _settled(words: str) -> str:
    """One of several ways of saying the same thing; words in lower case."""
    words = _THERE_IS.sub("", words)
    words = re.sub(r"(?<=[a-z]) and (?=\d)", " ", words).removesuffix(" only")  # 3 hours and 20 minutes
    return _SYNONYMS.get(words, words)


def unnumbered(words: str) -> str:
    """`quadrant ii` is `ii`; other words stay what they are."""
    return re.sub(r"quadrant (?=(?:i{1,3}|iv)$)", "", words)


def opened(text: str) -> str:
    r"""The text with its `\text{…}` groups opened."""
    return re.sub(r"\\(?:text|textbf|textit|mathrm|mbox|textrm|mathbf)\s*\{([^{}]*)\}", r" \1 ", text)


def words_of_markup(text: str) -> str | None:
    r"""Return the plain words of a normalised answer, with `\text{…}` opened; None when it holds mathematics."""
    content = opened(text)
    if not re.fullmatch(r"[\w\s.,;:'\"()?!-]*", content) or not re.search(r"[^\W\d_]", content):
        return None
    return plain_words(content) or None


#: Primes, factorials and arguments: `f'`, `(n)!`, `f(x)`.
_NOTATION = re.compile(r"(?<![A-Za-z])[A-Za-z]'|\)\s*!|[A-Za-z]\s*\(\s*[A-Za-z]\s*[,)]")


def comparable_words(text: str) -> str | None:
    """Return a spelling that two answers in words share; None unless the text is really words, not mathematics.

    Names of up to three letters keep their case (AB is not ab), and beside digits nothing in front is dropped (.5, -5).
    """
    content = opened(text)
    if words_of_markup(text) is None or _NOTATION.search(content):
        return None
    pieces = re.findall(r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+|\S", re.sub(r"[\"“”*_]", " ", content))
    known = [len(piece) > 3 or piece.lower() in ANSWER_WORDS or piece > "\u2e00" for piece in pieces]
    if not any(known_word and piece[0].isalpha() for known_word, piece in zip(known, pieces, strict=True)):
        return None
    words = " ".join(piece.lower() if lower else piece for piece, lower in zip(pieces, known, strict=True))
    if any(piece[-1].isdecimal() for piece in pieces):
        return words.rstrip(" .,;:?")
    words = re.sub(r"\s*([,.;:()'-])\s*", r"\1", words.strip(" .,;:!?'"))
    words = re.sub(r"^(?:an?|the) ", "", words, flags=re.IGNORECASE)
    pair = _settled(words).split(" and ")
    # "Bob and Alice" are "Alice and Bob": two names without anything else, in order of the alphabet.
    names = len(pair) == 2 and all(len(item.split()) == 1 for item in pair)
    return " and ".join(sorted(pair) if names else pair)


# --- choices ------------------------------------------------------------------------------------------------------

_CHOICE = re.compile(r"[(\[]?\s*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*\(?\s*([A-J])\s*\)?\s*\}?\s*[)\]]?")
_OPTION = re.compile(
    r"\(?\s*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*\(?\s*([A-J])\s*"
    r"(?:\)\s*\}?|[.:]\s*\}?|\}\s*[).:]|\}\s*(?=\()| (?=\())(.*)",
    re.DOTALL,
)
_NAMED_CHOICE = re.compile(
    r"(?:\\text\s*\{)?\s*(?i:(?:the )?(?:correct )?(?:option|choice|answer))(?: is)?\s*:?\s*(?:\})?\s*"
    r"\(?([A-J])\)?\s*\}?|(?:选项|答案|选|选择)?\s*:?\s*([A-J])\s*项?"
)
_CIRCLED = "ⒶⒷⒸⒹⒺⒻⒼⒽⒾⒿ"


def choice_letter(text: str) -> str | None:
    """Return the letter when a text is a choice letter, bare, circled or in parentheses."""
    if text in _CIRCLED and len(text) == 1:
        return chr(ord("A") + _CIRCLED.index(text))
    match = _CHOICE.fullmatch(text)
    return match.group(1) if match else None


#: Behind the letter of a choice: an operator, which makes it something else than the text of the option.
_NOT_AN_OPTION = re.compile(
    r"\s*[-+*/^=<>!?~\[|]|\s*i\.?e|\s*of\b|\s*\\(?:setminus|i?ff|circ|wedge|vee|land|lor|lnot|neg|n?mid|implies|impliedby|to"
    r"|[Rr]ightarrow|[Ll]eftarrow|[Ll]eftrightarrow|mapsto|cup|cap|leq?|geq?|neq?|approx|sim|equiv|pm|mp|times|div|cdot|in|notin"
    r"|subset|oplus|therefore|because)(?![a-zA-Z])"
)


def chosen_letter(answer: str) -> str | None:
    """Return the letter that an answer chooses, alone or in front of the option's text (`A. 5`, `(B) blue`)."""
    if (letter := choice_letter(answer)) is not None:
        return letter
    if named := _NAMED_CHOICE.fullmatch(answer):
        return named.group(1) or named.group(2)
    match = _OPTION.fullmatch(answer)
    if not match:
        return None
    # Another letter, a sign of more, or a denial makes it a hedge rather than a choice.
    letter, rest = match.groups()
    hedged = set(re.findall(r"(?<![A-Za-z\\])[A-J](?![A-Za-z'])", rest)) - {letter}
    shown = re.sub(r"\\(?:text|mathrm)\s*\{", "", rest)
    denied = denies(rest) or _NOT_AN_OPTION.match(shown.lstrip(" (:,.")) or re.match(r"[\s)}]*[,;]\s*[-+\d]", shown)
    bracketed = re.match(r"\s*\(", rest) and re.search(r"[A-Za-z]{2}", rest)
    return None if hedged or denied or bracketed else letter


def denies(text: str) -> bool:
    """Whether words deny, hedge or change what they stand beside."""
    return not _DENIALS.isdisjoint(re.findall(r"[a-z']+", text.lower()))


def _plural(phrase: str) -> list[str]:
    """The words of a phrase that ends with a noun in the plural and denies nothing; of any other phrase, none."""
    words = phrase.lower().split()
    return words if words and words[-1].endswith("s") and not denies(phrase) else []


def may_be_left_out(text: str) -> bool:
    """Whether words that stand behind a value in a gold, and that are no unit we know, may be missing in an answer:
    nouns in the plural."""
    words = _plural(text)
    return len("".join(words[-1:])) > 3 and all(
        _known_word(word) or (word.isalpha() and word.endswith("s") and number_in_words(word) is None) for word in words
    )


def counts_in(phrase: str, question: str) -> bool:
    """Whether words behind a value count something that the question speaks of: nouns in the plural, from its text."""
    words, asked = _plural(phrase), set(re.findall(r"[a-z']+", question.lower()))
    return 0 < len(words) < 5 and all(word in asked or word in _BESIDE_NOUNS for word in words)


def circled_choices(text: str) -> tuple[str, ...]:
    """The circled numbers that an answer lists, in order, when it holds nothing else."""
    content = re.sub(r"[\s,]|\\text\b|[{}]|\band\b", "", text)
    return tuple(sorted(content)) if content and all("①" <= char <= "⓿" for char in content) else ()
