"""The figures of a report: each is drawn once and given as PNG (the page, slides) and PDF (a paper).

A run, or a setting over at least three seeds, has one colour, marker and line style in all figures. Bands and bars are
95% intervals: over problems for one run, over seeds (Student's t) for a setting.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis import plots as drawing
from simplerl.analysis.estimates import Band, band
from simplerl.analysis.plots import DASHED, PALE, Looks, Panel, band_of, draw_sheet
from simplerl.doctor import spread
from simplerl.markup.text import natural
from simplerl.report.outcomes import ROLES, TEXTS, Benchmarks, Evaluated, Explored, Group, Judge, ReportedRun, best
from simplerl.runs.run import BEHAVIOURS

CurveOf = Callable[[ReportedRun], Band]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A finished figure. `pdf` is None where no files are wanted; a wide one fills a paper's text, not a column."""

    title: str
    caption: str
    wide: bool
    png: bytes
    pdf: bytes | None


def draw_all(
    drawn: Sequence[Group],
    *,
    explored: Mapping[str, Explored | str] | None = None,
    judges: Mapping[str, Sequence[Judge] | str] | None = None,
    benchmarks: Benchmarks | None = None,
    pdf: bool,
) -> dict[str, Figure]:
    """Return name → figure, in the report's order, without those that have nothing to show.

    `explored` and `judges` are by the run's label.
    """
    known = {label: entry for label, entry in (explored or {}).items() if not isinstance(entry, str)}
    judged = {label: entry for label, entry in (judges or {}).items() if not isinstance(entry, str)}
    sizes = " and ".join(f"K = {k}, S = {best(k)}" for k in sorted({entry.samples for entry in known.values()}))
    of_runs = (_accuracy_and_length, _clip_ratio_and_stopped_length, _pass_at_k)
    draw: dict[str, Callable[[], Any]] = {f.__name__[1:]: functools.partial(f, drawn) for f in of_runs if drawn}
    parts = {"by_level": "level", "by_source": "domain"} if drawn else {}
    draw |= {name: functools.partial(_accuracy_by, drawn, name, label) for name, label in parts.items()}
    draw["behaviours"] = functools.partial(_behaviours, drawn, judged)
    draw["exploration"] = functools.partial(_exploration, drawn, known)
    draw["self_training"] = functools.partial(_self_training, drawn)
    draw["surface"] = functools.partial(_surface, drawn)
    draw["training"] = functools.partial(_training, drawn)
    of_results = (_benchmarks_over_steps, _benchmarks_pass_at_k)
    draw |= {f.__name__[1:]: functools.partial(f, benchmarks) for f in of_results if benchmarks}
    figures = {}
    for name, sheet_of in draw.items():
        title, caption = (TEXTS["figures"][name][key].replace("{sizes}", sizes) for key in ("title", "caption"))
        with drawing.paper_style():
            if (sheet := sheet_of()) is not None:
                wide = sheet.get_figwidth() > drawing.COLUMN
                png, file = drawing.image(sheet, "png"), drawing.image(sheet, "pdf") if pdf else None
                figures[name] = Figure(title=title, caption=caption, wide=wide, png=png, pdf=file)
    return figures


# -- curves --------------------------------------------------------------------------------------------------------


def evaluated(name: str) -> CurveOf:
    """Return what gives a figure of every evaluation that has it."""
    return lambda run: band_of([(float(e.step), e.source.figures.get(name)) for e in run.evaluations])


def recorded(metric: str, of: Sequence[str] = ()) -> CurveOf:
    """Return what gives a metric of every step; with `of` as a share of the sum of these counts."""

    def curve(run: ReportedRun) -> Band:
        counts = [dict(run.curve(name)) for name in of]
        totals = {x: sum(count.get(x, 0.0) for count in counts) if of else 1.0 for x, _ in run.curve(metric)}
        points = [(x, value / totals[x]) for x, value in run.curve(metric) if totals[x] > 0]
        return Band(x=[x for x, _ in points], mean=[value for _, value in points])

    return curve


