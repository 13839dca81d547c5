"""See whether a model still explores while it trains: pass@k, unique right responses, diversity, useful tokens.

Reads a run's own evaluations, also while it trains, or results of `simplerl eval` over checkpoints. Shown are, for each
step and with 95% intervals over problems: exploration (pass@k, Pass@K-S, different answers), exploitation (Reward@K-S:
are the best by reward right?), diversity of the responses, and the share of training tokens that carried gradient. The
table is printed; everything goes to exploration.json and exploration.png. docs/exploration.md has the definitions.
"""

import argparse
from pathlib import Path

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
    import math

    from simplerl.analysis.exploration import over_steps, to_json
    from simplerl.analysis.explored import plot_exploration
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
    console = wide_console()
    taken: set[str] = set()
    for path in args.paths:
        with Bar() as bar:
            bar.start("evaluations")
            found = over_steps(
                path, k=args.k, s=tops, wanted=args.wanted, steps=args.steps, warn=bar.say, on_done=bar.advance
            )
        for one in found:
            _show(console, one, math.isnan)
        prefix = ""
        if args.output_dir:
            make_directory(args.output_dir)
            name = slug(path.resolve().name)
            name = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(args.paths) + 2))) if n not in taken)
            taken.add(name)
            prefix = f"{name}_"
        directory = args.output_dir or path
        write_json(directory / f"{prefix}exploration.json", [to_json(one) for one in found])
        for number, one in enumerate(found, 1):
            ending = "" if len(found) == 1 else f"_{number}_{slug(one.name)}"
            plot_exploration(one, directory / f"{prefix}exploration{ending}.png")
        console.print(f"written to {directory}: {prefix}exploration.json and .png", markup=False)
    return 0


def _show(console, found, isnan) -> None:
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.evaluations import cell
    from simplerl.analysis.exploration import COUNTS, change, peak

    last = found.points[-1]
    split = [name for name in last.figures if name.startswith("pass@") and "-" in name]
    among = split[0].removeprefix("pass@").rsplit("-", 1)[0] if split else ""
    tops = [name.rsplit("-", 1)[1] for name in split]
    shown = [top for top in tops if top != "1"][:2]
    first_table = ["pass@1", f"pass@{last.samples}", *(f"pass@{among}-{top}" for top in shown)]
    second_table = [f"{kind}@{among}-{tops[0]}" for kind in ("reward", "likelihood") if tops]
    second_table += [f"{kind}@{among}-{tops[-1]}" for kind in ("reward",) if len(tops) > 1]
    third_table = ["unique_responses", "distinct_2", "similarity", "distinct_equations"]
    size = f"{last.problems} problems × {last.samples} samples"
    for title, names in (
        (f"{found.name}: exploration, {size} (%, 95% intervals)", [*first_table, "distinct_answers", "distinct_right"]),
        ("exploitation (%)", [*second_table, "query_effect"]),
        ("diversity of a problem's responses, and training tokens with gradient since the row before (%)", third_table),
    ):
        present = [name for name in dict.fromkeys(names) if any(name in p.figures for p in found.points)]
        table = Table(title=escape(title), title_justify="left")
        useful = names is third_table and bool(found.useful)
        for column in ("step", *present, *(["useful tokens"] if useful else [])):
            table.add_column(column.replace("_", " "), justify="right", no_wrap=True)
        before = 0
        for p in found.points:
            cells = [cell(p.figures.get(name), percent=name not in COUNTS) for name in present]
            if useful:
                share = found.useful_share(before, p.step or 0)
                cells.append("–" if isnan(share) else f"{100 * share:.1f}")
                before = p.step or 0
            table.add_row(escape(p.label) if p.step is None else str(p.step), *cells)
        console.print(table)
    undecided = sum(p.undecided for p in found.points)
    if undecided:
        console.print(f"left out of right and wrong: {undecided} responses that could not be judged", markup=False)
    if len(found.points) > 1:
        for name in [*first_table, "distinct_answers", "unique_responses"]:
            highest = peak(found.points, name)
            difference = change(found.points[0], last, name)
            if difference and highest:
                console.print(
                    _words(name, difference, highest, _fall(found.points[0], highest, last, name), COUNTS), markup=False
                )


def _fall(first, highest, last, name: str):
    """Return the change since a figure was highest; None where that was at the start: it is said already."""
    from simplerl.analysis.exploration import change

    return None if highest is first else change(highest, last, name)


def _words(name: str, difference, highest, fall, counts) -> str:
    """Say how a figure moved, and whether it has fallen since it was highest."""
    factor, unit = (1.0, "") if name in counts else (100.0, " points")

    def signed(figure) -> str:
        low, high = (f"{factor * figure[end]:+.1f}" for end in ("low", "high"))
        return f"{factor * figure['value']:+.1f} [{low}, {high}]{unit}"

    words = f"{name.replace('_', ' ')}: first to last {signed(difference)}"
    if fall and fall["high"] < 0:
        words += f"; since its highest, at {highest.label}, {signed(fall)}"
    return words + "."
