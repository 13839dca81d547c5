"""A run from its first moment to its last: begun or resumed, evaluated, recorded, saved, stopped, finished.

Training and fine-tuning differ in what a step is. All else about a run that can be interrupted, killed and resumed is
here, once.
"""

import dataclasses
import functools
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from simplerl.config.resolve import FREE_ON_RESUME, as_table, flatten, is_among
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, RankLost, RunError, SimpleRLError, raised_at
from simplerl.core.registry import short_name
from simplerl.core.types import TrajectoryGroup
from simplerl.doctor import Finding, Watch
from simplerl.doctor.rule import parse_thresholds
from simplerl.environments.base import has_turns
from simplerl.evaluate.figures import evaluation_figures, evaluation_metrics
from simplerl.feed.feed import StepGroups
from simplerl.feed.samplers import prompt_sampler
from simplerl.models.device import peak_memory_gib
from simplerl.models.guards import choose_threads, clock, memory_advice, stop_on_interrupt
from simplerl.rollout.groups import Rollout
from simplerl.rollout.metrics import environment_metrics, rollout_metrics
from simplerl.runs.directory import RunDirectory, StatusFile, read_metrics
from simplerl.train.components import Components
from simplerl.train.learner import StepResult


class Callback:
    """Watches a run: a display, a tracker, a user's own. Override what is of interest; nothing changes what is learned.

    class Print(Callback):
        def on_step(self, step, metrics, groups):
            print(step, metrics["accuracy/mean"])
    """

    def say(self, message: str) -> None:
        """Take a line meant for the user."""

    def on_phase(self, name: str, total: int) -> None:
        """Called when a phase of a step begins (rollout, learn, sync, evaluate, save), of `total` responses if any."""

    def on_response(self) -> None:
        """Called when one response of the phase is done."""

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Called when a step is recorded (0: the base model, without groups)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool  # False after Ctrl-C or a finding; else the run has done its steps or used up its token budget
    finding: Finding | None = None  # What the doctor found that ended the run


