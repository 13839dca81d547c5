"""See how a base model takes to each prompt template before any money is spent, and which problems it can learn from.

A small sample of problems is answered under each template, sampled as in training. Shown are accuracy with its
interval, the share of boxed, run-on and truncated responses, and of problems with right and wrong samples; recommended
are template, stop strings and difficulty tier, as settings of `simplerl train`.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

EXAMPLES = """\
  simplerl preflight cub-qwen
  simplerl preflight Qwen/Qwen2.5-0.5B --data math --problems 100 --samples 8
  simplerl preflight DIR --data problems.jsonl --templates simple,qwen-boxed,my-template.txt --output preflight.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a cub, a model directory, a hub name or a run directory")
    add("--data", metavar="D", help="problems to try (default: those of the model's recipe)")
    add("--templates", metavar="A,B", help="names or files (default: every template that the tokenizer can use)")
    add("--problems", type=int, default=64, metavar="N", help="problems of the sample (default: %(default)s)")
    add("--samples", type=int, default=4, metavar="N", help="responses to each (default: %(default)s)")
    add("--temperature", type=float, default=1.0, metavar="T", help="as in training (default: %(default)s)")
    add("--max-tokens", type=int, metavar="N", help="length limit of a response (default: the recipe's)")
    add("--policy", default="boxed", metavar="P", help="how answers are found (default: %(default)s, as in training)")
    add("--seed", type=int, default=0, metavar="N", help="of sample and sampling (default: %(default)s)")
    add("--device", default="auto", metavar="D", help="cpu, cuda … (default: a GPU if there is one)")
    add("--output", type=Path, metavar="FILE", help="write the whole report as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, show, recommend."""
    from simplerl import data
    from simplerl.cli.progress import Bar, wide_console
    from simplerl.core.errors import ConfigError, nearest
    from simplerl.data.prompts import prompter
    from simplerl.data.templates import TEMPLATES
    from simplerl.evaluate.preflight import choose, measure, recommend
    from simplerl.models.device import pick_device
    from simplerl.models.load import load
    from simplerl.rewards import Correctness
    from simplerl.rollout import open_backend
    from simplerl.rollout.backend import Sampling
    from simplerl.rollout.groups import Rollout
    from simplerl.runs.files import write_json
    from simplerl.train.resolve import recipe_for, resolve
    from simplerl.verify import POLICIES, VerifierPool

    for name in ("problems", "samples", "max_tokens"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.policy not in POLICIES:
        raise ConfigError(f"unknown --policy {args.policy!r}; {nearest(args.policy, POLICIES)}")
    if args.output and not args.output.parent.is_dir():
        raise ConfigError(f"--output {args.output}: the directory {args.output.parent} does not exist")
    config = resolve(recipe_for(args.model), {})
    source = args.data or config.data
    problems = choose(data.load(source, "train"), args.problems, args.seed)
    policy = load(args.model, device=pick_device(args.device, "device"))
    names = list(dict.fromkeys(part.strip() for part in (args.templates or "").split(",") if part.strip()))
    names = names or [*TEMPLATES]
    if not args.templates and policy.tokenizer.chat_template:
        names.append("chat")
    # Nothing is stopped but by the model itself: how it runs on is what is to be seen.
    limit = args.max_tokens or config.sampling.max_new_tokens
    sampling = Sampling(temperature=args.temperature, max_new_tokens=limit)
    measured = {}
    with Bar() as bar, VerifierPool(args.policy, workers=1) as verifier:
        backend = open_backend("native", policy)
        rollout = Rollout(
            backend=backend,
            verifier=verifier,
            reward=Correctness(),
            sampling=sampling,
            samples=args.samples,
            seed=args.seed,
        )
        for name in names:
            bar.phase(f"template {name}", len(problems) * args.samples)
            system = config.prompt.system if name == "chat" else ""
            prompts = prompter(name, system=system, special_tokens=config.prompt.special_tokens)
            measured[name] = measure(problems, prompts, policy, rollout, lambda completion: bar.advance())
        backend.close()
    advice = recommend(measured)
    console = wide_console()
    _show(console, args.model, source, len(problems), args.samples, measured)
    _advise(console, args, source, advice)
    if args.output:
        write_json(args.output, {"model": args.model, "data": source, "templates": measured, "recommended": advice})
        console.print(f"written to {args.output}", markup=False)
    return 0


def _show(console: Any, model: str, source: str, problems: int, samples: int, measured: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from simplerl.analysis.evaluations import cell

    table = Table(
        title=escape(f"{model} on {source}: {problems} problems × {samples} samples, 95% intervals, per cent")
    )
    for column in ("template", "accuracy", f"solved in {samples}", "boxed", "run-on", "truncated", "mixed", "tokens"):
        table.add_column(column, justify="left" if column == "template" else "right")
    for name, one in measured.items():
        if not one["measured"]:
            table.add_row(escape(name), "no prompt fits the context", *[""] * 6)
            continue
        solved, boxed, truncated = (one[key]["value"] for key in ("any_correct", "boxed", "truncated"))
        shares = [f"{100 * share:.1f}" for share in (solved, boxed, one["run_on"], truncated, one["mixed"])]
        table.add_row(escape(name), cell(one["acc"]), *shares, f"{one['tokens']['value']:.0f}")
    console.print(table)
    for name, one in measured.items():
        if one["left_out"]:
            console.print(f"{name}: {one['left_out']} prompts longer than the context were left out", markup=False)
    by_template = {name: one["by_level"] for name, one in measured.items() if one.get("by_level")}
    names = sorted({level for levels in by_template.values() for level in levels})
    table = Table("template", *(f"level {level}" for level in names), title="accuracy by level (share of mixed)")
    for name, levels in by_template.items():
        shares = [
            f"{100 * one['acc']:.0f} ({100 * one['mixed']:.0f})" if (one := levels.get(n)) else "–" for n in names
        ]
        table.add_row(escape(name), *shares)
    if by_template:
        console.print(table)


def _advise(console: Any, args: argparse.Namespace, source: str, advice: dict[str, Any]) -> None:
    template = advice["template"]
    if template is None:
        console.print(f"nothing to recommend: {advice['why']}", markup=False)
        return
    lines = [f"recommended template: {template} ({advice['why']})"]
    if advice["tier"]:
        shares = ", ".join(f"{tier} {100 * share:.0f}%" for tier, share in advice["tiers"].items())
        lines.append(f"recommended tier: {advice['tier']} (share of problems that teach: {shares})")
    command = ["simplerl", "train", "--model", args.model, "--data", source, "--template", template]
    if advice["stop"]:
        command += ["--sampling.stop", json.dumps(advice["stop"], ensure_ascii=False)]
    for line in (*lines, *(f"note: {note}" for note in advice["advice"]), shlex.join(command)):
        console.print(line, markup=False)
