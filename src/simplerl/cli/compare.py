"""Compare two evaluations problem by problem, to tell whether RL helped or we only sampled again.

A and B are result directories of `simplerl eval` (one model's, or one evaluation), or evaluations that a run made
itself: RUN@STEP. One run alone is compared with itself, before and after training. Shown are the paired difference with
its 95% interval and a sign-flip test over problems, the pass@k curves and where they cross, and the problems gained and
lost.
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl compare runs/mine
      before and after training, on the run's own held-out problems
  simplerl compare evaluations/Qwen2.5-7B evaluations/mine@100
  simplerl compare runs/mine@20 runs/mine@75 --show 20 --output comparison.json
"""


#: Why problems were not compared.
LEFT_OUT = {
    "only_before": "that only {before} answered",
    "only_after": "that only {after} answered",
    "other_question": "whose id is the same on both sides, but not the question or gold",
    "undecided": "for which one side has no judged response",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("before", metavar="A", help="the base: a result directory, RUN@STEP, or a run alone")
    parser.add_argument("after", metavar="B", nargs="?", help="what it became")
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="problems gained and lost to name (%(default)s)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything as JSON, and FILE.png beside it")


def run(args: argparse.Namespace) -> int:
    """Compare every benchmark that both sides have."""
    from simplerl.analysis.compare import compare, first_and_last, sides
    from simplerl.analysis.plots import plot_comparison
    from simplerl.cli.progress import wide_console
    from simplerl.errors import RunError
    from simplerl.runs.files import write_json

    names = (args.before, args.after) if args.after else first_and_last(args.before)
    before, after = sides(names[0]), sides(names[1])
    shared = [benchmark for benchmark in before if benchmark in after]
    if not shared:
        raise RunError(
            f"{names[0]} has {', '.join(before)} and {names[1]} has {', '.join(after)}: no benchmark in common"
        )
    console = wide_console()
    found = []
    for benchmark in shared:
        comparison = compare(before[benchmark], after[benchmark])
        found.append(comparison)
        _show(console, comparison, before[benchmark], args.show)
    left_out = sorted({*before, *after} - set(shared))
    if left_out:
        console.print(f"only on one side: {', '.join(left_out)}", markup=False)
    if args.output:
        write_json(args.output, found)
        plot_comparison(found, args.output.with_suffix(".png"))
        console.print(f"written to {args.output} and {args.output.with_suffix('.png')}", markup=False)
    return 0


def _show(console, c, side, show: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.compare import questions
    from simplerl.analysis.evaluations import cell
    from simplerl.cli.display import printable

    title = escape(f"{c['benchmark']}: {c['before']} → {c['after']}, {c['problems']} problems")
    table = Table("", "before", "after", "difference (points)", title=title)
    table.add_row("accuracy (%)", cell(c["acc"]["before"]), cell(c["acc"]["after"]), _signed(c["difference"]))
    strict = c["acc_strict"]
    table.add_row("accuracy, finished answers only (%)", cell(strict["before"]), cell(strict["after"]), "")
    for k, point in list(c["pass@k"].items())[1:]:
        table.add_row(
            f"pass@{k}", f"{100 * point['before']:.1f}", f"{100 * point['after']:.1f}", _signed(point["difference"])
        )
    for level, difference in c["by_level"].items():
        table.add_row(escape(f"level {level}"), "", "", _signed(difference))
    console.print(table)
    for difference in c["unfair"]:
        console.print(f"not only the models differ: {difference}", markup=False)
    for what, count in c["left_out"].items():
        if count:
            console.print(f"left out: {count} problems {LEFT_OUT[what].format(**c)}", markup=False)
    console.print(_words(c), markup=False)
    for what in ("gained", "lost"):
        ids = c[what]
        if ids and show:
            texts = questions(side)
            console.print(f"{what} ({len(ids)}), the first {min(show, len(ids))}:", markup=False)
            for problem in ids[:show]:
                console.print(f"  {problem}: {printable(texts[problem][0], 100)}", markup=False)


def _signed(figure) -> str:
    return f"{100 * figure['value']:+.1f} [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"


def _words(c) -> str:
    """Say what the figures mean: whether it helped, and whether that is more than sampling again would give."""
    p, difference = c["p_value"], c["difference"]
    sure = difference["low"] > 0 or difference["high"] < 0
    direction = "rises" if difference["value"] > 0 else "falls"
    words = [
        (
            f"Accuracy {direction} by {100 * abs(difference['value']):.1f} points"
            if sure
            else "No difference can be seen"
        )
        + f" (p = {p:.2g}, sign-flip test over problems)."
    ]
    words.append(
        f"Solved at least once: {len(c['gained'])} problems gained, {len(c['lost'])} lost; right more often on "
        f"{c['more_often']}, less often on {c['less_often']}."
    )
    ks = list(c["pass@k"])
    if len(ks) > 1:
        last = c["pass@k"][ks[-1]]["difference"]
        if c["crossing"]:
            how = "and beyond doubt" if c["crossing_is_certain"] else "though within the interval"
            words.append(
                f"The pass@k curves cross at k = {c['crossing']}, {how}: with that many samples the first side solves "
                "more."
            )
        elif last["low"] > 0:
            words.append(f"The gain holds at pass@{ks[-1]}: more than sampling again would give.")
        elif difference["value"] > 0:
            words.append(
                f"At pass@{ks[-1]} no gain can be seen: what was solved once in {ks[-1]} samples is solved more often."
            )
    else:
        words.append("With one sample per problem pass@k cannot be compared; evaluate with --samples 8 or more.")
    return " ".join(words)
