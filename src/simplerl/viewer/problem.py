"""One problem: question, gold, and every response of both sides beside each other."""

from typing import Any

import numpy as np

from simplerl.markup.differences import differences
from simplerl.markup.formulas import MOST_FORMULAS, prose
from simplerl.markup.text import escape, one_line, plain
from simplerl.markup.tokens import SCALES, coloured, legend
from simplerl.viewer.catalog import Entry
from simplerl.viewer.index import VERDICTS
from simplerl.viewer.library import Library, Selection
from simplerl.viewer.pairs import STOPPED_AT_LIMIT, reference
from simplerl.viewer.state import View
from simplerl.viewer.table import MARKS, export_link, link

#: Samples that are shown of a problem, and what is recorded in which column for colours.
MOST_SAMPLES = 64
#: Formulas drawn on a page, shared out among its responses, but some for each: a browser needs seconds for 10,000.
MOST_DRAWN, ALWAYS_DRAWN = 3_000, 12
COLUMNS = {"log-probability": "logprobs", "entropy": "entropies", "advantage": "advantages"}

_WHY_NONE = {
    "log-probability": "no log-probabilities were recorded here",
    "entropy": "no entropies were recorded here: the file is older, or the responses were made elsewhere",
    "advantage": "no advantages here: they belong to training responses (choose the benchmark “training”)",
}


def problem(library: Library, view: View, selection: Selection, notices: list[str]) -> str:
    """Return the page of a resolved view's problem as HTML."""
    pair = selection.pair
    place = pair.positions.get(view.problem or "")
    if place is None:
        notices.append(f"no problem {view.problem!r} in these responses")
        back = link(view.but(problem=None), "‹ back to the table", css="button back")
        return f'<div class="bar">{back}</div><div class="nothing">This problem is not among these responses.</div>'
    entries = [library.catalog().entries[key] for key in (view.a, view.b)]
    same = (view.a, view.a_step) == (view.b, view.b_step)
    sides = [library.responses(pair, place, side) if not (side and same) else [] for side in (0, 1)]
    first = next(row for row in [*sides[0], *sides[1]])
    shown = [side[:MOST_SAMPLES] for side in sides]
    if missing := max(len(side) - MOST_SAMPLES for side in sides):
        notices += [f"{missing} further samples are not shown; the export has them"] if missing > 0 else []
    return (
        _bar(view, selection, place)
        + _head(pair.ids[place], first, pair.other_question[place], sides)
        + (legend(SCALES[view.mode]) if view.mode in SCALES else "")
        + _grid(library, view, entries, shown, one_sided=same or not all(sides))
    )


def _bar(view: View, selection: Selection, place: int) -> str:
    """Return the way back, to the neighbours under the same filters, and the export."""
    at = np.flatnonzero(selection.places == place)
    parts = [link(view.but(problem=None), "‹ back to the table", css="button back")]
    if len(at):
        for step, text, css in ((-1, "‹ previous", "previous"), (1, "next ›", "next")):
            other = int(at[0]) + step
            if 0 <= other < len(selection.places):
                name = reference(selection.pair.ids[int(selection.places[other])])
                parts.append(link(view.but(problem=name), text, css=f"button {css}"))
        parts.append(f"<span>{int(at[0]) + 1:,} of {len(selection.places):,}</span>")
    else:
        parts.append("<span>not among the problems that pass the filters</span>")
    parts += ['<span class="fill"></span>', export_link(view, "export this problem")]
    return f'<div class="bar">{"".join(parts)}</div>'


def _head(name: str, row: dict[str, Any], other_question: bool, sides: list[list[dict[str, Any]]]) -> str:
    facts = " · ".join(
        f"{what} {one_line(str(row[column]), limit=80)}"
        for what, column in (("source", "source"), ("level", "level"), ("kind", "kind"))
        if row.get(column)
    )
    warning = (
        '<div class="notice">Both sides have a problem of this id, but with another question or gold. B’s question:'
        f'<div class="text">{prose(sides[1][0]["question"] or "")}</div></div>'
        if other_question and all(sides)
        else ""
    )
    return (
        f'<section class="asked"><h2>{one_line(name, limit=120) or "(no id)"}</h2><div class="faint">{facts}</div>'
        f'<div class="text question" dir="auto">{prose(row["question"] or "")}</div>'
        f'<div class="gold"><b>gold</b> <span class="text" dir="auto">{_answer(row["answer"])}</span></div>'
        f"{warning}</section>"
    )


