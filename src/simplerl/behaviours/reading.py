"""What a judge's answer says, as far as it can be believed: an example counts only if it stands in the response."""

import json
import re
from typing import Any

from simplerl.runs.behaviours import BEHAVIOURS

#: Shorter quotations stand in any text.
SHORTEST = 4

#: Longer ones are cut in the record of what was not found.
LONGEST = 500

_FENCE = re.compile(r"```[a-zA-Z]*")
#: An escape that JSON knows, or a backslash that is none, as in "\sqrt": LaTeX that was not escaped.
_BACKSLASH = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
#: What JSON makes of LaTeX that was not escaped: "\times" begins with a tab.
_CONTROL = str.maketrans({"\b": "\\b", "\f": "\\f", "\r": "\\r", "\t": "\\t"})
_NEWLINE = str.maketrans({"\n": "\\n"})


def read_reply(text: str, response: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return (behaviour → examples that stand in the response, behaviour → examples that do not).

    Every behaviour is a key of the first, those with such examples of the second. A code fence around the JSON, what a
    thinking model says before `</think>`, and LaTeX whose backslashes were not doubled are put up with; raises
    ValueError, with one line why, for anything else that is not a JSON object of lists of strings for exactly the
    behaviours.
    """
    value = _parse(text)
    if not isinstance(value, dict):
        raise ValueError(f"the answer is JSON, but no object: {type(value).__name__}")
    given = {str(name).strip().lower().replace(" ", "_").replace("-", "_"): items for name, items in value.items()}
    if missing := [name for name in BEHAVIOURS if name not in given]:
        raise ValueError(f"the answer says nothing of {', '.join(missing)}")
    if unknown := [name for name in given if name not in BEHAVIOURS]:
        raise ValueError(f"the answer speaks of {', '.join(map(repr, unknown))[:100]}, which nobody asked for")
    haystack = " ".join(response.split())
    found, unfounded = {}, {}
    for name in BEHAVIOURS:
        items = given[name]
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"{name} is no list of strings")
        quoted = [(item, quotation(item, haystack)) for item in items if item.strip()]
        found[name] = tuple(dict.fromkeys(place for _, place in quoted if place is not None))
        if wrong := tuple(item[:LONGEST] for item, place in quoted if place is None):
            unfounded[name] = wrong
    return found, unfounded


def _parse(text: str) -> Any:
    text = text.rpartition("</think>")[2].strip()
    if (opening := _FENCE.match(text)) and text.endswith("```") and len(text) >= opening.end() + 3:
        text = text[opening.end() : -3].strip()
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the answer is no JSON: nested too deep") from None
    except ValueError as error:
        try:
            return json.loads(_BACKSLASH.sub(lambda m: m[0] if len(m[0]) > 1 else "\\\\", text))
        except (ValueError, RecursionError):
            raise ValueError(f"the answer is no JSON: {error}") from None


def quotation(example: str, haystack: str) -> str | None:
    """Return an example as it stands in a text whose white space is single spaces; None where it does not.

    White space does not matter, nor quotation marks around the example. One that is abridged by … or ... stands there
    if its parts do, in their order.
    """
    latex = example.translate(_CONTROL)
    for variant in (latex, latex.translate(_NEWLINE), example):
        text = " ".join(variant.split())
        for candidate in (text, text.strip("\"'“”‘’ ")):
            parts = [part.strip() for part in candidate.replace("...", "…").split("…")]
            if len("".join(parts)) >= SHORTEST and _in_order([part for part in parts if part], haystack):
                return candidate
            if len(candidate) >= SHORTEST and candidate in haystack:
                return candidate
    return None


def _in_order(parts: list[str], haystack: str) -> bool:
    place = 0
    for part in parts:
        place = haystack.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return bool(parts)
