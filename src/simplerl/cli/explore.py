"""See whether a model still explores while it trains: pass@k, unique right responses, diversity, useful tokens.

Reads a run's own evaluations, also while it trains, or results of `simplerl eval` over checkpoints. Shown are, for each
step and with 95% intervals over problems: exploration (pass@k, Pass@K-S, different answers), exploitation (Reward@K-S:
are the best by reward right?), diversity of the responses, and the share of training tokens that carried gradient. The
table is printed; everything goes to exploration.json and exploration.png. docs/exploration.md has the definitions.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from simplerl.analysis.exploration import Exploration

EXAMPLES = """\
  simplerl explore runs/mine
  simplerl explore runs/mine runs/other --steps first,last --output-dir figures
      figures of two runs beside each other, in a directory of their own
  simplerl explore evaluations --k 32 --s 1,2,8,32
      results of simplerl eval, among 32 of a problem's samples
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="RUN", help="run directories, or directories of results")
    add("--steps", default="all", metavar="S", help="all, first, last or numbers such as 0,50,100 (%(default)s)")
    add("--k", type=int, metavar="K", help="among how many samples (default: as many as a problem has)")
    add("--s", metavar="S,S", help="the S of Pass@K-S and Reward@K-S (default: 1, 2, 4 … K)")
    add("--wanted", type=int, default=6, metavar="N", help="n* of the query effect (%(default)s, as in B-STaR)")
    add("--output-dir", type=Path, metavar="DIR", help="where JSON and plot go (default: into RUN)")


def run(args: argparse.Namespace) -> int:
    """Measure, show, write."""
    from simplerl.analysis.exploration import over_steps, plot_exploration, to_json
    from simplerl.cli.progress import Bar, wide_console
    from simplerl.core.errors import ConfigError
    from simplerl.runs.files import make_directory, write_json
    from simplerl.runs.results import slug

    if args.wanted < 1:
        raise ConfigError(f"--wanted must be at least 1, got {args.wanted}")
    try:
        tops = tuple(int(part) for part in args.s.split(",")) if args.s else ()
    except ValueError as error:
        raise ConfigError(f"--s must be numbers such as 1,2,4; got {args.s!r}") from error
    options = {"k": args.k, "s": tops, "wanted": args.wanted, "steps": args.steps}
    console, taken = wide_console(), set[str]()
    for path in args.paths:
        with Bar() as bar:
            bar.start("evaluations")
            explorations = over_steps(path, **options, warn=bar.say, on_done=bar.advance)
        for one in explorations:
            _show(console, one)
        prefix = ""
        if args.output_dir:
            make_directory(args.output_dir)
            name = slug(path.resolve().name)
            name = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(args.paths) + 2))) if n not in taken)
            taken.add(name)
            prefix = f"{name}_"
        directory = args.output_dir or path
        write_json(directory / f"{prefix}exploration.json", [to_json(one) for one in explorations])
        for number, one in enumerate(explorations, 1):
            ending = "" if len(explorations) == 1 else f"_{number}_{slug(one.name)}"
            plot_exploration(one, directory / f"{prefix}exploration{ending}.png")
        console.print(f"written to {directory}: {prefix}exploration.json and .png", markup=False)
    return 0


def _show(console: Console, exploration: Exploration) -> None:
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.evaluations import cell
    from simplerl.analysis.exploration import COUNTS

    points = exploration.points
    last = points[-1]
    split = [name for name in last.figures if name.startswith("pass@") and "-" in name]
    unique = [name for name in split if not name.endswith("-1")][:2]
    picked = [split[i].replace("pass", kind) for kind, i in (("reward", 0), ("likelihood", 0), ("reward", -1)) if split]
    exploring = ["pass@1", f"pass@{last.samples}", *unique]
    size = f"{last.problems} problems × {last.samples} samples"
    diversity = "diversity of a problem's responses, and training tokens with gradient since the row before (%)"
    for title, names in (
        (f"{exploration.name}: exploration, {size} (%, 95% intervals)", [*exploring, *COUNTS]),
        ("exploitation (%)", [*picked, "query_effect"]),
        (diversity, ["unique_responses", "distinct_2", "similarity", "distinct_equations"]),
    ):
        present = [name for name in dict.fromkeys(names) if any(name in p.figures for p in points)]
        useful = title == diversity and bool(exploration.useful)
        table = Table(title=escape(title), title_justify="left")
        for column in ("step", *present, *(["useful tokens"] if useful else [])):
            table.add_column(column.replace("_", " "), justify="right", no_wrap=True)
        before = 0
        for p in points:
            cells = [cell(p.figures.get(name), percent=name not in COUNTS) for name in present]
            if useful:
                share, before = exploration.useful_share(before, p.step or 0), p.step or 0
                cells.append("–" if math.isnan(share) else f"{100 * share:.1f}")
            table.add_row(escape(p.label) if p.step is None else str(p.step), *cells)
        console.print(table)
    if undecided := sum(p.undecided for p in points):
        console.print(f"left out of right and wrong: {undecided} responses that could not be judged", markup=False)
    for name in [*exploring, "distinct_answers", "unique_responses"] if len(points) > 1 else []:
        if sentence := _change(exploration, name):
            console.print(sentence, markup=False)


def _change(exploration: Exploration, name: str) -> str:
    """Say how a figure moved, and whether it has fallen since it was highest; nothing where it is not known."""
    from simplerl.analysis.exploration import COUNTS, change, peak

    first, last, highest = exploration.points[0], exploration.points[-1], peak(exploration.points, name)
    difference = change(first, last, name)
    if difference is None or highest is None:
        return ""
    factor, unit = (1.0, "") if name in COUNTS else (100.0, " points")

    def signed(figure: dict[str, float]) -> str:
        value, low, high = (f"{factor * figure[key]:+.1f}" for key in ("value", "low", "high"))
        return f"{value} [{low}, {high}]{unit}"

    words = f"{name.replace('_', ' ')}: first to last {signed(difference)}"
    # Where it was highest at the start, the fall is said already.
    fall = None if highest is first else change(highest, last, name)
    if fall and fall["high"] < 0:
        words += f"; since its highest, at {highest.label}, {signed(fall)}"
    return words + "."
