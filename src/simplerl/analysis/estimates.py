"""A number with its 95% interval, the one way in which everybody writes it, and what is measured over several seeds.

Where runs of one setting differ in the seed, the unit of uncertainty is the run: with three seeds the interval is
mean ± 4.30 · s / √3, wide on purpose, because it speaks of what another seed would give and not of what more held-out
problems would.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simplerl.core.errors import RunError
from simplerl.ops.statistics import t_interval
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Run, greedy_figures

#: Steps at the end of a run over which a metric of single steps is averaged: one step alone is noise.
LAST_STEPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with its 95% interval; NaN where there is no value, or no interval.

    >>> Estimate(value=0.5).known, Estimate(value=0.5).bounded
    (True, False)
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0  # Seeds that it is over; 0 where it is over something else

    @classmethod
    def of(cls, figure: Any) -> "Estimate":
        """Return a figure `{"value", "low", "high"}`; whatever is not a number in it is NaN."""
        table = figure if isinstance(figure, Mapping) else {}
        value, low, high = (as_number(table.get(end)) for end in ("value", "low", "high"))
        return cls(value=value, low=low, high=high)

    @classmethod
    def over(cls, values: Sequence[float]) -> "Estimate":
        """Return the mean of several seeds with its interval by Student's t; those without a value are left out."""
        known = [value for value in values if not math.isnan(value)]
        value, low, high = t_interval(known) if known else [math.nan] * 3
        return cls(value=value, low=low, high=high, n=len(known))

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def shown(figure: Any, *, share: bool = True, digits: int = 1, sign: bool = False, unit: str = "") -> str:
    """Return `52.1 [49.4, 54.8]`, a share in per cent; a dash without a value, the value alone without an interval.

    >>> shown({"value": 0.5, "low": 0.25, "high": 0.75}), shown(0.5, unit="%"), shown(None)
    ('50.0 [25.0, 75.0]', '50.0%', '–')
    """
    number = isinstance(figure, int | float)
    estimate = figure if isinstance(figure, Estimate) else Estimate.of({"value": figure} if number else figure)

    def written(value: float) -> str:
        return f"{(100 if share else 1) * value:{'+' if sign else ''}z,.{digits}f}{unit}"

    ends = f" [{written(estimate.low)}, {written(estimate.high)}]" if estimate.bounded else ""
    return written(estimate.value) + ends if estimate.known else "–"


# -- runs of one setting that differ in the seed ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a run, and where in the run directory it stands."""

    label: str
    where: Literal["base", "final", "gain", "last", "sum"]
    """`base`, `final`: the evaluation before the first step and after the last; `gain`: final − base; `last`: mean of a
    metric over the last steps; `sum`: over all steps."""
    path: tuple[str | int, ...]
    """Keys into the evaluation's figures, `greedy` being those at temperature 0; for `last` and `sum` the metric."""
    share: bool = True  # Whether it is a share, shown as a percentage


@dataclass(frozen=True, kw_only=True)
class Band:
    """A curve: at each x the mean and its 95% interval; `low` and `high` are empty where there are no intervals."""

    x: list[float]
    mean: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def measured(path: Path, measure: Measure) -> float:
    """Return a measure of a finished run; NaN where it has no value (a mean over nothing)."""
    run = Run(path)
    if measure.where == "sum":
        return run.total(str(measure.path[0]))
    if measure.where == "last":
        steps, values = run.history(str(measure.path[0]))
        last = values[steps > 0][-LAST_STEPS:]
        return float(last.mean()) if len(last) else math.nan
    if measure.where == "base":
        return _figure(run, 0, measure.path)
    return _figure(run, run.last_step, measure.path) - (_figure(run, 0, measure.path) if measure.where == "gain" else 0)


def _figure(run: Run, step: int, keys: Sequence[str | int]) -> float:
    figures = run.figures_at(step)
    value: Any = {**figures, "greedy": greedy_figures(figures)}
    try:
        for key in keys:
            value = value[key]
    except (KeyError, IndexError, TypeError) as error:
        raise RunError(f"the evaluation of step {step} in {run.path} has no {'/'.join(map(str, keys))}") from error
    return math.nan if value is None else float(value)


def paired(values: Mapping[Any, float], reference: Mapping[Any, float]) -> Estimate:
    """Return the mean difference from a reference over the seeds that both have.

    Runs of one seed see the same problems in the same order and are evaluated with the same noise, so the difference
    of a pair is less noisy than the difference of two means.
    """
    return Estimate.over([values[seed] - reference[seed] for seed in values if seed in reference])


#: What a curve may be drawn against besides steps → the metric that is added up.
COMPUTE = {"tokens": "tokens/sampled", "seconds": "time/step"}


def curve(path: Path, metric: str, *, against: str, block: int = 1) -> list[tuple[float, float]]:
    """Return (steps, or response tokens sampled or seconds so far, value) wherever a run has recorded the metric.

    With `block` the means of so many points after each other, at the middle of their x: single steps are noise.
    """
    lines = Run(path).lines
    spent = [as_number(line.get(COMPUTE.get(against, ""), 0)) if step > 0 else 0 for step, line in lines.items()]
    x = lines if against == "step" else np.nancumsum(spent)
    values = [as_number(line.get(metric)) for line in lines.values()]
    points = [(float(at), value) for at, value in zip(x, values, strict=True) if not math.isnan(value)]
    blocks = [np.array(points[start : start + block]) for start in range(0, len(points), block)]
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in blocks]


def band(curves: Sequence[Sequence[tuple[float, float]]]) -> Band:
    """Return the mean curve of several runs over the range that all of them cover, interpolated between their points.

    Raises ValueError where a curve has no point.
    """
    if not curves or not all(curves):
        raise ValueError("a band needs at least one curve, and every curve a point")
    start, end = max(points[0][0] for points in curves), min(points[-1][0] for points in curves)
    grid = sorted({x for points in curves for x, _ in points if start <= x <= end} | {min(start, end), end})
    heights = [np.interp(grid, [x for x, _ in points], [y for _, y in points]) for points in curves]
    means = [Estimate.over(column.tolist()) for column in np.array(heights).T]
    low, high = ([getattr(one, end) for one in means] for end in ("low", "high"))
    return Band(x=list(grid), mean=[one.value for one in means], low=low, high=high)
