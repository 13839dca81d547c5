"""The figures of results of `simplerl eval`: benchmarks against steps, and pass@k."""

from collections.abc import Sequence
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.report.benchmarks import Benchmarks, estimate
from simplerl.analysis.report.drawing import Drawing, draw_line, legend, marker, short
from simplerl.analysis.report.settings import Series


def of_benchmarks(found: Benchmarks) -> list[Drawing]:
    """Return the figures of evaluations."""
    return [
        Drawing(
            name="benchmarks_over_steps",
            title="Benchmarks against steps",
            caption="Evaluated checkpoints with 95% intervals over problems; step 0 is the base model.",
            draw=lambda: _over_steps(found),
        ),
        Drawing(
            name="benchmarks_pass_at_k",
            title="pass@k on benchmarks",
            caption="With 95% intervals over problems.",
            draw=lambda: _benchmarks_pass_at_k(found),
        ),
    ]


def _over_steps(found: Benchmarks) -> Any:
    """Draw accuracy and length of the runs with several evaluated checkpoints, a line per run and benchmark."""
    lines: dict[str, list[tuple[float, Any]]] = {}
    for row in found.table.values():
        for name, result in row.items():
            step = result.protocol.get("step")
            if isinstance(step, int):
                run = result.label.rpartition("@")[0] or result.label
                lines.setdefault(f"{run}, {name}", []).append((float(step), result.figures))
    lines = {name: sorted(points, key=lambda p: p[0]) for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure, (left, right) = canvas.sheet(1, 2)
    handles = {}
    for place, (name, points) in enumerate(lines.items()):
        own = {"marker": marker(place)}
        accuracy = [(x, e) for x, f in points if (e := estimate(f["acc"])).known]
        length = [(x, e) for x, f in points if (e := estimate(f.get("tokens"))).known]
        handles[short(name)] = draw_line(left, accuracy, place, scale=100, **own)
        draw_line(right, length, place, **own)
    left.set(xlabel="step", ylabel="accuracy (%)", title="Accuracy")
    right.set(xlabel="step", ylabel="length (tokens)", title="Response length")
    canvas.percent_axis(left)
    right.set_ylim(bottom=0)
    _legend_of(figure, list(handles))
    return figure


def _benchmarks_pass_at_k(found: Benchmarks) -> Any:
    """Draw a panel per benchmark with several samples, a line per row of the table."""
    names = [
        n for n in found.names if any(len(row[n].figures["pass@k"]) > 1 for row in found.table.values() if n in row)
    ]
    if not names:
        return None
    columns = min(3, len(names))
    width = canvas.COLUMN if columns == 1 else canvas.TEXT
    figure, grid = canvas.sheet(-(-len(names) // columns), columns, width=width, height=2.2)
    for axes, name in zip(grid, names, strict=False):
        ks: set[int] = set()
        for place, row in enumerate(found.table.values()):
            if name in row:
                curve = row[name].figures["pass@k"]
                points = [(float(k), e) for k, v in curve.items() if k.isdecimal() and (e := estimate(v)).known]
                points.sort(key=lambda point: point[0])
                draw_line(axes, points, place, scale=100, marker=marker(place))
                ks |= {int(k) for k, _ in points}
        canvas.powers_of_two(axes, sorted(ks))
        axes.set(title=short(name), xlabel="k (samples)", ylabel="pass@k (%)")
        canvas.percent_axis(axes)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    _legend_of(figure, [short(row) for row in found.table])
    return figure


def _legend_of(figure: Any, names: Sequence[str]) -> None:
    legend(figure, [Series(name=name, runs=(), place=place) for place, name in enumerate(names)])
