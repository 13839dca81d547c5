"""Runs and results as a report needs them, read through `Run`: what can be read is shown, what cannot is named."""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow

from simplerl.analysis.estimates import Estimate
from simplerl.analysis.panels import band_of
from simplerl.analysis.seeds import Band
from simplerl.core.errors import RunError
from simplerl.ops.statistics import certain_end
from simplerl.runs.files import flatten
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Evaluation, Run, find_runs, is_run

T = TypeVar("T")

#: Half-width of a 95% interval in standard errors, where problems and steps are too many for a bootstrap each.
_NORMAL = 1.96


def or_why(of: Callable[..., T], *arguments: Any) -> T | str:
    """Return what a function gives; where there is nothing to show, the sentence of its RunError."""
    try:
        return of(*arguments)
    except RunError as error:
        return str(error)


class Evaluated:
    """The figures of one evaluation. Intervals are over problems."""

    def __init__(self, source: Evaluation):
        figures = source.figures
        self.source = source
        self.step = source.step or 0
        self.accuracy = Estimate.of(figures.get("acc"))
        self.length = Estimate.of(figures.get("tokens"))  # Mean length (tokens)
        self.clip_ratio = Estimate.of(figures.get("clip_ratio"))
        self.by_level = _estimates(figures.get("by_level"))
        self.by_source = _estimates(figures.get("by_source"))  # Empty where all problems come from one source
        curve = _estimates(figures.get("pass@k"))
        self.pass_at = dict(sorted((int(k), e) for k, e in curve.items() if re.fullmatch(r"[1-9]\d{0,5}", k)))
        """k → pass@k, ascending."""
        self.unreadable = ""  # Why its responses cannot be read; empty where they can

    @property
    def pass_at_k(self) -> Band:
        """The pass@k curve."""
        return band_of([(float(k), self.source.figures["pass@k"][str(k)]) for k in self.pass_at])


def _estimates(table: Any) -> dict[str, Estimate]:
    """Return the figures of a table that have a value, by name."""
    items = table.items() if isinstance(table, Mapping) else ()
    return {name: estimate for name, figure in items if (estimate := Estimate.of(figure)).known}


