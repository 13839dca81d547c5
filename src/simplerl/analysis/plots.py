"""Panels of curves and bars with their intervals: what every plot and every figure of a report is made of.

The only door to matplotlib. A sheet is as wide as a column of the usual conference styles, so that it is printed at
100% and its letters are as large as they say. Text is never read as mathematics: names come from directories and
configurations, where `$` means nothing.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.analysis.estimates import Band, Estimate
from simplerl.runs.files import write_atomic
from simplerl.runs.metrics import as_number
from simplerl.runs.run import Run

#: Widths in inches: one column of a two-column page, and the full width.
COLUMN, TEXT = 3.25, 6.75

#: Pixels per inch of the PNG; the PDF has no pixels.
DPI = 200

#: Okabe and Ito's colours, which people with any colour vision can tell apart; grey in place of their yellow, which is
#: too pale for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A", "#000000")

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

#: Line styles for a second and third round through the colours.
STROKES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)))


#: Bars of a panel from which on their names stand steeply.
MANY_BARS = 8

#: The looks of what a line came from, and of what it is the mean of or goes with.
DASHED = {"linestyle": (0, (4, 1.5)), "markerfacecolor": "white"}
PALE = {"alpha": 0.35, "lw": 0.8, "zorder": 1.5, "marker": ""}

#: Name → matplotlib's options of its line; `color` is always among them.
Looks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One part of a figure. `lines` are drawn with bands, `bars` with error bars and a dot per seed."""

    title: str
    ylabel: str
    xlabel: str = ""
    lines: Mapping[str, Band] = field(default_factory=dict)
    dashed: Mapping[str, Band] = field(default_factory=dict)
    """Drawn dashed in the look of the line of that name: where it came from."""
    pale: Mapping[str, Band] = field(default_factory=dict)  # Drawn pale and without bands, in the look of that name
    bars: Mapping[str, tuple[Estimate, Sequence[float]]] = field(default_factory=dict)
    scale: float = 1.0  # What values are multiplied with: 100 for shares
    log_x: bool = False  # Whether x are numbers of samples: powers of two, with a tick at each
    ticks: Sequence[str] = ()  # What stands at x = 0, 1 …, where these are not numbers
    from_zero: bool = False
    marked: bool = False  # Whether lines have markers; a line through one point always has


def band_of(points: Sequence[tuple[float, Mapping[str, Any] | None]]) -> Band:
    """Return figures {value, low, high} at each x as a curve with its band, without those that have no value."""
    known = [(x, f) for x, f in points if isinstance(f, Mapping) and not math.isnan(as_number(f.get("value")))]
    ends = {"mean": "value", "low": "low", "high": "high"}
    columns = {end: [as_number(figure.get(key)) for _, figure in known] for end, key in ends.items()}
    return Band(x=[x for x, _ in known], **columns)


