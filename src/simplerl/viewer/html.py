"""What a view shows, as HTML: the table of problems, one problem with all its responses, findings and notices.

Everything that comes from models, data and directories goes through `simplerl.markup`.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.doctor import Diagnosis, Finding
from simplerl.markup.differences import differences
from simplerl.markup.formulas import MOST_FORMULAS, prose
from simplerl.markup.text import escape, one_line, plain, visible
from simplerl.markup.tokens import SCALES, coloured, legend
from simplerl.viewer.library import TRAINING, Entry, Library, benchmarks
from simplerl.viewer.plots import charts
from simplerl.viewer.responses import LENGTH, STOPS, VERDICTS, Index, Pair, Selection, reference
from simplerl.viewer.state import OUTCOMES, View

Choices = list[tuple[str, str]]
"""(what is shown, what a link says)."""

#: Levels and kinds that can be chosen from, and notices that are shown.
MOST_CHOICES, MOST_NOTICES = 200, 8

#: Training steps that are offered; of more, every so-manieth.
MOST_STEPS = 300

#: Rows on a page of the table, and responses of a problem that are drawn there one by one.
ROWS, MOST_SQUARES = 25, 32

#: Samples that are shown of a problem.
MOST_SAMPLES = 64

#: Formulas drawn on a page, shared out among its responses, but some for each: a browser needs seconds for 10,000.
MOST_DRAWN, ALWAYS_DRAWN = 3_000, 12

MARKS = {
    "correct": "✓", "wrong": "✗", "no_answer": "∅", "unjudgeable": "?", "timeout": "⏱", "error": "!", "other": "·"
}  # fmt: skip

#: Way of reading → (the column that is recorded for it, what is said where it was not).
TOKEN_COLUMNS = {
    "log-probability": ("logprobs", "no log-probabilities were recorded here"),
    "entropy": (
        "entropies",
        "no entropies were recorded here: the file is older, or the responses were made elsewhere",
    ),
    "advantage": (
        "advantages",
        "no advantages here: they belong to training responses (choose the benchmark “training”)",
    ),
}


@dataclass(kw_only=True, slots=True)
class Content:
    """What is on the page: what its controls offer and hold, and the HTML between them."""

    view: View
    notices: str = ""
    plots: str = ""
    body: str = ""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Control → what it offers (`choices`), and whether it is visible."""


def content(library: Library, asked: View, complaints: list[str]) -> Content:
    """Return what a view shows. `complaints`: what of the link could not be used."""
    library = library.now()
    entries = library.catalog().entries
    view, notices = library.resolve(asked)
    notices = [*complaints, *notices, *library.catalog().notices]
    if not entries:
        where = escape(str(library.root))
        message = (
            f'<div class="nothing">There are no runs in {where}: no directory with metrics.jsonl, and no result with '
            "responses.parquet. Start a run (simplerl train --output-dir …) or call simplerl view with another "
            "directory.</div>"
        )
        return Content(view=View(), notices=_notices(notices), body=message)
    plots = _plots(library, view) if view.problem is None else ""
    selection = library.select(view, notices)
    try:
        if view.problem is None:
            body = table(library, view, selection)
        else:
            body = problem(library, view, selection, notices)
    except RunError as error:
        notices.append(str(error))
        body = '<div class="nothing">These responses cannot be shown.</div>'
    (a, a_step), (b, b_step) = ((entries[key], step) for key, step in (view.side(0), view.side(1)))
    runs = [(label(entry.name), key) for key, entry in entries.items()]
    choices = {
        "runs": runs,
        "metrics": _choices(dict.fromkeys([*library.metric_names(view.runs), *view.metrics])),
        "a": runs,
        "a_step": _steps(a, a_step, notices),
        "b": runs,
        "b_step": _steps(b, b_step, notices),
        "benchmark": _choices(benchmarks(a.at(a_step), b.at(b_step))),
        "levels": _distinct(selection.pair.levels, view.levels),
        "kinds": _distinct(selection.pair.kinds, view.kinds),
    }
    options: dict[str, dict[str, Any]] = {name: {"choices": choice} for name, choice in choices.items()}
    for name in ("levels", "kinds"):
        options[name]["visible"] = bool(choices[name])
    return Content(view=view, notices=_notices(notices), plots=plots, body=body, options=options)


