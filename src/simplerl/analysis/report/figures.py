"""The figures of a report. Each is drawn once and given as PNG (the page, slides) and PDF (a paper).

A run, or a setting over at least three seeds, has one colour, marker and line style in all of them. Bands and bars are
95% intervals: over problems for one run, over seeds (Student's t) for a setting.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.report.benchmarks import Benchmarks, estimate
from simplerl.analysis.report.exploring import ROLES, Explored, best
from simplerl.analysis.report.judged import Judge
from simplerl.analysis.report.reading import level_order
from simplerl.analysis.report.records import Estimate, Evaluation, Run
from simplerl.analysis.report.settings import Series
from simplerl.analysis.seeds import band, interval
from simplerl.runs.behaviours import BEHAVIOURS


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


Point = tuple[float, Estimate]


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


def of_runs(
    drawn: Sequence[Series],
    *,
    explored: Mapping[str, Explored | str] | None = None,
    judges: Mapping[str, Sequence[Judge] | str] | None = None,
) -> list[Drawing]:
    """Return the figures of runs, in the report's order. `explored` and `judges` are by the run's label."""
    explored, judges = explored or {}, judges or {}
    known = {label: found for label, found in explored.items() if isinstance(found, Explored)}
    return [
        Drawing(
            name="accuracy_and_length",
            title="Accuracy and response length against steps",
            caption="SimpleRL-Zoo's Figure 1. Strong lines with markers: held-out problems with 95% intervals; pale "
            "lines: the training samples of each step.",
            draw=lambda: _accuracy_and_length(drawn),
        ),
        Drawing(
            name="clip_ratio_and_stopped_length",
            title="Clip ratio and average stopped length",
            caption="Training samples. Left: share of responses cut at the token limit, with 95% bands over the "
            "problems of each step. Right: mean length of all responses (pale) and of those that ended by themselves "
            "(strong, dashed). A mean that rises while the stopped length does not is growth by responses that never "
            "end.",
            draw=lambda: _clip_and_stopped(drawn),
        ),
        Drawing(
            name="pass_at_k",
            title="pass@k before and after",
            caption="Held-out problems with 95% intervals; dashed and hollow: before training, solid: after the last "
            "evaluation. A gain at the largest k is more than re-ranking what the base model samples anyway.",
            draw=lambda: _pass_at_k(drawn),
        ),
        Drawing(
            name="by_level",
            title="Accuracy by level",
            caption="Held-out problems with 95% intervals; hollow: before training, filled: after the last evaluation.",
            draw=lambda: _by_level(drawn),
        ),
        Drawing(
            name="behaviours",
            title="Reasoning behaviours over steps",
            caption="Share of judged responses that show each behaviour, with 95% intervals over problems. One row per "
            "judge; `keywords` matches words and is the weaker one.",
            draw=lambda: _behaviours(drawn, {label: v for label, v in judges.items() if not isinstance(v, str)}),
        ),
        Drawing(
            name="exploration",
            title="Exploration and exploitation over steps",
            caption=_exploration_caption(known),
            draw=lambda: _exploration(drawn, known),
        ),
        Drawing(
            name="training",
            title="Training metrics",
            caption="One value per step (docs/metrics.md says what each is). Strong lines: means of the steps around "
            "each; pale: the steps themselves.",
            draw=lambda: _training(drawn),
        ),
    ]


# -- curves --------------------------------------------------------------------------------------------------------


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


def _marker(place: int) -> str:
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


# -- figures -------------------------------------------------------------------------------------------------------


def _accuracy_and_length(drawn: Sequence[Series]) -> Any:
    figure, (left, right) = canvas.sheet(1, 2)
    for one in drawn:
        pale = {"alpha": 0.35, "lw": 0.8, "zorder": 1.5}
        draw_line(left, _means(curve_of(one, recorded("accuracy/mean"))), one.place, scale=100, **pale)
        draw_line(right, _means(curve_of(one, recorded("length/mean"))), one.place, **pale)
        strong = {"marker": _marker(one.place), "markevery": _every(one)}
        held_out = curve_of(one, lambda run: evaluated(run, lambda e: e.accuracy))
        draw_line(left, held_out, one.place, scale=100, **strong)
        draw_line(right, curve_of(one, lambda run: evaluated(run, lambda e: e.length)), one.place, **strong)
    if not left.lines and not right.lines:
        return None
    left.set(xlabel="step", ylabel="accuracy (%)", title="Accuracy")
    right.set(xlabel="step", ylabel="length (tokens)", title="Response length")
    canvas.percent_axis(left)
    right.set_ylim(bottom=0)
    held = {"marker": "o", "lw": 1.4}
    legend(figure, drawn, [("held-out", held), ("training samples", {"lw": 0.8, "alpha": 0.45})])
    return figure


def _means(points: Sequence[Point]) -> list[Point]:
    """Return points without their intervals: a pale line beside a strong one needs none."""
    return [(x, Estimate(value=e.value)) for x, e in points]


def _every(one: Series) -> int:
    """Return how many points a marker stands for, so that markers do not hide a line of many evaluations."""
    return max(1, max(len(run.evaluations) for run in one.runs) // 12)


def _clip_and_stopped(drawn: Sequence[Series]) -> Any:
    figure, (left, right) = canvas.sheet(1, 2)
    for one in drawn:
        by_step = {step.step: step.clip_ratio for run in one.runs for step in run.training}

        def clipped(run: Run, by_step: Mapping[int, Estimate] = by_step) -> list[Point]:
            return [(x, by_step.get(int(x), Estimate(value=v))) for x, v in run.curve("length/clip_ratio")]

        draw_line(left, curve_of(one, clipped), one.place, scale=100, lw=1.1)
        draw_line(right, _means(curve_of(one, recorded("length/mean"))), one.place, alpha=0.4, lw=1.0)
        draw_line(right, curve_of(one, recorded("length/mean_stopped")), one.place, linestyle=(0, (4, 1.5)))
    if not left.lines and not right.lines:
        return None
    left.set(xlabel="step", ylabel="clip ratio (%)", title="Truncated responses")
    left.set_ylim(bottom=0, top=max(5.0, left.get_ylim()[1]))
    canvas.percent_axis(left)
    right.set(xlabel="step", ylabel="length (tokens)", title="Mean and average stopped length")
    right.set_ylim(bottom=0)
    lines = [("mean length", {"alpha": 0.5, "lw": 1.0}), ("average stopped length", {"linestyle": (0, (4, 1.5))})]
    legend(figure, drawn, lines)
    return figure


#: Look of what several runs share.
SHARED = {"color": "#555555", "marker": "o"}


def _passed(evaluation: Evaluation | None) -> list[Point]:
    return [(float(k), e) for k, e in evaluation.pass_at.items()] if evaluation else []


def _pass_at_k(drawn: Sequence[Series]) -> Any:
    figure, (axes,) = canvas.sheet(1, 1, width=canvas.COLUMN, height=2.6)
    before = [curve_of(one, lambda run: _passed(run.first)) for one in drawn]
    after = [curve_of(one, lambda run: _passed(run.last)) for one in drawn]
    dashed = {"linestyle": (0, (4, 1.5)), "markerfacecolor": "white"}
    for place, points in enumerate(before):
        # Runs of one base model, evaluated with one noise, have one curve: it is drawn once, in nobody's colour.
        if points not in before[:place]:
            own = {"marker": _marker(drawn[place].place)} if before.count(points) == 1 else SHARED
            draw_line(axes, points, drawn[place].place, scale=100, **dashed, **own)
    for one, points in zip(drawn, after, strict=True):
        draw_line(axes, points, one.place, scale=100, marker=_marker(one.place))
    ks = {int(k) for points in [*before, *after] for k, _ in points}
    if not axes.lines:
        return None
    canvas.powers_of_two(axes, sorted(ks))
    axes.set(xlabel="k (samples)", ylabel="pass@k (%)")
    canvas.percent_axis(axes)
    legend(figure, drawn, [("before", {**dashed, "marker": "o"}), ("after", {"marker": "o"})])
    return figure


def _by_level(drawn: Sequence[Series]) -> Any:
    found = {level for one in drawn for run in one.runs for e in run.evaluations for level in e.by_level}
    levels = sorted(found, key=level_order)[:24]
    if not levels:
        return None
    wide = len(levels) * len(drawn) > 10
    figure, (axes,) = canvas.sheet(1, 1, width=canvas.TEXT if wide else canvas.COLUMN, height=2.4)
    step = 0.8 / len(drawn)
    for order, one in enumerate(drawn):
        shift = (order - (len(drawn) - 1) / 2) * step
        for last in (False, True):
            for x, level in enumerate(levels):
                estimate = estimate_of(one, lambda run, last=last, level=level: _level(run, level, last=last))
                if estimate.known:
                    _dot(axes, x + shift, estimate, one.place, filled=last)
    axes.set_xticks(range(len(levels)), [short(level, 12) for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="level", ylabel="accuracy (%)")
    axes.set_ylim(0, 100)
    look = {"marker": "o", "linestyle": ""}
    legend(figure, drawn, [("before", {**look, "markerfacecolor": "white"}), ("after", look)])
    return figure


def _level(run: Run, level: str, *, last: bool) -> Estimate:
    evaluation = run.last if last else run.first
    return evaluation.by_level.get(level, Estimate()) if evaluation else Estimate()


def _dot(axes: Any, x: float, estimate: Estimate, place: int, *, filled: bool) -> None:
    """Draw a percentage as a dot with its interval."""
    look = canvas.look(place)
    if estimate.bounded:
        low, high = (min(1.0, max(0.0, end)) for end in (estimate.low, estimate.high))
        axes.vlines(x, 100 * low, 100 * high, color=look["color"], lw=1.1, alpha=0.7)
    face = look["color"] if filled else "white"
    axes.plot(
        [x],
        [100 * estimate.value],
        look["marker"],
        color=look["color"],
        markerfacecolor=face,
        ms=4.2,
        clip_on=False,
        zorder=3,
    )


def _behaviours(drawn: Sequence[Series], judges: Mapping[str, Sequence[Judge]]) -> Any:
    names = list(dict.fromkeys(judge.name for found in judges.values() for judge in found))
    if not names:
        return None
    figure, grid = canvas.sheet(len(names), len(BEHAVIOURS), height=1.7)
    places = itertools.product(names, BEHAVIOURS)
    for axes, (name, behaviour) in zip(grid, places, strict=True):
        for one in drawn:

            def points(run: Run, name: str = name, behaviour: str = behaviour) -> list[Point]:
                found = [judge for judge in judges.get(run.label, ()) if judge.name == name]
                return list(found[0].curves[behaviour]) if found else []

            draw_line(axes, curve_of(one, points), one.place, scale=100, marker=_marker(one.place))
        if name == names[0]:
            axes.set_title(behaviour.replace("_", " ").capitalize())
        if behaviour == BEHAVIOURS[0]:
            axes.set_ylabel(f"{short(name, 22)}\n% of responses")
        if name == names[-1]:
            axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        canvas.percent_axis(axes)
    legend(figure, drawn)
    return figure


def _exploration_caption(explored: Mapping[str, Explored]) -> str:
    counts = sorted({found.samples for found in explored.values()})
    sizes = " and ".join(f"K = {k}, S = {best(k)}" for k in counts)
    return (
        "Held-out problems with 95% intervals. Exploration: Pass@K, Pass@K-2 (at least two unique right responses among "
        f"K), different answers and responses. Exploitation: Reward@K-S (the S best of K are all right; {sizes}). "
        "The query effect is B-STaR's balance of both (arXiv 2412.17256)."
    )


def _exploration(drawn: Sequence[Series], explored: Mapping[str, Explored]) -> Any:
    if not explored:
        return None
    figure, grid = canvas.sheet(2, 3, height=1.6)
    for place, (axes, (role, (title, unit, factor))) in enumerate(zip(grid, ROLES.items(), strict=True)):
        for one in drawn:
            points = curve_of(
                one, lambda run, role=role: list(explored[run.label].curves[role]) if run.label in explored else []
            )
            draw_line(axes, points, one.place, scale=factor, marker=_marker(one.place), ms=2.8)
        axes.set(title=title, ylabel=unit, xlabel="step" if place > 2 else "")
        if factor == 100:
            canvas.percent_axis(axes)
    legend(figure, drawn)
    return figure


#: Panels of the training metrics: title, unit, metric, factor. Those that no run recorded are left out.
TRAINING: tuple[tuple[str, str, str, float], ...] = (
    ("Mean reward", "reward", "reward/mean", 1),
    ("Entropy", "nats per token", "policy/entropy", 1),
    ("KL to the reference", "nats per token", "policy/kl", 1),
    ("Mixed groups", "% of problems", "groups/mixed", 100),
    ("All-right groups", "% of problems", "groups/all_right", 100),
    ("All-wrong groups", "% of problems", "groups/all_wrong", 100),
    ("Useful tokens", "% of sampled", "useful share", 100),
    ("No final answer", "% of responses", "no answer share", 100),
    ("Gradient norm", "before clipping", "optimizer/grad_norm", 1),
    ("Clipped tokens", "% of scored", "policy/clip_fraction", 100),
    ("Sampler to trainer, KL", "nats per token", "policy/mismatch_kl", 1),
    ("Critic's explained variance", "share", "critic/explained_variance", 1),
    ("Imitation loss", "nats per token", "sft/loss", 1),
    ("Throughput", "tokens per second", "throughput/tokens_per_second", 1),
)

#: Metrics whose panel says nothing where they are 0 throughout, as the clip is in on-policy updates.
WHERE_NOT_ZERO = ("policy/clip_fraction",)


def _training(drawn: Sequence[Series]) -> Any:
    panels = []
    for title, unit, metric, factor in TRAINING:
        curves = [(one, curve_of(one, _metric(metric))) for one in drawn]
        silent = metric in WHERE_NOT_ZERO and _flat(curves)
        if any(points for _, points in curves) and not silent:
            panels.append((title, unit, factor, curves))
    if not panels:
        return None
    columns = 3
    figure, grid = canvas.sheet(-(-len(panels) // columns), columns, height=1.5)
    for axes, (title, unit, factor, curves) in zip(grid, panels, strict=False):
        for one, points in curves:
            width = max(1, len(points) // 15)
            if width > 2 and not one.over_seeds:
                draw_line(axes, points, one.place, scale=factor, alpha=0.25, lw=0.6)
                points = smooth(points, width)
            draw_line(axes, points, one.place, scale=factor, lw=1.2)
        axes.set(title=title, ylabel=unit)
        axes.set_xlim(0, max(points[-1][0] for _, _, _, all_of in panels for _, points in all_of if points))
        if factor == 100:
            canvas.percent_axis(axes)
    for place, axes in enumerate(grid):
        if place >= len(panels):
            axes.set_axis_off()
        elif place + columns >= len(panels):
            axes.set_xlabel("step")
    legend(figure, drawn)
    return figure


def _metric(name: str) -> Callable[[Run], list[Point]]:
    """Return what gives the points of a metric, or of a share that is made of two."""
    if name == "useful share":
        return lambda run: _ratio(run, ("tokens/useful",), ("tokens/sampled",))
    if name == "no answer share":
        counts = tuple(f"verdict/{v}" for v in ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error"))
        return lambda run: _ratio(run, ("verdict/no_answer",), counts)
    return recorded(name)


def _ratio(run: Run, above: Sequence[str], below: Sequence[str]) -> list[Point]:
    found = []
    for line in run.lines:
        of = sum(line.get(name, 0.0) for name in below)
        if line["step"] > 0 and of > 0 and all(name in line for name in above):
            found.append((line["step"], Estimate(value=sum(line[name] for name in above) / of)))
    return found


def _flat(curves: Sequence[tuple[Series, Sequence[Point]]]) -> bool:
    """Return whether a metric is 0 throughout."""
    return all(e.value == 0 or math.isnan(e.value) for _, points in curves for _, e in points)


# -- results of `simplerl eval` ------------------------------------------------------------------------------------


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
                run = result.model.rpartition("@")[0] or result.model
                lines.setdefault(f"{run}, {name}", []).append((float(step), result.figures))
    lines = {name: sorted(points, key=lambda p: p[0]) for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure, (left, right) = canvas.sheet(1, 2)
    handles = {}
    for place, (name, points) in enumerate(lines.items()):
        marker = {"marker": _marker(place)}
        accuracy = [(x, e) for x, f in points if (e := estimate(f["acc"])).known]
        length = [(x, e) for x, f in points if (e := estimate(f.get("tokens"))).known]
        handles[short(name)] = draw_line(left, accuracy, place, scale=100, **marker)
        draw_line(right, length, place, **marker)
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
                draw_line(axes, points, place, scale=100, marker=_marker(place))
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
