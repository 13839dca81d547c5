"""The page of a report: one HTML file that needs nothing else and runs nothing.

The only door to Jinja2. Every value that the template writes goes through `simplerl.markup`, so that text of models,
data and directories is shown and never executed; the policy in the page's head forbids scripts, forms and requests.
"""

import base64
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simplerl import __version__
from simplerl.analysis.report import wording
from simplerl.analysis.report.benchmarks import SHAPES
from simplerl.analysis.report.content import Content
from simplerl.analysis.report.drawing import Figure
from simplerl.analysis.report.examples import KINDS
from simplerl.analysis.report.judged import NOBODY
from simplerl.analysis.report.records import Run
from simplerl.markup.formulas import prose
from simplerl.markup import CSS
from simplerl.markup.text import escape, left_out
from simplerl.runs.glossary import METRICS

#: Nothing may be loaded or run, not even from the file's own directory; images are within the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

#: Characters shown of a response; of a longer one its beginning and its end, where the answer is.
RESPONSE_HEAD, RESPONSE_TAIL = 2400, 1200

#: Characters shown of a question, of a gold, and of any other text.
QUESTION, GOLD, OTHER = 3000, 400, 600

#: Metrics listed per run, should a directory hold names without end.
MOST_METRICS = 150


class Safe(str):
    """HTML that is finished. Everything else that a template writes is escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def render(content: Content, *, command: str, now: datetime.datetime) -> str:
    """Return the report as HTML. `command` is what made it, `now` the time that it names."""
    import jinja2

    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finished,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": wording.percent,
        "estimate": wording.percent_of,
        "points": wording.points_of,
        "signed": wording.signed,
        "tokens": wording.number_of,
        "kappa": lambda kappa: wording.number_of(kappa, digits=2),
        "quantity": wording.quantity,
        "duration": wording.duration,
        "setting": wording.setting,
        "listed": wording.listed,
        "response": _response,
        "question": lambda text: Safe(prose(text, limit=QUESTION)),
        "gold": lambda text: Safe(prose(text, limit=GOLD)),
        "advice": _with_code,
        "quoted": lambda path: shlex.quote(str(path)),  # What one copies into a shell.
        "p_value": _p_value,
        "bars": _by_bar,
    }
    return environment.get_template("page.html.j2").render(
        c=content,
        style=Safe(CSS + (here / "page.css").read_text(encoding="utf-8")),
        policy=Safe(POLICY),
        title=_title(content),
        command=command,
        made=now.strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        kinds={kind: label for kind, (_, _, label) in KINDS.items()},
        glossary=METRICS,
        shapes=SHAPES,
        figure_html=_figure,
        last_metrics=_last_metrics,
        nobody=NOBODY,
        is_text=lambda value: isinstance(value, str),
        verdict_class=_verdict_class,
    )


def _finished(value: Any) -> Any:
    """Escape what the template writes; long texts are cut, and the cut is said."""
    if hasattr(value, "__html__"):  # Ours, or what a macro of the template has put together of escaped parts.
        return value
    text = str(value)
    return Safe(escape(text[:OTHER]) + left_out(max(0, len(text) - OTHER)))


def _title(content: Content) -> str:
    names = [group.name for group in content.groups]
    if content.benchmarks:
        names += list(content.benchmarks.table)
    return wording.cut(wording.listed(names, most=4), 160)


def _response(text: str) -> Safe:
    """Return a response with its formulas drawn; of a long one the beginning and the end."""
    if len(text) <= RESPONSE_HEAD + RESPONSE_TAIL:
        return Safe(prose(text))
    missing = len(text) - RESPONSE_HEAD - RESPONSE_TAIL
    gap = f'<span class="left-out gap">… {missing:,} characters left out …</span>'
    return Safe(prose(text[:RESPONSE_HEAD]) + gap + prose(text[-RESPONSE_TAIL:]))


def _with_code(text: str) -> Safe:
    """Return text with what stands in backticks as code."""
    parts = text.split("`")
    return Safe("".join(f"<code>{escape(p)}</code>" if i % 2 else escape(p) for i, p in enumerate(parts)))


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _by_bar(counts: dict[str, int]) -> list[tuple[str, int, float]]:
    """Return (kind, problems, share of all of them)."""
    whole = sum(counts.values()) or 1
    return [(kind, count, count / whole) for kind, count in counts.items()]


def _figure(figure: Figure) -> Safe:
    """Return a figure as an image within the page, as wide as it would be on paper times 1.5."""
    data = base64.b64encode(figure.png).decode("ascii")
    alt = escape(f"{figure.title}. {figure.caption}")
    return Safe(f'<img src="data:image/png;base64,{data}" alt="{alt}">')


def _last_metrics(runs: Sequence[Run]) -> tuple[list[tuple[str, list[str]]], int]:
    """Return (metric → what each run recorded last), and how many names were left out."""
    names = sorted({name for run in runs for line in run.lines for name in line} - {"step"})
    table = []
    for name in names[:MOST_METRICS]:
        last = [next((line[name] for line in reversed(run.lines) if name in line), None) for run in runs]
        table.append((name, [wording.NONE if value is None else wording.quantity(value) for value in last]))
    return table, max(0, len(names) - MOST_METRICS)


def _verdict_class(verdict: str) -> str:
    """Return the class of a verdict's colour."""
    return {"correct": "right", "wrong": "wrong", "no_answer": "wrong"}.get(verdict, "open")
