r"""Prose with formulas: finds `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and bare `\boxed{…}` in a text, and draws them."""

import re
from collections.abc import Iterator

from simplerl.markup.latex import LONGEST, formula
from simplerl.markup.text import cut, escape_marked, left_out

#: Formulas drawn per text, and characters of them: the rest is shown as source.
MOST_FORMULAS, MOST_CHARACTERS = 200, 20_000

#: Longest `\boxed{…}` outside delimiters: its braces are counted anew from each one.
LONGEST_BOX = 300

_OPENING = re.compile(r"\$\$?|\\\[|\\\(|\\boxed\s?(?=\{)")
_CLOSING = {"$$": "$$", "$": "$", r"\[": r"\]", r"\(": r"\)"}


def prose(text: str, *, limit: int = 20_000, most: int = MOST_FORMULAS) -> str:
    """Return a text as HTML, its formulas as MathML; what cannot be read, or comes after `most`, as its source."""
    shown, missing = cut(text, limit)
    parts, formulas, characters = [], 0, 0
    for source, inside, display in _parts(shown):
        drawn = None
        if inside is not None and formulas < most and characters + len(inside) <= MOST_CHARACTERS:
            formulas, characters = formulas + 1, characters + len(inside)
            drawn = formula(inside, display=display)
            if drawn is None:
                drawn = f'<code class="formula-source">{escape_marked(source)}</code>'
        parts.append(escape_marked(source) if drawn is None else drawn)
    return "".join(parts) + left_out(missing)


def _parts(text: str) -> Iterator[tuple[str, str | None, bool]]:
    """Yield (source, the formula in it or None, whether it stands on a line of its own)."""
    start = position = 0
    while match := _OPENING.search(text, position):
        found = _boxed(text, match) if match[0].startswith(r"\boxed") else _delimited(text, match)
        if found is None:
            position = match.end()
            continue
        end, inside = found
        if match.start() > start:
            yield text[start : match.start()], None, False
        yield text[match.start() : end], inside, match[0] in ("$$", r"\[")
        start = position = end
    if start < len(text):
        yield text[start:], None, False


def _delimited(text: str, match: re.Match[str]) -> tuple[int, str] | None:
    """Return (end, formula) of a delimited formula. A single `$` may be a price: it must hug what it encloses."""
    begin, closing = match.end(), _CLOSING[match[0]]
    if match[0] == "$" and text[begin : begin + 1].isspace():
        return None
    end = text.find(closing, begin, begin + LONGEST + 2)
    while end > begin and text[end - 1] == "\\" and closing.startswith("$"):
        end = text.find(closing, end + 1, begin + LONGEST + 2)
    if end <= begin:
        return None
    inside = text[begin:end]
    if "\n\n" in inside:
        return None
    if closing == "$" and (inside[-1].isspace() or text[end + 1 : end + 2].isdigit()):
        return None
    return end + len(closing), inside


def _boxed(text: str, match: re.Match[str]) -> tuple[int, str] | None:
    r"""Return (end, formula) of a `\boxed{…}` outside delimiters, its braces balanced."""
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text[match.end() : match.end() + LONGEST_BOX], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0 and brace[0] == "}":
            end = match.end() + brace.end()
            return end, r"\boxed" + text[match.end() : end]
    return None
