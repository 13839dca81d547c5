"""Text as HTML that shows every character and executes none: as it is, its tokens coloured, or beside another text.

Whatever a model, a data file or a directory name holds goes through `escape` before it is put between tags or into a
quoted attribute. Characters that change how others are shown (control characters, bidirectional overrides, zero-width
spaces) or that are no characters (lone surrogates) are made visible, so that what is read is what is there.
"""

import bisect
import html
import itertools
import math
import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Shown as a mark: controls other than tab and newline, separators, what changes direction, what has no width (but not
#: the joiners, which scripts and emoji need), tags, non-characters and lone surrogates.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_BY_HIDDEN = re.compile(f"({HIDDEN.pattern})")

#: Template languages of web libraries give these a meaning even in escaped text.
_TEMPLATE = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def name_of(character: str) -> str:
    """Return a visible stand-in for a character of `HIDDEN`: a control picture where there is one, else its number."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def visible(text: str) -> str:
    """Return text with hidden characters replaced by their stand-ins, for places that hold no markup."""
    return HIDDEN.sub(lambda match: name_of(match[0]), text)


def escape(text: str) -> str:
    """Return text as HTML, safe between tags and in quoted attributes; hidden characters by their stand-ins."""
    return html.escape(visible(text)).translate(_TEMPLATE)


def escape_marked(text: str) -> str:
    """Return text as HTML for between tags only, the stand-ins of hidden characters marked as such."""
    parts = _BY_HIDDEN.split(text)  # Every second part is a hidden character.
    return "".join(_mark(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _mark(character: str) -> str:
    title = unicodedata.name(character, "") or "control character"
    return f'<span class="hidden-character" title="U+{ord(character):04X} {title.lower()}">{name_of(character)}</span>'


def left_out(count: int, what: str = "characters") -> str:
    """Return the HTML that says what was cut off; nothing where nothing was."""
    return f'<span class="left-out">… {count:,} {what} left out</span>' if count > 0 else ""


def plain(text: str, *, limit: int = 20_000) -> str:
    """Return a text as it is, up to a limit, as HTML."""
    return escape_marked(text[:limit]) + left_out(len(text) - limit)


def one_line(text: str, *, limit: int = 160) -> str:
    """Return the beginning of a text on one line as HTML, for tables and headings."""
    # Collapse only what can be shown: a megabyte of spaces is not worth reading.
    short = " ".join(text[: 4 * limit].split())
    return escape(short[:limit]) + ("…" if len(short) > limit or len(text) > 4 * limit else "")


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts 2 before 10, wherever in a text the number stands."""
    parts = re.findall(r"([0-9]+)|([^0-9])", text[:100], re.DOTALL)
    return [(0, int(digits), "") if digits else (1, 0, other) for digits, other in parts]


def quantity(value: float) -> str:
    """Return a number of any size as few characters: `851,177`, `0.246`, `1.3e-05`."""
    if math.isnan(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    return f"{value:,.1f}" if size >= 100 else f"{value:.3g}" if size >= 1e-3 else f"{value:.1e}"


# -- tokens coloured by a number each (log-probability, entropy, advantage), with a legend ---------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How a number becomes one of a few colours: an entry of tokens.toml, which says what the fields are."""

    name: str
    unit: str
    bounds: list[float]
    colours: list[str]
    labels: list[str]
    about: str

    def colour(self, value: float | None) -> str:
        """Return the CSS class of a value; `c-none` where there is no number."""
        if value is None or math.isnan(value):
            return "c-none"
        return self.colours[bisect.bisect_left(self.bounds, value)]

    def tip(self, value: float | None) -> str:
        """Return a value in words."""
        if value is None or math.isnan(value):
            return f"no {self.name}"
        probability = f" (probability {math.exp(min(value, 0.0)):.1%})" if self is LOGPROB else ""
        return f"{self.name} {value:.3f} {self.unit}".rstrip() + probability


_TABLES = tomllib.loads((Path(__file__).parent / "tokens.toml").read_text(encoding="utf-8"))
SCALES = {name: Scale(name=name, **table) for name, table in _TABLES.items()}
LOGPROB, ENTROPY, ADVANTAGE = SCALES.values()


def coloured(tokens: Sequence[str], values: Sequence[float | None], scale: Scale, *, limit: int = 2_000) -> str:
    """Return tokens as HTML, each with its colour and its number as a tip. Both sequences have the same length."""
    parts = []
    for number, (token, value) in enumerate(zip(tokens[:limit], values[:limit], strict=True), 1):
        # A line end is shown as a mark too: whether the model chose one token or two newlines is what one looks for.
        line_end = '<span class="hidden-character">↵</span>\n'
        text = escape_marked(token[:2_000]).replace("\n", line_end) or "&#8203;"
        parts.append(f'<span class="token {scale.colour(value)}" title="{number}: {scale.tip(value)}">{text}</span>')
    return "".join(parts) + left_out(len(tokens) - limit, "tokens")


def legend(scale: Scale) -> str:
    """Return what the colours of a scale mean as HTML."""
    colours = zip(scale.colours, scale.labels, strict=True)
    boxes = " ".join(f'<span class="token {colour}">{escape(label)}</span>' for colour, label in colours)
    unit = f" ({scale.unit})" if scale.unit else ""
    return f'<div class="legend">{scale.name}{unit}: {boxes} <span>{scale.about}</span></div>'


# -- what differs between two texts, word by word --------------------------------------------------------------------
# All that is not in a longest common subsequence of the words of two texts differs. The rows of its table are bits of
# whole numbers (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004), so that the longest texts take a tenth
# of a second whatever they hold.

#: Words of a side between common beginning and end that are compared; all beyond them counts as different.
MOST_WORDS = 8_000

_WORDS = re.compile(r"\s+|\d+|[^\W\d]+|[^\w\s]|_")

Runs = list[tuple[bool, str]]
"""Pieces of a text in order: (whether it differs, the piece)."""


def differences(first: str, second: str, *, limit: int = 20_000) -> tuple[str, str]:
    """Return both texts as HTML, what only the first has in `<del>` and what only the second has in `<ins>`."""
    sides = []
    for tag, complete, pieces in zip(("del", "ins"), (first, second), runs(first[:limit], second[:limit]), strict=True):
        texts = ((differs, escape_marked(text)) for differs, text in pieces)
        sides.append("".join(f"<{tag}>{text}</{tag}>" if differs else text for differs, text in texts))
        sides[-1] += left_out(len(complete) - limit)
    return sides[0], sides[1]


def runs(first: str, second: str) -> tuple[Runs, Runs]:
    """Return the pieces of both texts."""
    a, b = _WORDS.findall(first), _WORDS.findall(second)
    shorter = min(len(a), len(b))
    head = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - head) if a[-1 - i] != b[-1 - i]), shorter - head)
    inner_a, inner_b = a[head : len(a) - tail], b[head : len(b) - tail]
    sides = []
    for words, inner, same in zip(
        (a, b), (inner_a, inner_b), _common(inner_a[:MOST_WORDS], inner_b[:MOST_WORDS]), strict=True
    ):
        flags = [False] * head + [index not in same for index in range(len(inner))] + [False] * tail
        pieces = itertools.groupby(zip(flags, words, strict=True), key=lambda pair: pair[0])
        sides.append([(flag, "".join(word for _, word in group)) for flag, group in pieces])
    return sides[0], sides[1]


def _common(a: Sequence[str], b: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the indices in `a` and in `b` of a longest common subsequence."""
    bits_of: defaultdict[str, int] = defaultdict(int)
    for j, word in enumerate(b):
        bits_of[word] |= 1 << j
    # Bit j of row i is 0 where the subsequence of a[:i] and b[: j + 1] is longer than that of a[:i] and b[:j].
    row = every = (1 << len(b)) - 1
    rows = [row]
    for word in a:
        hits = row & bits_of[word]
        row = ((row + hits) | (row - hits)) & every
        rows.append(row)
    same_a, same_b = set(), set()
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            same_a.add(i)
            same_b.add(j)
        elif rows[i] >> (j - 1) & 1:
            j -= 1
        else:
            i -= 1
    return same_a, same_b
