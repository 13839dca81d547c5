"""The table of problems: a page of it, with what each side made of every problem."""

import numpy as np

from simplerl.markup.text import escape, one_line
from simplerl.viewer.index import VERDICTS, Index
from simplerl.viewer.library import Library, Selection
from simplerl.viewer.pairs import reference
from simplerl.viewer.state import OUTCOMES, View

ROWS = 25

#: Responses of a problem that are drawn one by one; of more, only the count is shown.
MOST_SQUARES = 32

MARKS = {
    "correct": "✓",
    "wrong": "✗",
    "no_answer": "∅",
    "unjudgeable": "?",
    "timeout": "⏱",
    "error": "!",
    "other": "·",
}

#: Columns: what they are sorted by, and their heading.
_HEAD = (
    ("id", "problem"),
    ("", "question"),
    ("level", "level"),
    ("right-a", "A"),
    ("right-b", "B"),
    ("change", "change"),
)


def link(view: View, text: str, *, css: str = "", title: str = "") -> str:
    """Return a link to a view. `text` is HTML."""
    more = f' title="{escape(title)}"' if title else ""
    return f'<a data-go class="{css}" href="?{escape(view.query())}"{more}>{text}</a>'


def table(library: Library, view: View, selection: Selection) -> str:
    """Return the table of a resolved view as HTML."""
    pair, total = selection.pair, len(selection.places)
    pages = max(1, -(-total // ROWS))
    page = min(view.sheet, pages)
    places = selection.places[(page - 1) * ROWS : page * ROWS]
    if not len(pair.ids):
        return '<div class="nothing">No responses were recorded here. Choose another step or benchmark.</div>'
    head = "".join(f"<th>{_heading(view, sort, text)}</th>" for sort, text in _HEAD)
    head += f"<th>{_heading(view, 'length-a', 'length A')} → {_heading(view, 'length-b', 'B')}</th>"
    questions = library.questions(pair, places)
    rows = "".join(
        _row(view, selection, int(place), question) for place, question in zip(places, questions, strict=True)
    )
    if not total:
        why = escape(OUTCOMES[view.outcome])
        rows = f'<tr><td colspan="7" class="nothing">No problem passes the filters ({why}).</td></tr>'
    return (
        f'<div class="bar">{_counts(pair, total)}<span class="fill"></span>{_pager(view, page, pages)}'
        f"{export_link(view, f'export {total:,} problems')}</div>"
        f'<table class="problems"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def export_link(view: View, text: str) -> str:
    """Return the link that downloads what a view shows."""
    return f'<a class="button" href="export?{escape(view.query())}" download>⤓ {escape(text)} (JSONL)</a>'


def _heading(view: View, sort: str, text: str) -> str:
    if not sort:
        return text
    chosen = view.sort == sort
    # First click: what is most looked for; second: the other way round; third: the file's order.
    first = sort not in ("id", "level")
    if not chosen:
        target = view.but(sort=sort, descending=first)
    elif view.descending == first:
        target = view.but(sort=sort, descending=not first)
    else:
        target = view.but(sort="file", descending=False)
    arrow = (" ↓" if view.descending else " ↑") if chosen else ""
    return link(target, text + arrow, css="sort", title=f"sort by {text}")


def _counts(pair, total: int) -> str:
    gained, lost = (int(pair.outcome(name).sum()) for name in ("gained", "lost"))
    parts = [f"<b>{total:,}</b> of {len(pair.ids):,} problems"]
    for side in (0, 1):
        decided = pair.decided[side] > 0
        if decided.any():
            parts.append(f"{'AB'[side]} right <b>{np.nanmean(pair.share(side)[decided]):.1%}</b>")
    if all(pair.sides):
        parts.append(f'<span class="up">gained {gained:,}</span> <span class="down">lost {lost:,}</span>')
    if other := int(pair.other_question.sum()):
        parts.append(f"{other:,} have the same id but another question: not compared")
    return "<span>" + " · ".join(parts) + "</span>"


def _pager(view: View, page: int, pages: int) -> str:
    before = link(view.but(sheet=page - 1), "‹ previous", css="button previous") if page > 1 else ""
    after = link(view.but(sheet=page + 1), "next ›", css="button next") if page < pages else ""
    return f"{before}<span>page {page:,} of {pages:,}</span>{after}"


def _row(view: View, selection: Selection, place: int, question: str) -> str:
    pair = selection.pair
    problem = pair.ids[place]
    target = view.but(problem=reference(problem))
    cells = [
        link(target, one_line(problem, limit=60) or "(no id)", css="id"),
        link(target, one_line(question, limit=110) or "(no question)", css="question"),
        one_line(pair.levels[place], limit=30),
        *(_side(pair.sides[side], int(pair.places[side][place])) for side in (0, 1)),
        _change(pair, place),
        " → ".join("–" if np.isnan(length[place]) else f"{length[place]:,.0f}" for length in pair.length),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _side(index: Index | None, at: int) -> str:
    if index is None or at < 0:
        return '<span class="faint">–</span>'
    verdicts = [VERDICTS[code] for code in index.verdict_R[index.rows(at)]]
    squares = ""
    if len(verdicts) <= MOST_SQUARES:
        squares = "".join(
            f'<i class="v v-{name}" title="{name.replace("_", " ")}">{MARKS[name]}</i>' for name in verdicts
        )
    return f'<span class="share">{verdicts.count("correct")}/{len(verdicts)}</span>{squares}'


def _change(pair, place: int) -> str:
    if not all(pair.sides):
        return ""
    if pair.other_question[place]:
        return '<span class="faint" title="the same id, but another question or gold">other</span>'
    if not pair.compared[place]:
        return ""
    a, b = (pair.correct[side][place] for side in (0, 1))
    change = float(pair.share(1)[place] - pair.share(0)[place])
    word = "gained" if not a and b else "lost" if a and not b else ""
    css = "up" if change > 0 else "down" if change < 0 else "faint"
    return f'<span class="{css}">{100 * change:+.0f}{f" {word}" if word else ""}</span>'
