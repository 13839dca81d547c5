"""From an experiment to the runs that it needs: what of them is there already, and the others as child processes.

A few run side by side. A child that fails is noted, and the others go on.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from simplerl.config.resolve import as_table, flatten, merge, read_config, resolve
from simplerl.config.sections import Config
from simplerl.core.errors import RunError
from simplerl.models.guards import stop_on_interrupt
from simplerl.runs.files import LockedDirectory, slug, writing
from simplerl.runs.run import Run, is_run
from simplerl.studies.experiment import Experiment, Variant
from simplerl.train.run import changes

#: Keys in which a run that is there may differ from the one that is wanted: they change nothing that it finds out.
FREE = ("output_dir", "checkpoint.", "tracking.", "rollout.max_rows", "verifier.workers")

#: How a child is started.
COMMAND = (sys.executable, "-m", "simplerl")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an experiment, and the command that makes it."""

    label: str  # The variant's
    seed: int
    path: Path  # The run directory
    log: Path  # Where the child's output goes
    command: tuple[str, ...]
    state: Literal["new", "half", "done"]
    after: str = ""  # Name of the job whose model it begins from; empty: none

    @property
    def name(self) -> str:
        """The job as a person would call it."""
        return f"{self.label}, seed {self.seed}"


def table_of(experiment: Experiment, variant: Variant) -> dict[str, Any]:
    """Return a variant's overrides on its recipe."""
    return merge(experiment.overrides, variant.overrides)


def plan(experiment: Experiment, *, seeds: int, directory: Path) -> list[Job]:
    """Return the runs of an experiment, seed by seed so that an early end leaves complete seeds.

    Preparations come first, each waiting for the one before; runs whose settings speak of the study's directory wait
    for the last of them, and one that begins from a fine-tuned model for its fine-tuning. Raises RunError where a run
    is there that was made with other settings, ConfigError where settings do not work.
    """
    jobs: list[Job] = []

    def job(stage: str, recipe: str, table: Mapping[str, Any], label: str, after: str) -> Job:
        table = _filled(table, directory)
        config = resolve(recipe, table)
        name = f"{slug(label)}_seed{config.seed}"
        path, log = directory / "runs" / name, directory / "logs" / f"{name}.log"
        state = state_of(path, config)
        plugins = [word for plugin in config.plugins for word in ("--plugin", plugin.name)]
        own = [*arguments(table), *plugins, "--output-dir", str(path), *["--resume"] * (state == "half")]
        command = (*COMMAND, stage, recipe, *own)
        return Job(label=label, seed=config.seed, path=path, log=log, command=command, state=state, after=after)

    for each in experiment.prepare:
        path, log = directory / "prepared" / slug(each.name), directory / "logs" / f"{slug(each.name)}.log"
        command = (*COMMAND, *_filled(each.command, directory))
        state: Literal["new", "done"] = "done" if (directory / each.done).exists() else "new"
        after = jobs[-1].name if jobs and jobs[-1].state == "new" else ""
        jobs.append(Job(label=each.name, seed=0, path=path, log=log, command=command, state=state, after=after))
    waiting = next((each.name for each in reversed(jobs) if each.state == "new"), "")
    for seed, variant in itertools.product(range(seeds), experiment.variants):
        recipe, table = variant.recipe or experiment.recipe, merge(table_of(experiment, variant), {"seed": seed})
        after = waiting if "{directory}" in json.dumps(table) else ""
        if not variant.before:
            jobs.append(job(experiment.stage, recipe, table, variant.label, after))
            continue
        imitating = merge(merge(experiment.overrides, variant.before), {"seed": seed})
        first = job("sft", recipe, imitating, f"{variant.label} (SFT)", after)
        begun = job("train", recipe, merge(table, {"model": str(first.path.resolve())}), variant.label, first.name)
        jobs += [begun] if begun.state == "done" else [first, begun]
    return jobs


def _filled(value: Any, directory: Path) -> Any:
    """Return a setting, or tables of settings, with the study's directory in the place of `{directory}`."""
    return json.loads(json.dumps(value).replace("{directory}", json.dumps(str(directory.resolve()))[1:-1]))


def arguments(table: Mapping[str, Any]) -> list[str]:
    """Return nested overrides as the command line takes them."""
    flat = {f"--{key.replace('_', '-')}": value for key, value in flatten(table).items()}
    return [word for key, v in flat.items() for word in (key, v if isinstance(v, str) else json.dumps(v))]


