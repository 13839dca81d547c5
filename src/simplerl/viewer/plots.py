"""Metrics against steps as small SVG charts: one per metric, one line per run."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simplerl.markup.text import quantity
from simplerl.runs.glossary import METRICS
from simplerl.runs.run import Run

#: The view box of a chart, and the edges of its axes.
BOX = {"width": 300, "height": 150, "left": 40, "right": 292, "top": 8, "bottom": 132}

#: Points drawn per line; of more, evenly spaced ones and the last.
MOST_POINTS = 300


def charts(metrics: Sequence[str], runs: Mapping[str, Run], marks: Sequence[tuple[str, int]] = ()) -> dict[str, Any]:
    """Return what the page's `charts` draws. `runs` by the name that is shown; `marks`: letters at steps (A and B)."""
    return {"runs": list(runs), "panels": [_panel(metric, runs, marks) for metric in metrics], "box": BOX}


def _panel(metric: str, runs: Mapping[str, Run], marks: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Return what a chart shows; coordinates are in units of its view box."""
    about = METRICS.get(metric, "not in simplerl's glossary")
    panel: dict[str, Any] = {"metric": metric, "about": about, "lines": []}
    lines = [sorted(zip(*map(list, run.history(metric)), strict=True)) for run in runs.values()]
    points = [point for line in lines for point in line]
    if not points:
        return panel
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    ticks = _ticks(min(value for _, value in points), max(value for _, value in points))
    x = _scale(first, last, BOX["left"], BOX["right"])
    y = _scale(ticks[0], ticks[-1], BOX["bottom"], BOX["top"])
    for order, (name, line) in enumerate(zip(runs, lines, strict=True)):
        stride = max(1, math.ceil(len(line) / MOST_POINTS))
        shown = sorted({*line[::stride], *line[-1:]})
        dots = [(x(step), y(value), f"{name}, step {step}: {quantity(value)}") for step, value in shown]
        panel["lines"] += [{"order": order, "points": dots}] if dots else []
    panel["ticks"] = [(y(tick), quantity(tick)) for tick in ticks]
    panel["ends"] = [(x(step), step) for step in sorted({first, last})]
    panel["marks"] = [(x(step), letter) for letter, step in marks if first <= step <= last]
    return panel


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    span = high - low
    return lambda value: round(begin + (end - begin) * (float(value - low) / span if span else 0.5), 1)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers that enclose a range."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [(first + i) * step for i in range(count + 1)]
