"""metrics.jsonl, also while a run is being written: complete lines are read, damaged ones numbered."""

import math
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.jsonl import JsonLines

#: Last step that is believed; more is damage.
LAST_STEP = 10**12


def as_number(value: Any) -> float:
    """Return a number as a float; NaN for anything else, and for what a float cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


class MetricLines(JsonLines):
    """The lines of a run's metrics.jsonl, for whoever looks at it; a process that goes on with the run refuses damage
    instead (`read_metrics`)."""

    def rewind(self) -> None:
        """Forget what was read."""
        super().rewind()
        self.by_step: dict[int, dict[str, Any]] = {}
        """What was recorded, in the file's order; of a step that was done again the last."""
        self.damaged: list[int] = []
        """Numbers of the lines that are not metrics; the first is 1."""

    def refresh(self) -> "MetricLines":
        """Read on from where the last reading ended. Raises RunError where there is no file, or it cannot be read."""
        if not self.path.exists():
            raise RunError(f"{self.path} cannot be read: it does not exist")
        for number, line in self.read():
            step = None if line is None else line.get("step")
            if line is not None and type(step) is int and 0 <= step < LAST_STEP:
                self.by_step.pop(step, None)
                self.by_step[step] = line
            else:
                self.damaged.append(number)
        return self


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, for the process that goes on with it; none where there is no file.

    A last line that was cut short is left out; raises RunError where another is damaged.
    """
    lines = MetricLines(run / "metrics.jsonl")
    if not lines.path.exists():
        return []
    if damaged := lines.refresh().damaged:
        raise RunError(f"{lines.path}:{damaged[0]} is damaged")
    return list(lines.by_step.values())
