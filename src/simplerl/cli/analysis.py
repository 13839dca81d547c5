"""The commands that measure what runs have learned: `compare`, `explore`, `behaviours`, `fit`."""

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.analysis.compare import compare as compare_answers
from simplerl.analysis.compare import first_and_last, questions, sides, tracked
from simplerl.analysis.estimates import shown
from simplerl.analysis.exploration import COUNTS, Exploration, change, over_steps, peak, to_json
from simplerl.analysis.scaling import fit as fit_run
from simplerl.analysis.scaling import plot_fits
from simplerl.behaviours import KEYWORDS, TITLES, Item, Judge, Part, Session, estimate, parts, table
from simplerl.cli import TABLES
from simplerl.cli.console import Bar, one_line, say, show_table
from simplerl.core.errors import ConfigError, RunError
from simplerl.judge import PARAMETERS, RESERVED, Endpoint, cost
from simplerl.runs.files import make_directory, slug, write_json
from simplerl.runs.run import TABLE, Judgement, is_run


def compare(args: argparse.Namespace) -> None:
    """Compare two evaluations, problem by problem, on every benchmark that both have; of a directory, list its runs."""
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
    comparisons = [compare_answers(before[benchmark], after[benchmark]) for benchmark in shared]
    for comparison in comparisons:
        _show_comparison(comparison, before[comparison["benchmark"]], args.show)
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


def _show_comparison(c: dict[str, Any], before: Any, show: int) -> None:
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
            say(*(f"  {problem}: {one_line(texts[problem][0], 100)}" for problem in c[what][:show]))


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


def explore(args: argparse.Namespace) -> None:
    """Measure exploration, exploitation and diversity over steps, show, write."""
    options = {"k": args.k, "s": args.s or (), "wanted": args.wanted, "steps": args.steps}
    taken = set[str]()
    for path in args.paths:
        with Bar() as bar:
            bar.start("evaluations")
            explorations = over_steps(path, **options, warn=bar.say, on_done=bar.advance)
        for one in explorations:
            _show_exploration(one)
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


def _show_exploration(exploration: Exploration) -> None:
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


def fit(args: argparse.Namespace) -> None:
    """Fit ScaleRL's curve to each run: how far it would get with more compute."""
    output = args.output or args.paths[0] / "fit.json"
    if output.suffix == ".png":
        raise ConfigError(f"--output {output} is where the plot would go: give a .json file")
    fits = [fit_run(path, metric=args.metric, over=args.over, skip=args.skip) for path in args.paths]
    rows, words = [], []
    for one in fits:
        share, half = max(value for _, value in one["points"]) <= 1, one["extrapolation"]
        metric = functools.partial(shown, share=share, digits=1 if share else 3)
        curve = [metric(one["R0"]), metric(one["A"]), shown(one["B"], share=False, digits=2)]
        curve += [shown(one["C_mid"], share=False, digits=0), metric(one["rmse"])]
        ending = [metric(half and half[name]) for name in ("foretold", "measured", "error")]
        rows.append((one["run"], len(one["points"]), *curve, *ending))
        if half is None:
            words.append(f"{one['run']}: the first half of its {args.over} has too few points to foretell the rest")
        if one["A"]["value"] <= one["R0"]:
            words.append(f"{one['run']}: {args.metric} does not rise, so that A is no limit of learning")
    head = ("run", "points", "R0", "A", "B", f"C_mid ({args.over})", "rmse")
    title = f"{args.metric} = R0 + (A − R0) / (1 + (C_mid / C)^B), 95% intervals of the scatter about the curve"
    show_table(title, (*head, "end by first half", "end measured", "mean error"), rows)
    say(*words)
    write_json(output, fits)
    plot_fits(fits, output.with_suffix(".png"))
    say(f"written to {output} and {output.with_suffix('.png')}")


def behaviours(args: argparse.Namespace) -> int:
    """Find cognitive behaviours, by keywords and by a model that judges: choose, show the cost, ask, record, show."""
    if (args.price_in is None) != (args.price_out is None):
        raise ConfigError("--price-in and --price-out go together")
    names = [path.resolve().name for path in args.paths]
    if args.output_dir and len(set(names)) < len(names):
        raise ConfigError(f"--output-dir: {', '.join(names)} would share a folder; give them one at a time")
    judge, endpoint = _judge(args) if args.judge else (None, None)
    with Bar() as bar:
        bar.start("evaluations")
        options: dict[str, Any] = {"steps": args.steps, "responses": args.responses, "seed": args.seed}
        options |= {"output": args.output_dir, "warn": bar.say, "on_done": bar.advance}
        shown = [part for path in args.paths for part in parts(path, **options)]
    session = Session(shown, judge, say)
    if args.retry_undecided:
        session.forget_undecided()
    requests = session.missing()
    if judge and not _agreed(args, session, judge, requests, endpoint):
        return 0
    if not judge and args.dry_run:
        say("without --judge nothing is sent and nothing costs anything")
        return 0
    with Bar() as bar:
        bar.start(f"{args.judge} judges" if judge else "keywords", len(requests) or None)
        try:
            failed = session.ask_and_record(
                requests, endpoint, concurrency=args.concurrency, say=bar.say, on_done=bar.advance
            )
        finally:
            if paid := [session.answers[key] for key in requests if key in session.answers]:
                counts = [sum(getattr(reply, name) or 0 for reply in paid) for name in ("tokens_in", "tokens_out")]
                words = f"{len(paid):,} answers, {counts[0]:,} input and {counts[1]:,} output tokens"
                say(f"{words} as the endpoint counts them{_priced(args, ': ', *counts)}")
    for part in shown:
        _show_behaviours(part, session.judgements(part.items))
    if failed:
        reasons = "; ".join(list(dict.fromkeys(failed.values()))[:3])
        say(f"no answer to {len(failed)} requests: {reasons}. The same command asks for them again")
    return 1 if failed else 0


