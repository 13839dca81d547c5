"""Exploration and exploitation of a run in a report: the figures of `analysis.exploration` over its evaluations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simplerl.analysis.exploration import Point, point
from simplerl.analysis.report.records import Estimate, Evaluation, Run
from simplerl.core.errors import RunError
from simplerl.runs.run import Evaluation as Evaluated

#: Evaluations of a run that are looked at: its first and last, and others evenly between. Each takes part of a second.
MOST = 12

#: Panels: role → (title, unit, factor).
ROLES: dict[str, tuple[str, str, float]] = {
    "pass@K": ("Pass@K", "% of problems", 100),
    "two right": ("Pass@K-2", "% of problems", 100),
    "reward": ("Reward@K-S", "% of problems", 100),
    "distinct_answers": ("Different final answers", "per problem", 1),
    "unique_responses": ("Different responses", "% of samples", 100),
    "query_effect": ("Query effect", "0 to 1", 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Explored:
    """A run's exploration over its evaluations."""

    samples: int
    """K: samples per problem."""
    curves: Mapping[str, Sequence[tuple[float, Estimate]]]
    """Role → (step, estimate)."""


def explore(run: Run) -> Explored | str:
    """Return the exploration of a run; a sentence where there is none."""
    readable = [e for e in run.evaluations if e.responses is not None]
    points: list[Point] = []
    try:
        points = [point(_stage(run, e)) for e in thinned(readable)]
    except RunError as error:
        return str(error)
    if not points:
        return "It has no evaluation whose responses can be read."
    if max(p.samples for p in points) < 2:
        return "With one sample per problem there is nothing to say of exploration; set evaluation.samples to 8 or so."
    curves: dict[str, list[tuple[float, Estimate]]] = {role: [] for role in ROLES}
    for p in points:
        for role in ROLES:
            found = p.figures.get(_name(role, p.samples))
            if found and found["value"] is not None and not math.isnan(found["value"]):
                estimate = Estimate(**{end: float(found[end]) for end in ("value", "low", "high")})
                curves[role].append((float(p.step or 0), estimate))
    return Explored(samples=max(p.samples for p in points), curves=curves)


def _stage(run: Run, evaluation: Evaluation) -> Evaluated:
    label = f"{run.label}@{evaluation.step}"
    place = {"path": evaluation.responses, "home": run.path}
    return Evaluated(step=evaluation.step, label=label, benchmark="", figures={}, protocol={}, **place)


def best(samples: int) -> int:
    """Return the S of Reward@K-S that is shown: the largest power of two up to half the samples."""
    return 2 ** max(0, int(math.log2(samples)) - 1)


def _name(role: str, samples: int) -> str:
    """Return the name of the figure that plays a role among so many samples."""
    names = {
        "pass@K": f"pass@{samples}",
        "two right": f"pass@{samples}-2",
        "reward": f"reward@{samples}-{best(samples)}",
    }
    return names.get(role, role)


def thinned(evaluations: Sequence[Evaluation], most: int = MOST) -> list[Evaluation]:
    """Return at most `most` evaluations, the first and the last among them, evenly apart."""
    if len(evaluations) <= most:
        return list(evaluations)
    last = len(evaluations) - 1
    return [evaluations[round(place * last / (most - 1))] for place in range(most)]
