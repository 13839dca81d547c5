"""Metrics against steps as small SVG charts: one per metric, one line per run."""

import math
from collections.abc import Callable, Mapping, Sequence

from simplerl.markup.text import escape
from simplerl.runs.glossary import METRICS
from simplerl.runs.run import Run

WIDTH, HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 18

#: Points drawn per line; of more, evenly spaced ones and the last.
MOST_POINTS = 300

COLOURS = 8

Line = Mapping[int, float]
"""Step → value."""

_Scale = Callable[[float], float]


def charts(metrics: Sequence[str], runs: Mapping[str, Run], marks: Sequence[tuple[str, int]] = ()) -> str:
    """Return the charts as HTML. `runs` by the name that is shown; `marks`: letters at steps (A and B)."""
    if not runs:
        return ""
    legend = "".join(
        f'<span class="run s{number % COLOURS}"><i></i>{escape(name)}</span>' for number, name in enumerate(runs)
    )
    drawn = ""
    for metric in metrics:
        lines = {name: dict(zip(*map(list, run.history(metric)), strict=True)) for name, run in runs.items()}
        drawn += _chart(metric, lines, marks)
    return f'<div class="run-legend">{legend}</div><div class="charts">{drawn}</div>'


def _chart(metric: str, lines: Mapping[str, Line], marks: Sequence[tuple[str, int]]) -> str:
    about = METRICS.get(metric, "not in simplerl's glossary")
    title = f'<figcaption title="{escape(about)}">{escape(metric[:80])}</figcaption>'
    points = [(step, value) for line in lines.values() for step, value in line.items()]
    if not points:
        return f'<figure>{title}<div class="nothing">no values</div></figure>'
    x = _scale(min(p[0] for p in points), max(p[0] for p in points), _LEFT, WIDTH - _RIGHT)
    ticks = _ticks(min(p[1] for p in points), max(p[1] for p in points))
    y = _scale(ticks[0], ticks[-1], HEIGHT - _BOTTOM, _TOP)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="y" x="{_LEFT - 4}" y="{y(tick) + 3:.1f}">{_number(tick)}</text>'
        for tick in ticks
    )
    ends = sorted({min(p[0] for p in points), max(p[0] for p in points)})
    grid += "".join(
        f'<text class="{"x first" if step == ends[0] else "x last"}" x="{x(step):.1f}" y="{HEIGHT - 4}">{step}</text>'
        for step in ends
    )
    for letter, step in marks:
        if ends[0] <= step <= ends[-1]:
            grid += (
                f'<line class="mark" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
                f'<text class="mark" x="{x(step) + 2:.1f}" y="{_TOP + 8}">{letter}</text>'
            )
    drawn = "".join(_line(number, run, line, x, y) for number, (run, line) in enumerate(lines.items()))
    return (
        f'<figure>{title}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(metric[:80])} against steps">{grid}{drawn}</svg></figure>'
    )


def _line(number: int, run: str, line: Line, x: _Scale, y: _Scale) -> str:
    steps = sorted(line)
    stride = max(1, math.ceil(len(steps) / MOST_POINTS))
    shown = sorted({*steps[::stride], *steps[-1:]})
    if not shown:
        return ""
    path = " ".join(f"{x(step):.1f},{y(line[step]):.1f}" for step in shown)
    # Dots carry the values as tips; where there are many, only their tips can be felt.
    kind = "dot" if len(shown) <= 30 else "dot quiet"
    dots = "".join(
        f'<circle class="{kind}" cx="{x(step):.1f}" cy="{y(line[step]):.1f}" r="2.5">'
        f"<title>{escape(run)}, step {step}: {_number(line[step])}</title></circle>"
        for step in shown
    )
    return f'<g class="s{number % COLOURS}"><polyline points="{path}"/>{dots}</g>'


def _scale(low: float, high: float, begin: float, end: float) -> _Scale:
    span = high - low
    return lambda value: begin + (end - begin) * ((value - low) / span if span else 0.5)


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


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2e}"
