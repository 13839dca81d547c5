"""The training loop. Read `train` first: it is the whole method.

A step's data flow: problems → collect (rollout, verdict, reward) → batch → update → new weights to the sampler →
record. Every draw is addressed by the step, so a run that was killed and resumed repeats what it had not yet saved and
ends with the same weights, bit for bit.
"""

import dataclasses
import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from simplerl.errors import ConfigError, RunError, SimpleRLError
from simplerl.models import checkpoint
from simplerl.rollout.collect import collect
from simplerl.rollout.metrics import evaluation_figures, evaluation_metrics, rollout_metrics
from simplerl.runs.directory import RunDirectory, read_metrics
from simplerl.train.batch import build_batch, shuffle_rewards
from simplerl.train.config import Config
from simplerl.train.resolve import as_table, flatten
from simplerl.train.session import Session, advantages_by_row, peak_memory_gib, prepare
from simplerl.types import TrajectoryGroup

#: What may differ between a run and its resumption: nothing that changes what a step computes, rounding aside. The
#: knobs of memory are among them, so that a run that ran out of it can go on.
FREE_ON_RESUME = (
    "steps",
    "output_dir",
    "checkpoint.",
    "tracking.",
    "evaluation.every",
    "learner.tokens_per_microbatch",
    "learner.gradient_checkpointing",
    "rollout.max_rows",
    "verifier.workers",
)


