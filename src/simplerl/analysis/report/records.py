"""What a report is made of, as it was found on disk: runs, their steps and evaluations. Everything is frozen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95% interval; NaN where there is no value, or no interval."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One held-out evaluation of a run. Intervals are over problems."""

    step: int
    accuracy: Estimate
    pass_at: Mapping[int, Estimate]
    by_level: Mapping[str, Estimate]
    length: Estimate
    """Mean length (tokens); the interval is there where the responses could be read."""
    stopped: Estimate
    """Mean length of the responses that ended by themselves."""
    clip_ratio: float
    boxed: float
    problems: int | None
    samples: int | None
    temperature: float
    responses: Path | None
    """The Parquet file of its responses; None where it is missing or damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStep:
    """What the record of a step's training responses says, with intervals over its problems."""

    step: int
    accuracy: Estimate
    clip_ratio: Estimate
    by_level: Mapping[str, float]
    """Accuracy by level as the source names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run directory, read as far as it can be."""

    path: Path
    label: str
    """Name of the directory, with as much of the path as tells it from the other runs."""
    stage: str
    """The command that made it: `train` or `sft`."""
    settings: Mapping[str, Any]
    """The configuration, flattened to dotted keys."""
    sessions: tuple[Mapping[str, Any], ...]
    """environment.json: what each start or resumption found."""
    lines: tuple[Mapping[str, float], ...]
    """metrics.jsonl, numbers only, in order of steps; `step` is a whole number."""
    evaluations: tuple[Evaluation, ...]
    training: tuple[TrainingStep, ...]
    finished: bool
    seconds: float
    """All sessions together; the sum of the steps where the run has not finished."""
    ended_by: str
    remarks: tuple[str, ...] = ()
    """What a reader should know: how far it is, what it lacks."""
    damage: tuple[str, ...] = ()
    """Files and lines that could not be read and were left out."""

    @property
    def steps(self) -> int:
        """The last step that is recorded."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def first(self) -> Evaluation | None:
        """The evaluation before training; None where step 0 was not evaluated."""
        return self.evaluations[0] if self.evaluations and self.evaluations[0].step == 0 else None

    @property
    def last(self) -> Evaluation | None:
        """The last evaluation after training began."""
        return self.evaluations[-1] if self.evaluations and self.evaluations[-1].step > 0 else None

    @property
    def seed(self) -> Any:
        """The run's seed."""
        return self.settings.get("seed")

    def total(self, metric: str) -> float:
        """Return the sum of a metric over the steps of training."""
        return sum(line.get(metric, 0.0) for line in self.lines if line["step"] > 0)

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Return (step, value) wherever a metric was recorded after training began."""
        return [(line["step"], line[metric]) for line in self.lines if line["step"] > 0 and metric in line]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Everything that was given to a report."""

    runs: tuple[Run, ...]
    results: tuple[Any, ...] = ()
    """Whole evaluations of `simplerl eval` (`runs.results.Result`)."""
    damage: tuple[str, ...] = field(default=())
    """Results that could not be read."""
