"""What judgements of behaviours come to: shares over steps with intervals, and their plot."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.analysis.panels import Panel, band_of, plot_panels
from simplerl.behaviours.judging import KEYWORDS
from simplerl.ops.statistics import ratio_figures
from simplerl.runs.behaviours import BEHAVIOURS, Judgement

#: How behaviours are called in tables and plots.
TITLES = {name: name.replace("_", " ") for name in BEHAVIOURS}


def table(judgements: Iterable[Judgement]) -> dict[str, Any]:
    """Return, by judge and step, the share of responses that show each behaviour, with a 95% bootstrap interval over
    problems.

    Responses of which it is not known (`Judgement.shows`) are left out of the share and counted.
    """
    by_judge: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_judge[judgement.judge, judgement.settings].append(judgement)
    judges = []
    # The keywords last: they are the substitute.
    for (judge, settings), said in sorted(by_judge.items(), key=lambda item: (item[0][0] == KEYWORDS, item[0])):
        steps = sorted({j.step for j in said}, key=lambda step: (step is None, step or 0))
        rows = [_step(step, [j for j in said if j.step == step]) for step in steps]
        judges.append({"judge": judge, "settings": settings, "steps": rows})
    return {"judges": judges}


def _row_of_problem(judgements: Iterable[Judgement]) -> dict[str, int]:
    return {problem: row for row, problem in enumerate(dict.fromkeys(j.problem_id for j in judgements))}


def _step(step: int | None, judgements: Sequence[Judgement]) -> dict[str, Any]:
    problems = _row_of_problem(judgements)
    above_PM, below_PM = np.zeros((2, len(problems), len(BEHAVIOURS)))
    for judgement in judgements:
        shown = [judgement.shows(name) for name in BEHAVIOURS]
        above_PM[problems[judgement.problem_id]] += [bool(one) for one in shown]
        below_PM[problems[judgement.problem_id]] += [one is not None for one in shown]
    return {
        "step": step,
        "responses": len(judgements),
        "problems": len(problems),
        "undecided": sum(j.status == "undecided" for j in judgements),
        "unfounded": sum(len(texts) for j in judgements for texts in j.unfounded.values()),
        "flagged": sum(bool(j.flags) for j in judgements),
        "behaviours": ratio_figures(above_PM, below_PM, BEHAVIOURS, shares=BEHAVIOURS),
        "unknown": {name: sum(j.shows(name) is None for j in judgements) for name in BEHAVIOURS},
    }


def plot_behaviours(behaviours: dict[str, Any], output: Path, *, title: str) -> None:
    """Draw the share of responses with each behaviour against steps, a panel for each judge."""
    panels = []
    for judge in behaviours["judges"]:
        lines = {
            label: band_of([(float(step["step"] or 0), step["behaviours"][name]) for step in judge["steps"]])
            for name, label in TITLES.items()
        }
        heading = judge["judge"] + (" (weaker: words only)" if judge["judge"] == KEYWORDS else "")
        panels.append(Panel(title=heading, ylabel="% of responses", xlabel="step", lines=lines, scale=100))
    note = "bands: 95% bootstrap intervals over problems; undecided responses are left out"
    plot_panels(panels, output, title=f"{title}: cognitive behaviours", note=note, dpi=130)
