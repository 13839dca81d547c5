"""What judgements of behaviours come to: shares over steps with intervals, and how far two judges agree."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from simplerl.behaviours.judging import KEYWORDS
from simplerl.ops.statistics import cohen_kappa, kappa_interval, ratio_figures
from simplerl.runs.run import BEHAVIOURS, Judgement

#: How behaviours are called in tables and plots.
TITLES = {name: name.replace("_", " ") for name in BEHAVIOURS}

#: What two judges may say of a behaviour: both see it, only the first, only the second, neither.
_COUNTS = {(True, True): "both", (True, False): "first", (False, True): "second", (False, False): "neither"}


def table(judgements: Iterable[Judgement]) -> dict[str, Any]:
    """Return, by judge and step, the share of responses that show each behaviour, with a 95% bootstrap interval over
    problems; and the agreement of the keywords with every other judge.

    Responses of which it is not known (`Judgement.shows`) are left out of the share and counted.
    """
    by_judge: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_judge[judgement.judge, judgement.settings].append(judgement)
    by_keywords = [j for (judge, _), said in by_judge.items() if judge == KEYWORDS for j in said]
    judges, agreements = [], []
    # The keywords last: they are the substitute.
    for (judge, settings), said in sorted(by_judge.items(), key=lambda item: (item[0][0] == KEYWORDS, item[0])):
        steps = sorted({j.step for j in said}, key=lambda step: (step is None, step or 0))
        rows = [_step(step, [j for j in said if j.step == step]) for step in steps]
        judges.append({"judge": judge, "settings": settings, "steps": rows})
        if judge != KEYWORDS and by_keywords:
            names = {"judge": judge, "settings": settings, "with": KEYWORDS}
            agreements.append({**names, **agreement(said, by_keywords)})
    return {"judges": judges, "agreement": agreements}


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


def agreement(first: Iterable[Judgement], second: Iterable[Judgement]) -> dict[str, Any]:
    """Return by behaviour how far two judges agree on the responses of which both know.

    `share` is the share on which they agree, `kappa` Cohen's κ, each with a 95% bootstrap interval over problems;
    `counts` those in which both see it, the first alone, the second alone, neither.
    """
    other = {(j.step, j.problem_id, j.sample): j for j in second}
    pairs = [(one, two) for one in first if (two := other.get((one.step, one.problem_id, one.sample))) is not None]
    problems, columns = _row_of_problem(one for one, _ in pairs), list(_COUNTS)
    behaviours: dict[str, Any] = {}
    for name in BEHAVIOURS:
        counts_P4 = np.zeros((len(problems), 4))
        for one, two in pairs:
            if (said := (one.shows(name), two.shows(name))) in _COUNTS:
                counts_P4[problems[one.problem_id], columns.index(said)] += 1
        counts_P4 = counts_P4[counts_P4.sum(1) > 0]
        if not len(counts_P4):
            continue
        same_P1, all_P1 = counts_P4[:, [0, 3]].sum(1, keepdims=True), counts_P4.sum(1, keepdims=True)
        low, high = kappa_interval(counts_P4)
        behaviours[name] = {
            "responses": int(counts_P4.sum()),
            "share": ratio_figures(same_P1, all_P1, ["share"], shares={"share"})["share"],
            "kappa": {"value": cohen_kappa(counts_P4.sum(0)), "low": low, "high": high, "problems": len(counts_P4)},
            "counts": dict(zip(_COUNTS.values(), counts_P4.sum(0).astype(int).tolist(), strict=True)),
        }
    return {"behaviours": behaviours}
