"""Runs and results as a report needs them, read through `Run`: what can be read is shown, what cannot is named."""

import functools
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from simplerl.analysis.estimates import Band, Estimate
from simplerl.analysis.plots import band_of
from simplerl.core.errors import RunError
from simplerl.runs.files import flatten
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Evaluation, Run, find_runs, is_run

T = TypeVar("T")


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
        table = self.table("pass@k")
        known = {int(k): Estimate.of(figure) for k, figure in table.items() if re.fullmatch(r"[1-9]\d{0,5}", k)}
        self.pass_at = {k: known[k] for k in sorted(known) if known[k].known}
        """k → pass@k, ascending."""

    def table(self, name: str) -> Mapping[str, Any]:
        """Return figures by k, level or source; empty where there are none."""
        table = self.source.figures.get(name)
        return table if isinstance(table, Mapping) else {}

    @functools.cached_property
    def readable(self) -> bool:
        """Whether its responses can be read."""
        return not isinstance(or_why(self.source.records.check), str)

    @property
    def pass_at_k(self) -> Band:
        """The pass@k curve."""
        return band_of([(float(k), self.table("pass@k")[str(k)]) for k in self.pass_at])


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
        self.evaluations = [e for e in map(Evaluated, run.evaluations) if e.accuracy.known]
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
        return [evaluated for evaluated in self.evaluations if evaluated.readable]

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


def gather(paths: Sequence[Path]) -> Sources:
    """Read runs and directories of results. Raises RunError where a path is neither."""
    runs: list[ReportedRun] = []
    results: list[Evaluation] = []
    damage: list[str] = []
    for path, label in zip(paths, labels_of(paths), strict=True):
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
    """Return a name for each path: what of it is below the folder that holds them all."""
    absolute = [path.expanduser().resolve() for path in paths]
    if twice := sorted(path for path in absolute if absolute.count(path) > 1):
        raise RunError(f"{twice[0]} is given twice")
    above = os.path.commonpath([path.parent for path in absolute])
    return [str(path.relative_to(above)) for path in absolute]
