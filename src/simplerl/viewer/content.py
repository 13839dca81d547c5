"""A view as everything that the page shows: what its controls offer and hold, and the HTML between them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from simplerl.core.errors import RunError
from simplerl.markup.text import escape, visible
from simplerl.runs.results import RESPONSES
from simplerl.viewer.catalog import TRAINING, Entry
from simplerl.viewer.findings import findings
from simplerl.viewer.library import Library, benchmarks
from simplerl.viewer.plots import charts
from simplerl.viewer.problem import problem
from simplerl.viewer.state import View
from simplerl.viewer.table import table

Choices = list[tuple[str, str]]
"""(what is shown, what a link says)."""

#: Levels and kinds that can be chosen from, and notices that are shown.
MOST_CHOICES, MOST_NOTICES = 200, 8

#: Training steps that are offered; of more, every so-manieth.
MOST_STEPS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What is on the page."""

    view: View
    notices: str
    plots: str
    body: str
    runs: Choices
    metrics: Choices
    steps: tuple[Choices, Choices]
    benchmarks: Choices
    levels: Choices
    kinds: Choices


def content(library: Library, asked: View, complaints: list[str]) -> Content:
    """Return what a view shows. `complaints`: what of the link could not be used."""
    library = library.now()
    catalog = library.catalog()
    view, notices = library.resolve(asked)
    notices = [*complaints, *notices, *catalog.notices]
    if not catalog.entries:
        return _empty(library, notices)
    plots = _plots(library, view, notices) if view.problem is None else ""
    selection = library.select(view, notices)
    try:
        show: Callable[[], str] = (
            (lambda: table(library, view, selection))
            if view.problem is None
            else (lambda: problem(library, view, selection, notices))
        )
        body = show()
    except RunError as error:
        notices.append(str(error))
        body = '<div class="nothing">These responses cannot be shown.</div>'
    entries = catalog.entries
    sides = [entries[key].steps.get(step, {}) for key, step in ((view.a, view.a_step), (view.b, view.b_step))]
    steps = (_steps(entries[view.a], view.a_step, notices), _steps(entries[view.b], view.b_step, notices))
    return Content(
        view=view,
        notices=_notices(notices),
        plots=plots,
        body=body,
        runs=[(label(entry.name), key) for key, entry in entries.items()],
        metrics=[(label(name), name) for name in dict.fromkeys([*library.metric_names(view.runs), *view.metrics])],
        steps=steps,
        benchmarks=[(label(name), name) for name in benchmarks(*sides)],
        levels=_distinct(selection.pair.levels, view.levels),
        kinds=_distinct(selection.pair.kinds, view.kinds),
    )


def warm(library: Library) -> None:
    """Read what the page shows first."""
    with contextlib.suppress(RunError):  # The page itself says what is wrong.
        content(library, View(), [])


def label(text: str) -> str:
    """Return a name as a control shows it: it holds no markup, so only hidden characters are replaced.

    The hair space before it keeps Gradio from taking it for a key of its translations (`__proto__`, `common.submit`).
    """
    return "\u200a" + visible(text[:120])


def _steps(entry: Entry, chosen: int | None, notices: list[str]) -> Choices:
    training = [step for step, there in entry.steps.items() if set(there) == {TRAINING}]
    stride = -(-len(training) // MOST_STEPS)
    passed_over = set(training) - {*training[::stride], chosen} if stride > 1 else set()
    if passed_over:
        notices.append(
            f"{entry.name}: every {stride}th of {len(training):,} training steps is offered; a link may name any other"
        )
    found = []
    for step, there in entry.steps.items():
        if step in passed_over:
            continue
        shown = f"{step} (base)" if step == 0 else str(step)
        found.append((f"{shown} · training only" if set(there) == {TRAINING} else shown, str(step)))
    # Steps with an evaluation first: they are what one compares.
    return sorted(found, key=lambda item: (item[0].endswith("only"), int(item[1])))


def _distinct(values: list[str], chosen: tuple[str, ...]) -> Choices:
    found = sorted({*values, *chosen} - {""}, key=lambda text: (len(text) > 3, text))[:MOST_CHOICES]
    return [(label(value), value) for value in found]


def _plots(library: Library, view: View, notices: list[str]) -> str:
    series = {}
    for key in view.runs:
        entry = library.catalog().entries[key]
        try:
            curves = library.curves(entry)
        except RunError as error:
            notices.append(str(error))
            continue
        if curves is None:
            continue
        series[entry.name if entry.ended else f"{entry.name} (not ended, step {curves.last_step})"] = curves.series
        if curves.damaged:
            lines = ", ".join(map(str, curves.damaged[:5]))
            notices.append(f"{entry.name}/metrics.jsonl: {len(curves.damaged)} damaged lines left out (line {lines})")
    marks = [
        (letter, step)
        for letter, key, step in (("A", view.a, view.a_step), ("B", view.b, view.b_step))
        if step is not None and key in view.runs
    ]
    found = "".join(findings(*library.diagnosis(key)) for key in view.runs) if view.doctor else ""
    return f'<div class="page">{charts(view.metrics[:24], series, marks)}{found}</div>'


def _notices(notices: list[str]) -> str:
    distinct = list(dict.fromkeys(notices))
    shown = "".join(f'<div class="notice">{escape(text[:600])}</div>' for text in distinct[:MOST_NOTICES])
    if more := len(distinct) - MOST_NOTICES:
        shown += f'<div class="notice">and {more:,} more</div>' if more > 0 else ""
    return f'<div class="page">{shown}</div>' if shown else ""


def _empty(library: Library, notices: list[str]) -> Content:
    message = (
        f'<div class="nothing">There are no runs in {escape(str(library.root))}: no directory with metrics.jsonl, and '
        f"no result with {RESPONSES}. Start a run (simplerl train --output-dir …) or call simplerl view with another "
        "directory.</div>"
    )
    nothing: Choices = []
    return Content(
        view=View(),
        notices=_notices(notices),
        plots="",
        body=message,
        runs=nothing,
        metrics=nothing,
        steps=(nothing, nothing),
        benchmarks=nothing,
        levels=nothing,
        kinds=nothing,
    )
