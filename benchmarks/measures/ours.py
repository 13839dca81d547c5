"""simplerl on the job: its own parts, put together as `simplerl train` does, first bare, then with a run directory."""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measures.job import Job, Step, summary
from measures.machine import Neighbours, memory_gb, set_threads


def measure(job: Job) -> dict[str, Any]:
    """Train and return the figures."""
    from simplerl import __version__
    from simplerl.train.components import build_components

    set_threads(job.threads)
    parts = build_components(job.config, lambda message: None)
    ready, _ = memory_gb()
    steps, work = [], []
    try:
        with Neighbours() as neighbours:
            for step in range(1, job.total + 1):
                taken, flops = _step(parts, step)
                steps.append(taken)
                work.append(flops)
    finally:
        parts.close()
    _, peak = memory_gb()
    figures = summary(steps, job.warmup)
    kept = work[job.warmup :]
    flops = {name: sum(each[name] for each in kept) / len(kept) for name in kept[0]}
    environment = parts.environment
    return {
        "name": f"simplerl {__version__}",
        "setting": {
            name: environment[name] for name in ("learner_precision", "rollout_precision", "attention", "parameters")
        },
        **figures,
        "memory_gb": peak,
        "memory_ready_gb": ready,
        "neighbours": neighbours.share,
        "flops_per_step": flops,
        "recorded": _recorded(job),
    }


def _step(parts: Any, step: int) -> tuple[Step, dict[str, float]]:
    """Do a step as `simplerl.train.loop` does, without its records; return it and its model FLOPs by phase.

    2 · parameters for each token that must go forward, 6 · parameters for each that gradient must flow through: every
    prompt once, responses without an advantage not at all. Attention is left out.
    """
    import torch

    from simplerl.train.batch import build_batch

    began = time.perf_counter()
    groups = parts.rollout.sample_groups(parts.sampler.at(step), purpose="train", step=step)
    sampled = time.perf_counter()
    batch = build_batch(groups)
    result = parts.learner.step(batch, step)
    updated = time.perf_counter()
    parts.backend.sync(parts.learner.weights(), version=step)
    ended = time.perf_counter()
    tokens = int((batch.lengths_B - batch.prompt_lengths_B).sum())
    taken = Step(
        seconds=ended - began,
        phases={"rollout": sampled - began, "update": updated - sampled, "rest": ended - updated},
        responses=len(batch.lengths_B),
        tokens=tokens,
    )
    trained_B = torch.tensor([bool(each.any()) for each in result.advantages])
    trained = int((batch.lengths_B - batch.prompt_lengths_B)[trained_B].sum())
    prompts = [len(group.trajectories[0].prompt_ids) for group in groups]
    parameters = parts.environment["parameters"]
    flops = {
        "rollout": 2.0 * parameters * (sum(prompts) + tokens),
        "update": 6.0 * parameters * (sum(prompts[p] for p in set(batch.group_B[trained_B].tolist())) + trained),
    }
    return taken, flops


def _recorded(job: Job) -> dict[str, Any]:
    """Return seconds per step with everything that a run writes and flushes to disk, checkpoints apart."""
    from simplerl.train.loop import train
    from simplerl.train.run import Callback

    class Watch(Callback):
        """Notes when the steps of a run end."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step(self, step: int, metrics: dict[str, Any], groups: list[Any]) -> None:
            """Note the time."""
            self.ends.append(time.perf_counter())

    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        # One step more than is measured: the last one would include the evaluation after it.
        config = dataclasses.replace(job.config, steps=job.total + 1)
        train(config, Path(folder) / "run", callbacks=[watch])
    seconds = [after - before for before, after in zip(watch.ends, watch.ends[1:-1], strict=False)]
    return {"seconds_per_step": statistics.median(seconds[job.warmup :])}
