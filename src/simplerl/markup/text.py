"""Text as HTML that shows every character and executes none.

Whatever a model, a data file or a directory name holds goes through `escape` before it is put between tags or into a
quoted attribute. Characters that change how others are shown (control characters, bidirectional overrides, zero-width
spaces) or that are no characters (lone surrogates) are made visible, so that what is read is what is there.
"""

import html
import math
import re
import unicodedata

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


def cut(text: str, limit: int) -> tuple[str, int]:
    """Return the first `limit` characters and how many were left out."""
    return text[:limit], max(0, len(text) - limit)


def left_out(count: int, what: str = "characters") -> str:
    """Return the HTML that says what was cut off; nothing where nothing was."""
    return f'<span class="left-out">… {count:,} {what} left out</span>' if count else ""


def plain(text: str, *, limit: int = 20_000) -> str:
    """Return a text as it is, up to a limit, as HTML."""
    shown, missing = cut(text, limit)
    return escape_marked(shown) + left_out(missing)


def one_line(text: str, *, limit: int = 160) -> str:
    """Return the beginning of a text on one line as HTML, for tables and headings."""
    # Collapse only what can be shown: a megabyte of spaces is not worth reading.
    short = " ".join(text[: 4 * limit].split())
    shown, missing = cut(short, limit)
    return escape(shown) + ("…" if missing or len(text) > 4 * limit else "")


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
