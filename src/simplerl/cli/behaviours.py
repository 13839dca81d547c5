"""See which cognitive behaviours the responses show: backtracking, verification, subgoal setting, enumeration.

Looks at a sample of the responses of a run's own evaluations, or of results of `simplerl eval`, step by step. A model
behind any OpenAI-compatible endpoint judges them (--judge); what that will cost is shown before anything is sent, and
no answer is paid for twice. Without a judge, and beside one, keywords are counted: offline, free, and weaker. Where
both exist their agreement is shown. Everything goes to RUN/behaviours/ (docs/behaviours.md).
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl behaviours runs/mine
      by keywords alone: nothing is sent anywhere
  simplerl behaviours runs/mine --judge gpt-4o --steps first,last --dry-run --price-in 2.5 --price-out 10
      what it would cost; the key is taken from $OPENAI_API_KEY
  simplerl behaviours runs/mine --judge qwen3-32b --base-url http://127.0.0.1:8000/v1 --no-api-key --yes
  simplerl behaviours evaluations --judge gpt-4o --responses 200 --output-dir judged
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="RUN", help="run directories, or directories of results")
    add("--steps", default="all", metavar="S", help="all, first, last or numbers such as 0,50,100 (%(default)s)")
    add("--responses", type=int, default=100, metavar="N", help="responses of each step, 0 for all (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="seed of their choice (%(default)s)")
    add("--judge", metavar="MODEL", help="the model that judges (default: keywords alone)")
    add("--base-url", metavar="URL", help="the endpoint (default: OpenAI's, or $OPENAI_BASE_URL)")
    add("--api-key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable that holds the key (%(default)s)")
    add("--no-api-key", action="store_true", help="the server needs no key")
    add(
        "--param",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="parameter of the request, again for more; null leaves it out (temperature=0, max_tokens=2000)",
    )
    add("--concurrency", type=int, default=8, metavar="N", help="requests at once (%(default)s)")
    add("--retries", type=int, default=5, metavar="N", help="tries again after 429, 5xx and broken lines (%(default)s)")
    add("--timeout", type=float, default=120.0, metavar="S", help="seconds to wait for one answer (%(default)g)")
    add("--price-in", type=float, metavar="P", help="price of a million input tokens, to show the cost")
    add("--price-out", type=float, metavar="P", help="price of a million output tokens")
    add("--retry-undecided", action="store_true", help="ask again where the judge's answer could not be read")
    add("--dry-run", action="store_true", help="show the cost and stop; nothing is sent or written")
    add("--yes", action="store_true", help="do not ask before requests are sent")
    add("--output-dir", type=Path, metavar="DIR", help="where everything goes (default: into RUN)")


def run(args: argparse.Namespace) -> int:
    """Choose, show the cost, ask, record, show."""
    from simplerl.behaviours.judge import by_keywords
    from simplerl.cli.progress import Bar, wide_console

    _check(args)
    console = wide_console()
    judge, endpoint = _judge(args, console) if args.judge else (None, None)
    with Bar() as bar:
        bar.start("responses")
        parts = [part for path in args.paths for part in _parts(path, args, bar)]
    items = [item for part in parts for item in part["items"]]
    answers = _answers(parts, console)
    if judge:
        if args.retry_undecided:
            answers = {key: a for key, a in answers.items() if not _unreadable(judge, items, key, a)}
        if not _agreed(args, judge, endpoint, items, answers, console):
            return 0
    elif args.dry_run:
        console.print("without --judge nothing is sent and nothing costs anything", markup=False)
        return 0
    failed = _fill(args, judge, endpoint, parts, items, answers, by_keywords)
    for part in parts:
        _show(console, part)
    if failed:
        reasons = list(dict.fromkeys(failed.values()))
        console.print(
            f"no answer to {len(failed)} requests: {'; '.join(reasons[:3])}. The same command asks for them again",
            markup=False,
        )
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    from simplerl.errors import ConfigError

    for name, least in (("responses", 0), ("concurrency", 1), ("retries", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if not 0 < args.timeout < float("inf"):
        raise ConfigError(f"--timeout must be positive seconds, got {args.timeout:g}")
    prices = (args.price_in, args.price_out)
    if any(price is not None and not 0 <= price < float("inf") for price in prices) or prices.count(None) == 1:
        raise ConfigError("--price-in and --price-out go together, and are 0 or more")
    if args.output_dir:
        names = [path.resolve().name for path in args.paths]
        if len(set(names)) < len(names):
            raise ConfigError(f"--output-dir: {', '.join(names)} would share a folder; give them one at a time")


def _parameters(given: list[str]) -> dict:
    import json

    from simplerl.behaviours.endpoint import PARAMETERS, RESERVED
    from simplerl.errors import ConfigError

    parameters = dict(PARAMETERS)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name in RESERVED:
            raise ConfigError(
                f"--param takes NAME=JSON, such as max_tokens=500 or temperature=null, and not {', '.join(RESERVED)}; "
                f"got {text[:60]!r}"
            )
        try:
            parameters[name] = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"--param {name}: {value[:60]!r} is no JSON ({error}); text goes in quotes") from None
    return {name: value for name, value in parameters.items() if value is not None}


def _judge(args: argparse.Namespace, console):
    from simplerl.behaviours.endpoint import Endpoint
    from simplerl.behaviours.judge import Judge

    parameters = _parameters(args.param)
    judge = Judge(model=args.judge, parameters=parameters)
    if args.dry_run:
        return judge, None
    endpoint = Endpoint(
        model=args.judge,
        base_url=args.base_url,
        key_variable=None if args.no_api_key else args.api_key_env,
        parameters=parameters,
        timeout_s=args.timeout,
        retries=args.retries,
    )
    if endpoint.in_the_clear:
        console.print(f"warning: the key goes unencrypted to {endpoint.address}", markup=False)
    return judge, endpoint


def _parts(path: Path, args: argparse.Namespace, bar) -> list[dict]:
    """Return what is to be shown together: one for a run, one for each series of results."""
    from simplerl.behaviours.judge import select
    from simplerl.errors import RunError
    from simplerl.runs.behaviours import FOLDER
    from simplerl.runs.results import slug
    from simplerl.runs.stages import choose, series

    base = args.output_dir / slug(path.resolve().name) if args.output_dir else path
    found = []
    for one in series(path, bar.say):
        items, left_out, stages = [], [], choose(one.stages, args.steps)
        for stage in stages:
            try:
                items += select(stage, args.responses, seed=args.seed)
            except RunError as error:
                left_out.append(str(error))
                bar.say(f"left out: {error}")
            bar.advance()
        if not items:
            raise RunError(f"{path}: no response of {one.name} can be read; " + "; ".join(left_out))
        found.append(
            {
                "name": one.name,
                "items": items,
                "folders": {stage.home: base / stage.home.relative_to(path) / FOLDER for stage in stages},
                "place": base / FOLDER,
                "left_out": left_out,
            }
        )
    for number, part in enumerate(found, 1):
        part["ending"] = "" if len(found) == 1 else f"_{number}_{slug(part['name'])}"
    return found


def _answers(parts: list[dict], console) -> dict:
    from simplerl.runs.behaviours import read_answers_kept

    found = {}
    for folder in dict.fromkeys(folder for part in parts for folder in part["folders"].values()):
        found |= read_answers_kept(folder, lambda message: console.print(message, markup=False))
    return found


def _unreadable(judge, items, key: str, answer) -> bool:
    item = next((item for item in items if judge.address(item) == key), None)
    return item is not None and judge.judgement(item, answer).status == "undecided"


def _agreed(args: argparse.Namespace, judge, endpoint, items, answers, console) -> bool:
    """Show what it will cost; return whether to go on."""
    import sys

    from simplerl.behaviours.judge import cost, plan
    from simplerl.errors import ConfigError

    planned = plan(judge, items, answers)
    equal = planned.items - planned.there - len(planned.todo)
    console.print(
        f"{judge.model} judges {planned.items:,} responses ({judge.settings}): {len(planned.todo):,} requests; "
        f"{planned.there:,} have an answer already, {equal:,} are equal to others",
        markup=False,
    )
    line = f"estimate: {planned.tokens_in:,} input and {planned.tokens_out:,} output tokens"
    if args.price_in is not None:
        line += f", {cost(planned.tokens_in, planned.tokens_out, args.price_in, args.price_out):,.4f} at your prices"
    console.print(line + (f", to {endpoint.address}" if endpoint else ""), markup=False)
    if args.dry_run:
        return False
    if not planned.todo or args.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("requests cost money and nobody can be asked here: give --yes to send them, or --dry-run")
    agreed = input("send them? [y/N] ").strip().lower() in ("y", "yes")
    if not agreed:
        console.print("nothing was sent", markup=False)
    return agreed


def _fill(args, judge, endpoint, parts, items, answers, by_keywords) -> dict[str, str]:
    """Ask what has to be asked and record every judgement; return address → why there is no answer."""
    from contextlib import ExitStack

    from simplerl.behaviours.judge import ask, plan
    from simplerl.cli.progress import Bar
    from simplerl.runs.behaviours import BehaviourDirectory, read_answers_kept, read_behaviours

    folders = {home: folder for part in parts for home, folder in part["folders"].items()}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        open_ = {home: stack.enter_context(BehaviourDirectory(folder)) for home, folder in folders.items()}
        try:
            if judge:
                planned = plan(judge, items, answers)

                def keep(key: str, answer: dict) -> None:
                    for home in planned.homes[key]:
                        open_[home].keep_answer(key, answer)
                    answers[key] = answer

                with Bar() as bar:
                    bar.start(f"{judge.model} judges", len(planned.todo))
                    failed = ask(endpoint, planned.todo, keep=keep, concurrency=args.concurrency, on_done=bar.advance)
        finally:
            # What was answered is recorded even where the rest could not be asked.
            for part in parts:
                part["judgements"] = [by_keywords(item) for item in part["items"]]
                if judge:
                    answered = [(item, judge.address(item)) for item in part["items"]]
                    part["judgements"] += [judge.judgement(i, answers[key]) for i, key in answered if key in answers]
                homes = [item.home for item in part["items"]]
                homes += [item.home for item in part["items"] if judge and judge.address(item) in answers]
                for home, directory in open_.items():
                    mine = [j for j, where in zip(part["judgements"], homes, strict=True) if where == home]
                    if not mine:
                        continue
                    before = {j.place: j for j in read_behaviours(directory.path)}
                    directory.record([j for j in mine if before.get(j.place) != j])
                    kept = read_answers_kept(directory.path, lambda message: None)
                    for key in dict.fromkeys(j.key for j in mine if j.key in answers and j.key not in kept):
                        directory.keep_answer(key, answers[key])
            if judge:
                _spent(args, [answers[key] for key in planned.todo if key in answers])
    return failed


def _spent(args: argparse.Namespace, answers: list[dict]) -> None:
    from simplerl.behaviours.judge import cost
    from simplerl.cli.progress import wide_console

    sums = [sum(answer.get(name) or 0 for answer in answers) for name in ("tokens_in", "tokens_out")]
    if answers:
        line = f"{len(answers):,} answers, {sums[0]:,} input and {sums[1]:,} output tokens as the endpoint counts them"
        if args.price_in is not None:
            line += f": {cost(*sums, args.price_in, args.price_out):,.4f} at your prices"
        wide_console().print(line, markup=False)


def _show(console, part: dict) -> None:
    """Print the tables of a series, and write them with the plot."""
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.behaviours import TITLES, plot_behaviours, table
    from simplerl.analysis.evaluations import cell
    from simplerl.behaviours.keywords import JUDGE
    from simplerl.runs.behaviours import PLOT, TABLE
    from simplerl.runs.files import make_directory, write_json

    found = {**table(part["judgements"]), "name": part["name"], "left_out": part["left_out"]}
    for judge in found["judges"]:
        words = judge["judge"] == JUDGE
        label = "by keywords (weaker than a judge)" if words else f"judged by {judge['judge']}"
        shown = Table(title=escape(f"{part['name']}: % of responses that show it, {label}"), title_justify="left")
        columns = ("step", "responses", *TITLES.values(), *(() if words else ("undecided", "not found")), "flagged")
        for column in columns:
            shown.add_column(column, justify="right", no_wrap=True)
        for step in judge["steps"]:
            counts = [str(step["flagged"])] if words else [str(step[n]) for n in ("undecided", "unfounded", "flagged")]
            shown.add_row(
                "–" if step["step"] is None else str(step["step"]),
                f"{step['responses']} to {step['problems']}",
                *(cell(step["behaviours"][name]) for name in TITLES),
                *counts,
            )
        console.print(shown)
    for one in found["agreement"]:
        title = f"{part['name']}: agreement of {one['judge']} with the keywords"
        shown = Table(
            "behaviour", "responses", "agree (%)", "kappa", "both", "judge only", "keywords only", title=title
        )
        for name, figure in one["behaviours"].items():
            counts = [str(figure["counts"][key]) for key in ("both", "first", "second")]
            shown.add_row(TITLES[name], str(figure["responses"]), cell(figure["share"]), _kappa(figure), *counts)
        console.print(shown)
    reasons = [j.detail for j in part["judgements"] if j.status == "undecided"]
    for reason in list(dict.fromkeys(reasons))[:5]:
        console.print(f"undecided, {reasons.count(reason)}: {reason}", markup=False)
    make_directory(part["place"])
    names = [f"{Path(name).stem}{part['ending']}{Path(name).suffix}" for name in (TABLE, PLOT)]
    write_json(part["place"] / names[0], found)
    plot_behaviours(found, part["place"] / names[1], title=part["name"])
    console.print(f"written to {part['place']}: {', '.join(names)}", markup=False)


def _kappa(figure: dict) -> str:
    kappa = figure["kappa"]
    if kappa["value"] != kappa["value"]:
        return "– (no variety)"
    return f"{kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}]"
