"""What the page shows, as a value: a link holds it, and gives it back."""

import dataclasses
import urllib.parse
from dataclasses import dataclass
from typing import Any

#: Outcome filters: name in links → what people read.
OUTCOMES = {
    "all": "all problems",
    "gained": "gained (A never right, B right)",
    "lost": "lost (A right, B never)",
    "better": "right more often in B",
    "worse": "right less often in B",
    "right-b": "B right at least once",
    "wrong-b": "B never right",
    "right-a": "A right at least once",
    "wrong-a": "A never right",
    "no-answer": "some response without an answer",
    "timeout": "some verdict timed out",
    "undecided": "some verdict undecided",
    "truncated": "some response truncated",
}

#: What the table is sorted by, and how responses are read.
SORTS = ("file", "id", "level", "right-a", "right-b", "change", "length-a", "length-b")
MODES = ("rendered", "source", "differences", "log-probability", "entropy", "advantage")

_CHOICES = {"outcome": tuple(OUTCOMES), "sort": SORTS, "mode": MODES}
_WHOLE_NUMBERS = ("a_step", "b_step", "shortest", "longest", "sheet")

#: Characters of a value in a link, and values of one name, that are read.
_LONGEST, _MOST = 500, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Everything that decides what is on the page. Runs are keys of the catalogue."""

    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    a: str = ""
    a_step: int | None = None
    b: str = ""
    b_step: int | None = None
    benchmark: str = ""
    outcome: str = "all"
    levels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    shortest: int | None = None
    longest: int | None = None
    search: str = ""
    sort: str = "file"
    descending: bool = False
    sheet: int = 1
    """Page of the table; `page` is a word of Gradio's in links."""
    problem: str | None = None
    mode: str = "rendered"
    doctor: bool = False
    """Whether the doctor's findings are shown."""

    def query(self) -> str:
        """Return it as the query of a link: what differs from an empty view."""
        pairs: list[tuple[str, str]] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if isinstance(value, tuple):
                pairs += [(field.name, item) for item in value]
            else:
                pairs.append((field.name, "1" if value is True else str(value)))
        return urllib.parse.urlencode(pairs, errors="surrogatepass")

    def side(self, side: int) -> tuple[str, int | None]:
        """Return the run and the step of side 0 (A) or 1 (B)."""
        return ((self.a, self.a_step), (self.b, self.b_step))[side]

    def but(self, **changes: Any) -> "View":
        """Return it with other values; what is on the page changes, so it starts at the first page and in the table."""
        if not {"sheet", "problem", "mode", "metrics", "runs", "doctor"} & set(changes):
            changes = {"sheet": 1, "problem": None, **changes}
        return dataclasses.replace(self, **changes)

    def sorted_by(self, sort: str) -> "View":
        """Return it after a click on a heading: first what is most looked for, then the reverse, then the file's."""
        first = sort not in ("id", "level")
        if self.sort != sort:
            return self.but(sort=sort, descending=first)
        if self.descending == first:
            return self.but(sort=sort, descending=not first)
        return self.but(sort="file", descending=False)

    def choose(self, name: str, value: Any) -> "View":
        """Return it with the value that a control of the page now has."""
        default = getattr(View(), name)
        if name in _WHOLE_NUMBERS:
            value = None if value is None else max(0, int(value))
        else:
            value = tuple(value or ()) if isinstance(default, tuple) else value or default
        if value == getattr(self, name):  # A box was only left: the page and the problem stay.
            return self
        changes: dict[str, Any] = {name: value}
        if name == "benchmark":
            changes |= {"levels": (), "kinds": ()}
        if name == "runs":  # Sides that show none of them follow the choice.
            for side in [side for side in ("a", "b") if value and getattr(self, side) not in value]:
                changes |= {side: "", f"{side}_step": None, "sheet": 1, "problem": None}
        return self.but(**changes)


def parse(query: str) -> tuple[View, list[str]]:
    """Return the view of a link, and what of it could not be used."""
    notices: list[str] = []
    given: dict[str, list[str]] = {}
    try:
        pairs = urllib.parse.parse_qsl(query.removeprefix("?")[:100_000], keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return View(), ["the link has too many parts: it is left aside"]
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(View):
        if field.name not in given:
            continue
        texts = [text[:_LONGEST] for text in given[field.name]][:_MOST]
        problem = _read(field.name, field.default, texts, values)
        if problem:
            notices.append(f"the link's {field.name} {texts[0]!r} {problem}: left aside")
    return View(**values), notices


def _read(name: str, default: object, texts: list[str], values: dict[str, Any]) -> str | None:
    """Read the values of one name in a link. Return what is wrong with them; None where nothing is."""
    if name in _WHOLE_NUMBERS:
        if not (texts[0].isascii() and texts[0].isdigit() and len(texts[0]) < 10):
            return "is not a whole number"
        values[name] = max(int(texts[0]), int(name == "sheet"))
    elif name in _CHOICES and texts[0] not in _CHOICES[name]:
        return f"is not one of {', '.join(_CHOICES[name])}"
    elif isinstance(default, tuple):
        values[name] = tuple(dict.fromkeys(texts))
    else:
        values[name] = texts[0] == "1" if isinstance(default, bool) else texts[0]
    return None
