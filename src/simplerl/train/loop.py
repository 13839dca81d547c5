"""The training loop. Read `train` first: it is the whole method.

A step's data flow: problems → collect (rollout, verdict, reward) → batch → update → new weights to the sampler →
record. Every draw is addressed by the step, so a run that was killed and resumed repeats what it had not yet saved and
ends with the same weights, bit for bit.
"""

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from simplerl.models.device import peak_memory_gib
from simplerl.rollout.backend import Sampling
from simplerl.rollout.collect import collect
from simplerl.rollout.metrics import evaluation_figures, evaluation_metrics, rollout_metrics
from simplerl.runs.directory import RunDirectory, read_metrics, sampled_tokens
from simplerl.train.batch import build_batch
from simplerl.train.config import Config
from simplerl.train.gather import gather
from simplerl.train.guards import clock, memory_advice, stop_on_interrupt
from simplerl.train.resolve import as_table
from simplerl.train.resume import check_stage, describe, go_back, rewind
from simplerl.train.session import Session, advantages_by_row, prepare
from simplerl.types import TrajectoryGroup


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
    """False after Ctrl-C; else the run has done its steps or used up its token budget."""


def train(config: Config, path: Path, *, resume: bool, listener: Listener) -> Outcome:
    """Train into a run directory and return how it ended."""
    run = RunDirectory(path)
    run.check(resume=resume)
    with ExitStack() as stack:
        interrupted = stack.enter_context(stop_on_interrupt())
        start = 0
        if resume:
            stack.enter_context(run)
            check_stage(run, "train")
            start = go_back(run, config, listener.say)
        with memory_advice():
            session = prepare(config, listener.say, checkpoint=run.checkpoint(start) if start else None)
        stack.callback(session.close)
        if not resume:  # Only now: settings or data that do not work shall leave no directory behind.
            stack.enter_context(run)
            run.check(resume=False)
            run.write("config.json", as_table(config))  # From here on there is a run to resume.
        describe(run, session, start, listener.say)
        if resume:
            run.write("config.json", as_table(config))
            rewind(run, config, start, listener.say)
        if start:
            session.learner.restore(run.checkpoint(start))
            session.backend.sync(session.learner.weights(), version=start)
        if not read_metrics(path):
            _record(run, 0, evaluate(run, session, 0, listener), [], listener)
        tokens = sampled_tokens(path)
        step = start
        while not _ended(config, step, tokens):
            if interrupted():
                return _stop(run, session, step, listener)
            step += 1
            tokens += _step(run, session, step, tokens, listener, interrupted)
    return Outcome(step=step, finished=True)


def _ended(config: Config, step: int, tokens: int) -> bool:
    """Return whether a run is over after a step, with so many tokens sampled so far."""
    return step >= config.steps or 0 < config.token_budget <= tokens


def _step(
    run: RunDirectory, session: Session, step: int, before: int, listener: Listener, interrupted: Callable[[], bool]
) -> int:
    """Do step `step` (the first is 1) and record it. Return the tokens it sampled; `before` it so many had been."""
    config, learner = session.config, session.learner
    seconds: dict[str, float] = {}
    with clock(seconds, "time/step"):
        with clock(seconds, "time/rollout"):
            listener.phase("rollout", config.sampling.prompts_per_step * config.sampling.samples_per_prompt)
            with memory_advice():
                groups, dropped, drawn = gather(session, step, lambda completion: listener.advance())
        if interrupted():
            listener.say("stopping after this step, with a checkpoint (again: at once, without)")
        with clock(seconds, "time/learn"), memory_advice():
            listener.phase("update", 0)
            batch = build_batch(groups)
            learned = learner.step(batch, step - 1)
        with clock(seconds, "time/sync"):
            session.backend.sync(learner.weights(), version=step)
        with clock(seconds, "time/save"):
            run.record_trajectories(step, [*groups, *dropped], advantages_by_row(learned.advantages_BT, batch))
        metrics = {
            **rollout_metrics([*groups, *dropped]),
            **drawn,
            **learned.metrics,
            "data/epoch": session.sampler.epoch(step),
        }
        last = _ended(config, step, before + metrics["tokens/sampled"])
        if last or due(config.evaluation.every, step):
            with clock(seconds, "time/evaluate"):
                metrics |= evaluate(run, session, step, listener)
    busy = seconds["time/rollout"] + seconds["time/learn"]
    metrics |= {
        **seconds,
        "throughput/tokens_per_second": metrics["tokens/sampled"] / busy,
        "throughput/useful_tokens_per_second": metrics["tokens/useful"] / busy,
        "memory/peak_gib": peak_memory_gib(learner.device),
    }
    _record(run, step, metrics, groups, listener)
    if last or due(config.checkpoint.every, step):
        save(run, session, step, listener)
    return metrics["tokens/sampled"]


def due(every: int, step: int) -> bool:
    """Return whether something that is done every so many steps (0: only at the end) is done after this one."""
    return every > 0 and step % every == 0


def evaluate(run: RunDirectory, session: Session, step: int, listener: Listener) -> dict[str, float]:
    """Evaluate on the held-out problems with noise that is the same at every step, and record it."""
    drawn = session.evaluation_sampling
    groups = _held_out(session, drawn, listener)
    figures = {
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "max_new_tokens": drawn.max_new_tokens,
        **evaluation_figures(groups),
    }
    further = session.config.evaluation.further_temperatures
    if further:
        figures["further"] = [
            {
                "temperature": temperature,
                **evaluation_figures(_held_out(session, dataclasses.replace(drawn, temperature=temperature), listener)),
            }
            for temperature in further
        ]
    run.record_evaluation(step, groups, figures)
    return evaluation_metrics(figures)


def _held_out(session: Session, sampling: Sampling, listener: Listener) -> list[TrajectoryGroup]:
    """Answer the held-out problems with the weights as they are."""
    samples = session.config.evaluation.samples
    listener.phase("evaluate", len(session.held_out) * samples)
    with memory_advice():
        return collect(
            session.held_out,
            backend=session.backend,
            verifier=session.verifier,
            reward=session.config.reward,
            sampling=sampling,
            samples=samples,
            seed=session.config.seed,
            purpose="evaluate",
            step=0,
            on_done=lambda completion: listener.advance(),
        )


def _record(
    run: RunDirectory, step: int, metrics: dict[str, Any], groups: list[TrajectoryGroup], listener: Listener
) -> None:
    run.record_metrics(step, metrics)
    listener.step(step, metrics, groups)


def save(run: RunDirectory, session: Session, step: int, listener: Listener) -> None:
    """Write the checkpoint of a step."""
    listener.phase("save", 0)
    state = {"step": step, "epoch": session.sampler.epoch(step)}
    keep = session.config.checkpoint.keep
    run.save_checkpoint(step, lambda directory: session.learner.save(directory, state), keep=keep)


def _stop(run: RunDirectory, session: Session, step: int, listener: Listener) -> Outcome:
    """End early, with everything up to `step` saved."""
    if step and step not in run.checkpoint_steps():
        save(run, session, step, listener)
    return Outcome(step=step, finished=False)
