"""From an experiment to the runs that it needs, and what of them is there already."""

import dataclasses
import itertools
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simplerl.config.resolve import as_table, flatten, merge, read_config, resolve
from simplerl.config.sections import Config
from simplerl.core.errors import RunError
from simplerl.runs.run import Run, is_run
from simplerl.studies.experiment import Experiment, Variant
from simplerl.train.run import changes

#: Laid on top of everything by --quick: enough to see every part work, too little to learn anything from.
QUICK: dict[str, Any] = {"steps": 4, "token_budget": 0, "evaluation": {"size": 20, "every": 2}, "sft": {"steps": 2}}

#: Keys in which a run that is there may differ from the one that is wanted: they change nothing that it finds out.
FREE = ("output_dir", "checkpoint.", "tracking.", "rollout.max_rows", "verifier.workers")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an experiment, and the command that makes it."""

    label: str  # The variant's
    seed: int
    path: Path  # The run directory
    log: Path  # Where the child's output goes
    command: tuple[str, ...]
    state: Literal["new", "half", "done"]
    steps: int
    token_budget: int
    after: str = ""  # Name of the job whose model it begins from; empty: none

    @property
    def name(self) -> str:
        """The job as a person would call it."""
        return f"{self.label}, seed {self.seed}"


def table_of(experiment: Experiment, variant: Variant) -> dict[str, Any]:
    """Return a variant's overrides on its recipe."""
    return merge(experiment.overrides, variant.overrides)


def plan(experiment: Experiment, *, seeds: int, directory: Path, quick: bool = False) -> list[Job]:
    """Return the runs of an experiment, seed by seed so that an early end leaves complete seeds.

    Raises RunError where a run is there that was made with other settings, ConfigError where settings do not work.
    """
    prepared = _prepared(experiment, directory, quick=quick)
    lasts = [merge(QUICK if quick else {}, {"seed": seed}) for seed in range(seeds)]
    pairs = itertools.product(lasts, experiment.variants)
    jobs = [job for last, variant in pairs for job in _jobs(experiment, variant, last, directory)]
    waiting = next((job.name for job in reversed(prepared) if job.state != "done"), "")
    jobs = [
        dataclasses.replace(job, after=waiting)
        if job.state != "done" and not job.after and _speaks_of(directory, job.command)
        else job
        for job in jobs
    ]
    return [*prepared, *jobs]


def _speaks_of(directory: Path, command: Sequence[str]) -> bool:
    """Return whether a run's settings name something in the study's directory, apart from where it is written."""
    named = [value for key, value in itertools.pairwise(command) if key != "--output-dir"]
    return any(value.startswith(f"{directory.resolve()}/") for value in named)


def _prepared(experiment: Experiment, directory: Path, *, quick: bool) -> list[Job]:
    """Return the jobs of the preparations, each waiting for the one before."""
    jobs: list[Job] = []
    for each in experiment.prepare:
        words = [*each.command, *(each.quick if quick else ())]
        command = (sys.executable, "-m", "simplerl", *(_filled(word, directory) for word in words))
        job = Job(
            label=each.name,
            seed=0,
            path=directory / "prepared" / slug(each.name),
            log=directory / "logs" / f"{slug(each.name)}.log",
            command=command,
            state="done" if (directory / each.done).exists() else "new",
            steps=1,
            token_budget=0,
            after=jobs[-1].name if jobs and jobs[-1].state != "done" else "",
        )
        jobs.append(job)
    return jobs


def _filled(value: Any, directory: Path) -> Any:
    """Return a setting, or tables of settings, with the study's directory in the place of `{directory}`."""
    if isinstance(value, Mapping):
        return {key: _filled(item, directory) for key, item in value.items()}
    return value.replace("{directory}", str(directory.resolve())) if isinstance(value, str) else value


def _jobs(experiment: Experiment, variant: Variant, last: Mapping[str, Any], directory: Path) -> list[Job]:
    """Return the run of a variant, `last` laid on top, and before it the fine-tuning that it begins from, if needed."""
    recipe = variant.recipe or experiment.recipe
    table = _filled(merge(table_of(experiment, variant), last), directory)
    if not variant.before:
        return [_job(experiment.stage, recipe, table, variant.label, directory)]
    imitating = merge(merge(experiment.overrides, variant.before), last)
    first = _job("sft", recipe, imitating, f"{variant.label} (SFT)", directory)
    job = _job("train", recipe, merge(table, {"model": str(first.path.resolve())}), variant.label, directory)
    return [job] if job.state == "done" else [first, dataclasses.replace(job, after=first.name)]


def _job(
    stage: Literal["train", "star", "sft"], recipe: str, table: Mapping[str, Any], label: str, directory: Path
) -> Job:
    config = resolve(recipe, table)
    name = f"{slug(label)}_seed{config.seed}"
    path, steps = directory / "runs" / name, config.sft.steps if stage == "sft" else config.steps
    state = state_of(path, config)
    plugins = [word for plugin in config.plugins for word in ("--plugin", plugin.name)]
    own = [*arguments(table), *plugins, "--output-dir", str(path), *["--resume"] * (state == "half")]
    return Job(
        label=label,
        seed=config.seed,
        path=path,
        log=directory / "logs" / f"{name}.log",
        command=(sys.executable, "-m", "simplerl", stage, recipe, *own),
        state=state,
        steps=steps,
        token_budget=0 if stage == "sft" else config.token_budget,
    )


def slug(label: str) -> str:
    """Return a label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", label).strip("-")


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


def child_environment() -> dict[str, str]:
    """Return the environment of a child: one thread each, since several run side by side and a cub gains nothing."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"}
