"""Rollout and training on a GPU at Qwen2.5-0.5B's shape, random weights: tokens per second and model FLOPs utilisation.

With `--tiny` a toy shape runs the same code on whatever there is, which proves the path and measures nothing.
"""

import time
from collections.abc import Callable
from typing import Any

from measures.job import Job
from measures.machine import set_threads

#: Dense bf16 peak FLOP/s by what the device calls itself.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def measure(job: Job) -> dict[str, Any]:
    """Return the figures, or under `missing` why there are none."""
    import torch

    if not torch.cuda.is_available() and not job.tiny:
        return {"missing": "no CUDA device"}
    set_threads(job.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = _policy(job, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    rollout, groups = _rollout(job, policy, device)
    update = _update(job, policy, device, groups)
    peak = next((rate for key, rate in PEAKS.items() if key in name), None)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    return {
        "device": name,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "attention": policy.model.config._attn_implementation,
        "rollout": rollout,
        "update": {**update, "mfu": update["flops_per_second"] / peak if peak else None},
        "memory_gb": memory,
    }


def _policy(job: Job, device: Any) -> Any:
    """Return a policy with random weights and without a token that ends a response."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    from simplerl.models import cub
    from simplerl.models.load import Policy, pick_attention

    shape = {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    }
    if job.tiny:
        shape |= {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        shape |= {"num_attention_heads": 4}
    torch.manual_seed(0)
    attention = pick_attention("auto", device, half=device.type == "cuda")
    config = Qwen2Config(**shape, max_position_embeddings=32_768, tie_word_embeddings=True)
    return Policy(
        name="random",
        model=AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention).to(device),
        tokenizer=AutoTokenizer.from_pretrained(str(cub.path("cub-qwen"))),
        stop_ids=frozenset(),
        context_length=32_768,
    )


def _timed(device: Any, work: Callable[[], Any]) -> tuple[float, Any]:
    import torch

    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    began = time.perf_counter()
    result = work()
    synchronise()
    return time.perf_counter() - began, result


def _rollout(job: Job, policy: Any, device: Any) -> tuple[dict[str, float], list[Any]]:
    """Sample 32 × 8 responses of 512 tokens in bf16; return the rate and the responses as trajectory groups."""
    import numpy as np

    from simplerl.core.seeds import derive, generator
    from simplerl.rollout import open_backend
    from simplerl.rollout.backend import Request, Sampling

    prompts, samples, width, length = (2, 2, 8, 8) if job.tiny else (32, 8, 128, 512)
    backend = open_backend("native", policy, precision="bf16")
    size = policy.model.config.vocab_size
    prompt_ids = [generator(0, "prompt", p).integers(0, size, width).astype(np.int32) for p in range(prompts)]
    requests = [
        Request(prompt_ids=prompt_ids[p], noise_key=derive(0, "noise", p, sample))
        for p in range(prompts)
        for sample in range(samples)
    ]
    list(backend.generate(requests, Sampling(max_new_tokens=4)))
    seconds, answers = _timed(device, lambda: dict(backend.generate(requests, Sampling(max_new_tokens=length))))
    backend.close()
    tokens = sum(len(completion.token_ids) for completion in answers.values())
    groups = [
        group(p, prompt_ids[p], [answers[p * samples + sample] for sample in range(samples)]) for p in range(prompts)
    ]
    return {"rows": len(requests), "tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}, groups


def group(index: int, prompt_ids: Any, completions: list[Any]) -> Any:
    """Return responses as a group in which every other one is right, so that each carries gradient."""
    from simplerl.core.types import Problem, Segment, Trajectory, TrajectoryGroup, Verdict

    problem = Problem(id=str(index), question="", answer="", source="random")
    return TrajectoryGroup(
        problem=problem,
        trajectories=tuple(
            Trajectory(
                problem=problem,
                sample=sample,
                prompt_ids=prompt_ids,
                completion=completion,
                segments=(Segment("policy", 0, len(completion.token_ids)),),
                verdict=Verdict(status="wrong", extracted=None, rule="none", detail=""),
                reward=float(sample % 2),
                reward_parts={},
            )
            for sample, completion in enumerate(completions)
        ),
    )


def _update(job: Job, policy: Any, device: Any, groups: list[Any]) -> dict[str, float]:
    """Do whole updates (bf16 autocast over fp32 weights, AdamW); return rates. Attention is left out of the FLOPs."""
    from simplerl.algorithms import GRPO
    from simplerl.config.sections import LearnerConfig, OptimizerConfig
    from simplerl.train.batch import build_batch
    from simplerl.train.learner import Learner

    learner = Learner(
        policy,
        GRPO(),
        optimizer=OptimizerConfig(lr=1e-6),
        learner=LearnerConfig(),
        precision="bf16",
        temperature=1.0,
        steps=4,
    )
    batch = build_batch(groups)
    learner.step(batch, 1)
    repeats = 1 if job.tiny else 3
    seconds, _ = _timed(device, lambda: [learner.step(batch, step) for step in range(2, repeats + 2)])
    seconds /= repeats
    tokens, scored = int(batch.lengths_B.sum()), int(batch.mask_BT.sum())
    head = policy.model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in policy.model.parameters()) - head
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "flops_per_second": 6.0 * (body * tokens + head * scored) / seconds,
    }