class ReportedRun:
    """A run with what a report needs of it. Raises RunError where there is no run."""

    def __init__(self, path: Path, label: str):
        self.run = run = Run(path)
        self.label = label  # Name of the directory, with as much of the path as tells it from the other runs
        self.path, self.finished = run.path, run.finished
        self.settings = flatten(run.config)
        self.environment = flatten(run.environment[-1]) if run.environment else {}
        """What the last session noted, by dotted keys: versions, commit, machine, hashes of its data."""
        self.recorded = run.metrics["step"].to_pylist()  # Steps that metrics are recorded of
        self.steps: int = max(self.recorded, default=0)  # The last step that is recorded; 0 where none is
        self.seed = self.settings.get("seed")
        unreadable: dict[str, str] = {}
        self.evaluations = [e for e in map(Evaluated, run.evaluations) if e.accuracy.known]
        for evaluated in self.evaluations:
            try:
                evaluated.source.records.check()
            except RunError as error:
                evaluated.unreadable = f"{error}: the responses of step {evaluated.step} are left out, "
                evaluated.unreadable += "its figures are shown"
                unreadable[str(evaluated.source.path)] = evaluated.unreadable
        self.clip_ratio: dict[int, Mapping[str, float]] = {}
        """Step → share of its training responses that were truncated, with an interval over its problems."""
        for step in run.steps:
            try:
                self.clip_ratio[step] = _clip_ratio(run.responses(step, columns=["problem_id", "stop_reason"]))
            except RunError as error:
                unreadable[str(run.records(step).path)] = f"{error}: the responses of step {step} are left out"
        # What was read to its end here is said once, and said better.
        self.damage = [line for line in run.damage if not line.startswith(tuple(unreadable))] + [*unreadable.values()]
        self.remarks = self._remarks()  # What a reader should know: how far it is, what it lacks

    @property
    def first(self) -> Evaluated | None:
        """The evaluation before training; None where step 0 was not evaluated."""
        return self.evaluations[0] if self.evaluations and self.evaluations[0].step == 0 else None

    @property
    def last(self) -> Evaluated | None:
        """The last evaluation after training began."""
        return self.evaluations[-1] if self.evaluations and self.evaluations[-1].step > 0 else None

    @property
    def readable(self) -> list[Evaluated]:
        """The evaluations whose responses can be read."""
        return [evaluated for evaluated in self.evaluations if not evaluated.unreadable]

    @property
    def k(self) -> int:
        """The largest k of pass@k that the first and the last evaluation have; 0 where there is none."""
        return max(self.first.pass_at.keys() & self.last.pass_at.keys(), default=0) if self.first and self.last else 0

    @property
    def seconds(self) -> float:
        """The time of all sessions together; the sum of the steps where the run has not finished."""
        return as_number((self.run.summary or {}).get("seconds", self.total("time/step")))

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Return (step, value) wherever a metric was recorded after training began."""
        steps, values = self.run.history(metric)
        return [(float(step), float(value)) for step, value in zip(steps, values, strict=True) if step > 0]

    def total(self, metric: str) -> float:
        """Return the sum of a metric over the steps of training."""
        return sum(value for _, value in self.curve(metric))

    def _remarks(self) -> list[str]:
        remarks = []
        if not self.recorded:
            remarks.append("No step is recorded yet.")
        elif not self.finished:
            budget = self.settings.get("token_budget")
            planned = f"{budget:,} tokens" if isinstance(budget, int) and budget else self.settings.get("steps")
            age = duration(time.time() - max(entry.stat().st_mtime for entry in self.path.iterdir()))
            remarks.append(
                f"Not finished: shown up to its last complete line, step {self.steps} of {planned}, written {age} ago."
            )
        if not self.evaluations:
            remarks.append("It has no held-out evaluation.")
        elif self.evaluations[0].step != 0:
            remarks.append("The base model was not evaluated (no step 0): there is no before.")
        return remarks


def _clip_ratio(table: pyarrow.Table) -> dict[str, float]:
    """Return the share of truncated responses: the mean over problems, with a normal interval over them.

    Where every response or none was truncated the exact interval's end stands instead, as for every other share.
    """
    _, problem_B = np.unique(np.array(table["problem_id"].to_pylist(), dtype=object), return_inverse=True)
    cut_B = np.array([reason == "length" for reason in table["stop_reason"].to_pylist()], dtype=float)
    if not len(cut_B):
        return {"value": math.nan, "low": math.nan, "high": math.nan}
    share_P = np.bincount(problem_B, weights=cut_B) / np.bincount(problem_B)
    mean, problems = float(share_P.mean()), len(share_P)
    half = _NORMAL * float(share_P.std(ddof=1)) / math.sqrt(problems) if problems > 1 else math.nan
    low = 1 - certain_end(problems) if mean == 1 else max(mean - half, 0.0)
    high = certain_end(problems) if mean == 0 else min(mean + half, 1.0)
    return {"value": mean, "low": low, "high": high}


def duration(seconds: float) -> str:
    """Return a time as `82 s`, `14 min`, `3 h 20 min`."""
    if math.isnan(seconds) or seconds < 120:
        return "–" if math.isnan(seconds) else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Sources(NamedTuple):
    """Everything that was given to a report; `damage` says which results could not be read."""

    runs: Sequence[ReportedRun]
    results: Sequence[Evaluation] = ()
    damage: Sequence[str] = ()


def gather(paths: Sequence[Path], *, progress: Callable[[str], None] = lambda _: None) -> Sources:
    """Read runs and directories of results. Raises RunError where a path is neither.

    `progress` gets the name of each path as its reading begins.
    """
    runs: list[ReportedRun] = []
    results: list[Evaluation] = []
    damage: list[str] = []
    for path, label in zip(paths, labels_of(paths), strict=True):
        progress(str(path))
        if is_run(path) or not path.expanduser().is_dir():
            try:
                runs.append(ReportedRun(path, label))
            except RecursionError:
                raise RunError(f"{path}: a JSON file in it is nested too deeply; restore it from a copy") from None
            continue
        below = find_runs(path, damage.append)
        if inside := [run.path.name for run in below if not run.is_result]:
            names = ", ".join(inside[:5])
            raise RunError(f"{path} holds {len(inside)} runs ({names}); give them: simplerl report {path}/*")
        for result in below or [Run(path)]:  # `Run` says why it is neither run nor result.
            results += result.evaluations
            damage += result.damage
    return Sources(runs, results, damage)


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: its last component, with more of the path where two would be equal."""
    absolute = [path.expanduser().resolve() for path in paths]
    if twice := sorted(path for path in absolute if absolute.count(path) > 1):
        raise RunError(f"{twice[0]} is given twice")
    labels = []
    for path in absolute:
        count = 1
        while count < len(path.parts) and sum(o.parts[-count:] == path.parts[-count:] for o in absolute) > 1:
            count += 1
        labels.append("/".join(path.parts[-count:]))
    return labels


def level_order(level: str) -> tuple[int, float, str]:
    """Return a sort key of levels: numbers in their order, also within a text (`Level 10`), then names."""
    number = re.search(r"\d{1,9}", level)
    return (0, float(number[0]), level) if number else (1, 0.0, level)