def warm(library: Library) -> None:
    """Read what the page shows first."""
    with contextlib.suppress(RunError):  # The page itself says what is wrong.
        content(library, View(), [])


# -- controls ------------------------------------------------------------------------------------------------------


def label(text: str) -> str:
    """Return a name as a control shows it: it holds no markup, so only hidden characters are replaced.

    The hair space before it keeps Gradio from taking it for a key of its translations (`__proto__`, `common.submit`).
    """
    return "\u200a" + visible(text[:120])


def _choices(names: Any) -> Choices:
    return [(label(name), name) for name in names]


def _distinct(values: list[str], chosen: tuple[str, ...]) -> Choices:
    return _choices(sorted({*values, *chosen} - {""}, key=lambda text: (len(text) > 3, text))[:MOST_CHOICES])


def _steps(entry: Entry, chosen: int | None, notices: list[str]) -> Choices:
    """Return the steps to choose from, those with an evaluation first: they are what one compares."""
    training = [step for step, there in entry.steps.items() if set(there) == {TRAINING}]
    evaluated = [step for step in entry.steps if step not in set(training)]
    stride = -(-len(training) // MOST_STEPS)
    if stride > 1:
        notices.append(
            f"{entry.name}: every {stride}th of {len(training):,} training steps is offered; a link may name any other"
        )
        training = sorted({*training[::stride], *(step for step in training if step == chosen)})
    return [(f"{step} (base)" if step == 0 else str(step), str(step)) for step in evaluated] + [
        (f"{step} · training only", str(step)) for step in training
    ]


def _notices(notices: list[str]) -> str:
    distinct = list(dict.fromkeys(notices))
    more = [f"and {len(distinct) - MOST_NOTICES:,} more"] if len(distinct) > MOST_NOTICES else []
    shown = "".join(f'<div class="notice">{escape(text[:600])}</div>' for text in [*distinct[:MOST_NOTICES], *more])
    return f'<div class="page">{shown}</div>' if shown else ""


# -- metrics and findings ------------------------------------------------------------------------------------------


def _plots(library: Library, view: View) -> str:
    entries = [library.catalog().entries[key] for key in view.runs]
    runs = {}
    for entry, run in [(entry, entry.run) for entry in entries]:
        if run is not None:
            last = max(run.metrics["step"].to_pylist(), default=None)
            runs[entry.name if entry.ended else f"{entry.name} (not ended, step {last})"] = run
    sides = zip("AB", (view.side(0), view.side(1)), strict=True)
    marks = [(letter, step) for letter, (key, step) in sides if step is not None and key in view.runs]
    found = "".join(findings(e.name, library.diagnosis(e)) for e in entries) if view.doctor else ""
    return f'<div class="page">{charts(view.metrics[:24], runs, marks)}{found}</div>'


def findings(name: str, diagnosis: Diagnosis | SimpleRLError) -> str:
    """Return what the doctor finds in one run."""
    head = f"<h3>doctor: {escape(name)}</h3>"
    if isinstance(diagnosis, SimpleRLError):
        return f'{head}<div class="faint">{escape(str(diagnosis)[:400])}</div>'
    if not diagnosis.findings:
        healthy = f"healthy: {len(diagnosis.clean)} rules found nothing"
        return f'{head}<div class="up">{healthy if diagnosis.healthy else "no rule could be applied yet"}</div>'
    return head + "".join(_finding(finding) for finding in diagnosis.findings)


def _finding(finding: Finding) -> str:
    css = "down" if finding.severity == "serious" else "warn"
    when = f"steps {finding.steps[0]} to {finding.steps[1]}{'' if finding.lasting else ', passed'}"
    example = "".join(
        f'<div class="faint">step {e.step}, {one_line(e.problem_id, limit=60)}: {one_line(e.excerpt)}</div>'
        for e in finding.examples[:1]
    )
    return (
        f'<details><summary><span class="{css}">{escape(finding.severity)}</span> {escape(finding.title)} '
        f'<span class="faint">{when}</span></summary><div>{escape(finding.seen)}</div>{example}'
        f"<div>{escape(finding.why)}</div><div><b>try</b> {escape(finding.advice)}</div></details>"
    )


# -- the table of problems -----------------------------------------------------------------------------------------


def link(view: View, text: str, *, css: str = "", title: str = "") -> str:
    """Return a link to a view. `text` is HTML."""
    more = f' title="{escape(title)}"' if title else ""
    return f'<a data-go class="{css}" href="?{escape(view.query())}"{more}>{text}</a>'


def _export_link(view: View, text: str) -> str:
    return f'<a class="button" href="export?{escape(view.query())}" download>⤓ {escape(text)} (JSONL)</a>'


def table(library: Library, view: View, selection: Selection) -> str:
    """Return the table of a resolved view."""
    pair, total = selection.pair, len(selection.places)
    if not len(pair.ids):
        return '<div class="nothing">No responses were recorded here. Choose another step or benchmark.</div>'
    pages = max(1, -(-total // ROWS))
    page = min(view.sheet, pages)
    places = selection.places[(page - 1) * ROWS : page * ROWS]
    sorts = {"id": "problem", "level": "level", "right-a": "A", "right-b": "B", "change": "change"}
    headings = [_heading(view, sort, text) for sort, text in sorts.items()]
    headings.insert(1, "question")
    headings.append(f"{_heading(view, 'length-a', 'length A')} → {_heading(view, 'length-b', 'B')}")
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    questions = library.questions(pair, places)
    rows = "".join(_row(view, pair, place, text) for place, text in zip(places.tolist(), questions, strict=True))
    if not total:
        why = escape(OUTCOMES[view.outcome])
        rows = f'<tr><td colspan="7" class="nothing">No problem passes the filters ({why}).</td></tr>'
    before = link(view.but(sheet=page - 1), "‹ previous", css="button previous") if page > 1 else ""
    after = link(view.but(sheet=page + 1), "next ›", css="button next") if page < pages else ""
    return (
        f'<div class="bar">{_counts(pair, total)}<span class="fill"></span>'
        f"{before}<span>page {page:,} of {pages:,}</span>{after}"
        f"{_export_link(view, f'export {total:,} problems')}</div>"
        f'<table class="problems"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _heading(view: View, sort: str, text: str) -> str:
    """Return a heading that sorts. First click: what is most looked for; then the other way round; then the file's."""
    first = sort not in ("id", "level")
    arrow = ""
    target = view.but(sort=sort, descending=first)
    if view.sort == sort:
        arrow = " ↓" if view.descending else " ↑"
        back = view.but(sort="file", descending=False)
        target = view.but(sort=sort, descending=not first) if view.descending == first else back
    return link(target, text + arrow, css="sort", title=f"sort by {text}")


def _counts(pair: Pair, total: int) -> str:
    parts = [f"<b>{total:,}</b> of {len(pair.ids):,} problems"]
    for side in (0, 1):
        decided = pair.decided[side] > 0
        if decided.any():
            parts.append(f"{'AB'[side]} right <b>{np.nanmean(pair.share(side)[decided]):.1%}</b>")
    if all(pair.sides):
        gained, lost = (int(pair.outcome(name).sum()) for name in ("gained", "lost"))
        parts.append(f'<span class="up">gained {gained:,}</span> <span class="down">lost {lost:,}</span>')
    if other := int(pair.other_question.sum()):
        parts.append(f"{other:,} have the same id but another question: not compared")
    return "<span>" + " · ".join(parts) + "</span>"


def _row(view: View, pair: Pair, place: int, question: str) -> str:
    target = view.but(problem=reference(pair.ids[place]))
    cells = [
        link(target, one_line(pair.ids[place], limit=60) or "(no id)", css="id"),
        link(target, one_line(question, limit=110) or "(no question)", css="question"),
        one_line(pair.levels[place], limit=30),
        *(_squares(pair.sides[side], int(pair.places[side][place])) for side in (0, 1)),
        _change(pair, place),
        " → ".join("–" if np.isnan(length[place]) else f"{length[place]:,.0f}" for length in pair.length),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _mark(verdict: str) -> str:
    return f'<i class="v v-{verdict}" title="{verdict.replace("_", " ")}">{MARKS[verdict]}</i>'


def _squares(index: Index | None, at: int) -> str:
    if index is None or at < 0:
        return '<span class="faint">–</span>'
    verdicts = [VERDICTS[code] for code in index.verdict_R[index.rows(at)]]
    squares = "".join(map(_mark, verdicts)) if len(verdicts) <= MOST_SQUARES else ""
    return f'<span class="share">{verdicts.count("correct")}/{len(verdicts)}</span>{squares}'


def _change(pair: Pair, place: int) -> str:
    if all(pair.sides) and pair.other_question[place]:
        return '<span class="faint" title="the same id, but another question or gold">other</span>'
    if not all(pair.sides) or not pair.compared[place]:
        return ""
    a, b = (pair.correct[side][place] for side in (0, 1))
    change = float(pair.share(1)[place] - pair.share(0)[place])
    word = " gained" if not a and b else " lost" if a and not b else ""
    css = "up" if change > 0 else "down" if change < 0 else "faint"
    return f'<span class="{css}">{100 * change:+.0f}{word}</span>'


# -- one problem ---------------------------------------------------------------------------------------------------


def problem(library: Library, view: View, selection: Selection, notices: list[str]) -> str:
    """Return the page of a resolved view's problem: question, gold, and every response of both sides."""
    pair = selection.pair
    back = link(view.but(problem=None), "‹ back to the table", css="button back")
    place = pair.positions.get(view.problem or "")
    if place is None:
        notices.append(f"no problem {view.problem!r} in these responses")
        return f'<div class="bar">{back}</div><div class="nothing">This problem is not among these responses.</div>'
    same = view.side(0) == view.side(1)
    sides = [library.responses(pair, place, side) if not (side and same) else [] for side in (0, 1)]
    if (missing := max(map(len, sides)) - MOST_SAMPLES) > 0:
        notices.append(f"{missing} further samples are not shown; the export has them")
    return (
        f'<div class="bar">{back}{_neighbours(view, selection, place)}<span class="fill"></span>'
        f"{_export_link(view, 'export this problem')}</div>"
        + _question(pair.ids[place], sides, other_question=bool(pair.other_question[place]))
        + (legend(SCALES[view.mode]) if view.mode in SCALES else "")
        + _grid(library, view, [side[:MOST_SAMPLES] for side in sides], one_sided=same or not all(sides))
    )


def _neighbours(view: View, selection: Selection, place: int) -> str:
    """Return the links to the neighbours under the same filters."""
    at = np.flatnonzero(selection.places == place).tolist()
    if not at:
        return "<span>not among the problems that pass the filters</span>"
    links = ""
    for other, text, css in ((at[0] - 1, "‹ previous", "previous"), (at[0] + 1, "next ›", "next")):
        if 0 <= other < len(selection.places):
            name = reference(selection.pair.ids[int(selection.places[other])])
            links += link(view.but(problem=name), text, css=f"button {css}")
    return f"{links}<span>{at[0] + 1:,} of {len(selection.places):,}</span>"


def _question(name: str, sides: list[list[dict[str, Any]]], *, other_question: bool) -> str:
    row = next(row for side in sides for row in side)
    facts = " · ".join(
        f"{what} {one_line(str(row[what]), limit=80)}" for what in ("source", "level", "kind") if row.get(what)
    )
    warning = ""
    if other_question and all(sides):
        warning = (
            '<div class="notice">Both sides have a problem of this id, but with another question or gold. '
            f'B’s question:<div class="text">{prose(sides[1][0]["question"] or "")}</div></div>'
        )
    return (
        f'<section class="asked"><h2>{one_line(name, limit=120) or "(no id)"}</h2><div class="faint">{facts}</div>'
        f'<div class="text question" dir="auto">{prose(row.get("question") or "")}</div>'
        f'<div class="gold"><b>gold</b> <span class="text" dir="auto">{_answer(row.get("answer"))}</span></div>'
        f"{warning}</section>"
    )


def _answer(text: str | None) -> str:
    """Return an answer, its source and, where it reads as a formula, how that looks."""
    if text is None:
        return '<span class="faint">none</span>'
    source = f"<code>{plain(text, limit=2_000)}</code>"
    drawn = prose(f"${text}$") if "\\" in text and len(text) < 500 and "$" not in text else ""
    return f"{source} {drawn}" if "<math" in drawn else source


def _grid(library: Library, view: View, sides: list[list[dict]], *, one_sided: bool) -> str:
    entries = [library.catalog().entries[view.side(side)[0]] for side in (0, 1)]
    shown = [side for side in (0, 1) if sides[side] or not one_sided]
    heads, cells = "", ""
    for side in shown:
        right = sum(row["verdict"] == "correct" for row in sides[side])
        heads += (
            f"<h3>{'AB'[side]} · {escape(entries[side].name)} · step {view.side(side)[1]} "
            f'<span class="faint">{right}/{len(sides[side])} right</span></h3>'
        )
    most = min(MOST_FORMULAS, max(ALWAYS_DRAWN, MOST_DRAWN // sum(map(len, sides))))
    for number in range(max(map(len, sides))):
        rows = [sides[side][number] if number < len(sides[side]) else None for side in shown]
        texts = [(row["response"] or "") if row else "" for row in rows]
        if view.mode == "differences" and len(rows) == 2 and all(rows):
            bodies = list(differences(*texts))
        elif view.mode in TOKEN_COLUMNS:
            bodies = [_tokens(library, view, entries[s], row) for s, row in zip(shown, rows, strict=True)]
        else:
            bodies = [prose(text, most=most) if view.mode == "rendered" else plain(text) for text in texts]
        cells += "".join(_card(row, body) if row else "<div></div>" for row, body in zip(rows, bodies, strict=True))
    return f'<div class="grid {"one" if len(shown) == 1 else "two"}">{heads}{cells}</div>'


def _tokens(library: Library, view: View, entry: Entry, row: dict | None) -> str:
    if row is None:
        return ""
    column, why_none = TOKEN_COLUMNS[view.mode]
    ids, values = row.get("token_ids"), row.get(column)
    if ids is None or values is None or len(ids) != len(values):
        return plain(row["response"] or "") + f'<div class="left-out">{why_none}</div>'
    tokens = library.tokens(entry)
    note = f'<div class="left-out">{escape(tokens.problem)}</div>' if tokens.problem else ""
    return coloured(tokens.texts(ids[:2_001]) + [""] * max(0, len(ids) - 2_001), values, SCALES[view.mode]) + note


def _card(row: dict[str, Any], body: str) -> str:
    verdict = row["verdict"] if row["verdict"] in VERDICTS else "other"
    length = f"{len(row['token_ids']):,} tokens" if row.get("token_ids") is not None else "length not known"
    stop = str(row.get("stop_reason") or "not known")
    cut = stop == STOPS[LENGTH]
    ended = "truncated at the token limit" if cut else f"stopped: {one_line(stop, limit=20)}"
    reward = "no reward" if row.get("reward") is None else f"reward {row['reward']:g}"
    parts = dict(row.get("reward_parts") or [])
    tip = escape(", ".join(f"{name[:40]} {value:g}" for name, value in parts.items() if value is not None)[:400])
    why = ": ".join(one_line(str(row[name]), limit=200) for name in ("rule", "detail") if row.get(name))
    return (
        f'<article class="card"><header><i class="v v-{verdict}">{MARKS[verdict]}</i> '
        f"<b>{escape(str(row['verdict'])[:40].replace('_', ' '))}</b> "
        f'<span class="faint">sample {row["sample"]}</span> · <span class="{"down" if cut else ""}">{ended}</span> · '
        f'{length} · <span title="{tip}">{reward}</span>'
        f'<div class="why">answer {_answer(row.get("extracted"))} <span class="faint">{why}</span></div></header>'
        f'<div class="text response" dir="auto">{body}</div></article>'
    )