def curve_of(one: Group, of: CurveOf) -> Band:
    """Return a series' curve: a run's own, or the means over seeds with intervals over seeds.

    A setting has a curve where every seed has one, over the steps that all of them cover; else it is empty.
    """
    curves = [of(run) for run in one.runs]
    if not one.over_seeds:
        return curves[0]
    if not all(curve.x for curve in curves) or max(c.x[0] for c in curves) > min(c.x[-1] for c in curves):
        return Band(x=[], mean=[])
    return band([list(zip(curve.x, curve.mean, strict=True)) for curve in curves])


def by_label(bands: Mapping[str, Band]) -> CurveOf:
    """Return what gives the curve of a run's label, an empty one where there is none."""
    return lambda run: bands.get(run.label, Band(x=[], mean=[]))


def _curves(drawn: Sequence[Group], of: CurveOf) -> dict[str, Band]:
    return {one.name: curve for one in drawn if (curve := curve_of(one, of)).x}


def smooth(curve: Band, width: int) -> Band:
    """Return centred means over `width` points, fewer at the ends, without intervals."""
    half = width // 2
    parts = [curve.mean[max(0, i - half) : i + half + 1] for i in range(len(curve.x))]
    return Band(x=curve.x, mean=[sum(part) / len(part) for part in parts])


def short(name: str, limit: int = 34) -> str:
    """Return a name for a legend: one line, not hidden by matplotlib's leading underscore, its end kept."""
    shown = "".join(c if c.isprintable() else "·" for c in name)
    shown = shown if len(shown) <= limit else "…" + shown[-limit + 1 :]
    return f" {shown}" if shown.startswith("_") else shown


def _sheet(
    drawn: Sequence[Group],
    panels: Sequence[Panel],
    *,
    columns: int,
    height: float = 2.3,
    width: float = drawing.TEXT,
    further: Looks | None = None,
) -> Any:
    """Return a figure of panels; None where nothing is drawn. `further`: what the legend explains beside the series."""
    if not any(panel.lines or panel.dashed or panel.pale for panel in panels):
        return None
    looks = {one.name: drawing.look(one.number) for one in drawn}
    figure, _ = draw_sheet(panels, looks, columns=columns, width=width, height=height)
    # One legend under all panels, where there is more to tell apart than one curve.
    own = {short(name): look for name, look in looks.items()} if len(looks) > 1 else {}
    drawing.legend(figure, {**own, **(further or {})})
    return figure


# -- figures of runs -----------------------------------------------------------------------------------------------

_LENGTH: dict[str, Any] = {"ylabel": "length (tokens)", "xlabel": "step", "from_zero": True}
_SHARE: dict[str, Any] = {"xlabel": "step", "scale": 100}


def _accuracy_and_length(drawn: Sequence[Group]) -> Any:
    of_figures = [_curves(drawn, evaluated(name)) for name in ("acc", "tokens")]
    pale = [_curves(drawn, recorded(f"{name}/mean")) for name in ("accuracy", "length")]
    looks: dict[str, Any] = {"held-out": {"marker": "o", "lw": 1.4}, "training samples": PALE}
    return _two_panels(drawn, of_figures, pale, further=looks)


def _two_panels(drawn: Sequence[Group], lines: Sequence[Any], pale: Sequence[Any], **options: Any) -> Any:
    """Return accuracy beside length over steps."""
    panels = [
        Panel(title="Accuracy", ylabel="accuracy (%)", **_SHARE, lines=lines[0], pale=pale[0], marked=True),
        Panel(title="Response length", **_LENGTH, lines=lines[1], pale=pale[1], marked=True),
    ]
    return _sheet(drawn, panels, columns=2, **options)


