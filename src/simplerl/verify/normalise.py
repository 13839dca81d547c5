r"""Normalisation: one function for gold and answer alike that removes what carries no meaning.

`normalise(text)` undoes typesetting (`\left`, `\dfrac`, `\,`, math delimiters, full-width and other Unicode forms,
thousands separators that cannot be anything else, Markdown marks, trailing punctuation) and nothing else: it never
drops a letter, a digit or a sign. It is idempotent, and linear in the length, which the caller caps. Row ends (`\\`,
`\cr`) become `\row`, a wide space `\quad`: both may separate the parts of an answer.
"""

from __future__ import annotations

import re
import unicodedata

from simplerl.verify.words import TABLES

#: Characters → their spelling in LaTeX, vulgar fractions → numerator and denominator, commands → the usual one.
_SYMBOLS: dict[str, str] = TABLES["symbols"]
_VULGAR: dict[str, str] = TABLES["vulgar_fractions"]
_ALIASES: dict[str, str] = TABLES["aliases"]

_STYLE = re.compile(
    r"\\(?:left|right)\s*\.|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|left|right|middle|[bB]igg?[lrm]?"
    r"|medspace|thinspace|negthinspace|noindent|tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|boldmath|strut|mathstrut"
    r"|hline|therefore|because|protect|nonumber|notag|centering|ensuremath)(?![a-zA-Z])"
)
_SPACES = re.compile(r"\\[,;:!> \n]|~|[\x00-\x20\x7f\xa0]+")
_ROW = re.compile(r"\\\\\*?(?:\s*\[\s*-?[\d.]*\s*[a-z]{2}\s*\])?|\\(?:cr|newline|tabularnewline)(?![a-zA-Z])")
#: A command that was escaped twice, as in JSON: outside of an environment it is not the end of a row.
_DOUBLY = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|text|pi|cdot|times|left|right|infty|theta|alpha|pm|le|ge|circ|cup|mathbb|boxed)\b|[%{}$])"
)
_WIDE = re.compile(r"\\(?:quad|qquad|enspace|(?:hspace|hskip)\*?\s*\{\s*-?[\d.]+\s*[a-z]{2}\s*\})(?![a-zA-Z])")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_UNIT_VECTOR = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|hat|vec|overrightarrow|overline|bf|textbf)\s*(?:\{\s*(?:\\hat\s*)?(?:\{\s*)?"
    r"(?:\\mathbf\s*\{\s*)?(?:\\([ij])math|([ijk]))[\s}]*?\}|(?<=f )([ijk])(?![a-zA-Z]))(?!\s*[_=^({])"
)
_NUMBER_SETS = re.compile(r"\\(?:mathbf|mathbb|Bbb|bf)\s*\{?\s*([RZNQC])\b\s*\}?")
_WRAPPER = re.compile(
    r"\\(?:(?:mathbf|boldsymbol|bm|mathit|mathsf|mathtt|mathnormal|mathord|mathcal|mathscr|bf|rm|it|cal)(?![a-zA-Z])"
    r"|(?:text)?color\s*\{[a-zA-Z]+\})\s*(?=[{\\a-zA-Z0-9-])"
)
_CHOOSE = r"(?<![A-Za-z\\])(?:\\(?:text|mathrm)\s*\{\s*C\s*\}|C)\s*"
#: Ways of writing marks and numbers that only typesetting tells apart, and how they are written here.
_SPELLINGS = (
    (re.compile(r"\{([:;])\}"), r"\1"),
    (
        re.compile(
            r"(?<=\d)\s*\^\s*\{?\s*(?:\\(?:text|textrm|mathrm)\s*\{\s*(st|nd|rd|th)\s*\}|\b(st|nd|rd|th)\b)\s*\}?"
        ),
        r"\\text{\1\2}",
    ),
    (
        re.compile(
            r"(?<=[\d)}])\s*\^\s*(?:\{\s*(?:o|\\(?:text|textrm|mathrm)\s*\{\s*o\s*\})\s*\}|o(?![a-zA-Z])"
            r"|\\(?:text|textrm|mathrm)\s*\{\s*o\s*\})"
        ),
        r"^\\circ ",
    ),
    (
        re.compile(r"(?:\{\s*\})?[_^]\s*\{?(\d{1,3})\}?\s*(?:\\(?:text|mathrm)\s*)?\{?C\}?\s*_\s*\{?(\d{1,3})\}?"),
        r"\\binom{\1}{\2}",
    ),
    (re.compile(_CHOOSE + r"[_^]\s*\{?(\d{1,3})\}?\s*[_^]\s*\{?(\d{1,3})\}?"), r"\\binom{\1}{\2}"),
    (re.compile(_CHOOSE + r"_\s*\{?([a-z])\}?\s*\^\s*\{?([a-z])\}?(?![a-z])"), r"\\binom{\1}{\2}"),
    (re.compile(r"^\((\d+)\)\s*_"), r"\1_"),
    (re.compile(r"(?<=\d)\s*_\s*\\text\s*\{([a-z]+)\}"), r"_{\1}"),
    (re.compile(r"\\(?:text|mathrm)\s*\{\s*([0-9A-F]*[0-9][0-9A-F]*)\s*\}(?=\s*_)"), r"\1"),
    (re.compile(r"\\text\s*\{([A-Z][A-Za-z]?)\}(?=\s*_)"), r"\\mathrm{\1}"),
    (re.compile(r"\\(bigcup|bigcap)(?!\s*(?:[_^a-zA-Z]|\\limits))"), lambda m: "\\" + m.group(1)[3:] + " "),
    (re.compile(r"\\\{\s*\\(?:row\s*)?(?=\\begin)"), r"\\{"),
    (re.compile(r"(?<=\d)\s*\\mu\s*(?:\\(?:text|mathrm)\s*\{\s*)?([mgsLlAVWFN])\b\s*\}?"), r"\\text{ u\1}"),
    (re.compile(r"(?<=\d)\s*(?:\\(?:text|mathrm)\s*\{\s*)?([kMm]?)\s*\}?\s*\\Omega"), r"\\text{ \1ohm}"),
)
_PLAIN_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s*(\d+(?:\.\d+)?)")
_GROUPED = re.compile(
    r"(?<![\d.,])(\d{1,3})((?:(?:\{,\}|,\s*\\!|\\,|\\!,|\\;|\\ |~|\\(?:text|mathord)\s*\{,\})\s*\d{3})+)(?!\d)"
)
_DECIMALS = re.compile(r"(?<![\d.])(\d*\.\d{3})((?:\\[,; ]\d{3})+(?:\\[,; ]\d{1,2})?)(?!\d)")
_SPACED = re.compile(r"(?<![\d.,^_])([1-9]\d{0,2})((?: \d{3})+)(?![\d ]*\d)")
_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]|(?<!\\)\$")
_TAGS = re.compile(r"^<answer>(.*)</answer>$", re.DOTALL)
_PRIMES = re.compile(r"\^\s*(?:'+|\{\s*((?:'\s*)+)\})")
_TRAILING = re.compile(
    r"(?:[\s.,;:。]|\\row|\\quad|\\text\s*\{[\s.]*\}|\\ldotp|\\checkmark|\\qed|\\(?:black)?square|\\)+$"
)
_LEADING = re.compile(r"^(?:\s|\\row(?![a-z])|\\quad(?![a-z])|\\Rightarrow(?![a-z])|\\to(?![a-z]))+")
#: The sign for "number" in front of one.
_NUMBER_SIGN = re.compile(r"(?<![\w#\\})\]])\\?#\s*(?=\d)")
_NORM = re.compile(r"\\(?:\||[lr]?Vert)\s*([a-z])\s*\\(?:\||[lr]?Vert)(?![a-z])")
_PHANTOM = re.compile(r"\\[hv]?phantom\s*\{[^{}]*\}")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
_MARKDOWN = ("**", "__", "`", "*", "_")


def _raised(char: str) -> tuple[str, str] | None:
    """A superscript or subscript character as its mark and what stands there; None for any other character."""
    kind, _, code = ("", "", "") if char in _SYMBOLS else unicodedata.decomposition(char).partition(" ")
    if kind not in ("<super>", "<sub>") or " " in code:
        return None
    return "^" if kind == "<super>" else "_", chr(int(code, 16)).replace("\u2212", "-")


def _unicode(text: str) -> str:
    """Spell non-ASCII mathematics in LaTeX, then fold what is left with NFKC; circled digits stay what they are."""
    pieces: list[str] = []
    run = mark = ""
    for char in text:
        raised = _raised(char)
        if run and (raised is None or raised[0] != mark):
            pieces.append(mark + "{" + run + "}")
            run = ""
        if raised is not None:
            mark = raised[0]
            run += raised[1]
            continue
        if char in _SYMBOLS:
            pieces.append(_SYMBOLS[char])
        elif char in _VULGAR:
            pieces.append("\\frac{{{}}}{{{}}}".format(*_VULGAR[char].split()))
        elif char == "\u0305" and pieces and pieces[-1].isdecimal():  # a digit under a combining bar repeats
            pieces[-1] = "\\overline{" + pieces[-1] + "}"
        elif "①" <= char <= "⓿":
            pieces.append(char)
        elif char > "\x7f":
            pieces.append(unicodedata.normalize("NFKC", char) if unicodedata.category(char) != "Cf" else "")
        else:
            pieces.append(char)
    if run:
        pieces.append(mark + "{" + run + "}")
    return "".join(pieces)


def _alias(match: re.Match[str]) -> str:
    name = match.group(1)
    new = _ALIASES.get(name)
    if new is None:
        return match.group()
    # A command that becomes a sign no longer needs the space that ended its name, and letters must not run into it.
    return "\\" + new + " " if new[0].isalpha() else new + (" " if new[-1].isalpha() else "")


def _strip_ends(text: str) -> str:
    """Remove trailing punctuation, Markdown marks and a pair of answer tags, until nothing changes."""
    while True:
        before = text
        text = _LEADING.sub("", _TRAILING.sub("", text.strip()))
        tagged = _TAGS.match(text)
        if tagged:
            text = tagged.group(1)
        for mark in _MARKDOWN:
            if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
                text = text[len(mark) : -len(mark)]
        if text == before:
            return text


def _only_digits(match: re.Match[str]) -> str:
    return match.group(1) + re.sub(r"[^\d]", "", match.group(2))


def normalise(text: str) -> str:
    """Return the text without typesetting. Applied to gold and answer alike; idempotent."""
    if not text.isascii():
        text = _unicode(text)
    if "..." in text:
        text = text.replace("...", r"\ldots ")
    if "\\" in text or "$" in text:
        if "\\\\" in text or "\\cr" in text or "newline" in text:
            if "\\begin" not in text:
                text = _DOUBLY.sub(r"\\", text)
            text = _ROW.sub(r" \\row ", text)
        text = _GROUPED.sub(_only_digits, text)
        text = _DECIMALS.sub(_only_digits, text)
        text = _DELIMITERS.sub(" ", text)
        text = _WIDE.sub(r" \\quad ", text)
        text = _SPACES.sub(" ", text)
        text = _PHANTOM.sub("", text)
        text = _STYLE.sub(" ", text)
        text = _UNIT_VECTOR.sub(lambda m: rf"\hat{{{m.group(1) or m.group(2) or m.group(3)}}}", text)
        text = _NUMBER_SETS.sub(r"\\mathbb{\1}", text)
        text = _NORM.sub(r"|\\vec{\1}|", _WRAPPER.sub("", text)).replace("\\|", "|")
        text = _COMMAND.sub(_alias, text)
        text = _PRIMES.sub(lambda m: "'" * m.group().count("'"), text)
    else:
        text = _SPACES.sub(" ", text)
        text = _GROUPED.sub(_only_digits, text)
    if any(mark in text for mark in ("^", "_", "{:", "\\big", "\\row", "\\mu", "\\Omega")):
        for pattern, spelling in _SPELLINGS:
            text = pattern.sub(spelling, text)
    if "10" in text:
        text = _TIMES_TEN.sub(r"\\times ", text)
    if "#" in text:
        text = _NUMBER_SIGN.sub("", text)
    if "sqrt" in text:
        text = _PLAIN_ROOT.sub(r"\\sqrt{\1}", text)
    text = _SPACED.sub(lambda m: m.group(1) + m.group(2).replace(" ", ""), text)
    return _strip_ends(" ".join(text.split()))
