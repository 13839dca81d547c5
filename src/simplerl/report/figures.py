"""The figures of a report: each is drawn once and given as PNG (the page, slides) and PDF (a paper).

A run, or a setting over at least three seeds, has one colour, marker and line style in all figures. Bands and bars are
95% intervals: over problems for one run, over seeds (Student's t) for a setting.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.seeds import band
from simplerl.report.outcomes import ROLES, TEXTS, Benchmarks, Explored, Judge, best
from simplerl.report.reading import Estimate, Evaluated, Point, ReportedRun, level_order, pass_at
from simplerl.report.settings import Series
from simplerl.runs.behaviours import BEHAVIOURS

PointsOf = Callable[[ReportedRun], list[Point]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A finished figure."""

    title: str
    caption: str
    wide: bool
    """Whether it is as wide as the text of a paper, not one column."""
    png: bytes
    pdf: bytes | None
    """None where no files are wanted."""


def draw_all(
    drawn: Sequence[Series],
    *,
    explored: Mapping[str, Explored | str] | None = None,
    judges: Mapping[str, Sequence[Judge] | str] | None = None,
    benchmarks: Benchmarks | None = None,
    pdf: bool,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Figure]:
    """Return name → figure, in the report's order, without those that have nothing to show.

    `explored` and `judges` are by the run's label. `progress` gets a word about each figure.
    """
    known = {label: entry for label, entry in (explored or {}).items() if not isinstance(entry, str)}
    judged = {label: entry for label, entry in (judges or {}).items() if not isinstance(entry, str)}
    sizes = " and ".join(f"K = {k}, S = {best(k)}" for k in sorted({entry.samples for entry in known.values()}))
    draw: dict[str, Callable[[], Any]] = {
        "accuracy_and_length": lambda: _accuracy_and_length(drawn),
        "clip_ratio_and_stopped_length": lambda: _clip_and_stopped(drawn),
        "pass_at_k": lambda: _pass_at_k(drawn),
        "by_level": lambda: _by_level(drawn),
        "behaviours": lambda: _behaviours(drawn, judged),
        "exploration": lambda: _exploration(drawn, known),
        "training": lambda: _training(drawn),
        "benchmarks_over_steps": lambda: _benchmarks_over_steps(benchmarks) if benchmarks else None,
        "benchmarks_pass_at_k": lambda: _benchmarks_pass_at_k(benchmarks) if benchmarks else None,
    }
    figures = {}
    for name in [name for name in draw if drawn or name.startswith("benchmarks")]:
        title, caption = (TEXTS["figures"][name][key].replace("{sizes}", sizes) for key in ("title", "caption"))
        progress(f"drawing {title}")
        with canvas.paper_style():
            if (sheet := draw[name]()) is not None:
                figures[name] = Figure(
                    title=title,
                    caption=caption,
                    wide=sheet.get_figwidth() > canvas.COLUMN,
                    png=canvas.image(sheet, "png"),
                    pdf=canvas.image(sheet, "pdf") if pdf else None,
                )
    return figures


# -- points and lines ----------------------------------------------------------------------------------------------


def evaluated(of: Callable[[Evaluated], Estimate]) -> PointsOf:
    """Return what gives a number of every evaluation that has it."""
    return lambda run: [(float(e.step), of(e)) for e in run.evaluations if of(e).known]


def recorded(metric: str, of: Sequence[str] = ()) -> PointsOf:
    """Return what gives the points of a metric of every step; with `of` as a share of the sum of these counts."""

    def points(run: ReportedRun) -> list[Point]:
        counts = [dict(run.curve(name)) for name in of]
        totals = {x: sum(count.get(x, 0.0) for count in counts) if of else 1.0 for x, _ in run.curve(metric)}
        return [(x, Estimate(value=value / totals[x])) for x, value in run.curve(metric) if totals[x] > 0]

    return points


def curve_of(one: Series, points_of: PointsOf) -> list[Point]:
    """Return a series' points: a run's own, or the means over seeds with intervals over seeds.

    A setting has a curve where every seed has one, over the steps that all of them cover.
    """
    curves = [points_of(run) for run in one.runs]
    if not one.over_seeds:
        return curves[0]
    if not all(curves) or max(p[0][0] for p in curves) > min(p[-1][0] for p in curves):
        return []
    over = band([[(x, e.value) for x, e in points] for points in curves])
    columns = zip(over.x, over.mean, over.low, over.high, strict=True)
    return [(x, Estimate(value=mean, low=low, high=high)) for x, mean, low, high in columns]


def estimate_of(one: Series, of: Callable[[ReportedRun], Estimate]) -> Estimate:
    """Return a series' number: a run's own with its interval over problems, or the mean over seeds with theirs."""
    estimates = [of(run) for run in one.runs]
    if not one.over_seeds:
        return estimates[0]
    if not all(e.known for e in estimates):
        return Estimate()
    return Estimate.over([e.value for e in estimates])


