"""metrics.jsonl, also while a run is being written: complete lines are read, damaged ones numbered."""

import math
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.files import JsonLines

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


def scan_metrics(lines: JsonLines) -> tuple[dict[int, dict[str, Any]], list[int]]:
    """Return (step → what was recorded, in the file's order, of a step that was done again the last; damaged lines).

    The damaged are numbers of lines, the first is 1. Raises RunError where the file cannot be read.
    """
    by_step, damaged = dict[int, dict[str, Any]](), list[int]()
    for number, line in lines.read():
        step = None if line is None else line.get("step")
        if line is not None and type(step) is int and 0 <= step < LAST_STEP:
            by_step.pop(step, None)
            by_step[step] = line
        else:
            damaged.append(number)
    return by_step, damaged


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, for the process that goes on with it; none where there is no file.

    A last line that was cut short is left out; raises RunError where another is damaged.
    """
    by_step, damaged = scan_metrics(JsonLines(run / "metrics.jsonl"))
    if damaged:
        raise RunError(f"{run / 'metrics.jsonl'}:{damaged[0]} is damaged")
    return list(by_step.values())
