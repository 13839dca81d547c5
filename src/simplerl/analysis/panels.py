"""Several settings beside each other: curves with bands and bars with intervals, over seeds."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.analysis.canvas import percent_axis, pyplot, save
from simplerl.analysis.seeds import Band, Interval

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
    plt = pyplot()

    def colours_of(panels: Sequence[Panel]) -> dict[str, Any]:
        names = list(dict.fromkeys(name for panel in panels for name in (*panel.lines, *panel.bars)))
        palette = plt.get_cmap("tab10" if len(names) <= 10 else "tab20").colors
        return {name: palette[i % len(palette)] for i, name in enumerate(names)}

    colours = colours_of(panels)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(4.2 * columns, 3.4 * rows + 0.7), layout="constrained", squeeze=False
    )
    beside = shared and len(colours) > MOST_IN_A_PANEL
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, colours if shared else colours_of([panel]), legend=not beside)
    if beside:
        handles = [plt.Line2D([], [], color=colour, lw=3, label=name) for name, colour in colours.items()]
        figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=11)
    if note:
        figure.supxlabel(textwrap.fill(note, 55 * columns), fontsize=8, color="#555555")
    save(figure, list(grid.flat)[: len(panels)], output, dpi=dpi)


def plain(text: str) -> str:
    """Return a name that is drawn as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


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
    for place, (name, (mean, values)) in enumerate(panel.bars.items()):
        axes.bar(place, panel.scale * mean.mean, color=colours[name], alpha=0.6, width=0.7)
        if mean.n > 1:
            axes.vlines(place, panel.scale * mean.low, panel.scale * mean.high, color="#333333", lw=1.2)
        axes.plot([place] * len(values), scaled(values), "o", ms=3, color="#333333")
    if panel.bars:
        steep = 20 if len(panel.bars) <= MOST_IN_A_PANEL else 60
        axes.set_xticks(range(len(panel.bars)), list(panel.bars), rotation=steep, ha="right", fontsize=8)
    if panel.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    if panel.scale == 100:
        percent_axis(axes)
    if panel.lines and legend:
        axes.legend(frameon=False, fontsize=7)
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.xlabel, fontsize=8)
    axes.set_ylabel(panel.ylabel, fontsize=8)
    axes.tick_params(labelsize=8)
