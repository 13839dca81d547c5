"""Small multiples over steps: behaviours, exploration and exploitation, and the metrics of training."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.report.drawing import Point, curve_of, draw_line, legend, marker, recorded, short, smooth
from simplerl.analysis.report.exploring import ROLES, Explored, best
from simplerl.analysis.report.judged import Judge
from simplerl.analysis.report.records import Estimate, Run
from simplerl.analysis.report.settings import Series
from simplerl.runs.behaviours import BEHAVIOURS


def behaviours(drawn: Sequence[Series], judges: Mapping[str, Sequence[Judge]]) -> Any:
    """Draw how many responses show each behaviour over steps, a row per judge; None where nobody judged."""
    names = list(dict.fromkeys(judge.name for found in judges.values() for judge in found))
    if not names:
        return None
    drawn = [one for one in drawn if any(judges.get(run.label) for run in one.runs)]
    figure, grid = canvas.sheet(len(names), len(BEHAVIOURS), height=1.7)
    places = itertools.product(names, BEHAVIOURS)
    for axes, (name, behaviour) in zip(grid, places, strict=True):
        for one in drawn:

            def points(run: Run, name: str = name, behaviour: str = behaviour) -> list[Point]:
                found = [judge for judge in judges.get(run.label, ()) if judge.name == name]
                return list(found[0].curves[behaviour]) if found else []

            draw_line(axes, curve_of(one, points), one.place, scale=100, marker=marker(one.place))
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


def exploration_caption(explored: Mapping[str, Explored]) -> str:
    counts = sorted({found.samples for found in explored.values()})
    sizes = " and ".join(f"K = {k}, S = {best(k)}" for k in counts)
    return (
        "Held-out problems with 95% intervals. Exploration: Pass@K, Pass@K-2 (at least two unique right responses "
        f"among K), different answers and responses. Exploitation: Reward@K-S (the S best of K are right; {sizes}). "
        "The query effect is B-STaR's balance of both (arXiv 2412.17256)."
    )


def exploration(drawn: Sequence[Series], explored: Mapping[str, Explored]) -> Any:
    """Draw exploration and exploitation over steps; None where no run has evaluations to tell."""
    if not explored:
        return None
    drawn = [one for one in drawn if any(run.label in explored for run in one.runs)]
    figure, grid = canvas.sheet(2, 3, height=1.6)
    for place, (axes, (role, (title, unit, factor))) in enumerate(zip(grid, ROLES.items(), strict=True)):
        for one in drawn:
            points = curve_of(
                one, lambda run, role=role: list(explored[run.label].curves[role]) if run.label in explored else []
            )
            draw_line(axes, points, one.place, scale=factor, marker=marker(one.place), ms=2.8)
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


def training(drawn: Sequence[Series]) -> Any:
    """Draw the metrics of training over steps, those left out that none recorded; None where there are none."""
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
