"""The measuring half of `simplerl data difficulty`: a model, a backend, a progress bar."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from simplerl.cli.progress import Bar
from simplerl.core.errors import ConfigError, nearest
from simplerl.core.types import Problem
from simplerl.data.prompts import prompter
from simplerl.evaluate.difficulty import measure, with_pass_rates
from simplerl.models.device import pick_device
from simplerl.models.load import load, locate_and_hash, pick_attention
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Sampling
from simplerl.rollout.groups import prompt
from simplerl.verify import POLICIES, VerifierPool


def measure_model(
    args: argparse.Namespace, problems: list[Problem], journal: Path
) -> tuple[list[Problem], dict[str, Any]]:
    """Return (the problems with pass rates, figures for the report). Goes on with the journal where there is one."""
    for name in ("samples", "max_tokens", "max_rows"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.policy not in POLICIES:
        raise ConfigError(f"unknown --policy {args.policy!r}; {nearest(args.policy, POLICIES)}")
    made = prompter(args.template, system=args.system, special_tokens=args.special_tokens)
    sampling = Sampling(temperature=args.temperature, max_new_tokens=args.max_tokens, stop=tuple(args.stop))
    device = pick_device(args.device, "device")
    policy = load(args.model, device=device, attention=pick_attention("auto", device, half=False))
    prompted = prompt(problems, made, policy)
    short = [item for item in prompted if 0 < len(item.prompt_ids) < policy.context_length]
    long = [item.problem.id for item in prompted if not 0 < len(item.prompt_ids) < policy.context_length]
    if not short:
        raise ConfigError(
            f"no prompt of {args.data} fits the context of {args.model} ({policy.context_length} tokens) with a "
            "response; choose another --template or other problems"
        )
    if long:
        print(f"{len(long)} prompts do not fit the model's context and are not measured: {', '.join(long[:5])}")
    precision = "bf16" if device.type == "cuda" else "fp32"
    backend = open_backend("native", policy, precision=precision, max_rows=args.max_rows)
    try:
        with Bar() as bar, VerifierPool(args.policy) as verifier:
            measured = measure(
                short,
                backend=backend,
                verifier=verifier,
                sampling=sampling,
                samples=args.samples,
                seed=args.seed,
                settings={**locate_and_hash(args.model), "policy": args.policy},
                journal=journal,
                on_start=lambda done: bar.phase(f"pass rates of {args.model}", len(short) * args.samples, done),
                on_done=lambda completion: bar.advance(),
            )
    finally:
        backend.close()
    responses, tokens = sum(item.samples for item in measured), sum(item.tokens for item in measured)
    names = ("template", "system", "special_tokens", "samples", "temperature", "max_tokens", "stop", "seed", "policy")
    figures = {
        "measurement": {name: getattr(args, name) for name in names},
        "pass_rate": sum(item.correct for item in measured) / max(1, sum(item.decided for item in measured)),
        "responses": responses,
        "undecided": responses - sum(item.decided for item in measured),
        "truncated": sum(item.truncated for item in measured),
        "mean_tokens": tokens / responses,
        "not_measured_too_long": long,
    }
    rated = with_pass_rates([item.problem for item in short], measured)
    by_id = {item.id: item for item in rated}
    return [by_id.get(item.id, _bare(item)) for item in problems], figures


def _bare(problem: Problem) -> Problem:
    """Return a problem without a pass rate that somebody measured before."""
    return dataclasses.replace(problem, meta={k: v for k, v in problem.meta.items() if not k.startswith("pass_rate")})
