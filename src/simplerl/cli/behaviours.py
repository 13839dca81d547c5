"""See which cognitive behaviours the responses show: backtracking, verification, subgoal setting, enumeration.

Looks at a sample of the responses of a run's own evaluations, or of results of `simplerl eval`, step by step. A model
behind any OpenAI-compatible endpoint judges them (--judge); what that will cost is shown before anything is sent, and
no answer is paid for twice. Without a judge, and beside one, keywords are counted: offline, free, and weaker. Where
both exist their agreement is shown. Everything goes to RUN/behaviours/ (docs/behaviours.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from simplerl.behaviours.judging import Judge
    from simplerl.behaviours.session import Part
    from simplerl.judge.endpoint import Endpoint
    from simplerl.runs.behaviours import Judgement

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
    help = "parameter of the request, again for more; null leaves it out (temperature=0, max_tokens=2000)"
    add("--param", action="append", default=[], metavar="NAME=JSON", help=help)
    add("--concurrency", type=int, default=8, metavar="N", help="requests at once (%(default)s)")
    add("--retries", type=int, default=5, metavar="N", help="tries again after 429, 5xx and broken lines (%(default)s)")
    add("--timeout", type=float, default=120.0, metavar="S", help="seconds of silence that end a request (%(default)g)")
    add("--price-in", type=float, metavar="P", help="price of a million input tokens, to show the cost")
    add("--price-out", type=float, metavar="P", help="price of a million output tokens")
    add("--retry-undecided", action="store_true", help="ask again where the judge's answer could not be read")
    add("--dry-run", action="store_true", help="show the cost and stop; nothing is sent or written")
    add("--yes", action="store_true", help="do not ask before requests are sent")
    add("--output-dir", type=Path, metavar="DIR", help="where everything goes (default: into RUN)")


def run(args: argparse.Namespace) -> int:
    """Choose, show the cost, ask, record, show."""
    from simplerl.behaviours import session
    from simplerl.cli.progress import Bar, wide_console

    _check(args)
    console = wide_console()
    judge, endpoint = _judge(args, console) if args.judge else (None, None)
    options = {"steps": args.steps, "responses": args.responses, "seed": args.seed, "output": args.output_dir}
    with Bar() as bar:
        bar.start("evaluations")
        progress = {"warn": bar.say, "on_done": bar.advance}
        parts = [part for path in args.paths for part in session.parts(path, **options, **progress)]
    items = [item for part in parts for item in part.items]
    answers = session.read_answers(parts, lambda message: console.print(message, markup=False))
    planned = None
    if judge:
        if args.retry_undecided:
            undecided = {j.key for j in session.judgements(items, judge, answers) if j.status == "undecided"}
            answers = {key: reply for key, reply in answers.items() if key not in undecided}
        planned = session.plan(judge, items, answers)
        if not _agreed(args, judge, endpoint, planned, len(items), console):
            return 0
    elif args.dry_run:
        console.print("without --judge nothing is sent and nothing costs anything", markup=False)
        return 0
    with Bar() as bar:
        bar.start(f"{args.judge} judges" if judge else "keywords", len(planned.requests) if planned else None)
        try:
            failed = session.ask_and_record(
                parts, judge, endpoint, planned, answers, concurrency=args.concurrency, say=bar.say, on_done=bar.advance
            )
        finally:
            if planned and (paid := [answers[key] for key in planned.requests if key in answers]):
                counts = [sum(getattr(reply, name) or 0 for reply in paid) for name in ("tokens_in", "tokens_out")]
                words = f"{len(paid):,} answers, {counts[0]:,} input and {counts[1]:,} output tokens"
                console.print(f"{words} as the endpoint counts them{_priced(args, ': ', *counts)}", markup=False)
    for part in parts:
        _show(console, part, session.judgements(part.items, judge, answers))
    if failed:
        reasons = "; ".join(list(dict.fromkeys(failed.values()))[:3])
        message = f"no answer to {len(failed)} requests: {reasons}. The same command asks for them again"
        console.print(message, markup=False)
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    from simplerl.core.errors import ConfigError

    for name, least in (("responses", 0), ("concurrency", 1), ("retries", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if not 0 < args.timeout < float("inf"):
        raise ConfigError(f"--timeout must be positive seconds, got {args.timeout:g}")
    prices = (args.price_in, args.price_out)
    if any(price is not None and not 0 <= price < float("inf") for price in prices) or prices.count(None) == 1:
        raise ConfigError("--price-in and --price-out go together, and are 0 or more")
    names = [path.resolve().name for path in args.paths]
    if args.output_dir and len(set(names)) < len(names):
        raise ConfigError(f"--output-dir: {', '.join(names)} would share a folder; give them one at a time")


def _judge(args: argparse.Namespace, console: Console) -> tuple[Judge, Endpoint | None]:
    from simplerl.behaviours.judging import Judge
    from simplerl.core.errors import ConfigError
    from simplerl.judge.endpoint import PARAMETERS, RESERVED, Endpoint

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


def _priced(args: argparse.Namespace, before: str, tokens_in: int, tokens_out: int) -> str:
    from simplerl.judge.asking import cost

    if args.price_in is None:
        return ""
    return f"{before}{cost(tokens_in, tokens_out, args.price_in, args.price_out):,.4f} at your prices"


def _agreed(args: argparse.Namespace, judge, endpoint, planned, count: int, console: Console) -> bool:
    """Show what it will cost; return whether to go on."""
    from simplerl.core.errors import ConfigError

    requests, (tokens_in, tokens_out) = len(planned.requests), planned.estimate()
    console.print(
        f"{judge.model} judges {count:,} responses ({judge.settings}): {requests:,} requests; {planned.answered:,} "
        f"have an answer already, {count - planned.answered - requests:,} are equal to others\n"
        f"estimate: {tokens_in:,} input and {tokens_out:,} output tokens{_priced(args, ', ', tokens_in, tokens_out)}"
        + (f", to {endpoint.address}" if endpoint else ""),
        markup=False,
    )
    if args.dry_run:
        return False
    if not requests or args.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("requests cost money and nobody can be asked here: give --yes to send them, or --dry-run")
    agreed = input("send them? [y/N] ").strip().lower() in ("y", "yes")
    if not agreed:
        console.print("nothing was sent", markup=False)
    return agreed


def _show(console: Console, part: Part, judgements: Sequence[Judgement]) -> None:
    """Print the tables of a series, and write them with the plot."""
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.behaviours import TITLES, plot_behaviours, table
    from simplerl.analysis.evaluations import cell
    from simplerl.behaviours.judging import KEYWORDS
    from simplerl.runs.behaviours import PLOT, TABLE
    from simplerl.runs.files import make_directory, write_json

    def kappa(figure: dict[str, Any]) -> str:
        known = figure["value"] == figure["value"]
        return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]" if known else "– (no variety)"

    tables = {**table(judgements), "name": part.name, "left_out": list(part.left_out)}
    for judge in tables["judges"]:
        words = judge["judge"] == KEYWORDS
        label = "by keywords (weaker than a judge)" if words else f"judged by {judge['judge']}"
        shown = Table(title=escape(f"{part.name}: % of responses that show it, {label}"), title_justify="left")
        counts = (
            {"flagged": "flagged"}
            if words
            else {"undecided": "undecided", "unfounded": "not found", "flagged": "flagged"}
        )
        for column in ("step", "responses", *TITLES.values(), *counts.values()):
            shown.add_column(column, justify="right", no_wrap=True)
        for step in judge["steps"]:
            number = "–" if step["step"] is None else str(step["step"])
            shares = [cell(step["behaviours"][name]) for name in TITLES]
            size = f"{step['responses']} to {step['problems']}"
            shown.add_row(number, size, *shares, *(str(step[name]) for name in counts))
        console.print(shown)
    for one in tables["agreement"]:
        columns = ("behaviour", "responses", "agree (%)", "kappa", "both", "judge only", "keywords only")
        shown = Table(*columns, title=escape(f"{part.name}: agreement of {one['judge']} with the keywords"))
        for name, figure in one["behaviours"].items():
            counts = [str(figure["counts"][key]) for key in ("both", "first", "second")]
            shares = [cell(figure["share"]), kappa(figure["kappa"])]
            shown.add_row(TITLES[name], str(figure["responses"]), *shares, *counts)
        console.print(shown)
    reasons = [j.detail for j in judgements if j.status == "undecided"]
    for reason in list(dict.fromkeys(reasons))[:5]:
        console.print(f"undecided, {reasons.count(reason)}: {reason}", markup=False)
    make_directory(part.output)
    names = [f"{Path(name).stem}{part.ending}{Path(name).suffix}" for name in (TABLE, PLOT)]
    write_json(part.output / names[0], tables)
    plot_behaviours(tables, part.output / names[1], title=part.name)
    console.print(f"written to {part.output}: {', '.join(names)}", markup=False)
