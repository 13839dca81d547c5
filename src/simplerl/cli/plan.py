"""The commands before a run: `recipes`, `plan` (and `train --dry-run`), and `preflight` for a model's prompts.

What loads torch is imported where it is used: a mistake in a setting need not wait for it.
"""

import argparse
import dataclasses
import itertools
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simplerl.analysis.estimates import shown
from simplerl.cli import settings
from simplerl.cli.console import Bar, counted, say, show_table
from simplerl.config.resolve import RECIPES, as_toml, recipe_chain, recipe_for, resolve
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, SimpleRLError, raised_at

if TYPE_CHECKING:
    from simplerl.train.plan import Machine

GIB = 2**30


def recipes(args: argparse.Namespace) -> None:
    """List the shipped recipes, or print one fully resolved."""
    if args.name is None:
        if args.overrides:
            raise ConfigError(f"{args.overrides[0]} needs the name of a recipe to lay it on: simplerl recipes NAME …")
        _list_recipes()
        return
    text, about = as_toml(resolve(args.name, settings(args))), recipe_chain(args.name)[-1][1]
    print(f"# {args.name}{': ' * bool(about)}{about}\n{text}", end="")  # As it is: a recipe, whatever it holds.


def _list_recipes() -> None:
    """Print the recipes: those of the cubs, the paper's, and of any other model."""
    configs, chains = {name: resolve(name, {}) for name in RECIPES}, {name: recipe_chain(name) for name in RECIPES}

    def group(name: str) -> int:
        return 0 if configs[name].model.startswith("cub-") else 1 if chains[name][0][0] == "simplerl-zoo" else 2

    rows: list[tuple[str, ...]] = []
    for _, names in itertools.groupby(sorted(RECIPES, key=lambda name: (group(name), len(chains[name]), name)), group):
        rows += [(name, *(getattr(configs[name], key) for key in ("model", "data", "template"))) for name in names]
        rows.append(())
    show_table("recipes", ("recipe", "model", "data", "template"), rows, left=4)


def plan(args: argparse.Namespace) -> None:
    """Plan a run for a machine, and refuse what does not fit."""
    from simplerl.train.plan import Machine  # Torch, which a mistake need not wait for.

    names = {field.name for field in dataclasses.fields(Machine)} & vars(args).keys()
    given = {name: getattr(args, name) for name in names}
    given["memory_gib"] = args.gpu_memory if args.gpus else memory_gib()
    config = resolve(args.recipe, settings(args))
    for key, size in (
        ("rollout.tensor_parallel", config.rollout.tensor_parallel),
        ("learner.ranks", config.learner.ranks),
    ):
        if 0 < args.gpus < size:
            raise ConfigError(f"{key} = {size} needs as many GPUs: give --gpus {size} or more")
    if args.response_tokens > (most := config.sampling.max_new_tokens):
        raise ConfigError(f"--response-tokens {args.response_tokens} is more than sampling.max_new_tokens = {most}")
    if args.gpus and (config.learner.ranks > 1 or config.cluster.engines):
        given |= _places(config, args.gpus)
    show_plan(config, Machine(**given), prompt_tokens=args.prompt_tokens)


