"""Cognitive behaviours in a report: what each judge saw of a run's responses over steps, and how far judges agree."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.behaviours import table
from simplerl.analysis.report.records import Estimate, Run
from simplerl.core.errors import RunError
from simplerl.runs.behaviours import BEHAVIOURS, read_behaviours

#: What is said of a run that nobody judged.
NOBODY = "No responses were judged yet."

#: Judges of one run that are drawn.
MOST_JUDGES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """What one judge saw."""

    name: str
    judged: int
    undecided: int
    """Responses for which it gave no answer that could be read."""
    curves: Mapping[str, Sequence[tuple[float, Estimate]]]
    """Behaviour → (step, share of responses), with 95% intervals over problems."""
    agreement: Mapping[str, Estimate]
    """Behaviour → Cohen's κ with the keywords; empty for these themselves, and where there are none."""


def read_judges(run: Run) -> list[Judge] | str:
    """Return what each judge saw, those that read before those that match words; a sentence where nobody judged."""
    try:
        judgements = [j for j in read_behaviours(run.path) if j.step is not None]
    except RunError as error:
        return str(error)
    if not judgements:
        return NOBODY
    found = table(judgements)
    # Judgements by other patterns, or by another prompt, are not mixed: of a judge those that are most are shown.
    most: dict[str, Mapping[str, Any]] = {}
    for one in found["judges"]:
        if one["judge"] not in most or _responses(one) > _responses(most[one["judge"]]):
            most[one["judge"]] = one
    agreed = {(a["judge"], a["settings"]): a["behaviours"] for a in found["agreement"]}
    return [_judge(one, agreed.get((one["judge"], one["settings"]), {})) for one in list(most.values())[:MOST_JUDGES]]


def _responses(one: Mapping[str, Any]) -> int:
    return sum(step["responses"] for step in one["steps"])


def _judge(one: Mapping[str, Any], agreed: Mapping[str, Any]) -> Judge:
    undecided = sum(step["undecided"] for step in one["steps"])
    return Judge(
        name=one["judge"],
        judged=_responses(one) - undecided,
        undecided=undecided,
        curves={
            behaviour: [
                (float(step["step"]), share)
                for step in one["steps"]
                if (share := _estimate(step["behaviours"][behaviour])).known
            ]
            for behaviour in BEHAVIOURS
        },
        agreement={name: _estimate(figures["kappa"]) for name, figures in agreed.items()},
    )


def _estimate(figure: Mapping[str, Any]) -> Estimate:
    return Estimate(
        **{end: math.nan if figure[end] is None else float(figure[end]) for end in ("value", "low", "high")}
    )
