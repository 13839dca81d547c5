"""The metrics of a run: what each of ours is, defined once in glossary.toml, and the lines of metrics.jsonl.

A plug-in may record others. The lines are read also while a run is being written: complete ones, damaged ones numbered.
"""

import math
import tomllib
from pathlib import Path
from typing import Any

from simplerl.runs.files import JsonLines

_GROUPS = tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))

#: Of problems from several sources: one metric for each, whose name stands in place of SOURCE.
DOMAINS: dict[str, str] = _GROUPS.pop("domains")
#: `group/name` → what it is, with its unit. In lines of metrics.jsonl.
METRICS = {f"{group}/{name}": meaning for group, names in _GROUPS.items() for name, meaning in names.items()}
#: Prefixes of what depends on the machine's speed, and so differs between a run and the same run resumed.
TIMINGS = ("time/", "throughput/", "memory/")

#: Last step, and largest number, that is believed; more is damage. Sums and ratios of such numbers stay finite.
LAST_STEP, LARGEST = 10**12, 1e100


def meaning(metric: str) -> str | None:
    """Return what a metric is; None for one that is not ours.

    >>> meaning("accuracy/chain_sum")
    'share of the decided responses to problems of that source that are right; with several sources only'
    """
    group = metric.rpartition("/")[0]
    return METRICS.get(metric) or DOMAINS.get(f"{group}/SOURCE")


def as_number(value: Any) -> float:
    """Return a number as a float; NaN for anything else, and for what is infinite or beyond `LARGEST`."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if number else math.nan


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