def smooth(points: Sequence[Point], width: int) -> list[Point]:
    """Return centred means over `width` points, fewer at the ends."""
    values, half = [e.value for _, e in points], width // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [(x, Estimate(value=sum(part) / len(part))) for (x, _), part in zip(points, parts, strict=True)]


def draw_line(
    axes: Any, points: Sequence[Point], place: int, *, scale: float = 1.0, marked: bool = False, **options: Any
) -> Any:
    """Draw points as a line with its band, in the look of its place. Returns the line; None without points."""
    if not points:
        return None
    look = canvas.look(place)
    look |= options if marked else {"marker": "", **options}
    x = [p[0] for p in points]
    (line,) = axes.plot(x, [scale * e.value for _, e in points], **look)
    if any(e.bounded for _, e in points):
        low, high = ([scale * getattr(e, end) for _, e in points] for end in ("low", "high"))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.16 * look.get("alpha", 1.0), lw=0)
    return line


def _draw_curves(axes: Any, drawn: Sequence[Series], points_of: PointsOf, *, scale: float, **options: Any) -> None:
    """Draw the curve of every series with its marker, and keep percentages within what a share can be."""
    for one in drawn:
        draw_line(axes, curve_of(one, points_of), one.place, scale=scale, marked=True, **options)
    if scale == 100:
        canvas.percent_axis(axes)


def _draw_mean(axes: Any, one: Series, metric: str, **options: Any) -> None:
    """Draw a metric without its intervals: a pale line beside a strong one needs none."""
    points = [(x, Estimate(value=e.value)) for x, e in curve_of(one, recorded(metric))]
    draw_line(axes, points, one.place, **options)


def _legend(figure: Any, drawn: Sequence[Series | str], further: Sequence[tuple[str, dict[str, Any]]] = ()) -> Any:
    """Put one legend under all panels, where there is more to tell apart than one curve. Returns the figure."""
    named = [(one, place) if isinstance(one, str) else (one.name, one.place) for place, one in enumerate(drawn)]
    own = [(short(name), canvas.look(place)) for name, place in named] if len(named) > 1 else []
    canvas.legend(figure, [*own, *further])
    return figure


def short(name: str, limit: int = 34) -> str:
    """Return a name for a legend: one line, not hidden by matplotlib's leading underscore, its end kept."""
    shown = "".join(c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else "·" for c in name)
    shown = shown if len(shown) <= limit else "…" + shown[-limit + 1 :]
    return f" {shown}" if shown.startswith("_") else shown


def _label_pair(left: Any, right: Any, titles: tuple[str, str], left_label: str) -> None:
    """Label a panel of percentages and a panel of lengths, both over steps."""
    left.set(xlabel="step", ylabel=left_label, title=titles[0])
    right.set(xlabel="step", ylabel="length (tokens)", title=titles[1])
    right.set_ylim(bottom=0)
    canvas.percent_axis(left)


# -- figures of runs -----------------------------------------------------------------------------------------------

#: The look of what came before, beside a solid line for after.
DASHED = (0, (4, 1.5))