def memory_gib() -> float:
    """Return the memory of this machine, of which the run may have all."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def show_plan(config: Config, machine: "Machine", *, prompt_tokens: int = 0) -> None:
    """Print the plan of a run. Raises ConfigError where it does not fit."""
    import torch

    from simplerl.models.device import peak_memory_gib
    from simplerl.train.plan import check

    # What this process holds already, Python and its libraries, a run on a CPU holds too.
    held = 0 if machine.gpus else int(peak_memory_gib(torch.device("cpu")) * GIB)
    plan = check(config, machine, prompt_tokens=prompt_tokens, held=held)
    parts: Sequence[tuple[str, dict[str, int]]] = (
        ("all the time", plan.always),
        ("during an update", plan.learning),
        ("during rollouts", plan.sampling),
    )
    rows: list[tuple[str, ...]] = [
        (when, name, f"{size / GIB:.2f}") for when, sizes in parts for name, size in sizes.items() if size
    ]
    where = f"{machine.gpus} × {machine.memory_gib:g} GiB" if machine.gpus else f"{machine.memory_gib:.1f} GiB"
    rows += [(), ("at its peak", f"of {where}", f"{plan.peak / GIB:.2f}")]
    title = f"{config.model}: {plan.parameters / 1e6:,.1f} M parameters, GiB of each device"
    show_table(title, ("when", "what for", "GiB"), rows, left=2)
    split = f"; engine over {size} GPUs" if (size := config.rollout.tensor_parallel) > 1 else ""
    say(f"largest micro-batch: {plan.rows} × {plan.width} tokens{split}")
    if plan.seconds:
        step = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in plan.seconds.items())
        say(
            f"a step: {step}, at {machine.tflops:g} TFLOP/s × {machine.learning:g} and {machine.bandwidth:g} TB/s × "
            f"{machine.decoding:g}; {config.steps} steps in {config.steps * sum(plan.seconds.values()) / 3600:.1f} h"
        )
        say(f"its sync: {plan.sync}")
    if machine.gpus > 1 and not machine.engines:
        engines = machine.gpus // config.rollout.tensor_parallel
        say(
            f"planned with --learner.ranks {machine.gpus} --cluster.engines {engines}, over machines with "
            "--cluster.address (docs/engines.md)"
        )


def machine_of(config: Config) -> "Machine":
    """Return this machine as a run has it: the processor, or the GPUs of the learner."""
    import torch

    from simplerl.train.components import learner_device
    from simplerl.train.plan import Machine

    if (device := learner_device(config)).type != "cuda":
        return Machine(memory_gib=memory_gib())
    memory = torch.cuda.get_device_properties(device).total_memory / GIB
    return Machine(memory_gib=memory, **_places(config, torch.cuda.device_count()))


def _places(config: Config, gpus: int) -> dict[str, Any]:
    """Return how ranks and engines as they are set are on so many GPUs."""
    ranks, more = config.learner.ranks, config.cluster.engines * config.rollout.tensor_parallel
    apart = more > 0 and bool(config.cluster.address or ranks + more <= gpus)
    return {"gpus": ranks, "engines": max(1, config.cluster.engines), "apart": apart}


def plan_on_gpus(config: Config, *, quiet: bool) -> None:
    """Plan a run that is to be on GPUs and show it, unless `quiet`. Raises ConfigError where it does not fit."""
    from simplerl.train.plan import check

    try:
        if (machine := machine_of(config)).gpus:
            (check if quiet else show_plan)(config, machine)
    except SimpleRLError:
        raise
    except Exception as error:  # A model that fake tensors do not know may train all the same.
        if not quiet:
            say(f"no plan of this run can be made: {raised_at(error)}")


def dry_run(config: Config) -> None:
    """Print what a run would be, what it takes, and the first problems that it would see; write nothing."""
    from simplerl.feed.samplers import Epoch, Ledger, chosen, prompt_sampler
    from simplerl.models.load import load_tokenizer
    from simplerl.train.components import load_problems, prompter, with_steps_for

    print(as_toml(config))
    show_plan(config, machine_of(config))
    problems = load_problems(config, say).train
    config = with_steps_for(config, len(problems), say)
    template = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    tokenizer = load_tokenizer(config.model)
    sampler = prompt_sampler(config)
    # The temperature that a sampler steers to may take a search; its problems are the epoch's.
    first = chosen(Epoch() if sampler.steers_temperature else sampler, 1, Ledger(config, problems, Path()))
    say(f"\nstep 1: {counted(len(first), 'problem')} × {first[0].samples} responses, the first three:")
    for draw in first[:3]:
        ids = template.ids(draw.problem, tokenizer)
        text = f"{tokenizer.decode(ids)}{draw.prefix}"
        say(f"--- {draw.problem.id}, {len(ids)} tokens, gold {draw.problem.answer!r}\n{text}")


def preflight(args: argparse.Namespace) -> None:
    """Measure how a base model takes to each prompt template, show, recommend."""
    from simplerl import data
    from simplerl.data.prompts import TEMPLATES, prompter
    from simplerl.evaluate.preflight import choose, measure, recommend
    from simplerl.evaluate.run import open_rollout
    from simplerl.models.device import pick_device
    from simplerl.models.load import load
    from simplerl.rollout.backend import Sampling

    config = resolve(recipe_for(args.model), {})
    source = args.data or config.data
    problems = choose(data.load(source, "train"), args.problems, args.seed)
    policy = load(args.model, device=pick_device(args.device, "device"))
    names = args.templates or [*TEMPLATES, *(["chat"] if policy.tokenizer.chat_template else [])]
    # Nothing is stopped but by the model itself: how it runs on is what is to be seen.
    limit = args.max_tokens or config.sampling.max_new_tokens
    begin = args.special_tokens or config.prompt.special_tokens
    sampling = Sampling(temperature=args.temperature, max_new_tokens=limit)
    measured = {}
    options = {"samples": args.samples, "seed": args.seed, "answers": args.policy, "backend": args.backend}
    rollout = open_rollout(policy, sampling=sampling, **options)
    with Bar() as bar, rollout as engine:
        for name in names:
            bar.phase(f"template {name}", len(problems) * args.samples)
            system = config.prompt.system if name == "chat" else ""
            prompts = prompter(name, system=system, special_tokens=begin)
            watch = {"on_done": lambda completion: bar.advance(), "say": bar.say}
            measured[name] = measure(problems, prompts, policy, engine, **watch)
    advice = recommend(measured)
    size = f"{len(problems)} problems × {args.samples} samples"
    _show_templates(f"{args.model} on {source}: {size}, 95% intervals, per cent", args.samples, measured)
    _advise(args.model, source, advice, begin if args.special_tokens else "")


def _show_templates(title: str, samples: int, measured: dict[str, Any]) -> None:
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


def _advise(model: str, source: str, advice: dict[str, Any], begin: str) -> None:
    template = advice["template"]
    if template is None:
        say(f"nothing to recommend: {advice['why']}")
        return
    say(f"recommended template: {template} ({advice['why']})")
    if advice["tier"]:
        shares = ", ".join(f"{tier} {shown(share, digits=0)}%" for tier, share in advice["tiers"].items())
        say(f"recommended tier: {advice['tier']} (share of problems that teach: {shares})")
    command = ["simplerl", "train", "--model", model, "--data", source, "--template", template]
    command += ["--prompt.special-tokens", begin] if begin else []
    if advice["stop"]:
        command += ["--sampling.stop", json.dumps(advice["stop"], ensure_ascii=False)]
    say(*(f"note: {note}" for note in advice["advice"]), shlex.join(command))
