"""Compare two evaluations problem by problem, to tell whether RL helped or we only sampled again.

A and B are result directories of `simplerl eval` (one model's, or one evaluation), or evaluations that a run made
itself: RUN@STEP. One run alone is compared with itself, before and after training. Shown are the paired difference with
its 95% interval and a sign-flip test over problems, the pass@k curves and where they cross, and the problems gained and
lost.
"""

import argparse
from pathlib import Path
from typing import Any

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
    add = parser.add_argument
    add("before", metavar="A", help="the base: a result directory, RUN@STEP, or a run alone")
    add("after", metavar="B", nargs="?", help="what it became")
    add("--show", type=int, default=5, metavar="N", help="problems gained and lost to name (%(default)s)")
    add("--output", type=Path, metavar="FILE", help="write everything as JSON, and FILE.png beside it")


def run(args: argparse.Namespace) -> int:
    """Compare every benchmark that both sides have."""
    from simplerl.analysis.compare import compare, first_and_last, sides
    from simplerl.analysis.plots import plot_comparison
    from simplerl.cli.progress import wide_console
    from simplerl.core.errors import RunError
    from simplerl.runs.files import write_json

    names = (args.before, args.after) if args.after else first_and_last(args.before)
    before, after = sides(names[0]), sides(names[1])
    shared = [benchmark for benchmark in before if benchmark in after]
    if not shared:
        raise RunError(
            f"{names[0]} has {', '.join(before)} and {names[1]} has {', '.join(after)}: no benchmark in common"
        )
    console = wide_console()
    comparisons = []
    for benchmark in shared:
        comparisons.append(compare(before[benchmark], after[benchmark]))
        _show(console, comparisons[-1], before[benchmark], args.show)
    if left_out := sorted({*before, *after} - set(shared)):
        console.print(f"only on one side: {', '.join(left_out)}", markup=False)
    if args.output:
        write_json(args.output, comparisons)
        plot_comparison(comparisons, args.output.with_suffix(".png"))
        console.print(f"written to {args.output} and {args.output.with_suffix('.png')}", markup=False)
    return 0


def _show(console: Any, c: dict[str, Any], before: Any, show: int) -> None:
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
        shares = (f"{100 * point[side]:.1f}" for side in ("before", "after"))
        table.add_row(f"pass@{k}", *shares, _signed(point["difference"]))
    for level, difference in c["by_level"].items():
        table.add_row(escape(f"level {level}"), "", "", _signed(difference))
    console.print(table)
    lines = [f"not only the models differ: {difference}" for difference in c["unfair"]]
    lines += [f"left out: {n} problems {LEFT_OUT[what].format(**c)}" for what, n in c["left_out"].items() if n]
    lines.append(_words(c))
    texts = questions(before) if show and (c["gained"] or c["lost"]) else {}
    for what in ("gained", "lost"):
        if texts and c[what]:
            lines.append(f"{what} ({len(c[what])}), the first {min(show, len(c[what]))}:")
            lines += [f"  {problem}: {printable(texts[problem][0], 100)}" for problem in c[what][:show]]
    for line in lines:
        console.print(line, markup=False)


def _signed(figure: dict[str, float]) -> str:
    return f"{100 * figure['value']:+.1f} [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"


def _words(c: dict[str, Any]) -> str:
    """Say what the figures mean: whether it helped, and whether that is more than sampling again would give."""
    p, difference, k = c["p_value"], c["difference"], list(c["pass@k"])[-1]
    moved = f"Accuracy {'rises' if difference['value'] > 0 else 'falls'} by {100 * abs(difference['value']):.1f} points"
    sure = difference["low"] > 0 or difference["high"] < 0
    words = (
        f"{moved if sure else 'No difference can be seen'} (p = {p:.2g}, sign-flip test over problems). "
        f"Solved at least once: {len(c['gained'])} problems gained, {len(c['lost'])} lost; right more often on "
        f"{c['more_often']}, less often on {c['less_often']}."
    )
    if len(c["pass@k"]) == 1:
        words += " With one sample per problem pass@k cannot be compared; evaluate with --samples 8 or more."
    elif c["crossing"]:
        how = "and beyond doubt" if c["crossing_is_certain"] else "though within the interval"
        words += f" The pass@k curves cross at k = {c['crossing']}, {how}: "
        words += "with that many samples the first side solves more."
    elif c["pass@k"][k]["difference"]["low"] > 0:
        words += f" The gain holds at pass@{k}: more than sampling again would give."
    elif difference["value"] > 0:
        words += f" At pass@{k} no gain can be seen: what was solved once in {k} samples is solved more often."
    return words
