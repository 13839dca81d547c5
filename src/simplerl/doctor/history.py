"""What is known of a run up to some step: one series of numbers per metric, and the settings of the run.

The same object serves a finished run and one that is going on: a rule sees the past of one step at a time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

#: Figures of the responses are known at few steps: fewer of them make a window.
TEXT = "text/"
LOOKS = 3
#: Larger values are taken for this one, so that sums and ratios stay finite.
LARGEST = 1e15


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A response that shows a finding. `excerpt` is the model's own text: hostile until escaped."""

    step: int
    problem_id: str
    sample: int
    excerpt: str


@dataclass(frozen=True)
class Series:
    """The known values of one metric, in the order of their steps."""

    steps: np.ndarray
    values: np.ndarray
    width: int
    """Values in a window: a third of them all, from 3 to the threshold `window.steps`."""

    @property
    def early(self) -> float:
        """Mean of the first window."""
        return float(self.values[: self.width].mean())

    @property
    def recent(self) -> float:
        """Mean of the last window."""
        return float(self.values[-self.width :].mean())

    @property
    def last(self) -> float:
        """The newest value."""
        return float(self.values[-1])

    @property
    def recent_steps(self) -> str:
        """The steps of the last window, in words."""
        return span(self.steps[-self.width :])

    @property
    def early_steps(self) -> str:
        """The steps of the first window, in words."""
        return span(self.steps[: self.width])

    @cached_property
    def windows(self) -> np.ndarray:
        """Means of all windows, [n − width + 1]; the last one is `recent`."""
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        return (sums[self.width :] - sums[: -self.width]) / self.width

    @property
    def before(self) -> np.ndarray:
        """Means of the windows that share no step with the last one."""
        return self.windows[: max(0, len(self.values) - 2 * self.width + 1)]

    def window_steps(self, start: int) -> str:
        """Return the steps of the window that begins at a place, in words."""
        return span(self.steps[start : start + self.width])

    @cached_property
    def error(self) -> float:
        """Standard error of the difference between two windows, from the changes between neighbouring steps.

        The median of the absolute changes is used, so that a trend or a single jump does not pass for noise.
        """
        if len(self.values) < 3:
            return math.inf
        deviation = float(np.median(np.abs(np.diff(self.values)))) / 0.6745 / math.sqrt(2)
        return deviation * math.sqrt(2 / self.width)


def span(steps: Sequence[int] | np.ndarray) -> str:
    """Return `step 5` or `steps 5–14`."""
    first, last = int(steps[0]), int(steps[-1])
    return f"step {last}" if first == last else f"steps {first}–{last}"


def is_number(value: object) -> bool:
    """Return whether something that was read is a finite number."""
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and abs(value) < 10**300


class History:
    """Series by name. `at(step)` is the same run as it was known after that step."""

    def __init__(
        self,
        lines: Iterable[Mapping[str, Any]],
        *,
        config: Mapping[str, Any] | None = None,
        kind: str = "train",
        window: int = 10,
    ):
        """`lines` are those of metrics.jsonl, in order; `config` is flat, its keys dotted."""
        self.config, self.kind, self.window = dict(config or {}), kind, window
        self.examples: dict[str, list[Example]] = {}
        self._values: dict[str, tuple[list[int], list[float]]] = {}
        self._arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._series: dict[str, Series] = {}
        self.until = -1
        self.steps: list[int] = []
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any], examples: Mapping[str, Sequence[Example]] | None = None) -> None:
        """Take in what was recorded of a step. Values that are no numbers are not known."""
        step = line["step"]
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
        self.until = max(self.until, step)
        for name, value in line.items():
            if name != "step" and is_number(value):
                steps, values = self._values.setdefault(name, ([], []))
                steps.append(step)
                values.append(min(max(float(value), -LARGEST), LARGEST))
                self._arrays.pop(name, None)
        for name, found in (examples or {}).items():
            self.examples.setdefault(name, []).extend(found)
        self._series.clear()

    def at(self, step: int) -> "History":
        """Return the run as it was known after a step. The series are shared, not copied."""
        view = History((), config=self.config, kind=self.kind, window=self.window)
        view.examples, view._values, view._arrays, view.until = self.examples, self._values, self._arrays, step
        view.steps = self.steps
        return view

    def _width(self, name: str, count: int) -> int:
        """Return how many of so many values make a window."""
        return max(1, min(LOOKS, count // 2) if name.startswith(TEXT) else min(count, self.window, max(3, count // 3)))

    def series(self, name: str) -> Series:
        """Return the known values of a metric so far; empty where there are none."""
        if name not in self._series:
            if name not in self._arrays:
                steps, values = self._values.get(name, ([], []))
                self._arrays[name] = (np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))
            steps_N, values_N = self._arrays[name]
            count = int(np.searchsorted(steps_N, self.until, side="right"))
            self._series[name] = Series(steps_N[:count], values_N[:count], self._width(name, count))
        return self._series[name]

    def aligned(self, *names: str) -> list[Series]:
        """Return several series at the steps at which all of them are known."""
        found = [self.series(name) for name in names]
        steps = found[0].steps
        if all(np.array_equal(steps, series.steps) for series in found[1:]):
            return found  # Nearly always.
        for series in found[1:]:
            steps = np.intersect1d(steps, series.steps)
        width = self._width(names[0], len(steps))
        return [Series(steps, series.values[np.isin(series.steps, steps)], width) for series in found]

    def shown(self, name: str) -> tuple[Example, ...]:
        """Return the newest responses that show a figure, at most two."""
        return tuple([e for e in self.examples.get(name, []) if e.step <= self.until][-2:])