def state_of(path: Path, config: Config) -> Literal["new", "half", "done"]:
    """Return whether a run is there, and complete. Raises RunError where its settings are others."""
    if not (path / "config.json").exists():
        return "new"
    # Read through Config, so that keys which are newer than the run have their defaults.
    old = flatten(json.loads(json.dumps(as_table(read_config(path, {})))))
    if changed := changes(old, config, free=FREE):
        raise RunError(
            f"{path} was made with other settings: {'; '.join(changed)}. Keep it and choose another --output-dir, or "
            "remove it to run it anew"
        )
    return "done" if is_run(path) and Run(path).finished else "half"


# -- running them ----------------------------------------------------------------------------------------------------

#: Seconds that children have to end their step and save, once they were asked to stop.
PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Child:
    job: Job
    process: subprocess.Popen[Any]
    log: TextIO
    start: int  # Where in the log this session begins: what an earlier one said is not why this one ended
    began: float


def execute(
    jobs: Sequence[Job], *, parallel: int, say: Callable[[str], None], move: Callable[[int, str], None]
) -> dict[str, str]:
    """Run what is not done yet, at most `parallel` at a time. Return job's name → message of those that failed.

    `say` is told how a run ended, `move` how many are done, and which are under way.

    Ctrl-C and SIGTERM are passed on, so that every child saves where it is, and then raised as KeyboardInterrupt.
    Raises RunError, before anything runs, where another process is writing to one of the runs.
    """
    waiting = [job for job in jobs if job.state != "done"]
    if busy := [str(job.path) for job in waiting if LockedDirectory(job.path).held]:
        raise RunError(
            f"another process is writing to {', '.join(busy)}. A command that was killed cannot stop its runs: "
            "they go on to their end. Wait for them, or end them, and give the command again"
        )
    done, failed, running = len(jobs) - len(waiting), dict[str, str](), list[_Child]()
    move(done, "")
    with stop_on_interrupt() as stopped:
        try:
            while waiting or running:
                for lost in [job for job in waiting if job.after in failed]:
                    waiting.remove(lost)
                    done += 1
                    failed[lost.name] = f"not run, because it begins from {lost.after}"
                    say(f"[{done}/{len(jobs)}] {lost.name}: {failed[lost.name]}")
                while len(running) < parallel and (job := _next(waiting, running)):
                    waiting.remove(job)
                    running.append(_start(job))
                time.sleep(0.1)
                if stopped():
                    raise KeyboardInterrupt
                for child in [child for child in running if child.process.poll() is not None]:
                    running.remove(child)
                    done, seconds = done + 1, time.monotonic() - child.began
                    if error := _end(child):
                        failed[child.job.name] = error
                    how = f"failed after {seconds:.0f} s: {error}" if error else f"done in {seconds:.0f} s"
                    say(f"[{done}/{len(jobs)}] {child.job.name}: {how}")
                move(done, "; ".join(child.job.name for child in running))
        finally:
            _stop(running)
    return failed


def _next(waiting: Sequence[Job], running: Sequence[_Child]) -> Job | None:
    """Return the first job that waits for no other; None if there is none."""
    missing = {job.name for job in waiting} | {child.job.name for child in running}
    return next((job for job in waiting if job.after not in missing), None)


def _start(job: Job) -> _Child:
    with writing(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("a", encoding="utf-8")
        start = log.tell()
    # One thread each, since several run side by side and a cub gains nothing.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"}
    # A session of its own: Ctrl-C reaches the child through us, once, so that it saves before it stops.
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(job.command, **streams, env=environment, start_new_session=True)
    return _Child(job=job, process=process, log=log, start=start, began=time.monotonic())


def _end(child: _Child) -> str:
    """Return what went wrong; empty if nothing did."""
    child.log.close()
    code = child.process.returncode
    if code == 0:
        return ""
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    text = child.job.log.read_bytes()[child.start :].decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith(("error:", "internal error:"))]
    told = lines[errors[-1] :] if errors else lines[-3:]
    return f"{how}: {' '.join(told[:4]) or 'it said nothing'} (log: {child.job.log})"


def _stop(running: Sequence[_Child]) -> None:
    """Ask the children to save and stop, and wait; one that does not is killed."""
    for child in running:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    for child in running:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.process.kill()
            child.process.wait()
        child.log.close()
