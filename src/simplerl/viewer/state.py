"""What the page shows, as a value: a link holds it, and gives it back."""

import dataclasses
import urllib.parse
from dataclasses import dataclass

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

SORTS = {
    "file": "order of the file",
    "id": "problem",
    "level": "level",
    "right-a": "right in A",
    "right-b": "right in B",
    "change": "change from A to B",
    "length-a": "length in A",
    "length-b": "length in B",
}

#: How responses are read.
MODES = {
    "rendered": "rendered",
    "source": "source",
    "differences": "differences",
    "log-probability": "log-probability",
    "entropy": "entropy",
    "advantage": "advantage",
}

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

    def but(self, **changes: object) -> "View":
        """Return it with other values; what is on the page changes, so it starts at the first page and in the table."""
        if not {"sheet", "problem", "mode", "metrics", "runs", "doctor"} & set(changes):
            changes = {"sheet": 1, "problem": None, **changes}
        return dataclasses.replace(self, **changes)


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
    values: dict[str, object] = {}
    for field in dataclasses.fields(View):
        if field.name not in given:
            continue
        texts = [text[:_LONGEST] for text in given[field.name]][:_MOST]
        problem = _read(field.name, field.default, texts, values)
        if problem:
            notices.append(f"the link's {field.name} {texts[0]!r} {problem}: left aside")
    return View(**values), notices


_CHOICES = {"outcome": OUTCOMES, "sort": SORTS, "mode": MODES}


def _read(name: str, default: object, texts: list[str], values: dict[str, object]) -> str | None:
    if isinstance(default, tuple):
        values[name] = tuple(dict.fromkeys(texts))
    elif isinstance(default, bool):
        values[name] = texts[0] == "1"
    elif name in ("a_step", "b_step", "shortest", "longest", "sheet"):
        if not (texts[0].isascii() and texts[0].isdigit() and len(texts[0]) < 10):
            return "is not a whole number"
        values[name] = int(texts[0])
        if name == "sheet" and values[name] == 0:
            values[name] = 1
    elif name in _CHOICES and texts[0] not in _CHOICES[name]:
        return f"is not one of {', '.join(_CHOICES[name])}"
    else:
        values[name] = texts[0]
    return None
