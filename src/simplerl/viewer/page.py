"""The page and its server: what a view shows, for this machine only, read only, and nothing but what the page needs.

page.html.j2 has what the page's controls offer, content.html.j2 what is under them. Everything that comes from models,
data and directories goes through `simplerl.markup`.
"""

import contextlib
import errno
import functools
import html
import itertools
import json
import math
import socketserver
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.markup import CSS, Safe, environment
from simplerl.markup.formulas import MOST_FORMULAS, prose
from simplerl.markup.text import SCALES, coloured, differences, escape, legend, natural, plain, quantity
from simplerl.runs.metrics import meaning
from simplerl.runs.run import Run
from simplerl.viewer.library import MODES, OUTCOMES, TOKEN_COLUMNS, Entry, Library, Pair, View, benchmarks, parse

Choices = list[tuple[str, str]]
"""(what is shown, what a link says)."""

#: Levels and kinds that can be chosen from, notices that are shown, and metrics that are drawn.
MOST_CHOICES, MOST_NOTICES, MOST_METRICS = 200, 8, 24

#: Characters of a name that a control shows.
LONGEST_NAME = 120

#: Rows on a page of the table, and samples that are shown of a problem.
ROWS, MOST_SAMPLES = 25, 64

#: Visits of a problem that its history shows, the newest.
MOST_VISITS = 40

#: Searches of a run of which the surface is shown, the newest.
MOST_SEARCHES = 12

#: Formulas drawn on a page, shared out among its responses, but some for each: a browser needs seconds for 10,000.
MOST_DRAWN, ALWAYS_DRAWN = 3_000, 12

#: Tokens of a response that are coloured.
MOST_TOKENS = 2_000

#: The view box of a chart, and the edges of its axes.
BOX = {"width": 300, "height": 150, "left": 40, "right": 292, "top": 8, "bottom": 132}

#: Points drawn per line; of more, evenly spaced ones and the last.
MOST_POINTS = 300


class Content(NamedTuple):
    """What is on the page: what its controls offer, and the HTML under them."""

    view: View
    notices: Safe
    plots: Safe
    body: Safe
    choices: Mapping[str, Choices]  # Control → what it offers


@functools.cache
def _templates() -> Any:
    filters: dict[str, Any] = {"thousands": "{:,}".format, "as_formula": _as_formula, "value": _value}
    return environment(Path(__file__).parent, filters)


def piece(name: str, /, *values: Any, **named: Any) -> Safe:
    """Return the HTML of a macro of content.html.j2."""
    return Safe(getattr(_templates().get_template("content.html.j2").module, name)(*values, **named))


def _as_formula(text: str) -> Safe:
    """Return how an answer looks as a formula; nothing where it does not read as one."""
    drawn = prose(f"${text}$") if "\\" in text and len(text) < 500 and "$" not in text else ""
    return Safe(drawn if "<math" in drawn else "")


def _value(value: Any) -> Safe:
    """Return the value of a control: hidden characters as they are, because the form gives it back."""
    return Safe(html.escape(str(value)))


def page(library: Library, query: str) -> str:
    """Return the complete page of a link."""
    library = library.now()
    values = {"c": content(library, *parse(query)), "library": library, "modes": MODES}
    return _templates().get_template("page.html.j2").render(values)


def content(library: Library, asked: View, complaints: list[str]) -> Content:
    """Return what a view shows, of a library of one moment. `complaints`: what of the link could not be used."""
    view, notices = library.resolve(asked)
    notices = [*complaints, *notices, *library.catalog.notices]
    plots, body, choices = "", piece("no_runs", library.root), dict[str, Choices]()
    if library.catalog.entries:
        pair = library.pair(view, notices)
        chosen, choices = pair.select(view, notices), _choices(library, view, pair)
        try:
            if view.problem is None:
                plots, body = _plots(library, view), _table(view, pair, chosen)
            else:
                body = _problem(library, view, pair, chosen, notices)
        except RunError as error:
            notices.append(str(error))
            body = piece("nothing", "These responses cannot be shown.")
    return Content(view, piece("notices", list(dict.fromkeys(notices)), MOST_NOTICES), Safe(plots), body, choices)


