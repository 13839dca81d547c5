"""`simplerl explore`: exploration, exploitation and diversity over steps."""

import argparse
import itertools

from simplerl.analysis.estimates import shown
from simplerl.analysis.exploration import COUNTS, Exploration, change, over_steps, peak, to_json
from simplerl.cli.console import Bar, say, show_table
from simplerl.runs.files import make_directory, slug, write_json


def run(args: argparse.Namespace) -> None:
    """Measure, show, write."""
    options = {"k": args.k, "s": args.s or (), "wanted": args.wanted, "steps": args.steps}
    taken = set[str]()
    for path in args.paths:
        with Bar() as bar:
            bar.start("evaluations")
            explorations = over_steps(path, **options, warn=bar.say, on_done=bar.advance)
        for one in explorations:
            _show(one)
        prefix = ""
        if args.output_dir:
            make_directory(args.output_dir)
            name = slug(path.resolve().name)
            name = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(args.paths) + 2))) if n not in taken)
            taken.add(name)
            prefix = f"{name}_"
        directory = args.output_dir or path
        write_json(directory / f"{prefix}exploration.json", [to_json(one) for one in explorations])
        say(f"written to {directory / f'{prefix}exploration.json'}")


def _show(exploration: Exploration) -> None:
    """Print the tables of a series, and in words what has moved."""
    series = exploration.points
    last = series[-1]
    split = [name for name in last.figures if name.startswith("pass@") and "-" in name]
    unique = [name for name in split if not name.endswith("-1")][:2]
    picked = [split[i].replace("pass", "reward") for i in (0, -1) if split]
    exploring = ["pass@1", f"pass@{last.samples}", *unique]
    size = f"{last.problems} problems × {last.samples} samples"
    diversity = "diversity of a problem's responses, and training tokens with gradient since the row before (%)"
    before = [0, *(point.step or 0 for point in series)]
    useful = [shown(exploration.useful_share(*ends)) for ends in itertools.pairwise(before)]
    for title, names in (
        (f"{exploration.name}: exploration, {size} (%, 95% intervals)", [*exploring, *COUNTS]),
        ("exploitation (%)", [*picked, "query_effect"]),
        (diversity, ["unique_responses", "distinct_2", "distinct_equations"]),
    ):
        present = [name for name in dict.fromkeys(names) if any(name in p.figures for p in series)]
        columns = {"step": [p.label if p.step is None else str(p.step) for p in series]}
        for name in present:
            columns[name.replace("_", " ")] = [shown(p.figures.get(name), share=name not in COUNTS) for p in series]
        if title == diversity and exploration.useful:
            columns["useful tokens"] = useful
        show_table(title, list(columns), zip(*columns.values(), strict=True), left=0)
    if undecided := sum(p.undecided for p in series):
        say(f"left out of right and wrong: {undecided} responses that could not be judged")
    for name in [*exploring, "distinct_answers", "unique_responses"] if len(series) > 1 else []:
        say(*_change(exploration, name))


def _change(exploration: Exploration, name: str) -> list[str]:
    """Say how a figure moved, and whether it has fallen since it was highest; nothing where it is not known."""
    first, last, highest = exploration.points[0], exploration.points[-1], peak(exploration.points, name)
    difference = change(first, last, name)
    if difference is None or highest is None:
        return []
    share, unit = (False, "") if name in COUNTS else (True, " points")
    words = f"{name.replace('_', ' ')}: first to last {shown(difference, share=share, sign=True)}{unit}"
    # Where it was highest at the start, the fall is said already.
    fall = None if highest is first else change(highest, last, name)
    if fall and fall["high"] < 0:
        words += f"; since its highest, at {highest.label}, {shown(fall, share=share, sign=True)}{unit}"
    return [f"{words}."]
