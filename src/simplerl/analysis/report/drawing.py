"""How figures are drawn: curves of runs or settings over seeds, in one look each, and files of them.

A run, or a setting over at least three seeds, has one colour, marker and line style in all figures. Bands and bars are
95% intervals: over problems for one run, over seeds (Student's t) for a setting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.report.records import Estimate, Evaluation, Run
from simplerl.analysis.report.settings import Series
from simplerl.analysis.seeds import band, interval

Point = tuple[float, Estimate]
"""(x, estimate)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A finished figure."""

    name: str
    """Of its files, without ending."""
    title: str
    caption: str
    wide: bool
    """Whether it is as wide as the text of a paper, not one column."""
    png: bytes
    pdf: bytes | None
    """None where nobody asked for files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure that is not drawn yet: `draw` returns a matplotlib figure, None where there is nothing to show."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Any]


def render(drawing: Drawing, *, pdf: bool) -> Figure | None:
    """Draw a figure and return its files; None where there is nothing to show."""
    with canvas.paper_style():
        figure = drawing.draw()
        if figure is None:
            return None
        return Figure(
            name=drawing.name,
            title=drawing.title,
            caption=drawing.caption,
            wide=figure.get_figwidth() > canvas.COLUMN,
            png=canvas.image(figure, "png"),
            pdf=canvas.image(figure, "pdf") if pdf else None,
        )


def evaluated(run: Run, of: Callable[[Evaluation], Estimate]) -> list[Point]:
    """Return (step, estimate) of the evaluations that have a value."""
    return [(float(e.step), of(e)) for e in run.evaluations if of(e).known]


def recorded(metric: str) -> Callable[[Run], list[Point]]:
    """Return what gives the points of a metric of every step."""
    return lambda run: [(step, Estimate(value=value)) for step, value in run.curve(metric)]


def curve_of(one: Series, points_of: Callable[[Run], list[Point]]) -> list[Point]:
    """Return a series' points: a run's own, or the means over seeds with intervals over seeds.

    A setting has a curve where every seed has one, over the steps that all of them cover.
    """
    found = [points_of(run) for run in one.runs]
    if not one.over_seeds:
        return found[0]
    if not all(found) or max(p[0][0] for p in found) > min(p[-1][0] for p in found):
        return []
    over = band([[(x, e.value) for x, e in points] for points in found])
    return [
        (x, Estimate(value=m, low=lo, high=hi))
        for x, m, lo, hi in zip(over.x, over.mean, over.low, over.high, strict=True)
    ]


def estimate_of(one: Series, of: Callable[[Run], Estimate]) -> Estimate:
    """Return a series' number: a run's own with its interval over problems, or the mean over seeds with theirs."""
    found = [of(run) for run in one.runs]
    if not one.over_seeds:
        return found[0]
    if not all(e.known for e in found):
        return Estimate()
    over = interval([e.value for e in found])
    return Estimate(value=over.mean, low=over.low, high=over.high)


def smooth(points: Sequence[Point], width: int) -> list[Point]:
    """Return centred means over `width` points, fewer at the ends."""
    values = [e.value for _, e in points]
    half = width // 2
    return [
        (x, Estimate(value=sum(part := values[max(0, i - half) : i + half + 1]) / len(part)))
        for i, (x, _) in enumerate(points)
    ]


def draw_line(axes: Any, points: Sequence[Point], place: int, *, scale: float = 1.0, **options: Any) -> Any:
    """Draw points as a line with its band, in the look of its place. Returns the line; None without points."""
    if not points:
        return None
    look = {**canvas.look(place), "marker": "", **options}
    x = [p[0] for p in points]
    (line,) = axes.plot(x, [scale * e.value for _, e in points], **look)
    if any(e.bounded for _, e in points):
        low, high = ([scale * getattr(e, end) for _, e in points] for end in ("low", "high"))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.16 * look.get("alpha", 1.0), lw=0)
    return line


def marker(place: int) -> str:
    return canvas.look(place)["marker"]


def legend(figure: Any, drawn: Sequence[Series], further: Sequence[tuple[str, dict[str, Any]]] = ()) -> None:
    """Put one legend under all panels, where there is more to tell apart than one run."""
    own = [(short(s.name), canvas.look(s.place)) for s in drawn] if len(drawn) > 1 else []
    canvas.legend(figure, [*own, *further])


def short(name: str, limit: int = 34) -> str:
    """Return a name for a legend: one line, not hidden by matplotlib's leading underscore, its end kept."""
    shown = "".join(c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else "·" for c in name)
    shown = shown if len(shown) <= limit else "…" + shown[-limit + 1 :]
    return f" {shown}" if shown.startswith("_") else shown


def means(points: Sequence[Point]) -> list[Point]:
    """Return points without their intervals: a pale line beside a strong one needs none."""
    return [(x, Estimate(value=e.value)) for x, e in points]
