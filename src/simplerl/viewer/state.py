"""What the page shows, as a value: a link holds it, and gives it back."""

import dataclasses
import tomllib
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEXTS = tomllib.loads((Path(__file__).parent / "page.toml").read_text(encoding="utf-8"))

#: Outcome filters: name in links → what people read.
OUTCOMES: dict[str, str] = _TEXTS["outcomes"]

#: Way of reading token by token → (the column that is recorded for it, what is said where it was not).
TOKEN_COLUMNS: dict[str, tuple[str, str]] = _TEXTS["tokens"]

#: What the table is sorted by, and how responses are read.
SORTS = ("file", "id", "level", "right-a", "right-b", "change", "length-a", "length-b")
MODES = ("rendered", "source", "differences", *TOKEN_COLUMNS)

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
    sheet: int = 1  # Page of the table
    problem: str | None = None
    mode: str = "rendered"

    def pairs(self) -> list[tuple[str, Any]]:
        """Return the names and values of what differs from an empty view; a name may stand there several times."""
        values = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) != f.default}
        return [
            (name, 1 if one is True else one)
            for name, value in values.items()
            for one in (value if isinstance(value, tuple) else (value,))
        ]

    def query(self) -> str:
        """Return it as the query of a link."""
        return urllib.parse.urlencode(self.pairs(), errors="surrogatepass")

    def side(self, side: int) -> tuple[str, int | None]:
        """Return the run and the step of side 0 (A) or 1 (B)."""
        return ((self.a, self.a_step), (self.b, self.b_step))[side]

    def but(self, **changes: Any) -> "View":
        """Return it with other values; what is on the page changes, so it starts at the first page and in the table."""
        if not {"sheet", "problem", "mode", "metrics", "runs"} & set(changes):
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


def parse(query: str) -> tuple[View, list[str]]:
    """Return the view of a link, and what of it could not be used."""
    notices: list[str] = []
    try:
        given = urllib.parse.parse_qs(query.removeprefix("?")[:100_000], keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return View(), ["the link has too many parts: it is left aside"]
    values: dict[str, Any] = {}
    for field in dataclasses.fields(View):
        name, texts = field.name, [text[:_LONGEST] for text in given.get(field.name, ())][:_MOST]
        if not texts:
            continue
        text, problem = texts[0], ""
        if name in _WHOLE_NUMBERS and not text:
            continue  # An empty box of the page.
        if name in _WHOLE_NUMBERS:
            if text.isascii() and text.isdigit() and len(text) < 10:
                values[name] = max(int(text), int(name == "sheet"))
            else:
                problem = "is not a whole number"
        elif name in _CHOICES and text not in _CHOICES[name]:
            problem = f"is not one of {', '.join(_CHOICES[name])}"
        elif isinstance(field.default, tuple):
            values[name] = tuple(dict.fromkeys(texts))
        else:
            values[name] = text == "1" if isinstance(field.default, bool) else text
        if problem:
            notices.append(f"the link's {name} {text!r} {problem}: left aside")
    return View(**values), notices
