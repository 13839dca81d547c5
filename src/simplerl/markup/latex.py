r"""LaTeX as MathML, which browsers draw without scripts or fonts from elsewhere.

The converter reads hostile input, so: its length is bounded (it needs about 10 µs per character), definitions of macros
are refused (they multiply), its own text output is not used (it unescapes markup), and of the tree that it makes only
known elements and harmless attributes are written. What it cannot read is None: the caller then shows the source.
"""

import functools
import re
from xml.etree.ElementTree import Element

from simplerl.markup.text import cut, escape

#: Longest formula that is converted (characters).
LONGEST = 2_000

_ELEMENTS = (
    "math mrow mi mn mo ms mspace mtext mfrac msqrt mroot mstyle mpadded mphantom menclose merror msub msup msubsup "
    "munder mover munderover mmultiscripts mprescripts none mtable mtr mtd mlabeledtr"
)
ELEMENTS = frozenset(_ELEMENTS.split())

_WORD, _LENGTH = re.compile(r"[a-z0-9 -]{1,60}"), re.compile(r"[+-]?(\d?(\.\d{1,4})?)(em|ex|mu|pt|px|cm|mm|in)?")
_BOX = re.compile(r"(longdiv|box|roundedbox|circle|left|right|top|bottom|updiagonalstrike|downdiagonalstrike| ){1,40}")
_WORD_ATTRIBUTES = (
    "display displaystyle scriptlevel mathvariant stretchy fence form separator accent accentunder movablelimits "
    "symmetric largeop columnalign rowlines columnlines frame rowalign"
)
_LENGTH_ATTRIBUTES = "width height depth lspace rspace voffset linethickness"

#: Attribute → what its value must be. Colours, links, styles, classes, ids and handlers are not among them: a formula
#: cannot hide text, fetch, or reach the rest of the page. Lengths are below 10 units, so nothing is pushed away.
ATTRIBUTES = {
    **dict.fromkeys(_WORD_ATTRIBUTES.split(), _WORD),
    **dict.fromkeys(_LENGTH_ATTRIBUTES.split(), _LENGTH),
    "notation": _BOX,
}

_MACROS = re.compile(r"\\(re)?newcommand|\\(provide|Declare)|\\[gex]?def(?![a-zA-Z])|\\let(?![a-zA-Z])|\\newenv")
_REFERENCE = re.compile(r"&#x([0-9A-Fa-f]{1,6});")


@functools.lru_cache(maxsize=4096)
def formula(source: str, *, display: bool = False) -> str | None:
    """Return a formula (without its delimiters) as a `<math>` element; None where it cannot be shown as one."""
    if not source.strip() or len(source) > LONGEST or _MACROS.search(source):
        return None
    try:
        tree = _converted(source, "block" if display else "inline")
        written = _written(tree)
    # The converter raises errors of its own, IndexError, KeyError and RecursionError on broken input.
    except Exception:
        return None
    title = escape(cut(source, 300)[0])
    return f'<span class="formula" title="{title}">{written}</span>'


def _converted(source: str, display: str) -> Element:
    from latex2mathml.converter import Converter

    return Converter(display=display).convert_to_element(source)


def _written(element: Element) -> str:
    if element.tag not in ELEMENTS:
        raise ValueError(f"MathML element {element.tag}")
    kept = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in ATTRIBUTES and ATTRIBUTES[name].fullmatch(value)
    )
    inner = escape(_characters(element.text or "")) + "".join(
        _written(child) + escape(_characters(child.tail or "")) for child in element
    )
    return f"<{element.tag}{kept}>{inner}</{element.tag}>"


def _characters(text: str) -> str:
    """Resolve the numeric references that the converter writes into its texts."""
    return _REFERENCE.sub(lambda match: _character(int(match[1], 16)), text)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF else "\ufffd"