def _choices(library: Library, view: View, pair: Pair) -> dict[str, Choices]:
    """Return what each control offers."""
    entries = library.catalog.entries
    runs = [(entry.name[:LONGEST_NAME], key) for key, entry in entries.items()]
    (a, a_step), (b, b_step) = ((entries[key], step) for key, step in (view.side(0), view.side(1)))
    names = {
        "metrics": dict.fromkeys([*library.metric_names(view.runs), *view.metrics]),
        "benchmark": benchmarks(a.steps.get(a_step, {}), b.steps.get(b_step, {})),
        "levels": sorted({*pair.levels, *view.levels} - {""}, key=natural)[:MOST_CHOICES],
        "kinds": sorted({*pair.kinds, *view.kinds} - {""}, key=natural)[:MOST_CHOICES],
    }
    return {
        **dict.fromkeys(("runs", "a", "b"), runs),
        "a_step": _steps(a),
        "b_step": _steps(b),
        "outcome": [(text, name) for name, text in OUTCOMES.items()],
        **{control: [(name[:LONGEST_NAME], name) for name in offered] for control, offered in names.items()},
    }


def _steps(entry: Entry) -> Choices:
    """Return the steps to choose from, those with an evaluation first: they are what one compares."""
    evaluated = [(f"{step} (base)" if step == 0 else str(step), str(step)) for step in entry.evaluated]
    others = [step for step in entry.steps if step not in entry.evaluated]
    return evaluated + [(f"{step} · training only", str(step)) for step in others]


# -- the parts of the page --------------------------------------------------------------------------------------------


def _plots(library: Library, view: View) -> str:
    runs = {}
    for key in view.runs:
        name, run, *_ = library.catalog.entries[key]
        if run is not None:
            last = max(run.metrics["step"].to_pylist(), default=None)
            runs[name if run.summary else f"{name} (not ended, step {last})"] = run
    sides = zip("AB", (view.side(0), view.side(1)), strict=True)
    marks = [(letter, step) for letter, (key, step) in sides if step is not None and key in view.runs]
    drawn = piece("charts", **charts(view.metrics[:MOST_METRICS], runs, marks)) if runs else ""
    for name, run in runs.items():
        if surfaces := run.searches:
            drawn += piece("searches", name, [_surface(each) for each in surfaces[-MOST_SEARCHES:]])
    return drawn


