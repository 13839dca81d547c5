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
    from simplerl.train.session import prepare

    set_threads(job.threads)
    session = prepare(job.config, lambda message: None)
    ready, _ = memory_gb()
    steps, work = [], []
    try:
        with Neighbours() as neighbours:
            for step in range(1, job.total + 1):
                taken, flops = _step(session, step)
                steps.append(taken)
                work.append(flops)
    finally:
        session.close()
    _, peak = memory_gb()
    figures = summary(steps, job.warmup)
    kept = work[job.warmup :]
    flops = {name: sum(each[name] for each in kept) / len(kept) for name in kept[0]}
    environment = session.environment
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


def _step(session: Any, step: int) -> tuple[Step, dict[str, float]]:
    """Do a step as `simplerl.train.loop` does, without its records; return it and its model FLOPs by phase.

    2 · parameters for each token that must go forward, 6 · parameters for each that gradient must flow through: every
    prompt once, responses without an advantage not at all. Attention is left out.
    """
    from simplerl.rollout.collect import collect
    from simplerl.train.batch import build_batch

    config = session.config
    began = time.perf_counter()
    groups = collect(
        session.sampler.at(step - 1),
        backend=session.backend,
        verifier=session.verifier,
        reward=config.reward,
        sampling=session.sampling,
        samples=config.sampling.samples_per_prompt,
        seed=config.seed,
        purpose="train",
        step=step,
    )
    sampled = time.perf_counter()
    batch = build_batch(groups)
    learned = session.learner.step(batch, step - 1)
    updated = time.perf_counter()
    session.backend.sync(session.learner.weights(), version=step)
    ended = time.perf_counter()
    tokens = int((batch.lengths_B - batch.prompt_lengths_B).sum())
    taken = Step(
        seconds=ended - began,
        phases={"rollout": sampled - began, "update": updated - sampled, "rest": ended - updated},
        responses=len(batch.lengths_B),
        tokens=tokens,
    )
    trained_B = (learned.advantages_BT != 0).any(1)
    trained = int((batch.lengths_B - batch.prompt_lengths_B)[trained_B].sum())
    prompts = [len(group.trajectories[0].prompt_ids) for group in groups]
    parameters = session.environment["parameters"]
    flops = {
        "rollout": 2.0 * parameters * (sum(prompts) + tokens),
        "update": 6.0 * parameters * (sum(prompts[p] for p in set(batch.group_B[trained_B].tolist())) + trained),
    }
    return taken, flops


def _recorded(job: Job) -> dict[str, Any]:
    """Return seconds per step with everything that a run writes and flushes to disk, checkpoints apart."""
    from simplerl.train.loop import train

    class Watch:
        """Listens to a run and notes when its steps end."""

        def __init__(self) -> None:
            self.ends: list[float] = []

        def say(self, message: str) -> None:
            """Ignore it."""

        def phase(self, name: str, total: int) -> None:
            """Ignore it."""

        def advance(self) -> None:
            """Ignore it."""

        def step(self, step: int, metrics: dict[str, Any], groups: list[Any]) -> None:
            """Note the time."""
            self.ends.append(time.perf_counter())

    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        # One step more than is measured: the last one would include the evaluation after it.
        config = dataclasses.replace(job.config, steps=job.total + 1)
        train(config, Path(folder) / "run", resume=False, listener=watch)
    seconds = [after - before for before, after in zip(watch.ends, watch.ends[1:-1], strict=False)]
    return {"seconds_per_step": statistics.median(seconds[job.warmup :])}
