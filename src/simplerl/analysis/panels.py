"""Several settings beside each other: curves with bands and bars with intervals, over seeds."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.analysis import canvas
from simplerl.analysis.seeds import Band, Interval
from simplerl.runs.files import write_atomic
from simplerl.runs.metrics import as_number

#: Names of a legend that leave the lines of a panel to be seen.
MOST_IN_A_PANEL = 7


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One part of a comparison's plot. `lines` are drawn with bands, `bars` with error bars and a dot per seed."""

    title: str
    ylabel: str
    xlabel: str = ""
    lines: Mapping[str, Band] = field(default_factory=dict)
    dashed: Mapping[str, Band] = field(default_factory=dict)
    """Drawn dashed in the colour of the line of that name: where it came from."""
    bars: Mapping[str, tuple[Interval, Sequence[float]]] = field(default_factory=dict)
    scale: float = 1.0
    """What values are multiplied with: 100 for shares."""
    log_x: bool = False


def plot_panels(
    panels: Sequence[Panel], output: Path, *, title: str, note: str = "", dpi: int = 72, shared: bool = True
) -> None:
    """Draw panels side by side, three in a row, with a note under them.

    A name has one colour throughout; not `shared`: each panel has names, and so colours, of its own. More names than a
    panel has room for stand beside them once.
    """

    def colours_of(panels: Sequence[Panel]) -> dict[str, Any]:
        return canvas.colours(list(dict.fromkeys(name for panel in panels for name in (*panel.lines, *panel.bars))))

    colours = colours_of(panels)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    beside = shared and len(colours) > MOST_IN_A_PANEL
    with canvas.paper_style():
        figure, grid = canvas.sheet(rows, columns, width=4.2 * columns, height=3.4 + 0.7 / rows)
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel, colours if shared else colours_of([panel]), legend=not beside)
        if beside:
            labelled = {label: line for a in grid for line, label in zip(*a.get_legend_handles_labels(), strict=True)}
            figure.legend(labelled.values(), labelled.keys(), loc="outside right center")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=11)
        if note:
            figure.supxlabel(textwrap.fill(note, 55 * columns), fontsize=8, color="#555555")
        write_atomic(output, canvas.image(figure, "png", dpi=dpi))


def band_of(x: Sequence[float], figures: Sequence[Mapping[str, Any]]) -> Band:
    """Return figures {value, low, high} at each x as a curve with its band."""
    ends = {"mean": "value", "low": "low", "high": "high"}
    return Band(x=list(x), **{end: [as_number(figure[key]) for figure in figures] for end, key in ends.items()})


def _draw(axes: Any, panel: Panel, colours: Mapping[str, Any], *, legend: bool = True) -> None:
    def scaled(values: Sequence[float]) -> list[float]:
        return [panel.scale * value for value in values]

    for name, line in panel.lines.items():
        alone = "o" if len(line.x) == 1 else None  # A line through one point is nothing to see.
        axes.plot(line.x, scaled(line.mean), color=colours[name], label=name, lw=1.5, marker=alone)
        axes.fill_between(line.x, scaled(line.low), scaled(line.high), color=colours[name], alpha=0.12, lw=0)
    for name, line in panel.dashed.items():
        axes.plot(line.x, scaled(line.mean), color=colours[name], ls="--", lw=1.2)
        axes.fill_between(line.x, scaled(line.low), scaled(line.high), color=colours[name], alpha=0.08, lw=0)
    for position, (name, (mean, values)) in enumerate(panel.bars.items()):
        axes.bar(position, panel.scale * mean.mean, color=colours[name], alpha=0.6, width=0.7, label=name)
        if mean.n > 1:
            axes.vlines(position, panel.scale * mean.low, panel.scale * mean.high, color="#333333", lw=1.2)
        axes.plot([position] * len(values), scaled(values), "o", ms=3, color="#333333")
    if panel.bars:
        steep = 20 if len(panel.bars) <= MOST_IN_A_PANEL else 60
        axes.set_xticks(range(len(panel.bars)), list(panel.bars), rotation=steep, ha="right", fontsize=8)
    if panel.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    if panel.scale == 100:
        canvas.percent_axis(axes)
    if panel.lines and legend:
        axes.legend()
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
