"""`simplerl compare`: two evaluations problem by problem, and in words whether RL helped."""

import argparse
from pathlib import Path
from typing import Any

from simplerl.analysis.compare import compare, first_and_last, questions, sides, tracked
from simplerl.analysis.estimates import shown
from simplerl.cli.console import printable, say, show_table
from simplerl.cli.options import TABLES
from simplerl.core.errors import RunError
from simplerl.runs.files import write_json
from simplerl.runs.run import is_run


def run(args: argparse.Namespace) -> None:
    """Compare every benchmark that both sides have."""
    if not args.after and Path(args.before).is_dir() and not is_run(args.before):
        _show_runs(tracked(Path(args.before), say), args.output)
        return
    names = (args.before, args.after) if args.after else first_and_last(args.before)
    before, after = sides(names[0]), sides(names[1])
    shared = [benchmark for benchmark in before if benchmark in after]
    if not shared:
        raise RunError(
            f"{names[0]} has {', '.join(before)} and {names[1]} has {', '.join(after)}: no benchmark in common"
        )
    comparisons = [compare(before[benchmark], after[benchmark]) for benchmark in shared]
    for comparison in comparisons:
        _show(comparison, before[comparison["benchmark"]], args.show)
    if left_out := sorted({*before, *after} - set(shared)):
        say(f"only on one side: {', '.join(left_out)}")
    if args.output:
        write_json(args.output, comparisons)
        say(f"written to {args.output}")


def _show_runs(table: dict[str, Any], output: Path | None) -> None:
    """Print a row for each run of a directory."""
    rows = [
        (
            one["name"],
            ", ".join(f"{key} = {value}" for key, value in one["settings"].items()),
            one["seed"],
            one["versions"].get("simplerl", "–"),
            f"{one['steps']}{'' if one['finished'] else ' …'}",
            shown(one["base"]),
            shown(one["final"]),
            f"{one['tokens']:,.0f}",
        )
        for one in table["runs"]
    ]
    head = ("run", "settings other than most runs'", "seed", "simplerl", "steps", "base (%)", "final (%)", "tokens")
    show_table(f"{len(rows)} runs, held-out accuracy", head, rows, left=2)
    if output:
        write_json(output, table)
        say(f"written to {output}, with versions and the settings of most")


def _show(c: dict[str, Any], before: Any, show: int) -> None:
    strict = c["acc_strict"]
    rows = [
        ("accuracy (%)", shown(c["acc"]["before"]), shown(c["acc"]["after"]), shown(c["difference"], sign=True)),
        ("accuracy, finished answers only (%)", shown(strict["before"]), shown(strict["after"]), ""),
    ]
    for k, point in list(c["pass@k"].items())[1:]:
        own = point["difference"]["problems"]
        name = f"pass@{k}" + (f" ({own} problems)" if own < c["problems"] else "")
        rows.append((name, shown(point["before"]), shown(point["after"]), shown(point["difference"], sign=True)))
    rows += [(f"level {level}", "", "", shown(difference, sign=True)) for level, difference in c["by_level"].items()]
    rows += [(source, "", "", shown(difference, sign=True)) for source, difference in c["by_source"].items()]
    title = f"{c['benchmark']}: {c['before']} → {c['after']}, {c['problems']} problems"
    show_table(title, ("", "before", "after", "difference (points)"), rows)
    say(*(f"not only the models differ: {difference}" for difference in c["unfair"]))
    sets = c["sets"]
    if sets["k"] > 1:
        show_table(
            f"problems solved within k = {sets['k']}",
            ("", "problems", "share (%)"),
            [
                ("solved after alone (expansion), of those not solved before", len(sets["expansion"]),
                 shown(sets["figures"]["expansion"])),
                ("solved before alone (shrinkage), of those solved before", len(sets["shrinkage"]),
                 shown(sets["figures"]["shrinkage"])),
                ("solved by both, after more often (consolidation)", len(sets["consolidation"]), ""),
                ("solved by both, not more often (preservation)", len(sets["preservation"]), ""),
                ("overlap of the two sets: both / either", "", shown(sets["figures"]["overlap"])),
            ],
        )  # fmt: skip
    why = TABLES["words"]["left_out"]
    say(*(f"left out: {n} problems {why[what].format(**c)}" for what, n in c["left_out"].items() if n), _words(c))
    texts = questions(before) if show and (c["gained"] or c["lost"]) else {}
    for what in ("gained", "lost") if texts else ():
        if c[what]:
            say(f"{what} ({len(c[what])}), the first {min(show, len(c[what]))}:")
            say(*(f"  {problem}: {printable(texts[problem][0], 100)}" for problem in c[what][:show]))


def _words(c: dict[str, Any]) -> str:
    """Say what the figures mean: whether it helped, and whether that is more than sampling again would give."""
    p, difference, k = c["p_value"], c["difference"], list(c["pass@k"])[-1]
    moved = f"Accuracy {'rises' if difference['value'] > 0 else 'falls'} by {shown(abs(difference['value']))} points"
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
        interval = c["crossing_interval"]
        most = f"{interval['high']}" if interval["high"] else "beyond"
        words += f" The pass@k curves cross at k = {c['crossing']} [{interval['low']}, {most}], {how}: "
        words += "with that many samples the first side solves more."
    elif c["pass@k"][k]["difference"]["low"] > 0:
        words += f" The gain holds at pass@{k}: more than sampling again would give."
    elif difference["value"] > 0:
        words += f" At pass@{k} no gain can be seen: what was solved once in {k} samples is solved more often."
    return words
