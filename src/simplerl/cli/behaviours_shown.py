"""What a person sees of behaviours: tables of shares and of agreement; the same as JSON and a plot in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simplerl.analysis.behaviours import TITLES, plot_behaviours, table
from simplerl.analysis.evaluations import cell
from simplerl.behaviours.judging import KEYWORDS
from simplerl.behaviours.session import Part
from simplerl.runs.behaviours import PLOT, TABLE, Judgement
from simplerl.runs.files import make_directory, write_json


def show(console: Console, part: Part, judgements: Sequence[Judgement]) -> None:
    """Print the tables of a series, and write them with the plot."""
    found = {**table(judgements), "name": part.name, "left_out": list(part.left_out)}
    for judge in found["judges"]:
        words = judge["judge"] == KEYWORDS
        label = "by keywords (weaker than a judge)" if words else f"judged by {judge['judge']}"
        shown = Table(title=escape(f"{part.name}: % of responses that show it, {label}"), title_justify="left")
        columns = ("step", "responses", *TITLES.values(), *(() if words else ("undecided", "not found")), "flagged")
        for column in columns:
            shown.add_column(column, justify="right", no_wrap=True)
        for step in judge["steps"]:
            counts = [str(step["flagged"])] if words else [str(step[n]) for n in ("undecided", "unfounded", "flagged")]
            shown.add_row(
                "–" if step["step"] is None else str(step["step"]),
                f"{step['responses']} to {step['problems']}",
                *(cell(step["behaviours"][name]) for name in TITLES),
                *counts,
            )
        console.print(shown)
    for one in found["agreement"]:
        title = escape(f"{part.name}: agreement of {one['judge']} with the keywords")
        shown = Table(
            "behaviour", "responses", "agree (%)", "kappa", "both", "judge only", "keywords only", title=title
        )
        for name, figure in one["behaviours"].items():
            counts = [str(figure["counts"][key]) for key in ("both", "first", "second")]
            shown.add_row(TITLES[name], str(figure["responses"]), cell(figure["share"]), _kappa(figure), *counts)
        console.print(shown)
    reasons = [j.detail for j in judgements if j.status == "undecided"]
    for reason in list(dict.fromkeys(reasons))[:5]:
        console.print(f"undecided, {reasons.count(reason)}: {reason}", markup=False)
    make_directory(part.output)
    names = [f"{Path(name).stem}{part.ending}{Path(name).suffix}" for name in (TABLE, PLOT)]
    write_json(part.output / names[0], found)
    plot_behaviours(found, part.output / names[1], title=part.name)
    console.print(f"written to {part.output}: {', '.join(names)}", markup=False)


def _kappa(figure: Mapping[str, Any]) -> str:
    kappa = figure["kappa"]
    if kappa["value"] != kappa["value"]:
        return "– (no variety)"
    return f"{kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}]"