def _accuracy_and_length(drawn: Sequence[Series]) -> Any:
    figure, (left, right) = canvas.sheet(1, 2)
    for one in drawn:
        pale = {"alpha": 0.35, "lw": 0.8, "zorder": 1.5}
        _draw_mean(left, one, "accuracy/mean", scale=100, **pale)
        _draw_mean(right, one, "length/mean", **pale)
        # Of many evaluations every so-manieth has a marker, so that markers do not hide the line.
        every = max(1, max(len(run.evaluations) for run in one.runs) // 12)
        strong: dict[str, Any] = {"marked": True, "markevery": every}
        draw_line(left, curve_of(one, evaluated(lambda e: e.accuracy)), one.place, scale=100, **strong)
        draw_line(right, curve_of(one, evaluated(lambda e: e.length)), one.place, **strong)
    if not left.lines and not right.lines:
        return None
    _label_pair(left, right, ("Accuracy", "Response length"), "accuracy (%)")
    looks: list[tuple[str, Any]] = [
        ("held-out", {"marker": "o", "lw": 1.4}),
        ("training samples", {"lw": 0.8, "alpha": 0.45}),
    ]
    return _legend(figure, drawn, looks)


def _clip_and_stopped(drawn: Sequence[Series]) -> Any:
    figure, (left, right) = canvas.sheet(1, 2)
    for one in drawn:

        def clipped(run: ReportedRun) -> list[Point]:
            return [(x, run.clip_ratio.get(int(x), Estimate(value=v))) for x, v in run.curve("length/clip_ratio")]

        draw_line(left, curve_of(one, clipped), one.place, scale=100, lw=1.1)
        _draw_mean(right, one, "length/mean", alpha=0.4, lw=1.0)
        draw_line(right, curve_of(one, recorded("length/mean_stopped")), one.place, linestyle=DASHED)
    if not left.lines and not right.lines:
        return None
    left.set_ylim(bottom=0, top=max(5.0, left.get_ylim()[1]))
    _label_pair(left, right, ("Truncated responses", "Mean and average stopped length"), "clip ratio (%)")
    looks: list[tuple[str, Any]] = [
        ("mean length", {"alpha": 0.5, "lw": 1.0}),
        ("average stopped length", {"linestyle": DASHED}),
    ]
    return _legend(figure, drawn, looks)


def _pass_at_k(drawn: Sequence[Series]) -> Any:
    def curve_of_k(evaluation: Evaluated | None) -> list[Point]:
        return [(float(k), e) for k, e in evaluation.pass_at.items()] if evaluation else []

    figure, (axes,) = canvas.sheet(1, 1, width=canvas.COLUMN, height=2.6)
    before = [curve_of(one, lambda run: curve_of_k(run.first)) for one in drawn]
    after = [curve_of(one, lambda run: curve_of_k(run.last)) for one in drawn]
    dashed = {"linestyle": DASHED, "markerfacecolor": "white"}
    for place, points in enumerate(before):
        # Runs of one base model, evaluated with one noise, share a curve: it is drawn once, in no run's colour.
        if points not in before[:place]:
            own = {"color": "#555555", "marker": "o"} if before.count(points) > 1 else {}
            draw_line(axes, points, drawn[place].place, scale=100, marked=True, **dashed, **own)
    for one, points in zip(drawn, after, strict=True):
        draw_line(axes, points, one.place, scale=100, marked=True)
    if not axes.lines:
        return None
    canvas.powers_of_two(axes, sorted({int(k) for points in [*before, *after] for k, _ in points}))
    axes.set(xlabel="k (samples)", ylabel="pass@k (%)")
    canvas.percent_axis(axes)
    return _legend(figure, drawn, [("before", {**dashed, "marker": "o"}), ("after", {"marker": "o"})])


def _by_level(drawn: Sequence[Series]) -> Any:
    names = {level for one in drawn for run in one.runs for e in run.evaluations for level in e.by_level}
    levels = sorted(names, key=level_order)[:24]
    if not levels:
        return None
    width = canvas.TEXT if len(levels) * len(drawn) > 10 else canvas.COLUMN
    figure, (axes,) = canvas.sheet(1, 1, width=width, height=2.4)
    for order, one in enumerate(drawn):
        shift = (order - (len(drawn) - 1) / 2) * 0.8 / len(drawn)
        for last, (x, level) in itertools.product((False, True), enumerate(levels)):

            def accuracy(run: ReportedRun, last: bool = last, level: str = level) -> Estimate:
                evaluation = run.last if last else run.first
                return evaluation.by_level.get(level, Estimate()) if evaluation else Estimate()

            _draw_dot(axes, x + shift, estimate_of(one, accuracy), canvas.look(one.place), filled=last)
    axes.set_xticks(range(len(levels)), [short(level, 12) for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="level", ylabel="accuracy (%)")
    axes.set_ylim(0, 100)
    look = {"marker": "o", "linestyle": ""}
    return _legend(figure, drawn, [("before", {**look, "markerfacecolor": "white"}), ("after", look)])


def _draw_dot(axes: Any, x: float, estimate: Estimate, look: dict[str, Any], *, filled: bool) -> None:
    """Draw a percentage as a dot with its interval; nothing where it has no value."""
    if not estimate.known:
        return
    if estimate.bounded:
        low, high = (100 * min(1.0, max(0.0, end)) for end in (estimate.low, estimate.high))
        axes.vlines(x, low, high, color=look["color"], lw=1.1, alpha=0.7)
    style = {"color": look["color"], "markerfacecolor": look["color"] if filled else "white", "ms": 4.2}
    axes.plot([x], [100 * estimate.value], look["marker"], clip_on=False, zorder=3, **style)


def _behaviours(drawn: Sequence[Series], judges: Mapping[str, Sequence[Judge]]) -> Any:
    """Draw how many responses show each behaviour over steps, a row per judge."""
    names = list(dict.fromkeys(judge.name for members in judges.values() for judge in members))
    if not names:
        return None
    drawn = [one for one in drawn if any(judges.get(run.label) for run in one.runs)]
    figure, grid = canvas.sheet(len(names), len(BEHAVIOURS), height=1.7)
    for axes, (name, behaviour) in zip(grid, itertools.product(names, BEHAVIOURS), strict=True):

        def points(run: ReportedRun, name: str = name, behaviour: str = behaviour) -> list[Point]:
            curves = [judge.curves[behaviour] for judge in judges.get(run.label, ()) if judge.name == name]
            return list(curves[0]) if curves else []

        _draw_curves(axes, drawn, points, scale=100)
        axes.set_ylim(bottom=0)
        axes.set(
            title=behaviour.replace("_", " ").capitalize() if name == names[0] else "",
            ylabel=f"{short(name, 22)}\n% of responses" if behaviour == BEHAVIOURS[0] else "",
            xlabel="step" if name == names[-1] else "",
        )
    return _legend(figure, drawn)


def _exploration(drawn: Sequence[Series], explored: Mapping[str, Explored]) -> Any:
    if not explored:
        return None
    drawn = [one for one in drawn if any(run.label in explored for run in one.runs)]
    figure, grid = canvas.sheet(2, 3, height=1.6)
    for place, (axes, (role, (title, unit, factor))) in enumerate(zip(grid, ROLES.items(), strict=True)):

        def points(run: ReportedRun, role: str = role) -> list[Point]:
            return list(explored[run.label].curves[role]) if run.label in explored else []

        _draw_curves(axes, drawn, points, scale=factor, ms=2.8)
        axes.set(title=title, ylabel=unit, xlabel="step" if place > 2 else "")
    return _legend(figure, drawn)


def _training(drawn: Sequence[Series]) -> Any:
    panels = []
    for panel in TEXTS["training"]:
        points_of = recorded(panel["metric"], panel.get("of", ()))
        curves = [(one, curve_of(one, points_of)) for one in drawn]
        values = [e.value for _, points in curves for _, e in points]
        if values and not (panel.get("hide_zero") and not any(values)):
            panels.append((panel, curves))
    if not panels:
        return None
    columns = 3
    figure, grid = canvas.sheet(-(-len(panels) // columns), columns, height=1.5)
    last = max(points[-1][0] for _, curves in panels for _, points in curves if points)
    for axes, (panel, curves) in zip(grid, panels, strict=False):
        factor = 100 if panel["unit"].startswith("%") else 1
        for one, points in curves:
            width = max(1, len(points) // 15)
            if width > 2 and not one.over_seeds:
                draw_line(axes, points, one.place, scale=factor, alpha=0.25, lw=0.6)
                points = smooth(points, width)
            draw_line(axes, points, one.place, scale=factor, lw=1.2)
        axes.set(title=panel["title"], ylabel=panel["unit"], xlim=(0, last))
        if factor == 100:
            canvas.percent_axis(axes)
    for place, axes in enumerate(grid):
        if place >= len(panels):
            axes.set_axis_off()
        elif place + columns >= len(panels):
            axes.set_xlabel("step")
    return _legend(figure, drawn)


# -- figures of results --------------------------------------------------------------------------------------------


def _benchmarks_over_steps(results: Benchmarks) -> Any:
    """Draw accuracy and length of the runs with several evaluated checkpoints, a line per run and benchmark."""
    lines: dict[str, list[tuple[float, Any]]] = {}
    for row in results.table.values():
        for name, result in row.items():
            if result.step is not None:
                run = result.label.rpartition("@")[0] or result.label
                lines.setdefault(f"{run}, {name}", []).append((float(result.step), result.figures))
    lines = {name: sorted(points, key=lambda p: p[0]) for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure, (left, right) = canvas.sheet(1, 2)
    for place, points in enumerate(lines.values()):
        for axes, figure_name, scale in ((left, "acc", 100), (right, "tokens", 1)):
            curve = [(x, e) for x, figures in points if (e := Estimate.of(figures.get(figure_name))).known]
            draw_line(axes, curve, place, scale=scale, marked=True)
    _label_pair(left, right, ("Accuracy", "Response length"), "accuracy (%)")
    return _legend(figure, list(lines))


def _benchmarks_pass_at_k(results: Benchmarks) -> Any:
    """Draw a panel per benchmark with several samples, a line per row of the table."""
    rows = results.table.values()
    names = [n for n in results.names if any(n in row and len(row[n].figures["pass@k"]) > 1 for row in rows)]
    if not names:
        return None
    columns = min(3, len(names))
    width = canvas.COLUMN if columns == 1 else canvas.TEXT
    figure, grid = canvas.sheet(-(-len(names) // columns), columns, width=width, height=2.2)
    for axes, name in zip(grid, names, strict=False):
        ks: set[int] = set()
        for place, row in enumerate(rows):
            points = pass_at(row[name].figures) if name in row else {}
            draw_line(axes, [(float(k), e) for k, e in points.items()], place, scale=100, marked=True)
            ks |= points.keys()
        canvas.powers_of_two(axes, sorted(ks))
        axes.set(title=short(name), xlabel="k (samples)", ylabel="pass@k (%)")
        canvas.percent_axis(axes)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    return _legend(figure, list(results.table))