class TrainingRun:
    """A run that has begun: its directory is locked, its parts stand as after step `start`."""

    def __init__(
        self,
        stage: str,
        directory: RunDirectory,
        components: Components,
        callbacks: Sequence[Callback],
        *,
        start: int,
        interrupted: Callable[[], bool],
        doctor: "DoctorRounds",
    ):
        self.stage, self.directory, self.components, self.callbacks = stage, directory, components, callbacks
        self.start, self.doctor, self._interrupted = start, doctor, interrupted
        self.outcome = Outcome(step=start, finished=False)
        lines = read_metrics(directory.path)
        self._tokens = sum(line.get("tokens/sampled", 0) for line in lines)
        self._seconds_before = sum(line.get("time/step") or 0.0 for line in lines if line["step"] > 0)
        self._began = self._step_began = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._gap: dict[str, float] = {}
        self._stop_announced = False
        self._step, self._phase = start, ("", time.time())
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[Any] | None = None
        self.source: Any = None  # What gives the steps their groups, for who looks on

    def say(self, message: str) -> None:
        """Show a line to whoever watches."""
        for callback in self.callbacks:
            callback.say(message)

    def steps(self) -> Iterator[int]:
        """Yield the steps to do (the first is 1), then finish the run; if stopped, end early with a checkpoint."""
        step = self.start
        while not self._is_last(step):
            if self._written and self._written.done():  # A checkpoint that could not be written ends the run here.
                self.settle()
            if self._interrupted() or self.doctor.fatal:
                self.keep(step)
                self.outcome = Outcome(step=step, finished=False, finding=self.doctor.fatal)
                return
            step += 1
            self._step, self._seconds, self._step_began = step, {}, time.perf_counter()
            yield step
        self.settle()
        self.finish()
        self.outcome = Outcome(step=step, finished=True)

    def _is_last(self, step: int) -> bool:
        """Return whether a run is over after a step, with the tokens that have been sampled so far."""
        config = self.components.config
        return step >= config.steps or 0 < config.token_budget <= self._tokens

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a part of a step (as `time/name`), show that it has begun, explain running out of memory."""
        if self._interrupted() and not self._stop_announced:
            self._stop_announced = True
            self.say("stopping after this step, with a checkpoint (again: at once, without)")
        self._on_phase(name, total)
        with clock(self._seconds, f"time/{name}"), memory_advice():
            yield

    def _on_phase(self, name: str, total: int = 0) -> None:
        self._phase = name, time.time()
        for callback in self.callbacks:
            callback.on_phase(name, total)

    def describe(self) -> dict[str, Any]:
        """Return what the run is doing, for status.json. Called from another thread."""
        name, since = self._phase
        described = {"step": self._step, "phase": name, "since": since}
        for key, method in (("ahead", "doing"), ("engines", "report")):
            owner = self.source if key == "ahead" else self.components.backend
            described |= {key: getattr(owner, method)()} if hasattr(owner, method) else {}
        ranks = self.components.learner.ranks
        return {**described, "ranks": ranks.report()} if ranks else described

    def sync(self, step: int) -> None:
        """Have the engine sample from the learner's weights from now on."""
        with self.phase("sync"):
            gap = self.components.sync(step)
            self._gap = {} if gap is None else {"policy/sync_gap": gap}

    def on_response(self, completion: object = None) -> None:
        """Tell the callbacks that a response is done."""
        for callback in self.callbacks:
            callback.on_response()

    def evaluate(self, step: int) -> dict[str, float]:
        """Evaluate on the held-out problems with noise that is the same at every step, and record it."""
        rollout = self.components.evaluation
        if self.components.config.rollout.lag:  # By the newest policy, which engines prove when they take it up: now.
            self.components.engines_at(step)
        groups = self._held_out(rollout)
        protocol = {name: getattr(rollout.sampling, name) for name in ("temperature", "top_p", "max_new_tokens")}
        figures = {**protocol, **evaluation_figures(groups)}
        further = []
        for temperature in self.components.config.evaluation.further_temperatures:
            sampling = dataclasses.replace(rollout.sampling, temperature=temperature)
            samples = rollout.samples if temperature > 0 else 1  # Greedy responses to a problem are all the same.
            other = self._held_out(dataclasses.replace(rollout, sampling=sampling, samples=samples))
            further.append({"temperature": temperature, **evaluation_figures(other)})
        figures |= {"further": further} if further else {}
        self.directory.record_evaluation(step, groups, figures)
        return evaluation_metrics(figures)

    def _held_out(self, rollout: Rollout) -> list[TrajectoryGroup]:
        """Answer the held-out problems with the weights as they are."""
        problems = self.components.held_out
        with self.phase("evaluate", len(problems) * rollout.samples):
            return rollout.sample_groups(problems, purpose="evaluate", step=0, on_response=self.on_response)

    def record(self, step: int, groups: StepGroups, result: StepResult) -> None:
        """Write what a step did: responses, evaluation where due, a line of metrics, checkpoint where due.

        In this order, so that a run that dies in between is resumed from what its last line says.
        """
        components, sampled = self.components, groups.all
        metrics = {**groups.metrics, **result.metrics, "data/epoch": components.sampler.epoch(step)}
        if sampled:
            with clock(self._seconds, "time/save"):
                self.directory.record_trajectories(step, sampled, result.advantages)
            metrics |= rollout_metrics(sampled)
            if has_turns(components.config.environment):
                metrics |= environment_metrics(sampled)
            self._tokens += int(metrics["tokens/sampled"])
        last, every = self._is_last(step), components.config.evaluation.every
        if last or (every and step % every == 0):
            metrics |= self.evaluate(step)
        metrics |= {**self._gap, **self._seconds, "time/step": time.perf_counter() - self._step_began}
        if sampled:
            busy = self._seconds["time/rollout"] + self._seconds["time/learn"]
            metrics["throughput/tokens_per_second"] = metrics["tokens/sampled"] / busy
            metrics["throughput/useful_tokens_per_second"] = metrics["tokens/useful"] / busy
        metrics["memory/peak_gib"] = peak_memory_gib(components.learner.device)
        self.record_metrics(step, metrics, groups.kept)
        if last or step % components.config.checkpoint.every == 0:
            self.save(step)

    def record_metrics(self, step: int, metrics: dict[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Write a step's line of metrics, show it, and have the doctor look at it."""
        self.directory.record_metrics(step, metrics)
        for callback in self.callbacks:
            callback.on_step(step, metrics, groups)
        self.doctor.examine(step, metrics, groups)

    def keep(self, step: int) -> None:
        """Write the checkpoint of a step, if there is none: the run ends, or may end, here."""
        self.settle()
        if step and step not in self.directory.checkpoint_steps():
            self.save(step)
            self.settle()

    @contextmanager
    def kept(self, step: int) -> Iterator[None]:
        """Keep what a step has learned where the next one cannot be sampled: nothing has moved the weights since."""
        try:
            yield
        except SimpleRLError:
            self.keep(step)
            raise

    def save(self, step: int) -> None:
        """Write the checkpoint of a step; where it is asynchronous, begin to, when that before it is written."""
        self.settle()
        self._on_phase("save")
        components, options = self.components, self.components.config.checkpoint
        state = {"step": step, "epoch": components.sampler.epoch(step)}
        write = components.snapshot(state, copies=options.asynchronous)
        if options.asynchronous:
            self._written = self._writer.submit(self.directory.save_checkpoint, step, write, keep=options.keep)
        else:
            self.directory.save_checkpoint(step, write, keep=options.keep)

    def settle(self) -> None:
        """Wait until the checkpoint under way is written. Raises RunError where it cannot be, once."""
        if self._written and (error := self._written.exception()):
            self._written = None
            raise error

    def close(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wait for the checkpoint under way; that it failed does not hide what else ended the run."""
        with self._writer:
            try:
                self.settle()
            except SimpleRLError as failure:
                if error is None:
                    raise
                self.say(f"WARNING: {failure}")

    def finish(self) -> None:
        """Write summary.json and, of a training run, learning.png: from here on the run counts as finished."""
        from simplerl.analysis.compare import summarise

        path = self.directory.path
        seconds = self._seconds_before + time.perf_counter() - self._began
        self.directory.write("summary.json", summarise(path, seconds=seconds))
        if self.stage == "train":
            from simplerl.analysis.plots import plot_learning  # Matplotlib: a second that only the end should cost.

            plot_learning(path, path / "learning.png")


# -- beginning and going on ----------------------------------------------------------------------------------------


@contextmanager
def open_run(
    stage: str,
    config: Config,
    path: Path,
    build: Callable[..., Components],
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Iterator[TrainingRun]:
    """Begin a run or go on with it, with the starting model evaluated and recorded as step 0.

    `stage` is the command that makes it (train, sft), `config` what is written down, `build` what puts its parts
    together: `build(say, checkpoint=…)`, the checkpoint to start from or None. Settings or data that do not work leave
    no directory behind.
    """

    def say(message: str) -> None:
        for callback in callbacks:
            callback.say(message)

    if stage != "train" and config.rollout.lag:
        raise ConfigError(f"rollout.lag = {config.rollout.lag} is for simplerl train: simplerl {stage} samples in turn")
    directory, start = RunDirectory(path), 0
    directory.check(resume=resume)
    with ExitStack() as stack:
        interrupted = stack.enter_context(stop_on_interrupt())
        stack.push(functools.partial(_note_stop, interrupted))
        if resume:
            stack.enter_context(directory)
            check_stage(directory, stage)
            start = _go_back(directory, config, say)
        sessions = (directory.read("environment.json") or {}).get("sessions") if resume else None
        if threads := choose_threads(sessions[-1]["cpu_threads"] if sessions else None):
            say(threads)
        with memory_advice():
            components = build(say, checkpoint=directory.checkpoint(start) if start else None)
        stack.callback(components.close)
        if not resume:
            stack.enter_context(directory)
            directory.check(resume=False)
            if stage != "train":
                directory.write("stage.json", {"stage": stage})
            directory.write("config.json", as_table(config))  # From here on there is a run to resume.
        _record_environment(directory, components.environment, start, say)
        if resume:
            directory.write("config.json", as_table(config))
            _rewind(directory, config, start, say)
        if start:
            components.restore(directory.checkpoint(start))
        if components.rollout.reward.judged:
            open_desk(components, path, say)
        components.sync(start)
        doctor = DoctorRounds(config, stage, path, say)
        run = TrainingRun(stage, directory, components, callbacks, start=start, interrupted=interrupted, doctor=doctor)
        stack.push(run.close)
        stack.enter_context(StatusFile(path, run.describe))
        gc.collect()
        gc.freeze()  # Else every full collection looks at all that the libraries hold, for a quarter of a second.
        stack.callback(gc.unfreeze)
        if not read_metrics(path):
            metrics = run.evaluate(0)
            run.record_metrics(0, metrics, [])
            for advice in first_advice(metrics, config) if stage == "train" else ():
                say(advice)
        yield run


def _note_stop(interrupted: Callable[[], bool], kind: Any, error: BaseException | None, trace: Any) -> None:
    """Have who might start a run again know that Ctrl-C has come."""
    if isinstance(error, RankLost):
        error.stopping = interrupted()


def open_desk(components: Components, path: Path, say: Callable[[str], None]) -> None:
    """Give the reward the desk at which it asks its judge, and say what that may cost."""
    from simplerl.graders import Desk

    config, judged = components.config, components.rollout.reward.judged
    desk = Desk(path / "judge.jsonl", config.judge, say)
    responses = config.steps * config.sampling.prompts_per_step * config.sampling.samples_per_prompt
    say(desk.estimate(responses, config.sampling.max_new_tokens, sum(each.answer_tokens for each in judged)))
    for each in judged:
        each.begin(desk)


def first_advice(metrics: Mapping[str, float], config: Config) -> list[str]:
    """Return what to change before the first step where hardly any response can be judged right."""
    cut, answered = metrics["eval/clip_ratio"], metrics["eval/boxed"]
    if cut >= 0.9:
        return [
            f"WARNING: {cut:.0%} of the first evaluation's responses were cut at sampling.max_new_tokens = "
            f"{config.sampling.max_new_tokens}, before their end. Give more (--sampling.max-new-tokens), or the "
            "strings at which this model's answers end (--sampling.stop); simplerl preflight shows what it writes"
        ]
    if answered < 0.01:
        return [
            f"WARNING: {answered:.0%} of the first evaluation's responses have an answer in the form that "
            f"verifier.policy = {config.verifier.policy} looks for; the others count as wrong. Choose a prompt that "
            "asks for it (--template qwen-boxed, chat or a file of yours; simplerl preflight compares them), or a "
            "policy that finds the answers (--verifier.policy boxed-then-phrases-then-last-number)"
        ]
    return []


def changes(old: Mapping[str, Any], config: Config, *, free: Sequence[str]) -> list[str]:
    """Return `key was …, now …` for each key in which a flat table of config.json and a configuration differ.

    Keys in `free` may differ; one that ends in a dot stands for its section. So may the code of an object.
    """
    return [
        f"{key} was {before!r}, now {now!r}"
        for key, before, now in _differences(old, config)
        if _without_hashes(before) != _without_hashes(now) and not is_among(key, free)
    ]


def _changed_code(old: Mapping[str, Any], config: Config) -> list[str]:
    """Return a sentence for each plug-in or function whose code is not what it was when config.json was written."""
    before = {entry["name"]: entry["sha256"] for entry in old.get("plugins", ())}
    return [
        f"plug-in {plugin.name} has changed since the run began (sha256 {before[plugin.name][:12]}, now "
        f"{plugin.sha256[:12]})."
        for plugin in config.plugins
        if before.get(plugin.name, plugin.sha256) != plugin.sha256
    ] + [
        f"{key} was {before}, now {now}."
        for key, before, now in _differences(old, config)
        if _without_hashes(before) == _without_hashes(now) != now
    ]


def _differences(old: Mapping[str, Any], config: Config) -> list[tuple[str, Any, Any]]:
    """Return (key, value in a flat table of config.json, value now) of every setting in which they differ.

    A setting that did not exist when the run began was at its default.
    """
    new, default = (flatten(json.loads(json.dumps(as_table(each)))) for each in (config, Config()))
    before = {key: old.get(key, default.get(key)) for key in {*old, *new}}
    return [(key, before[key], new.get(key)) for key in sorted(before) if before[key] != new.get(key)]


def _without_hashes(value: Any) -> Any:
    """Return a setting with objects that were passed from Python by their names alone: their code may be edited."""
    if isinstance(value, list):
        return [_without_hashes(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_hashes(item) for key, item in value.items()}
    return short_name(value) if isinstance(value, str) else value


def check_stage(directory: RunDirectory, stage: str) -> None:
    """Raise RunError where the run was made by another command than the one that is to continue it."""
    made_by = (directory.read("stage.json") or {"stage": "train"})["stage"]
    if made_by != stage:
        raise RunError(
            f"{directory.path} was made by simplerl {made_by}: continue it with simplerl {made_by} --output-dir "
            f"{directory.path} --resume, or begin from it with simplerl {stage} --model {directory.path}"
        )


def _go_back(directory: RunDirectory, config: Config, say: Callable[[str], None]) -> int:
    """Check that it is the same run and return the step of its newest intact checkpoint, 0 if there was none yet."""
    old = flatten(directory.read("config.json"))
    changed = changes(old, config, free=FREE_ON_RESUME)
    if changed:
        raise RunError(f"cannot resume {directory.path} with another configuration: {'; '.join(changed)}")
    for sentence in _changed_code(old, config):
        say(f"WARNING: {sentence} What comes from here on is made by the new code, whose hash is recorded.")
    if old["steps"] != config.steps and config.optimizer.schedule != "constant":
        raise ConfigError(
            f"steps was {old['steps']}, now {config.steps}: with the {config.optimizer.schedule} schedule that would "
            "change the learning rate of the steps already done"
        )
    for kind, each in (("sampler", prompt_sampler(config)), ("transform", config.transform), ("buffer", config.buffer)):
        if old["steps"] != config.steps and each.follows_steps:
            raise ConfigError(
                f"steps was {old['steps']}, now {config.steps}: the {kind} {type(each).__name__} follows their number, "
                "so that another one would change what it chose in the steps already done"
            )
    start = directory.newest_complete_checkpoint(say)
    if not start and directory.checkpoint_steps():
        raise RunError(
            f"cannot resume {directory.path}: every checkpoint is damaged. Its record is left as it is; start again "
            "with another --output-dir, from a copy of a checkpoint if its weights can be saved (--model DIR)"
        )
    return start


def _rewind(directory: RunDirectory, config: Config, start: int, say: Callable[[str], None]) -> None:
    """Forget what came after step `start`, so that it is done again."""
    path = directory.path
    directory.rewind(start)
    directory.prune(config.checkpoint.keep)
    lines = len(read_metrics(path))
    if lines != start + 1 and start:
        raise RunError(f"{path}/metrics.jsonl has {lines} lines up to step {start}, not {start + 1}: it was changed")
    say(f"resuming {path} after step {start}" if start else f"no checkpoint in {path} yet: starting anew")


def _record_environment(directory: RunDirectory, now: dict[str, Any], start: int, say: Callable[[str], None]) -> None:
    """Add this session to environment.json; refuse to go on with other data or another model, warn of other changes."""
    sessions = (directory.read("environment.json") or {"sessions": []})["sessions"]
    if sessions:
        before = sessions[-1]
        for what, old, new in (
            ("data or the template", before["data"], now["data"]),
            ("model", before["base_model"]["sha256"], now["base_model"]["sha256"]),
            ("reference", before["reference"], now["reference"]),
            ("process reward model", before.get("prm"), now.get("prm")),
        ):
            if old != new:
                raise RunError(
                    f"cannot resume {directory.path}: the {what} has changed since it began (see environment.json)"
                )
        silent = ("git_commit", "data", "data_origin", "data_decisions", "base_model", "reference", "prm")
        differing = [key for key in now if key in before and before[key] != now[key] and key not in silent]
        if differing:
            say(
                "resuming on another machine or with other versions: the result will not be the same to the last bit: "
                + "; ".join(f"{key} was {before[key]}, now {now[key]}" for key in differing)
            )
    directory.write("environment.json", {"sessions": [*sessions, {"start_step": start, **now}]})


# -- the doctor during a run ---------------------------------------------------------------------------------------


class DoctorRounds:
    """Watches a run as `config.doctor` asks for: what is newly found is said, and may end the run."""

    def __init__(self, config: Config, stage: str, path: Path, say: Callable[[str], None]):
        """A run that began before is taken up: what was found then is not said again, and does not end it again."""
        self._settings, self._say = config.doctor, say
        self._watch = None
        self.fatal: Finding | None = None  # What ends the run, if anything does
        if self._settings.action != "off":
            self._watch = Watch(as_table(config), kind=stage, thresholds=parse_thresholds(self._settings.thresholds))
            if read_metrics(path):
                with self._guarded("taking up the run"):
                    self._watch.take_up(path)

    def examine(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Judge a step that is recorded."""
        if self._watch is None:
            return
        new: list[Finding] = []
        with self._guarded(f"step {step}"):
            new = self._watch.step(step, metrics, groups)
        for finding in new:
            self._say(f"  doctor: {finding.severity}, {finding.rule}: {finding.title}. {finding.seen}")
            stop_on = self._settings.stop_on
            ends = finding.rule in stop_on if stop_on else finding.severity == "serious"
            if self._settings.action == "stop" and ends and self.fatal is None:
                self.fatal = finding

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """An error in a rule must not end a run of days. It is said, once, and the watch is over."""
        try:
            yield
        except Exception as error:
            self._watch = None
            stops = " Nothing will stop it now (doctor.action = stop)." if self._settings.action == "stop" else ""
            self._say(
                f"  doctor: an error ended the watch at {what}: {raised_at(error)}. The run goes on unwatched.{stops} "
                "Please report this; `simplerl doctor RUN --debug` may show more"
            )
