"""The only door to matplotlib: sheets for figures that a paper can print, and for the quick plots of a run.

A sheet is as wide as a column of the usual conference styles, so that it is printed at 100% and its letters are as
large as they say. Text is never read as mathematics: names come from directories and configurations, where `$` means
nothing.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def colours(names: Sequence[str]) -> dict[str, Any]:
    """Return name → the look of a line in a colour of its own; twenty differ."""
    from matplotlib import colormaps

    palette: Any = colormaps["tab10" if len(names) <= 10 else "tab20"]
    return {name: {"color": palette(i % palette.N)} for i, name in enumerate(names)}


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


def percent_axis(axes: Any) -> None:
    """Keep an axis of percentages within what a share can be; an interval by Student's t may reach beyond."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(100.0, high) if high > 100 else high)


def powers_of_two(axes: Any, ks: list[int]) -> None:
    """Make the x axis logarithmic with a tick at each k."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()


def image(figure: Any, kind: str, *, dpi: int = DPI) -> bytes:
    """Return a figure as a file of `png` or `pdf`. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    stamp = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None, "Creator": None}
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=stamp)
    return buffer.getvalue()