def _surface(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search as a table: a row for each temperature, (query effect, quarters of the largest, chosen)."""
    effects = {(p["temperature"], p["threshold"]): p["query_effect"] for p in search["points"]}
    temperatures, thresholds = (sorted({point[side] for point in effects}) for side in (0, 1))
    most, chosen = max(effects.values()) or 1.0, (search["chosen"]["temperature"], search["chosen"]["threshold"])

    def cell(point: tuple[float, float]) -> tuple[float | None, int, bool]:
        value = effects.get(point)
        return value, round(4 * max(value or 0.0, 0.0) / most), point == chosen

    rows = [(t, [cell((t, r)) for r in thresholds]) for t in temperatures]
    return {"step": search["step"], "thresholds": thresholds, "rows": rows}


def _table(view: View, pair: Pair, chosen: np.ndarray) -> Safe:
    """Return the table of a resolved view, whose `chosen` problems are shown."""
    if not pair.ids:
        return piece("nothing", "No responses were recorded here. Choose another step or benchmark.")
    pages = max(1, -(-len(chosen) // ROWS))
    sheet = min(view.sheet, pages)
    numbers = chosen[(sheet - 1) * ROWS : sheet * ROWS]
    rows = list(zip(numbers.tolist(), pair.texts("question", pair.first_P[numbers]), strict=True))
    right = {letter: np.nanmean(share) for letter, share in zip("AB", pair.share_SP, strict=True) if (share >= 0).any()}
    return piece("table", view, pair, rows, len(chosen), right, sheet, pages, OUTCOMES[view.outcome])


def _problem(library: Library, view: View, pair: Pair, chosen: np.ndarray, notices: list[str]) -> Safe:
    """Return the page of a resolved view's problem: question, gold, and every response of both sides."""
    number = pair.positions.get(view.problem or "")
    if number is None:
        notices.append(f"no problem {view.problem!r} in these responses")
        return piece("problem_bar", view, pair, chosen, 0, known=False)
    same = view.side(0) == view.side(1)
    sides = [pair.responses(number, side) if not (side and same) else [] for side in (0, 1)]
    if (missing := max(map(len, sides)) - MOST_SAMPLES) > 0:
        notices.append(f"{missing} further samples are not shown; the export has them")
    position = next(iter((np.flatnonzero(chosen == number) + 1).tolist()), 0)
    # What came of the problem in training, of each run that is shown and has sampled it.
    shown = [library.catalog.entries[key] for key in dict.fromkeys((view.a, view.b))]
    histories = [(entry.name, library.visits(entry, pair.ids[number])) for entry in shown]
    row = next(row for side in sides for row in side)
    other = sides[1][0] if pair.other_question[number] and all(sides) else None
    return Safe(
        piece("problem_bar", view, pair, chosen, position, known=True)
        + piece("question", pair.ids[number], row, other)
        + "".join(piece("history", name, visits, MOST_VISITS) for name, visits in histories if visits)
        + (legend(SCALES[view.mode]) if view.mode in SCALES else "")
        + _grid(library, view, [side[:MOST_SAMPLES] for side in sides], one_sided=same or not all(sides))
    )


def _grid(library: Library, view: View, sides: list[list[dict]], *, one_sided: bool) -> str:
    shown = [side for side in (0, 1) if sides[side] or not one_sided]
    entries = [library.catalog.entries[view.side(side)[0]] for side in shown]
    heads = [("AB"[s], e.name, view.side(s)[1], sides[s]) for e, s in zip(entries, shown, strict=True)]
    most = min(MOST_FORMULAS, max(ALWAYS_DRAWN, MOST_DRAWN // sum(map(len, sides))))
    draw = functools.partial(prose, most=most) if view.mode == "rendered" else plain

    def body(entry: Entry, row: dict[str, Any]) -> str:
        if view.mode in TOKEN_COLUMNS:
            return _tokens(library, view.mode, entry, row)
        if row.get("turns"):
            return piece("turns", row, [Safe(draw(turn["text"])) for turn in row["turns"]])
        return draw(row["response"] or "")

    lines = []
    for rows in itertools.zip_longest(*(sides[side] for side in shown)):
        if view.mode == "differences" and len(rows) == 2 and all(rows):
            bodies = list(differences(*(row["response"] or "" for row in rows)))
        else:
            bodies = [body(entry, row) if row else "" for entry, row in zip(entries, rows, strict=True)]
        lines.append(list(zip(rows, map(Safe, bodies), strict=True)))
    return piece("grid", heads, lines)


def _tokens(library: Library, mode: str, entry: Entry, row: dict[str, Any]) -> str:
    column, why_none = TOKEN_COLUMNS[mode]
    ids, values = row.get("token_ids"), row.get(column)
    if ids is None or values is None or len(ids) != len(values):
        return plain(row["response"] or "") + f'<div class="left-out">{why_none}</div>'
    texts, problem = library.tokens(entry, ids[:MOST_TOKENS])
    note = f'<div class="left-out">{escape(problem)}</div>' if problem else ""
    return coloured(texts + [""] * (len(ids) - len(texts)), values, SCALES[mode], limit=MOST_TOKENS) + note


# -- metrics against steps: one chart per metric, one line per run ----------------------------------------------------


def charts(metrics: Sequence[str], runs: Mapping[str, Run], marks: Sequence[tuple[str, int]] = ()) -> dict[str, Any]:
    """Return what the page's `charts` draws. `runs` by the name that is shown; `marks`: letters at steps (A and B)."""
    return {"runs": list(runs), "panels": [_panel(metric, runs, marks) for metric in metrics], "box": BOX}


def _panel(metric: str, runs: Mapping[str, Run], marks: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return what a chart shows; coordinates are in units of its view box."""
    about = meaning(metric) or "not in simplerl's glossary"
    panel: dict[str, Any] = {"metric": metric, "about": about, "lines": []}
    lines = [sorted(zip(*map(list, run.history(metric)), strict=True)) for run in runs.values()]
    points = [point for line in lines for point in line]
    if not points:
        return panel
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    ticks = _ticks(min(value for _, value in points), max(value for _, value in points))
    x = _scale(first, last, BOX["left"], BOX["right"])
    y = _scale(ticks[0], ticks[-1], BOX["bottom"], BOX["top"])
    for order, (name, line) in enumerate(zip(runs, lines, strict=True)):
        stride = max(1, math.ceil(len(line) / MOST_POINTS))
        shown = sorted({*line[::stride], *line[-1:]})
        dots = [(x(step), y(value), f"{name}, step {step}: {quantity(value)}") for step, value in shown]
        panel["lines"] += [{"order": order, "points": dots}] if dots else []
    panel["ticks"] = [(y(tick), quantity(tick)) for tick in ticks]
    panel["ends"] = [(x(step), step) for step in sorted({first, last})]
    panel["marks"] = [(x(step), letter) for letter, step in marks if first <= step <= last]
    return panel


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    span = high - low
    return lambda value: round(begin + (end - begin) * (float(value - low) / span if span else 0.5), 1)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers that enclose a range."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [(first + i) * step for i in range(count + 1)]


# -- the server ------------------------------------------------------------------------------------------------------

HOST = "127.0.0.1"

#: Ports tried after the one that was asked for.
FURTHER_PORTS = 50

#: Headers of every answer: our script and our style sheet are all that a page may load, and only this server is asked.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(socketserver.ThreadingTCPServer):
    """Serves the page of a library, a thread per request."""

    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def __init__(self, library: Library, port: int):
        self.library = library
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong; a browser that goes away before its answer is nothing wrong."""
        if not isinstance(error := sys.exc_info()[1], ConnectionError | TimeoutError):
            print(f"internal error: {type(error).__name__}: {error}", file=sys.stderr)


def open_server(library: Library, port: int) -> Server:
    """Return a server that listens on the port or the next free one. Raises SimpleRLError where there is none."""
    candidate = port
    for candidate in range(port, min(port + FURTHER_PORTS, 65_536)):
        try:
            return Server(library, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            message = f"cannot listen on port {candidate}: {error.strerror}; choose another --port, above 1023"
            raise SimpleRLError(message) from None
    raise SimpleRLError(f"ports {port} to {candidate} are all in use; choose another with --port")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 60  # Seconds without a word, after which a connection is given up

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of single requests."""

    def do_GET(self) -> None:
        """Answer a request, where it comes from a page of this server under a name of this machine."""
        url, host, origin = urlsplit(self.path), self.headers.get("Host", ""), self.headers.get("Origin")
        library, status, kind, headers = self.server.library, 200, "text/plain", dict[str, str]()
        body: str | Iterator[str]
        if host.rpartition(":")[0] not in (HOST, "localhost") and host not in (HOST, "localhost"):
            status, body = 403, "not under this host name\n"
        elif origin is not None and urlsplit(origin).netloc != host:
            status, body = 403, "not for other pages\n"
        elif url.path == "/":
            kind, body = "text/html", page(library, url.query)
        elif url.path == "/page.js":
            kind, body = "text/javascript", _asset("page.js")
        elif url.path == "/page.css":
            kind, body = "text/css", CSS + _asset("page.css")
        elif url.path == "/stamp":
            body = library.now().stamp()
        elif url.path == "/export":
            library = library.now()
            view, complaints = library.resolve(parse(url.query)[0])
            if complaints:
                status, body = 404, "\n".join([*complaints, ""])
            else:
                kind, body = (
                    "application/x-ndjson",
                    (f"{json.dumps(r, ensure_ascii=False)}\n" for r in library.export(view)),
                )
                name = f"{library.root.name}-{'problem' if view.problem is not None else 'responses'}.jsonl"
                quoted = quote(name, safe="", errors="replace")
                headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quoted}"
        else:
            status, body = 404, "not part of this page\n"
        self.send_response(status)
        for name, value in (HEADERS | headers | {"Content-Type": f"{kind}; charset=utf-8"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.writelines(part.encode("utf-8", "replace") for part in ([body] if isinstance(body, str) else body))


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def serve(server: Server) -> None:
    """Serve until Ctrl-C."""
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
