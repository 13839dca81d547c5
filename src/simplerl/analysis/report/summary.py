"""What came of each run, of each setting over its seeds, and of one run beside another."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis.compare import compare
from simplerl.analysis.report.records import Estimate, Evaluation, Run
from simplerl.analysis.report.settings import Group
from simplerl.analysis.seeds import interval, paired
from simplerl.core.errors import RunError
from simplerl.runs.run import Evaluation as Judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One evaluation beside another, problem by problem."""

    problems: int
    difference: Estimate
    """After − before, with an interval over the problems that both answered."""
    p_value: float
    gained: int
    """Problems solved by some sample after, by none before."""
    lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one run."""

    run: Run
    k: int
    """The largest k of pass@k that both evaluations have; 0 where there is none."""
    change: Change | None
    """None where there are not two evaluations to compare; `why` then says so."""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number of a run that is averaged over seeds."""

    label: str
    share: bool
    of: Callable[[Run], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class OverSeeds:
    """A measure of one setting over its seeds."""

    measure: Measure
    values: Mapping[str, float]
    """By seed."""
    mean: Estimate
    """By Student's t over seeds; without interval where there are fewer than three."""


def _accuracy(evaluation: Evaluation | None) -> float:
    return evaluation.accuracy.value if evaluation else math.nan


def _gain(run: Run) -> float:
    return _accuracy(run.last) - _accuracy(run.first)


def _largest(evaluation: Evaluation | None) -> float:
    return list(evaluation.pass_at.values())[-1].value if evaluation and evaluation.pass_at else math.nan


#: What is averaged over seeds.
MEASURES = (
    Measure(label="accuracy before", share=True, of=lambda run: _accuracy(run.first)),
    Measure(label="accuracy after", share=True, of=lambda run: _accuracy(run.last)),
    Measure(label="gain", share=True, of=_gain),
    Measure(label="pass@k after", share=True, of=lambda run: _largest(run.last)),
    Measure(label="length after", share=False, of=lambda run: run.last.length.value if run.last else math.nan),
    Measure(label="truncated after", share=True, of=lambda run: run.last.clip_ratio if run.last else math.nan),
)


def outcome(run: Run) -> Outcome:
    """Return what came of a run: its last evaluation beside the one before training."""
    if run.first is None or run.last is None:
        missing = "before training" if run.first is None else "after training began"
        return Outcome(run=run, k=0, change=None, why=f"there is no evaluation {missing}")
    shared = [k for k in run.first.pass_at if k in run.last.pass_at]
    try:
        change = changed(run.first, run.last, labels=(f"{run.label}@{run.first.step}", f"{run.label}@{run.last.step}"))
    except RunError as error:
        return Outcome(run=run, k=max(shared, default=0), change=None, why=str(error))
    return Outcome(run=run, k=max(shared, default=0), change=change)


def changed(before: Evaluation, after: Evaluation, *, labels: tuple[str, str]) -> Change:
    """Compare two evaluations problem by problem. Raises RunError where they cannot be compared."""
    for label, evaluation in zip(labels, (before, after), strict=True):
        if evaluation.responses is None:
            raise RunError(f"the responses of {label} cannot be read")
    found = compare(*(_side(label, e) for label, e in zip(labels, (before, after), strict=True)))
    return change_of(found)


def change_of(found: Mapping[str, Any]) -> Change:
    """Return the heart of a comparison."""
    return Change(
        problems=found["problems"],
        difference=Estimate(**{end: found["difference"][end] for end in ("value", "low", "high")}),
        p_value=found["p_value"],
        gained=len(found["gained"]),
        lost=len(found["lost"]),
    )


def _side(label: str, evaluation: Evaluation) -> Judged:
    return Judged(
        label=label,
        step=evaluation.step,
        benchmark="held-out",
        figures={},
        protocol={},
        path=evaluation.responses,
        home=evaluation.responses.parents[1],
    )


def against_first(runs: Sequence[Run]) -> dict[str, Change | str]:
    """Return label → the run's last evaluation beside the first run's, or why they cannot be compared."""
    with_last = [run for run in runs if run.last is not None]
    found: dict[str, Change | str] = {}
    for run in with_last[1:]:
        try:
            found[run.label] = changed(with_last[0].last, run.last, labels=(with_last[0].label, run.label))
        except RunError as error:
            found[run.label] = str(error)
    return found


def over_seeds(group: Group) -> list[OverSeeds]:
    """Return every measure of a setting over its seeds."""
    found = []
    for measure in MEASURES:
        values = {str(run.seed): measure.of(run) for run in group.independent}
        mean = interval(list(values.values()))
        enough = group.over_seeds and mean.n == len(values)
        found.append(
            OverSeeds(
                measure=measure,
                values=values,
                mean=Estimate(value=mean.mean, low=mean.low, high=mean.high) if enough else Estimate(value=mean.mean),
            )
        )
    return found


def paired_gain(group: Group, reference: Group) -> Estimate:
    """Return the difference in final accuracy from another setting, seed by seed; no value below three shared seeds."""
    final = [{run.seed: _accuracy(run.last) for run in g.independent if run.last} for g in (group, reference)]
    found = paired(*final)
    return Estimate(value=found.mean, low=found.low, high=found.high) if found.n >= 3 else Estimate()
