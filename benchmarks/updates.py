"""Measure a step of a real model on a CPU: its rollout, its update, and the largest memory of each.

    python benchmarks/updates.py MODEL_DIRECTORY --share-prompts off
    python benchmarks/updates.py MODEL_DIRECTORY --share-prompts on
    python benchmarks/updates.py MODEL_DIRECTORY --prompts 2 --tokens 96

No response ends early, and the first half of each group is taken for right. The load of the machine stands beside the
figures: with other programs running, compare processor seconds.
"""

import argparse
import dataclasses
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measures.gpu import group
from measures.machine import memory_gb

from simplerl.algorithms import ALGORITHMS
from simplerl.config.sections import LearnerConfig, OptimizerConfig
from simplerl.core.seeds import derive
from simplerl.models.load import load
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling
from simplerl.train.batch import build_batch
from simplerl.train.learner import Learner

TEXT = "Problem {}. Tom has 3 boxes with 4 apples each. He eats 2 apples and gives half of the rest to Ann. " * 20


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory of a Hugging Face model")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=70)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2, help="updates; the first has no moments yet")
    parser.add_argument("--share-prompts", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="grpo")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    policy = dataclasses.replace(load(args.model), stop_ids=frozenset())
    learner = Learner(
        policy,
        ALGORITHMS[args.algorithm](),
        optimizer=OptimizerConfig(lr=1e-6),
        learner=LearnerConfig(share_prompts=args.share_prompts),
        precision="fp32",
        temperature=1.0,
        steps=4,
    )
    prompts = [
        np.array(policy.encode(TEXT.format(*[number] * 20))[: args.prompt_tokens], dtype=np.int32)
        for number in range(args.prompts)
    ]
    requests = [
        Request(prompt_ids=ids, noise_key=derive(0, "benchmark", number, sample))
        for number, ids in enumerate(prompts)
        for sample in range(args.samples)
    ]
    backend = open_backend("native", policy, precision="fp32")
    answers = timed("rollout", lambda: dict(backend.generate(requests, Sampling(max_new_tokens=args.tokens))))
    completions = [answers[index] for index in range(len(requests))]
    batch = build_batch(
        [group(n, ids, completions[n * args.samples :][: args.samples]) for n, ids in enumerate(prompts)]
    )
    for step in range(1, args.steps + 1):
        result = timed(f"update {step}", lambda step=step: learner.step(batch, step))
        if step == 1:
            print(
                f"  mismatch KL {result.metrics['policy/mismatch_kl']:.2e}, gradient norm "
                f"{result.metrics['optimizer/grad_norm']:.7g}"
            )
    return 0


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Do some work; print its time, the largest memory of the process so far, and the machine's load."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{name}: {wall:.1f} s, {processor:.1f} s of processor time, peak {memory_gb()[1] * 1e9 / 2**30:.2f} GiB, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
