"""`simplerl plan`, and `simplerl train --dry-run`: what a run will take and do, before it starts."""

import argparse
import dataclasses
import os
from collections.abc import Sequence

from simplerl.cli.console import show_table
from simplerl.cli.options import settings
from simplerl.config.resolve import as_toml, resolve
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError

GIB = 2**30


def run(args: argparse.Namespace) -> None:
    """Plan a run for a machine, and refuse what does not fit."""
    from simplerl.train.plan import Machine  # Torch, which a mistake need not wait for.

    names = {field.name for field in dataclasses.fields(Machine)} & vars(args).keys()
    given = {name: getattr(args, name) for name in names}
    if not args.gpus:
        given["memory_gib"] = memory_gib()
    elif args.gpu_memory:
        given["memory_gib"] = args.gpu_memory
    config = resolve(args.recipe, settings(args))
    if 0 < args.gpus < (size := config.rollout.tensor_parallel):
        raise ConfigError(f"rollout.tensor_parallel = {size} needs as many GPUs: give --gpus {size} or more")
    show(config, Machine(**given), prompt_tokens=args.prompt_tokens)


def memory_gib() -> float:
    """Return the memory of this machine, of which the run may have all."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def show(config: Config, machine, *, prompt_tokens: int = 0) -> None:
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
    print(f"largest micro-batch: {plan.rows} × {plan.width} tokens", end="")
    print(f"; engine over {size} GPUs" if (size := config.rollout.tensor_parallel) > 1 else "")
    if plan.seconds:
        step = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in plan.seconds.items())
        print(
            f"a step: {step}, at {machine.tflops:g} TFLOP/s × {machine.learning:g} and {machine.bandwidth:g} TB/s × "
            f"{machine.decoding:g}; {config.steps} steps in {config.steps * sum(plan.seconds.values()) / 3600:.1f} h"
        )
    if machine.gpus > 1:
        engines = machine.gpus // config.rollout.tensor_parallel
        print(
            f"planned with --learner.ranks {machine.gpus} --cluster.engines {engines}, over machines with "
            "--cluster.address (docs/engines.md)"
        )


def dry_run(config: Config) -> None:
    """Print what a run would be, what it takes, and the first problems that it would see; write nothing."""
    import torch

    from simplerl.feed.samplers import Sampler
    from simplerl.models.load import load_tokenizer
    from simplerl.train.components import load_problems, prompter, with_steps_for
    from simplerl.train.plan import Machine

    print(as_toml(config))
    if torch.cuda.is_available():
        machine = Machine(gpus=config.learner.ranks, memory_gib=torch.cuda.get_device_properties(0).total_memory / GIB)
    else:
        machine = Machine(memory_gib=memory_gib())
    show(config, machine)
    problems = load_problems(config, print).train
    config = with_steps_for(config, len(problems), print)
    template = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    tokenizer = load_tokenizer(config.model)
    first = Sampler(problems, per_step=config.sampling.prompts_per_step, seed=config.seed).at(1)
    print(f"\nstep 1: {len(first)} problems × {config.sampling.samples_per_prompt} responses, the first three:")
    for problem in first[:3]:
        ids = template.ids(problem, tokenizer)
        print(f"--- {problem.id}, {len(ids)} tokens, gold {problem.answer!r}\n{tokenizer.decode(ids)}")
