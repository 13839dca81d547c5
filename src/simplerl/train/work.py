"""A run at work: how it begins or goes on, evaluates, records, saves and stops.

Training and fine-tuning differ in what a step is. All else about a run that can be interrupted, killed and resumed is
here, once.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from simplerl.core.types import TrajectoryGroup
from simplerl.doctor import Finding
from simplerl.evaluate.figures import evaluation_figures, evaluation_metrics
from simplerl.rollout.backend import Sampling
from simplerl.rollout.collect import collect
from simplerl.runs.directory import RunDirectory, read_metrics
from simplerl.train.config import Config
from simplerl.train.guards import memory_advice, stop_on_interrupt
from simplerl.train.resolve import as_table
from simplerl.train.resume import check_stage, describe, go_back, rewind
from simplerl.train.session import Session
from simplerl.train.ward import Ward


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
    """False after Ctrl-C or a finding; else the run has done its steps or used up its token budget."""
    finding: Finding | None = None
    """What the doctor found that ended the run."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """A run that has begun: its directory is locked, its session stands as after step `start`."""

    run: RunDirectory
    session: Session
    listener: Listener
    start: int
    interrupted: Callable[[], bool]
    """Whether Ctrl-C (or SIGTERM) has come, or the doctor wants it: then `stop`, between two steps."""
    ward: Ward

    def evaluate(self, step: int) -> dict[str, float]:
        """Evaluate on the held-out problems with noise that is the same at every step, and record it."""
        drawn = self.session.evaluation_sampling
        groups = self._held_out(drawn)
        figures = {
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "max_new_tokens": drawn.max_new_tokens,
            **evaluation_figures(groups),
        }
        further = [
            dataclasses.replace(drawn, temperature=temperature)
            for temperature in self.session.config.evaluation.further_temperatures
        ]
        if further:
            figures["further"] = [
                {"temperature": other.temperature, **evaluation_figures(self._held_out(other))} for other in further
            ]
        self.run.record_evaluation(step, groups, figures)
        return evaluation_metrics(figures)

    def _held_out(self, sampling: Sampling) -> list[TrajectoryGroup]:
        """Answer the held-out problems with the weights as they are."""
        session, samples = self.session, self.session.config.evaluation.samples
        self.listener.phase("evaluate", len(session.held_out) * samples)
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
                on_done=lambda completion: self.listener.advance(),
            )

    def record(self, step: int, metrics: dict[str, Any], groups: list[TrajectoryGroup]) -> None:
        """Write a step's metrics, and show it."""
        self.run.record_metrics(step, metrics)
        self.listener.step(step, metrics, groups)
        self.ward.visit(step, metrics, groups)

    def save(self, step: int) -> None:
        """Write the checkpoint of a step."""
        self.listener.phase("save", 0)
        state = {"step": step, "epoch": self.session.sampler.epoch(step)}
        keep = self.session.config.checkpoint.keep
        self.run.save_checkpoint(step, lambda directory: self.session.learner.save(directory, state), keep=keep)

    def stop(self, step: int) -> Outcome:
        """End early, with everything up to `step` saved."""
        if step and step not in self.run.checkpoint_steps():
            self.save(step)
        return Outcome(step=step, finished=False, finding=self.ward.fatal)


@contextmanager
def begin(
    stage: str,
    config: Config,
    path: Path,
    prepare: Callable[[Path | None], Session],
    *,
    resume: bool,
    listener: Listener,
) -> Iterator[Work]:
    """Begin a run or go on with it, with the starting model evaluated and recorded as step 0.

    `stage` is the command that makes it (train, sft), `config` what is written down, `prepare` what puts its session
    together, from a checkpoint where there is one. Settings or data that do not work leave no directory behind.
    """
    run, start = RunDirectory(path), 0
    run.check(resume=resume)
    with ExitStack() as stack:
        interrupted = stack.enter_context(stop_on_interrupt())
        if resume:
            stack.enter_context(run)
            check_stage(run, stage)
            start = go_back(run, config, listener.say)
        with memory_advice():
            session = prepare(run.checkpoint(start) if start else None)
        stack.callback(session.close)
        if not resume:
            stack.enter_context(run)
            run.check(resume=False)
            if stage != "train":
                run.write("stage.json", {"stage": stage})
            run.write("config.json", as_table(config))  # From here on there is a run to resume.
        describe(run, session, start, listener.say)
        if resume:
            run.write("config.json", as_table(config))
            rewind(run, config, start, listener.say)
        if start:
            session.learner.restore(run.checkpoint(start))
            session.backend.sync(session.learner.weights(), version=start)
        ward = Ward(config, stage, path, listener.say)
        work = Work(
            run=run,
            session=session,
            listener=listener,
            start=start,
            interrupted=lambda: interrupted() or ward.fatal is not None,
            ward=ward,
        )
        if not read_metrics(path):
            work.record(0, work.evaluate(0), [])
        yield work


def due(every: int, step: int) -> bool:
    """Return whether something that is done every so many steps (0: only at the end) is done after this one."""
    return every > 0 and step % every == 0
