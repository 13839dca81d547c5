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
    from simplerl.cli.behaviours_shown import show
    from simplerl.cli.progress import Bar, wide_console

    _check(args)
    console = wide_console()
    judge, endpoint = _judge(args, console) if args.judge else (None, None)
    options = {"steps": args.steps, "responses": args.responses, "seed": args.seed, "output": args.output_dir}
    with Bar() as bar:
        bar.start("evaluations")
        parts = [
            part for path in args.paths for part in session.parts(path, **options, warn=bar.say, on_done=bar.advance)
        ]
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
            if planned:
                _spent(args, [answers[key] for key in planned.requests if key in answers], console)
    for part in parts:
        show(console, part, session.judgements(part.items, judge, answers))
    if failed:
        reasons = "; ".join(list(dict.fromkeys(failed.values()))[:3])
        console.print(
            f"no answer to {len(failed)} requests: {reasons}. The same command asks for them again", markup=False
        )
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
    if args.output_dir:
        names = [path.resolve().name for path in args.paths]
        if len(set(names)) < len(names):
            raise ConfigError(f"--output-dir: {', '.join(names)} would share a folder; give them one at a time")


def _parameters(given: list[str]) -> dict:
    import json

    from simplerl.judge.endpoint import PARAMETERS, RESERVED
    from simplerl.core.errors import ConfigError

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
            raise ConfigError(f"--param {name}: {value[:60]!r} is not JSON ({error}); text goes in quotes") from None
    return {name: value for name, value in parameters.items() if value is not None}


def _judge(args: argparse.Namespace, console):
    from simplerl.judge.endpoint import Endpoint
    from simplerl.behaviours.judging import Judge

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


def _agreed(args: argparse.Namespace, judge, endpoint, planned, count: int, console) -> bool:
    """Show what it will cost; return whether to go on."""
    import sys

    from simplerl.judge.asking import cost
    from simplerl.core.errors import ConfigError

    equal = count - planned.answered - len(planned.requests)
    tokens_in, tokens_out = planned.estimate()
    console.print(
        f"{judge.model} judges {count:,} responses ({judge.settings}): {len(planned.requests):,} requests; "
        f"{planned.answered:,} have an answer already, {equal:,} are equal to others",
        markup=False,
    )
    line = f"estimate: {tokens_in:,} input and {tokens_out:,} output tokens"
    if args.price_in is not None:
        line += f", {cost(tokens_in, tokens_out, args.price_in, args.price_out):,.4f} at your prices"
    console.print(line + (f", to {endpoint.address}" if endpoint else ""), markup=False)
    if args.dry_run:
        return False
    if not planned.requests or args.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("requests cost money and nobody can be asked here: give --yes to send them, or --dry-run")
    agreed = input("send them? [y/N] ").strip().lower() in ("y", "yes")
    if not agreed:
        console.print("nothing was sent", markup=False)
    return agreed


def _spent(args: argparse.Namespace, answers: list, console) -> None:
    """Say what was paid for, as far as the endpoint told."""
    from simplerl.judge.asking import cost

    sums = [sum(getattr(answer, name) or 0 for answer in answers) for name in ("tokens_in", "tokens_out")]
    if answers:
        line = f"{len(answers):,} answers, {sums[0]:,} input and {sums[1]:,} output tokens as the endpoint counts them"
        if args.price_in is not None:
            line += f": {cost(*sums, args.price_in, args.price_out):,.4f} at your prices"
        console.print(line, markup=False)
