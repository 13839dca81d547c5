r"""Formulas in a text, drawn as MathML: `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and bare `\boxed{…}`.

Browsers draw MathML without scripts or fonts from elsewhere. The converter reads hostile input, so: its length is
bounded (it needs about 10 µs per character), definitions of macros are refused (they multiply), its own text output is
not used (it unescapes markup), and of the tree that it makes only known elements and harmless attributes are written.
What it cannot read is shown as its source.
"""

import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from simplerl.markup.text import escape, escape_marked, left_out

#: Longest formula that is converted (characters).
LONGEST = 2_000

#: Formulas drawn per text, and characters of them: the rest is shown as source.
MOST_FORMULAS, MOST_CHARACTERS = 200, 20_000

#: Longest `\boxed{…}` outside delimiters: its braces are counted anew from each one.
LONGEST_BOX = 300

_TABLE = tomllib.loads(Path(__file__).with_name("formulas.toml").read_text(encoding="utf-8"))
ELEMENTS = frozenset(_TABLE["elements"].split())

#: Attribute → what its value must be.
ATTRIBUTES = {name: re.compile(form) for form, names in _TABLE["attributes"].items() for name in names.split()}

_MACROS = re.compile(r"\\(re)?newcommand|\\(provide|Declare)|\\[gex]?def(?![a-zA-Z])|\\let(?![a-zA-Z])|\\newenv")
_REFERENCE = re.compile(r"&#x([0-9A-Fa-f]{1,6});")
_OPENING = re.compile(r"\$\$?|\\\[|\\\(|\\boxed\s?(?=\{)")
_CLOSING = {"$$": "$$", "$": "$", r"\[": r"\]", r"\(": r"\)"}


def prose(text: str, *, limit: int = 20_000, most: int = MOST_FORMULAS) -> str:
    """Return a text as HTML, its formulas as MathML; what cannot be read, or comes after `most`, as its source."""
    parts, formulas, characters = [], 0, 0
    for source, inside, display in _parts(text[:limit]):
        if inside is None or formulas == most or characters + len(inside) > MOST_CHARACTERS:
            parts.append(escape_marked(source))
            continue
        formulas, characters = formulas + 1, characters + len(inside)
        drawn = formula(inside, display=display)
        parts.append(drawn or f'<code class="formula-source">{escape_marked(source)}</code>')
    return "".join(parts) + left_out(len(text) - limit)


@functools.lru_cache(maxsize=4096)
def formula(source: str, *, display: bool = False) -> str | None:
    """Return a formula (without its delimiters) as a `<math>` element; None where it cannot be shown as one."""
    from latex2mathml.converter import Converter

    if not source.strip() or len(source) > LONGEST or _MACROS.search(source):
        return None
    try:
        written = _written(Converter(display="block" if display else "inline").convert_to_element(source))
    # The converter raises errors of its own, IndexError, KeyError and RecursionError on broken input.
    except Exception:
        return None
    return f'<span class="formula" title="{escape(source[:300])}">{written}</span>'


def _written(element: Element) -> str:
    if element.tag not in ELEMENTS:
        raise ValueError(f"MathML element {element.tag}")
    kept = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in ATTRIBUTES and ATTRIBUTES[name].fullmatch(value)
    )
    inner = _text(element.text) + "".join(_written(child) + _text(child.tail) for child in element)
    return f"<{element.tag}{kept}>{inner}</{element.tag}>"


def _text(text: str | None) -> str:
    """Escape a text of the tree, after the numeric references that the converter writes are resolved."""
    codes = _REFERENCE.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text or "")
    return escape(codes)


def _parts(text: str) -> Iterator[tuple[str, str | None, bool]]:
    """Yield (source, the formula in it or None, whether it stands on a line of its own)."""
    start = position = 0
    while match := _OPENING.search(text, position):
        span = _boxed(text, match) if match[0].startswith(r"\boxed") else _delimited(text, match)
        if span is None:
            position = match.end()
            continue
        end, inside = span
        if match.start() > start:
            yield text[start : match.start()], None, False
        yield text[match.start() : end], inside, match[0] in ("$$", r"\[")
        start = position = end
    if start < len(text):
        yield text[start:], None, False


def _delimited(text: str, match: re.Match[str]) -> tuple[int, str] | None:
    """Return (end, formula) of a delimited formula. A single `$` may be a price: it must hug what it encloses."""
    begin, closing = match.end(), _CLOSING[match[0]]
    end = text.find(closing, begin, begin + LONGEST + 2)
    while end > begin and text[end - 1] == "\\" and closing.startswith("$"):
        end = text.find(closing, end + 1, begin + LONGEST + 2)
    inside = text[begin:end]
    if end <= begin or "\n\n" in inside:
        return None
    if closing == "$" and (inside[0].isspace() or inside[-1].isspace() or text[end + 1 : end + 2].isdigit()):
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