class Listener(Protocol):
    """Whoever watches a run: the terminal, a tracker."""

    def say(self, message: str) -> None:
        """Show a line."""

    def phase(self, name: str, total: int) -> None:
        """A phase of `total` responses (0: unknown) begins."""

    def advance(self) -> None:
        """One response of the phase is done."""

    def step(self, step: int, metrics: dict[str, Any], groups: list[TrajectoryGroup]) -> None:
        """A step is recorded (0: the base model)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool
    """False after Ctrl-C."""


def train(config: Config, path: Path, *, resume: bool, listener: Listener) -> Outcome:
    """Train into a run directory and return how it ended."""
    run = RunDirectory(path)
    run.check(resume=resume)
    with ExitStack() as stack:
        interrupted = stack.enter_context(stop_on_interrupt(listener))
        start = 0
        if resume:
            stack.enter_context(run)
            start = _resume(run, config, listener)
        session = prepare(config, listener.say, model=str(run.checkpoint(start)) if start else None)
        stack.callback(session.close)
        if not resume:  # Only now: settings or data that do not work shall leave no directory behind.
            stack.enter_context(run)
        run.write("config.json", as_table(config))
        _describe(run, session, start)
        if start:
            checkpoint.load_optimizer(run.checkpoint(start), session.learner.optimizer)
            session.backend.sync(session.learner.weights(), version=start)
        if not read_metrics(path):
            _record(run, 0, _evaluate(run, session, 0, listener), [], listener)
        for step in range(start + 1, config.steps + 1):
            if interrupted():
                return _stop(run, session, step - 1, listener)
            _step(run, session, step, listener)
    return Outcome(step=config.steps, finished=True)


def _step(run: RunDirectory, session: Session, step: int, listener: Listener) -> None:
    """Do step `step` (the first is 1) and record it."""
    config, learner = session.config, session.learner
    seconds: dict[str, float] = {}
    with _clock(seconds, "time/step"):
        with _clock(seconds, "time/rollout"):
            problems = session.sampler.at(step - 1)
            listener.phase("rollout", len(problems) * config.sampling.samples_per_prompt)
            with _memory_advice():
                groups = collect(
                    problems,
                    backend=session.backend,
                    verifier=session.verifier,
                    reward=config.reward,
                    sampling=session.sampling,
                    samples=config.sampling.samples_per_prompt,
                    seed=config.seed,
                    purpose="train",
                    step=step,
                    on_done=lambda completion: listener.advance(),
                )
            if config.shuffle_rewards:
                groups = shuffle_rewards(groups, seed=config.seed, step=step)
        with _clock(seconds, "time/learn"), _memory_advice():
            listener.phase("update", 0)
            batch = build_batch(groups)
            learned = learner.step(batch, step - 1)
        with _clock(seconds, "time/sync"):
            session.backend.sync(learner.weights(), version=step)
        with _clock(seconds, "time/save"):
            run.record_trajectories(step, groups, advantages_by_row(learned.advantages_BT, batch.mask_BT))
        metrics = {**rollout_metrics(groups), **learned.metrics, "data/epoch": session.sampler.epoch(step)}
        if _due(config.evaluation.every, step, config.steps):
            with _clock(seconds, "time/evaluate"):
                metrics |= _evaluate(run, session, step, listener)
    busy = seconds["time/rollout"] + seconds["time/learn"]
    metrics |= {
        **seconds,
        "throughput/tokens_per_second": metrics["tokens/sampled"] / busy,
        "throughput/useful_tokens_per_second": metrics["tokens/useful"] / busy,
        "memory/peak_gib": peak_memory_gib(learner.device),
    }
    _record(run, step, metrics, groups, listener)
    if _due(config.checkpoint.every, step, config.steps):
        _save(run, session, step, listener)


def _due(every: int, step: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _evaluate(run: RunDirectory, session: Session, step: int, listener: Listener) -> dict[str, float]:
    """Evaluate on the held-out problems with noise that is the same at every step, and record it."""
    config = session.config.evaluation
    listener.phase("evaluate", len(session.held_out) * config.samples)
    with _memory_advice():
        groups = collect(
            session.held_out,
            backend=session.backend,
            verifier=session.verifier,
            reward=session.config.reward,
            sampling=session.evaluation_sampling,
            samples=config.samples,
            seed=session.config.seed,
            purpose="evaluate",
            step=0,
            on_done=lambda completion: listener.advance(),
        )
    figures = evaluation_figures(groups)
    run.record_evaluation(step, groups, figures)
    return evaluation_metrics(figures)


def _record(
    run: RunDirectory, step: int, metrics: dict[str, Any], groups: list[TrajectoryGroup], listener: Listener
) -> None:
    run.record_metrics(step, metrics)
    listener.step(step, metrics, groups)


def _save(run: RunDirectory, session: Session, step: int, listener: Listener) -> None:
    listener.phase("save", 0)
    learner = session.learner
    run.save_checkpoint(
        step,
        lambda directory: checkpoint.save(
            directory,
            model=learner.policy.model,
            tokenizer=learner.policy.tokenizer,
            optimizer=learner.optimizer,
            state={"step": step, "epoch": session.sampler.epoch(step)},
        ),
        keep=session.config.checkpoint.keep,
    )


def _stop(run: RunDirectory, session: Session, step: int, listener: Listener) -> Outcome:
    """End early, with everything up to `step` saved."""
    if step and step not in run.checkpoint_steps():
        _save(run, session, step, listener)
    return Outcome(step=step, finished=False)


def _resume(run: RunDirectory, config: Config, listener: Listener) -> int:
    """Check that it is the same run, go back to its newest whole checkpoint, and return that step."""
    old, new = flatten(run.read("config.json")), flatten(json.loads(json.dumps(as_table(config))))
    changed = [
        key
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
        and not any(key == free or (free.endswith(".") and key.startswith(free)) for free in FREE_ON_RESUME)
    ]
    if changed:
        described = "; ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed)
        raise RunError(f"cannot resume {run.path} with another configuration: {described}")
    if old["steps"] != config.steps and config.optimizer.schedule != "constant":
        raise ConfigError(
            f"steps was {old['steps']}, now {config.steps}: with the {config.optimizer.schedule} schedule that would "
            "change the learning rate of the steps already done"
        )
    start = run.newest_whole_checkpoint(listener.say)
    run.rewind(start)
    run.prune(config.checkpoint.keep)
    lines = len(read_metrics(run.path))
    if lines != start + 1 and start:
        raise RunError(
            f"{run.path}/metrics.jsonl has {lines} lines up to step {start}, not {start + 1}: it was changed"
        )
    listener.say(
        f"resuming {run.path} after step {start}" if start else f"no checkpoint in {run.path} yet: starting anew"
    )
    return start


def _describe(run: RunDirectory, session: Session, start: int) -> None:
    """Add this session to environment.json; refuse to go on with other data, warn about another machine."""
    sessions = (run.read("environment.json") or {"sessions": []})["sessions"]
    if start and sessions and sessions[-1]["data"] != session.environment["data"]:
        raise RunError(f"cannot resume {run.path}: the data has changed since (environment.json holds its hashes)")
    run.write("environment.json", {"sessions": [*sessions, {"start_step": start, **session.environment}]})


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


@contextmanager
def _memory_advice() -> Iterator[None]:
    """Turn running out of memory into a message that names the knobs."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise SimpleRLError(
            f"out of memory: {str(error).splitlines()[0]}\n"
            "Turn down --learner.tokens-per-microbatch or --rollout.max-rows, or turn on "
            "--learner.gradient-checkpointing; none of them changes what is learned. Continue with --resume and the knob"
        ) from error


@contextmanager
def stop_on_interrupt(listener: Listener) -> Iterator[Any]:
    """Yield a function that says whether Ctrl-C (or SIGTERM) has come; a second one stops at once."""
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        listener.say("stopping after this step, with a checkpoint (again: at once, without)")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
