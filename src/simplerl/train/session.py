"""Everything a run needs before its first step: problems, prompts, model, backend, verifier, learner."""

import dataclasses
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from simplerl import __version__, data
from simplerl.data.templates import resolve as resolve_template
from simplerl.errors import ConfigError, DataError, ModelError
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


def pick_device(wanted: str) -> torch.device:
    """Return the device asked for, or a GPU if there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"learner.device = {wanted!r} is no device: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"learner.device = {wanted!r}, but PyTorch sees no CUDA device; use --learner.device cpu")
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 matrix products are fast: on a GPU, or on a CPU with AVX-512 BF16 or AMX."""
    if device.type != "cpu":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def load_problems(config: Config, say: Callable[[str], None]) -> tuple[list[Problem], list[Problem], list[str]]:
    """Return (training problems, held-out problems, ids left out of training because their question is held out)."""
    options = config.dataset
    train = data.load(config.data, options.split, size=options.size, seed=options.seed, levels=options.levels)
    size, source = config.evaluation.size, config.evaluation.data
    if source:
        held_out = data.load(source, "test", size=size, seed=options.seed)
    elif data.has_test_split(config.data):
        held_out = data.load(config.data, "test", size=size, seed=options.seed, levels=options.levels)
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
    return [item for item in train if item.question not in questions], held_out, shared


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
    problems, held_out_problems, shared = load_problems(config, say)
    template = resolve_template(config.template)
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
    limit = min(config.sampling.max_prompt_tokens, room)
    train, long_train = fit(prompt(problems, template, policy), limit, "training", say)
    held_out, long_held_out = fit(prompt(held_out_problems, template, policy), limit, "held-out", say)
    s, e = config.sampling, config.evaluation
    sampling = Sampling(
        temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, max_new_tokens=s.max_new_tokens, stop=s.stop
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
                "left_out_held_out": shared,
            },
        },
    )


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return versions, git commit and machine. Environment variables are not recorded: they may hold secrets."""
    packages = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "math-verify")
    return {
        "python": platform.python_version(),
        "packages": {"simplerl": __version__, **{name: version(name) for name in packages}},
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def _git_commit() -> str | None:
    """Return the commit of the source tree that simplerl runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory_gib(device: torch.device) -> float:
    """Return the largest memory so far: allocated on the GPU, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def advantages_by_row(advantages_BT: torch.Tensor, batch: Batch) -> list[np.ndarray]:
    """Return the advantages of each response's tokens, [T] each."""
    bounds = zip(batch.prompt_lengths_B.tolist(), batch.lengths_B.tolist(), strict=True)
    return [row[start:end].numpy() for row, (start, end) in zip(advantages_BT, bounds, strict=True)]
