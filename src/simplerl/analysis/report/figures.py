"""The figures of runs: what was learned, before and after, and what went on while it was.

Each is drawn once and given as PNG (the page, slides) and PDF (a paper).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.report import trends
from simplerl.analysis.report.drawing import (
    Drawing,
    Point,
    curve_of,
    draw_line,
    estimate_of,
    evaluated,
    legend,
    marker,
    means,
    recorded,
    short,
)
from simplerl.analysis.report.exploring import Explored
from simplerl.analysis.report.judged import Judge
from simplerl.analysis.report.records import Estimate, Evaluation, Run
from simplerl.analysis.report.responses import level_order
from simplerl.analysis.report.settings import Series


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
            "judge; “keywords” matches words and is the weaker one.",
            draw=lambda: trends.behaviours(drawn, {label: v for label, v in judges.items() if not isinstance(v, str)}),
        ),
        Drawing(
            name="exploration",
            title="Exploration and exploitation over steps",
            caption=trends.exploration_caption(known),
            draw=lambda: trends.exploration(drawn, known),
        ),
        Drawing(
            name="training",
            title="Training metrics",
            caption="One value per step (docs/metrics.md says what each is). Strong lines: means of the steps around "
            "each; pale: the steps themselves.",
            draw=lambda: trends.training(drawn),
        ),
    ]


def _accuracy_and_length(drawn: Sequence[Series]) -> Any:
    figure, (left, right) = canvas.sheet(1, 2)
    for one in drawn:
        pale = {"alpha": 0.35, "lw": 0.8, "zorder": 1.5}
        draw_line(left, means(curve_of(one, recorded("accuracy/mean"))), one.place, scale=100, **pale)
        draw_line(right, means(curve_of(one, recorded("length/mean"))), one.place, **pale)
        strong = {"marker": marker(one.place), "markevery": _every(one)}
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
        draw_line(right, means(curve_of(one, recorded("length/mean"))), one.place, alpha=0.4, lw=1.0)
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
            own = {"marker": marker(drawn[place].place)} if before.count(points) == 1 else SHARED
            draw_line(axes, points, drawn[place].place, scale=100, **dashed, **own)
    for one, points in zip(drawn, after, strict=True):
        draw_line(axes, points, one.place, scale=100, marker=marker(one.place))
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
