"""Everything a run needs before its first step: problems, prompts, model, backend, verifier, learner."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from simplerl import data
from simplerl.data.prompts import difference, prompter
from simplerl.errors import ConfigError, DataError, ModelError
from simplerl.models.device import describe_machine, has_fast_bf16, pick_device
from simplerl.models.load import Policy, load, locate_and_hash, pick_attention
from simplerl.rollout import BACKENDS
from simplerl.rollout.backend import RolloutBackend, Sampling
from simplerl.rollout.collect import Prompted, fingerprint, prompt
from simplerl.seeds import generator
from simplerl.train.config import Config
from simplerl.train.learner import Learner
from simplerl.train.sampler import Sampler
from simplerl.types import Batch, Problem
from simplerl.verify import VerifierPool


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """A run's parts, put together."""

    config: Config
    policy: Policy
    sampler: Sampler
    held_out: list[Prompted]
    backend: RolloutBackend
    verifier: VerifierPool
    learner: Learner
    sampling: Sampling
    evaluation_sampling: Sampling
    environment: dict[str, Any]
    """Versions, machine, data: what the configuration does not say."""

    def close(self) -> None:
        """Release processes and memory."""
        self.backend.close()
        self.verifier.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The problems of a run, and what is to be recorded of how they were chosen."""

    train: list[Problem]
    held_out: list[Problem]
    shared: list[str]
    """Ids left out of training because their question is held out."""
    left_out: dict[str, list[str]]
    """`train` and `held_out` → places of the rows that have no gold answer."""
    origin: dict[str, Any]
    """`train` and `held_out` → file and SHA-256, or hub data set and commit."""


def load_problems(config: Config, say: Callable[[str], None]) -> Split:
    """Return the problems that the configuration asks for, saying what is left out of them."""
    options = config.dataset
    read = {"train": data.read(config.data, options.split, size=options.size, seed=options.seed, levels=options.levels)}
    train = read["train"].problems
    size, source = config.evaluation.size, config.evaluation.data
    if source:
        read["held_out"] = data.read(source, "test", size=size, seed=options.seed)
    elif data.has_test_split(config.data):
        read["held_out"] = data.read(config.data, "test", size=size, seed=options.seed, levels=options.levels)
    else:
        count = config.evaluation.holdout
        if count >= len(train):
            raise ConfigError(
                f"evaluation.holdout = {count} leaves nothing to train on: {config.data} has {len(train)} problems; "
                "set a smaller --evaluation.holdout, or --evaluation.data"
            )
        order = generator(options.seed, "holdout").permutation(len(train))
        held = set(order[:count].tolist())
        held_out = [train[i] for i in sorted(held)]
        train = [item for i, item in enumerate(train) if i not in held]
    for what, found in read.items():
        if found.left_out:
            say(f"{what.replace('_', '-')} data: {data.left_out_message(found)} (all of them in environment.json)")
    held_out = read["held_out"].problems if "held_out" in read else held_out
    questions = {item.question for item in held_out}
    shared = [item.id for item in train if item.question in questions]
    if shared:
        named = ", ".join(shared[:5]) + (" …" if len(shared) > 5 else "")
        say(f"{len(shared)} of {len(train)} training problems are held out too and are not trained on: {named}")
    if len(shared) == len(train):
        raise DataError(
            f"every training problem of {config.data} is also held out ({source or 'its test split'}); give other "
            "problems with --evaluation.data, or leave it out"
        )
    return Split(
        train=[item for item in train if item.question not in questions],
        held_out=held_out,
        shared=shared,
        left_out={what: [item.place for item in found.left_out] for what, found in read.items()},
        origin={what: dict(found.origin) for what, found in read.items()},
    )


def fit(
    prompted: list[Prompted], limit: int, what: str, say: Callable[[str], None]
) -> tuple[list[Prompted], list[str]]:
    """Return (prompts within `limit` tokens, ids of the others), saying what was left out."""
    short = [item for item in prompted if 0 < len(item.prompt_ids) <= limit]
    long = [item for item in prompted if not 0 < len(item.prompt_ids) <= limit]
    if long:
        longest = max(len(item.prompt_ids) for item in long)
        named = ", ".join(item.problem.id for item in long[:5]) + (" …" if len(long) > 5 else "")
        say(
            f"{len(long)} of {len(prompted)} {what} problems have prompts of more than {limit} tokens (up to {longest})"
            f" and are left out: {named} (all of them in environment.json)"
        )
    if not short:
        raise DataError(
            f"all {len(prompted)} {what} prompts are longer than {limit} tokens, which is the smaller of "
            "sampling.max_prompt_tokens and what sampling.max_new_tokens leaves of the model's context "
            f"(shortest {min(len(item.prompt_ids) for item in prompted)}); change these, or choose another template"
        )
    return short, [item.problem.id for item in long]


def load_reference(name: str, policy: Policy, *, attention: str) -> PreTrainedModel:
    """Load the model of the KL. Raises ModelError where its tokens are not the policy's."""
    device = next(policy.model.parameters()).device
    found = load(name, device=device, attention=attention)
    theirs, ours = found.tokenizer.get_vocab(), policy.tokenizer.get_vocab()
    if theirs != ours:
        shared = len(theirs.items() & ours.items())
        raise ModelError(
            f"the reference {name!r} has another vocabulary than {policy.name!r}: {len(theirs)} and {len(ours)} "
            f"tokens, {shared} of them the same. A KL compares the same tokens: give --reference a model with the same "
            "tokenizer, or leave it out to compare with the starting model"
        )
    return found.model