def _judge(args: argparse.Namespace) -> tuple[Judge, Endpoint | None]:
    """Return the judge with its parameters, and where it is asked: nowhere with --dry-run."""
    parameters = dict(PARAMETERS)
    for text in args.param:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in RESERVED:
            example = "NAME=JSON, such as max_tokens=500 or temperature=null"
            raise ConfigError(f"--param takes {example}, and not {', '.join(RESERVED)}; got {text[:60]!r}")
        try:
            parameters[name] = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"--param {name}: {value[:60]!r} is not JSON ({error}); text goes in quotes") from None
    parameters = {name: value for name, value in parameters.items() if value is not None}
    judge = Judge(model=args.judge, parameters=parameters)
    if args.dry_run:
        return judge, None
    return judge, Endpoint(
        model=args.judge,
        base_url=args.base_url,
        key_variable=None if args.no_api_key else args.api_key_env,
        parameters=parameters,
        timeout_s=args.timeout,
        retries=args.retries,
        say=say,
    )


def _priced(args: argparse.Namespace, before: str, tokens_in: int, tokens_out: int) -> str:
    if args.price_in is None:
        return ""
    return f"{before}{cost(tokens_in, tokens_out, args.price_in, args.price_out):,.4f} at your prices"


def _agreed(
    args: argparse.Namespace, session: Session, judge: Judge, requests: Mapping[str, Item], endpoint: Endpoint | None
) -> bool:
    """Show what it will cost; return whether to go on."""
    tokens_in, tokens_out = estimate(requests.values())
    answered = sum(judge.address(item) in session.answers for item in session.items)
    say(
        f"{judge.model} judges {len(session.items):,} responses ({judge.settings}): {len(requests):,} requests; "
        f"{answered:,} have an answer already, {len(session.items) - answered - len(requests):,} are equal to others",
        f"estimate: {tokens_in:,} input and {tokens_out:,} output tokens{_priced(args, ', ', tokens_in, tokens_out)}"
        + (f", to {endpoint.address}" if endpoint else ""),
    )
    if args.dry_run:
        return False
    if not requests or args.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("requests cost money and nobody can be asked here: give --yes to send them, or --dry-run")
    if input("send them? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    say("nothing was sent")
    return False


def _show_behaviours(part: Part, judgements: Sequence[Judgement]) -> None:
    """Print the tables of a series, and write them."""
    tables = {**table(judgements), "name": part.name, "left_out": list(part.left_out)}
    for judge in tables["judges"]:
        words = judge["judge"] == KEYWORDS
        label = "by keywords (weaker than a judge)" if words else f"judged by {judge['judge']}"
        counts = {} if words else {"undecided": "undecided", "unfounded": "not found"}
        counts["flagged"] = "flagged"
        rows = [
            [
                "–" if step["step"] is None else str(step["step"]),
                f"{step['responses']} to {step['problems']}",
                *(shown(step["behaviours"][name]) for name in TITLES),
                *(step[name] for name in counts),
            ]
            for step in judge["steps"]
        ]
        head = ["step", "responses", *TITLES.values(), *counts.values()]
        show_table(f"{part.name}: % of responses that show it, {label}", head, rows, left=0)
    for one in tables["agreement"]:
        rows = [
            [TITLES[name], figure["responses"], shown(figure["share"]), shown(figure["kappa"], share=False, digits=2)]
            + [figure["counts"][key] for key in ("both", "first", "second")]
            for name, figure in one["behaviours"].items()
        ]
        head = ["behaviour", "responses", "agree (%)", "kappa", "both", "judge only", "keywords only"]
        show_table(f"{part.name}: agreement of {one['judge']} with the keywords", head, rows)
    reasons = [j.detail for j in judgements if j.status == "undecided"]
    say(*(f"undecided, {reasons.count(reason)}: {reason}" for reason in list(dict.fromkeys(reasons))[:5]))
    make_directory(part.output)
    file = part.output / f"{TABLE}{part.ending}.json"
    write_json(file, tables)
    say(f"written to {file}")