def _answer(text: str | None) -> str:
    """Return an answer, its source and, where it reads as a formula, how that looks."""
    if text is None:
        return '<span class="faint">none</span>'
    source = f"<code>{plain(text, limit=2_000)}</code>"
    drawn = prose(f"${text}$") if "\\" in text and len(text) < 500 and "$" not in text else ""
    return f"{source} {drawn}" if "<math" in drawn else source


def _grid(library: Library, view: View, entries: list[Entry], sides: list[list[dict]], *, one_sided: bool) -> str:
    heads, cells = "", ""
    steps = (view.a_step, view.b_step)
    of = [side for side in (0, 1) if sides[side] or not one_sided]
    for side in of:
        right = sum(row["verdict"] == "correct" for row in sides[side])
        heads += (
            f"<h3>{'AB'[side]} · {escape(entries[side].name)} · step {steps[side]} "
            f'<span class="faint">{right}/{len(sides[side])} right</span></h3>'
        )
    most = min(MOST_FORMULAS, max(ALWAYS_DRAWN, MOST_DRAWN // sum(len(side) for side in sides)))
    for number in range(max(len(side) for side in sides)):
        rows = [sides[side][number] if number < len(sides[side]) else None for side in of]
        bodies = _bodies(library, view, [entries[side] for side in of], rows, most)
        cells += "".join(_card(row, body) if row else "<div></div>" for row, body in zip(rows, bodies, strict=True))
    return f'<div class="grid {"one" if len(of) == 1 else "two"}">{heads}{cells}</div>'


def _bodies(library: Library, view: View, entries: list[Entry], rows: list[dict | None], most: int) -> list[str]:
    """Return the responses of one sample on the sides that are there, in the way that the view asks for."""
    texts = [(row["response"] or "") if row else "" for row in rows]
    if view.mode == "differences" and len(rows) == 2 and all(rows):
        return list(differences(texts[0], texts[1]))
    if view.mode in COLUMNS:
        return [_tokens(library, view, entry, row) for entry, row in zip(entries, rows, strict=True)]
    return [prose(text, most=most) if view.mode == "rendered" else plain(text) for text in texts]


def _tokens(library: Library, view: View, entry: Entry, row: dict | None) -> str:
    if row is None:
        return ""
    ids, values = row.get("token_ids"), row.get(COLUMNS[view.mode])
    if ids is None or values is None or len(ids) != len(values):
        return plain(row["response"] or "") + f'<div class="left-out">{_WHY_NONE[view.mode]}</div>'
    tokens = library.tokens(entry)
    note = f'<div class="left-out">{escape(tokens.problem)}</div>' if tokens.problem else ""
    return coloured(tokens.texts(ids[:2_001]) + [""] * max(0, len(ids) - 2_001), values, SCALES[view.mode]) + note


def _card(row: dict[str, Any], body: str) -> str:
    verdict = row["verdict"] if row["verdict"] in VERDICTS else "other"
    length = f"{len(row['token_ids']):,} tokens" if row.get("token_ids") is not None else "length not known"
    stop = str(row["stop_reason"] or "not known")
    ended = "truncated at the token limit" if stop == STOPPED_AT_LIMIT else f"stopped: {one_line(stop, limit=20)}"
    reward = "no reward" if row.get("reward") is None else f"reward {row['reward']:g}"
    parts = dict(row.get("reward_parts") or [])
    tip = escape(", ".join(f"{name[:40]} {value:g}" for name, value in parts.items() if value is not None)[:400])
    facts = f'<span class="{"down" if stop == STOPPED_AT_LIMIT else ""}">{ended}</span> · {length}'
    rule, detail = (one_line(str(row.get(name) or ""), limit=200) for name in ("rule", "detail"))
    why = ": ".join(filter(None, (rule, detail)))
    return (
        f'<article class="card"><header><i class="v v-{verdict}">{MARKS[verdict]}</i> '
        f"<b>{escape(str(row['verdict'])[:40].replace('_', ' '))}</b> "
        f'<span class="faint">sample {row["sample"]}</span> · {facts} · <span title="{tip}">{reward}</span>'
        f'<div class="why">answer {_answer(row.get("extracted"))} <span class="faint">{why}</span></div></header>'
        f'<div class="text response" dir="auto">{body}</div></article>'
    )