def _clip_ratio_and_stopped_length(drawn: Sequence[Group]) -> Any:
    clipped, pale, stopped = (_curves(drawn, recorded(f"length/{n}")) for n in ("clip_ratio", "mean", "mean_stopped"))
    clip: Any = {"ylabel": "clip ratio (%)", "lines": clipped, "from_zero": True}
    panels = [
        Panel(title="Truncated responses", **_SHARE, **clip),
        Panel(title="Mean and average stopped length", **_LENGTH, pale=pale, dashed=stopped),
    ]
    return _sheet(drawn, panels, columns=2, further={"mean length": PALE, "average stopped length": DASHED})


#: The options of a panel of pass@k.
_PASS: dict[str, Any] = {"xlabel": "k (samples)", "ylabel": "pass@k (%)", "scale": 100, "log_x": True, "marked": True}


def _pass_at_k(drawn: Sequence[Group]) -> Any:
    return _before_and_after(drawn, lambda evaluation: evaluation.pass_at_k, **_PASS)


def _accuracy_by(drawn: Sequence[Group], part: str, label: str) -> Any:
    names = {level for one in drawn for run in one.runs for e in run.evaluations for level in e.table(part)}
    levels = sorted(names, key=natural)[:24]
    if not levels:
        return None

    def curve(evaluation: Evaluated) -> Band:
        return band_of([(float(x), evaluation.table(part).get(level)) for x, level in enumerate(levels)])

    options: dict[str, Any] = {"xlabel": label, "ylabel": "accuracy (%)", "scale": 100, "marked": True}
    width = drawing.TEXT if len(levels) > 8 else drawing.COLUMN
    return _before_and_after(drawn, curve, width, **options, ticks=[short(level, 12) for level in levels])


def _before_and_after(
    drawn: Sequence[Group], of: Callable[[Evaluated], Band], width: float = drawing.COLUMN, **panel: Any
) -> Any:
    """Draw a curve of the evaluation before training dashed, and of the last one solid."""

    def curve(evaluation: Evaluated | None) -> Band:
        return of(evaluation) if evaluation else Band(x=[], mean=[])

    before, after = _curves(drawn, lambda run: curve(run.first)), _curves(drawn, lambda run: curve(run.last))
    further: dict[str, Any] = {"before": {**DASHED, "marker": "o"}, "after": {"marker": "o"}}
    panels = [Panel(title="", lines=after, dashed=before, **panel)]
    return _sheet(drawn, panels, columns=1, width=width, height=2.6, further=further)


def _behaviours(drawn: Sequence[Group], judges: Mapping[str, Sequence[Judge]]) -> Any:
    """Draw how many responses show each behaviour over steps, a row per judge."""
    names = list(dict.fromkeys(judge.name for members in judges.values() for judge in members))
    panels = []
    for name, behaviour in itertools.product(names, BEHAVIOURS):
        own = [(label, judge) for label, members in judges.items() for judge in members if judge.name == name]
        lines = _curves(drawn, by_label({label: judge.curves[behaviour] for label, judge in own}))
        title = behaviour.replace("_", " ").capitalize() if name == names[0] else ""
        unit = f"{short(name, 22)}\n% of responses" if behaviour == BEHAVIOURS[0] else ""
        panels.append(Panel(title=title, ylabel=unit, **_SHARE, lines=lines, from_zero=True, marked=True))
    drawn = [one for one in drawn if any(judges.get(run.label) for run in one.runs)]
    return _sheet(drawn, panels, columns=len(BEHAVIOURS), height=1.7)


def _exploration(drawn: Sequence[Group], explored: Mapping[str, Explored]) -> Any:
    drawn = [one for one in drawn if any(run.label in explored for run in one.runs)]
    panels = []
    for role, (title, unit, factor) in ROLES.items():
        lines = _curves(drawn, by_label({label: entry.curves[role] for label, entry in explored.items()}))
        panels.append(Panel(title=title, ylabel=unit, xlabel="step", scale=factor, lines=lines, marked=True))
    return _sheet(drawn, panels, columns=3, height=1.6)


