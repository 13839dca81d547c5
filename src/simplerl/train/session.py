"""Everything a run needs before its first step: problems, prompts, model, backend, verifier, learner."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from simplerl.data.prompts import prompter
from simplerl.errors import ModelError
from simplerl.models.device import describe_machine, has_fast_bf16, pick_device
from simplerl.models.load import Policy, load, locate_and_hash, pick_attention
from simplerl.rollout import BACKENDS
from simplerl.rollout.backend import RolloutBackend, Sampling
from simplerl.rollout.collect import Prompted
from simplerl.train.config import Config
from simplerl.train.learner import Learner
from simplerl.train.problems import load_problems, make_prompts
from simplerl.train.sampler import Sampler
from simplerl.types import Batch
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


def prepare(config: Config, say: Callable[[str], None], *, checkpoint: Path | None = None) -> Session:
    """Put a run's parts together. `checkpoint` is where to resume from instead of the configured model."""
    device = pick_device(config.learner.device)
    split = load_problems(config, say)
    made = prompter(config.template, system=config.prompt.system, special_tokens=config.prompt.special_tokens)
    learns_in, samples_in = precisions(config, device)
    attention = pick_attention(config.learner.attention, device, half=learns_in == samples_in == "bf16")
    policy = load(str(checkpoint or config.model), device=device, attention=attention)
    reference = None
    if config.algorithm.needs_reference and (checkpoint or config.reference):
        reference = load_reference(config.reference or config.model, policy, attention=attention)
    policy.check(list(config.sampling.stop_ids), "setting sampling.stop_ids")
    prompts = make_prompts(split, made, policy, config, say)
    s, e = config.sampling, config.evaluation
    limits = {"max_new_tokens": s.max_new_tokens, "stop": s.stop, "stop_ids": s.stop_ids}
    verifier = config.verifier
    return Session(
        config=config,
        policy=policy,
        sampler=Sampler(prompts.train, per_step=s.prompts_per_step, seed=config.seed),
        held_out=prompts.held_out,
        backend=BACKENDS[config.rollout.backend](policy, precision=samples_in, max_rows=config.rollout.max_rows),
        verifier=VerifierPool(
            verifier.policy, workers=verifier.workers, timeout_s=verifier.timeout_s, lenient=verifier.lenient
        ),
        learner=Learner(
            policy,
            config.algorithm,
            optimizer=config.optimizer,
            learner=config.learner,
            precision=learns_in,
            temperature=s.temperature,
            steps=config.steps,
            reference=reference,
            seed=config.seed,
        ),
        sampling=Sampling(temperature=s.temperature, top_p=s.top_p, top_k=s.top_k, **limits),
        evaluation_sampling=Sampling(temperature=e.temperature, top_p=e.top_p, top_k=0, **limits),
        environment={
            **describe_machine(device),
            "learner_precision": learns_in,
            "rollout_precision": samples_in,
            **describe_models(config, policy),
            **prompts.record,
        },
    )


def precisions(config: Config, device: torch.device) -> tuple[str, str]:
    """Return the precision (fp32 or bf16) that the learner works in, and the one that is sampled in."""
    learner, rollout = config.learner.precision, config.rollout.precision
    if learner == "auto":
        learner = "bf16" if has_fast_bf16(device) else "fp32"
    if rollout == "auto":
        rollout = "fp32" if device.type == "cpu" else "bf16"
    return learner, rollout


def describe_models(config: Config, policy: Policy) -> dict[str, Any]:
    """Return what environment.json says of the models, with hashes of those that the run begins from."""
    return {
        "attention": policy.model.config._attn_implementation,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "base_model": locate_and_hash(config.model),
        "reference": locate_and_hash(config.reference) if config.reference else None,
    }


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


def advantages_by_row(advantages_BT: torch.Tensor, batch: Batch) -> list[np.ndarray]:
    """Return the advantages of each response's tokens, [T] each."""
    bounds = zip(batch.prompt_lengths_B.tolist(), batch.lengths_B.tolist(), strict=True)
    return [row[start:end].numpy() for row, (start, end) in zip(advantages_BT, bounds, strict=True)]