def draw_sheet(
    panels: Sequence[Panel], looks: Looks, *, columns: int, width: float, height: float
) -> tuple[Any, list[Any]]:
    """Return a figure `width` inches wide with panels `height` inches high, and the axes of the panels."""
    figure, grid = sheet(-(-len(panels) // columns), columns, width=width, height=height)
    for number, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        draw_panel(axes, panel, looks)
        below = panels[number + columns].xlabel if number + columns < len(panels) else ""
        axes.set_xlabel("" if panel.xlabel == below else panel.xlabel)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure, grid[: len(panels)]


def plot_panels(panels: Sequence[Panel], output: Path, *, title: str, note: str = "", dpi: int = 72) -> None:
    """Draw panels side by side, three in a row, with a note under them, and write them as PNG.

    A name has one colour throughout, and its line stands in the one legend beside the panels.
    """
    names = dict.fromkeys(name for panel in panels for name in (*panel.lines, *panel.bars))
    looks = {name: look(i) for i, name in enumerate(names)}
    columns = min(3, len(panels))
    height = 3.4 + 0.7 / -(-len(panels) // columns)
    with paper_style():
        figure, grid = draw_sheet(panels, looks, columns=columns, width=4.2 * columns, height=height)
        labelled = {label: line for a in grid for line, label in zip(*a.get_legend_handles_labels(), strict=True)}
        if any(panel.lines for panel in panels):
            figure.legend(labelled.values(), labelled.keys(), loc="outside right center")
        figure.suptitle(title, fontsize=11)
        if note:
            figure.supxlabel(textwrap.fill(note, 55 * columns), fontsize=8, color="#555555")
        write_atomic(output, image(figure, "png", dpi=dpi))


def draw_panel(axes: Any, panel: Panel, looks: Looks) -> None:
    """Draw a panel in the looks of its names."""
    for layer, style in ((panel.pale, PALE), (panel.lines, {}), (panel.dashed, DASHED)):
        for name, line in layer.items():
            marker = {} if panel.marked else {"marker": "o" if len(line.x) == 1 else ""}
            # Of many points every so-manieth has a marker, so that markers do not hide the line.
            options = {"markevery": max(1, len(line.x) // 12), **looks[name], **marker, **style}
            ends = (line.low, line.mean, line.high)
            low, middle, high = ([panel.scale * value for value in values] for values in ends)
            axes.plot(line.x, middle, label=name if layer is panel.lines else None, **options)
            if low and style is not PALE:
                axes.fill_between(line.x, low, high, color=looks[name]["color"], alpha=0.14, lw=0)
    for position, (name, (mean, values)) in enumerate(panel.bars.items()):
        axes.bar(position, panel.scale * mean.value, color=looks[name]["color"], alpha=0.6, width=0.7, label=name)
        if mean.n > 1:
            axes.vlines(position, panel.scale * mean.low, panel.scale * mean.high, color="#333333", lw=1.2)
        axes.plot([position] * len(values), [panel.scale * value for value in values], "o", ms=3, color="#333333")
    if panel.bars:
        steep = 20 if len(panel.bars) < MANY_BARS else 60
        axes.set_xticks(range(len(panel.bars)), list(panel.bars), rotation=steep, ha="right", fontsize=8)
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    if panel.log_x:
        ks = sorted({int(x) for line in {**panel.lines, **panel.dashed}.values() for x in line.x})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.minorticks_off()
    if panel.scale == 100:
        low, high = axes.get_ylim()  # An interval by Student's t may reach beyond what a share can be.
        axes.set_ylim(max(0.0, low), min(100.0, high))
    if panel.from_zero:
        axes.set_ylim(0, max(5.0, axes.get_ylim()[1]) if panel.scale == 100 else None)
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)


# -- matplotlib ------------------------------------------------------------------------------------------------------


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and save in the style of a paper. Letters that the font lacks are drawn as boxes, without a warning each."""
    import matplotlib

    with matplotlib.rc_context(fname=Path(__file__).with_name("paper.mplstyle")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        yield


def sheet(rows: int, columns: int, *, width: float = TEXT, height: float = 2.3) -> tuple[Any, list[Any]]:
    """Return a figure of `width` inches with panels `height` inches high, and its axes in reading order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def look(index: int) -> dict[str, Any]:
    """Return colour, marker and line style of the `index`-th thing drawn; 24 differ."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": STROKES[index // len(PALETTE) % len(STROKES)],
    }


def legend(figure: Any, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Put one legend of name → look under all panels of a figure, in as few rows as its width allows."""
    from matplotlib.lines import Line2D

    if not entries:
        return
    # A letter of 7 points is about 0.06 inches wide; a handle with its margins about 0.5.
    widest = 0.5 + 0.06 * max(map(len, entries))
    fit = max(1, min(len(entries), int(figure.get_figwidth() / widest)))
    rows = -(-len(entries) // fit)
    handles = [Line2D([], [], **{"color": "#555555", **look, "label": name}) for name, look in entries.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=-(-len(handles) // rows))


def image(figure: Any, kind: str, *, dpi: int = DPI) -> bytes:
    """Return a figure as a file of `png` or `pdf`. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    stamp = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None, "Creator": None}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=stamp)
    return buffer.getvalue()


# -- plots that commands make by themselves; everything else is drawn by `simplerl report` ---------------------------


def plot_learning(path: Path, output: Path) -> None:
    """Draw accuracy (training and held-out with its interval) and response length against steps, as in SimpleRL-Zoo."""
    run = Run(path)

    def recorded(metric: str) -> Band:
        steps, values = (array.tolist() for array in run.history(metric))
        return Band(x=steps, mean=values)

    held_out = band_of([(float(one.step or 0), one.figures.get("acc")) for one in run.evaluations])
    accuracy = {"training samples": recorded("accuracy/mean"), "held-out, 95% interval": held_out}
    if run.history("eval/accuracy_greedy")[0].size:
        accuracy["held-out, greedy"] = recorded("eval/accuracy_greedy")
    lengths = {"mean length": recorded("length/mean"), "… of those that stopped": recorded("length/mean_stopped")}
    panels = [
        Panel(title="accuracy", ylabel="accuracy (%)", xlabel="step", lines=accuracy, scale=100),
        Panel(title="length", ylabel="response length (tokens)", xlabel="step", lines=lengths),
    ]
    plot_panels(panels, output, title=path.name, dpi=150)


def plot_reliability(figures: Mapping[str, Any], output: Path) -> None:
    """Draw what a process reward model predicts against what was seen, in bins of its predictions."""
    bins = figures["reliability"]
    seen = Band(x=[each["predicted"] for each in bins], mean=[each["seen"] for each in bins])
    lines = {"held-out steps": seen, "calibrated": Band(x=[0.0, 1.0], mean=[0.0, 1.0])}
    panel = Panel(title="reliability", ylabel="share of good steps (%)", xlabel="predicted", lines=lines, scale=100)
    plot_panels([panel], output, title=f"{figures['steps']} held-out steps", dpi=150)