def _self_training(drawn: Sequence[Group]) -> Any:
    panels = []
    for title, metrics in TEXTS["self_training"].items():
        lines = {name: curve for metric in metrics for name, curve in _curves(drawn, recorded(metric)).items()}
        panels.append(Panel(title=title.capitalize(), ylabel=title, xlabel="iteration", lines=lines, marked=True))
    return _sheet(drawn, panels, columns=3, height=1.7)


def _surface(drawn: Sequence[Group]) -> Any:
    """Draw the query effect over the grid, a map for each of up to six searches of the first run that has any."""
    searches = next(filter(None, (run.run.searches for one in drawn for run in one.runs)), [])
    if not searches:
        return None
    chosen = spread(searches, 6)
    columns = min(3, len(chosen))
    figure, panels = drawing.sheet(-(-len(chosen) // columns), columns, height=1.9)
    high = max(point["query_effect"] for each in chosen for point in each["points"])
    for axes, each in itertools.zip_longest(panels, chosen):
        if each is None:
            axes.set_axis_off()
            continue
        xs, ys = (sorted({point[name] for point in each["points"]}) for name in ("temperature", "threshold"))
        grid = [[float("nan")] * len(xs) for _ in ys]
        for point in each["points"]:
            grid[ys.index(point["threshold"])][xs.index(point["temperature"])] = point["query_effect"]
        image = axes.imshow(grid, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=high or 1)
        best_x, best_y = xs.index(each["chosen"]["temperature"]), ys.index(each["chosen"]["threshold"])
        axes.plot([best_x], [best_y], "x", color="white", ms=7, mew=2)
        every_x, every_y = (max(1, -(-len(values) // 6)) for values in (xs, ys))
        axes.set_xticks(range(0, len(xs), every_x), [f"{x:g}" for x in xs[::every_x]])
        axes.set_yticks(range(0, len(ys), every_y), [f"{y:g}" for y in ys[::every_y]])
        axes.grid(visible=False)
        axes.set(title=f"step {each['step']}", xlabel="temperature", ylabel="threshold")
    figure.colorbar(image, ax=panels, label="query effect")
    return figure


def _training(drawn: Sequence[Group]) -> Any:
    panels = []
    for panel in TEXTS["training"]:
        curves = _curves(drawn, recorded(panel["metric"], panel.get("of", ())))
        if panel.get("hide_zero") and not any(value for curve in curves.values() for value in curve.mean):
            continue
        widths = {name: max(1, len(curve.x) // 15) if not curve.low else 1 for name, curve in curves.items()}
        pale = {name: curve for name, curve in curves.items() if widths[name] > 2}
        lines = {name: smooth(curve, widths[name]) if name in pale else curve for name, curve in curves.items()}
        scale = 100 if panel["unit"].startswith("%") else 1
        if lines:
            options: Any = {"xlabel": "step", "scale": scale, "lines": lines, "pale": pale}
            panels.append(Panel(title=panel["title"], ylabel=panel["unit"], **options))
    return _sheet(drawn, panels, columns=3, height=1.5)


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
    of_figures = [
        {name: band_of([(x, figures.get(figure)) for x, figures in points]) for name, points in lines.items()}
        for figure in ("acc", "tokens")
    ]
    return _two_panels(_named(lines), of_figures, ({}, {}))


def _benchmarks_pass_at_k(results: Benchmarks) -> Any:
    """Draw a panel per benchmark with several samples, a line per row of the table."""
    panels = []
    for name in results.names:
        rows = {model: Evaluated(row[name]).pass_at_k for model, row in results.table.items() if name in row}
        if any(len(curve.x) > 1 for curve in rows.values()):
            lines = {model: curve for model, curve in rows.items() if curve.x}
            panels.append(Panel(title=short(name), lines=lines, **_PASS))
    columns = min(3, len(panels))
    width = drawing.COLUMN if columns == 1 else drawing.TEXT
    return _sheet(_named(results.table), panels, columns=columns, width=width, height=2.2)


def _named(names: Iterable[str]) -> list[Group]:
    return [Group(name, (), number) for number, name in enumerate(names)]
