"""How exploration and exploitation look: panels over steps, or against k and S where there is one evaluation."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.exploration import Exploration, Point
from simplerl.analysis.panels import Panel, plain, plot_panels
from simplerl.analysis.seeds import Band

DIVERSITY = {
    "unique_responses": "unique responses",
    "distinct_2": "distinct-2",
    "distinct_equations": "distinct equations",
    "similarity": "similarity of pairs",
}


def plot_exploration(found: Exploration, output: Path) -> None:
    """Draw every figure with its 95% interval over problems."""
    steps = [point for point in found.points if point.step is not None]
    panels = _over_steps(found, steps) if len({point.step for point in steps}) > 1 else _at_once(found.points[-1])
    most = found.points[-1].samples
    plot_panels(
        panels,
        output,
        title=plain(f"{found.name}: exploration and exploitation"),
        note=f"{found.points[-1].problems} problems × {most} samples, bands: 95% bootstrap intervals over problems",
        dpi=130,
        shared=False,
    )


def _over_steps(found: Exploration, points: Sequence[Point]) -> list[Panel]:
    def lines(prefix: str, shown: Callable[[str], str]) -> dict[str, Band]:
        names = [name for name in points[-1].figures if name.startswith(prefix)]
        return {shown(name): band(points, name) for name in names if any(known(p, name) for p in points)}

    def panel(title: str, lines: Mapping[str, Band], *, share: bool = True) -> Panel:
        return Panel(
            title=title, ylabel="%" if share else "number", xlabel="step", lines=lines, scale=100 if share else 1
        )

    pass_at_k = {name: line for name, line in lines("pass@", str).items() if "-" not in name}
    unique = {name: line for name, line in lines("pass@", str).items() if "-" in name}
    chosen = lines("reward@", str) | lines("likelihood@", str)
    counts = {name: lines(name, str)[name] for name in ("distinct_answers", "distinct_right") if lines(name, str)}
    diversity = {label: line for name, label in DIVERSITY.items() for line in lines(name, str).values()}
    panels = [
        panel("at least one right among k: pass@k", pass_at_k),
        panel("S unique right ones among K: Pass@K-S", unique),
        panel("the best S of K all right", chosen),
        panel("of a problem's samples", {name.replace("_", " "): line for name, line in counts.items()}, share=False),
        panel("diversity", diversity),
    ]
    if used := [(step, used / sampled) for step, sampled, used in found.useful if sampled]:
        x, share = [float(step) for step, _ in used], [share for _, share in used]
        panels.append(panel("training tokens with gradient", {"useful": Band(x=x, mean=share, low=share, high=share)}))
    return [panel for panel in panels if panel.lines]


def _at_once(point: Point) -> list[Panel]:
    """Return panels against k, and against S."""

    def curve(names: Sequence[str]) -> Band:
        figures = [point.figures[name] for name in names]
        x = [float(name.replace("@", "-").rsplit("-", 1)[1]) for name in names]
        return Band(x=x, **{end: [f[key] for f in figures] for end, key in _ENDS.items()})

    plain = [name for name in point.figures if name.startswith("pass@") and "-" not in name and known(point, name)]
    panels = [Panel(title="pass@k", ylabel="%", xlabel="k", lines={"pass@k": curve(plain)}, scale=100, log_x=True)]
    lines = {}
    for prefix in ("pass@", "reward@", "likelihood@"):
        names = [name for name in point.figures if name.startswith(prefix) and "-" in name and known(point, name)]
        if names:
            lines[names[0].rsplit("-", 1)[0] + "-S"] = curve(names)
    if lines:
        panels.append(Panel(title="among K", ylabel="%", xlabel="S", lines=lines, scale=100, log_x=True))
    return panels


_ENDS = {"mean": "value", "low": "low", "high": "high"}


def band(points: Sequence[Point], name: str) -> Band:
    """Return a figure over the steps that have it."""
    there = [point for point in points if known(point, name)]
    return Band(
        x=[float(point.step or 0) for point in there],
        **{end: [point.figures[name][key] for point in there] for end, key in _ENDS.items()},
    )


def known(point: Point, name: str) -> bool:
    """Return whether an evaluation has a value of a figure."""
    figure: Mapping[str, Any] = point.figures.get(name, {"value": math.nan})
    return not math.isnan(figure["value"])
