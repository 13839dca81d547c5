"""Hostile text as safe HTML, for the report and the viewer: templates in which every value is escaped by this room.

    text        a text as it is, its tokens coloured, or beside another
    formulas    a text with its formulas drawn

All are pure functions from strings to strings. This file is the only door to Jinja2.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simplerl.markup.formulas import prose
from simplerl.markup.text import escape, left_out, one_line, plain

#: The style sheet of what this room writes.
CSS = Path(__file__).with_name("markup.css").read_text(encoding="utf-8")

#: Characters that are shown of a value for which the template names no filter.
LONGEST_VALUE = 600


class Safe(str):
    """HTML that is finished. Everything else that a template writes is escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def environment(folder: Path, filters: Mapping[str, Callable[..., Any]]) -> Any:
    """Return the Jinja environment of a folder of templates. In quoted attributes, values pass through `attribute`."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ours = {"prose": prose, "plain": plain, "one_line": one_line, "attribute": escape, "code": _with_code}
    templates.filters |= {name: _finished(function) for name, function in ours.items()} | dict(filters)
    return templates


def _finished(function: Callable[..., str]) -> Callable[..., Safe]:
    return lambda *values, **options: Safe(function(*values, **options))


def _finalize(value: Any) -> Any:
    """Escape what a template writes; long texts are cut, and the cut is said."""
    if hasattr(value, "__html__"):  # Ours, or what a macro of the template has put together from escaped parts.
        return value
    text = str(value)
    return Safe(escape(text[:LONGEST_VALUE]) + left_out(len(text) - LONGEST_VALUE))


def _with_code(text: str) -> str:
    """Return text with what stands in backticks as code."""
    parts = text.split("`")
    return "".join(f"<code>{escape(p)}</code>" if i % 2 else escape(p) for i, p in enumerate(parts))