def prepare(config: Config, say: Callable[[str], None], *, checkpoint: Path | None = None) -> Session:
    """Put a run's parts together. `checkpoint` is where to resume from instead of the configured model."""
    device = pick_device(config.learner.device)
    fast = has_fast_bf16(device)
    split = load_problems(config, say)
    made = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    precision = {"auto": "bf16" if fast else "fp32"}.get(config.learner.precision, config.learner.precision)
    rollout_precision = {"auto": "fp32" if device.type == "cpu" else "bf16"}.get(
        config.rollout.precision, config.rollout.precision
    )
    half = precision == rollout_precision == "bf16"
    attention = pick_attention(config.learner.attention, device, half=half)
    policy = load(str(checkpoint or config.model), device=device, attention=attention)
    reference = None
    if config.algorithm.needs_reference and (checkpoint or config.reference):
        reference = load_reference(config.reference or config.model, policy, attention=attention)
    room = policy.context_length - config.sampling.max_new_tokens
    if room < 1:
        raise ConfigError(
            f"sampling.max_new_tokens = {config.sampling.max_new_tokens} leaves no room for a prompt in the context of "
            f"{config.model} ({policy.context_length} tokens)"
        )
    policy.check(list(config.sampling.stop_ids), "setting sampling.stop_ids")
    limit = min(config.sampling.max_prompt_tokens, room)
    if differing := difference(split.train, made, policy.tokenizer):
        say(differing)
    train, long_train = fit(prompt(split.train, made, policy), limit, "training", say)
    held_out, long_held_out = fit(prompt(split.held_out, made, policy), limit, "held-out", say)
    s, e = config.sampling, config.evaluation
    sampling = Sampling(
        temperature=s.temperature,
        top_p=s.top_p,
        top_k=s.top_k,
        max_new_tokens=s.max_new_tokens,
        stop=s.stop,
        stop_ids=s.stop_ids,
    )
    return Session(
        config=config,
        policy=policy,
        sampler=Sampler(train, per_step=s.prompts_per_step, seed=config.seed),
        held_out=held_out,
        backend=BACKENDS[config.rollout.backend](policy, precision=rollout_precision, max_rows=config.rollout.max_rows),
        verifier=VerifierPool(
            config.verifier.policy, workers=config.verifier.workers, timeout_s=config.verifier.timeout_s
        ),
        learner=Learner(
            policy,
            config.algorithm,
            optimizer=config.optimizer,
            learner=config.learner,
            precision=precision,
            temperature=s.temperature,
            steps=config.steps,
            reference=reference,
            seed=config.seed,
        ),
        sampling=sampling,
        evaluation_sampling=dataclasses.replace(sampling, temperature=e.temperature, top_p=e.top_p, top_k=0),
        environment={
            **describe_machine(device),
            "learner_precision": precision,
            "rollout_precision": rollout_precision,
            "attention": policy.model.config._attn_implementation,
            "parameters": sum(p.numel() for p in policy.model.parameters()),
            "base_model": locate_and_hash(config.model),
            "reference": locate_and_hash(config.reference) if config.reference else None,
            "data": {
                "train": {"problems": len(train), "sha256": fingerprint(train)},
                "held_out": {"problems": len(held_out), "sha256": fingerprint(held_out)},
                "left_out_too_long": {"train": long_train, "held_out": long_held_out},
                "left_out_held_out": split.shared,
                "left_out_no_gold": split.left_out,
            },
            "data_origin": split.origin,
        },
    )


def advantages_by_row(advantages_BT: torch.Tensor, batch: Batch) -> list[np.ndarray]:
    """Return the advantages of each response's tokens, [T] each."""
    bounds = zip(batch.prompt_lengths_B.tolist(), batch.lengths_B.tolist(), strict=True)
    return [row[start:end].numpy() for row, (start, end) in zip(advantages_BT, bounds, strict=True)]
