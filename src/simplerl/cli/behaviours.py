"""`simplerl behaviours`: which cognitive behaviours responses show, by keywords and by a model that judges."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from simplerl.analysis.behaviours import TITLES, table
from simplerl.analysis.estimates import shown
from simplerl.behaviours.judging import KEYWORDS, Item, Judge
from simplerl.behaviours.session import Part, Session, estimate, parts
from simplerl.cli.console import Bar, say, show_table
from simplerl.core.errors import ConfigError
from simplerl.judge.asking import cost
from simplerl.judge.endpoint import PARAMETERS, RESERVED, Endpoint
from simplerl.runs.files import make_directory, write_json
from simplerl.runs.run import TABLE, Judgement


def run(args: argparse.Namespace) -> int:
    """Choose, show the cost, ask, record, show."""
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
        _show(part, session.judgements(part.items))
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


def _show(part: Part, judgements: Sequence[Judgement]) -> None:
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
