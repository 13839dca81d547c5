"""`simplerl preflight`: how a base model takes to each prompt template."""

import argparse
import json
import shlex
from typing import Any

from simplerl import data
from simplerl.analysis.estimates import shown
from simplerl.cli.console import Bar, say, show_table
from simplerl.config.resolve import recipe_for, resolve
from simplerl.core.errors import ConfigError
from simplerl.data.prompts import TEMPLATES, prompter
from simplerl.evaluate import preflight
from simplerl.evaluate.run import open_rollout
from simplerl.models.device import pick_device
from simplerl.models.load import load
from simplerl.rollout.backend import Sampling
from simplerl.runs.files import write_json


def run(args: argparse.Namespace) -> None:
    """Measure, show, recommend."""
    if args.output and not args.output.parent.is_dir():
        raise ConfigError(f"--output {args.output}: the directory {args.output.parent} does not exist")
    config = resolve(recipe_for(args.model), {})
    source = args.data or config.data
    problems = preflight.choose(data.load(source, "train"), args.problems, args.seed)
    policy = load(args.model, device=pick_device(args.device, "device"))
    names = args.templates or [*TEMPLATES, *(["chat"] if policy.tokenizer.chat_template else [])]
    # Nothing is stopped but by the model itself: how it runs on is what is to be seen.
    limit = args.max_tokens or config.sampling.max_new_tokens
    sampling = Sampling(temperature=args.temperature, max_new_tokens=limit)
    measured = {}
    rollout = open_rollout(
        policy,
        sampling=sampling,
        samples=args.samples,
        seed=args.seed,
        answers=args.policy,
        backend=args.backend,
    )
    with Bar() as bar, rollout as engine:
        for name in names:
            bar.phase(f"template {name}", len(problems) * args.samples)
            system = config.prompt.system if name == "chat" else ""
            prompts = prompter(name, system=system, special_tokens=config.prompt.special_tokens)
            watch = {"on_done": lambda completion: bar.advance(), "say": bar.say}
            measured[name] = preflight.measure(problems, prompts, policy, engine, **watch)
    advice = preflight.recommend(measured)
    size = f"{len(problems)} problems × {args.samples} samples"
    _show(f"{args.model} on {source}: {size}, 95% intervals, per cent", args.samples, measured)
    _advise(args.model, source, advice)
    if args.output:
        write_json(args.output, {"model": args.model, "data": source, "templates": measured, "recommended": advice})
        say(f"written to {args.output}")


def _show(title: str, samples: int, measured: dict[str, Any]) -> None:
    rows: list[list[str]] = []
    for name, one in measured.items():
        if one["measured"]:
            solved, boxed, truncated = (one[key]["value"] for key in ("any_correct", "boxed", "truncated"))
            shares = map(shown, (solved, boxed, one["run_on"], truncated, one["mixed"]))
            rows.append([name, shown(one["acc"]), *shares, f"{one['tokens']['value']:.0f}"])
        else:
            rows.append([name, "no prompt fits the context"])
    head = ("template", "accuracy", f"solved in {samples}", "boxed", "run-on", "truncated", "mixed", "tokens")
    show_table(title, head, rows)
    for name, one in measured.items():
        if one["left_out"]:
            say(f"{name}: {one['left_out']} prompts longer than the context were left out")


def _advise(model: str, source: str, advice: dict[str, Any]) -> None:
    template = advice["template"]
    if template is None:
        say(f"nothing to recommend: {advice['why']}")
        return
    say(f"recommended template: {template} ({advice['why']})")
    if advice["tier"]:
        shares = ", ".join(f"{tier} {shown(share, digits=0)}%" for tier, share in advice["tiers"].items())
        say(f"recommended tier: {advice['tier']} (share of problems that teach: {shares})")
    command = ["simplerl", "train", "--model", model, "--data", source, "--template", template]
    if advice["stop"]:
        command += ["--sampling.stop", json.dumps(advice["stop"], ensure_ascii=False)]
    say(*(f"note: {note}" for note in advice["advice"]), shlex.join(command))
