"""From an experiment to the runs that it needs, and what of them is there already."""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simplerl.algorithms import ALGORITHMS
from simplerl.errors import RunError
from simplerl.experiments.types import Experiment, Variant
from simplerl.train.config import Config
from simplerl.train.resolve import as_table, flatten, merge, read_config, resolve
from simplerl.train.resume import changes

#: Laid on top of everything by --quick: enough to see every part work, too little to learn anything from.
QUICK: dict[str, Any] = {
    "steps": 4,
    "token_budget": 0,
    "evaluation": {"size": 20, "every": 2},
}

#: Keys in which a run that is there may differ from the one that is wanted: they change nothing that it finds out.
FREE = ("output_dir", "checkpoint.", "tracking.", "rollout.max_rows", "verifier.workers")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an experiment, and the command that makes it."""

    label: str
    """The variant's."""
    seed: int
    path: Path
    """The run directory."""
    log: Path
    """Where the child's output goes."""
    command: tuple[str, ...]
    state: Literal["new", "half", "done"]
    steps: int
    token_budget: int

    @property
    def name(self) -> str:
        """The job as a person would call it."""
        return f"{self.label}, seed {self.seed}"


def table_of(experiment: Experiment, variant: Variant, *, quick: bool = False) -> dict[str, Any]:
    """Return a variant's overrides on its recipe."""
    table = merge(experiment.overrides, variant.overrides)
    return merge(table, QUICK) if quick else table


def why_skipped(experiment: Experiment, variant: Variant) -> str:
    """Return why a variant cannot be run by this version; empty if it can."""
    name = flatten(table_of(experiment, variant)).get("algorithm.name", "grpo")
    return "" if name in ALGORITHMS else f"needs the algorithm {name}, which this version does not have"


def plan(
    experiment: Experiment, *, seeds: int, directory: Path, quick: bool = False
) -> tuple[list[Job], dict[str, str]]:
    """Return (the runs of an experiment, seed by seed so that an early end leaves whole seeds; label → why skipped).

    Raises RunError where a run is there that was made with other settings, ConfigError where settings do not work.
    """
    skipped = {variant.label: why_skipped(experiment, variant) for variant in experiment.variants}
    jobs = [
        _job(experiment, variant, seed, directory, quick=quick)
        for seed in range(seeds)
        for variant in experiment.variants
        if not skipped[variant.label]
    ]
    return jobs, {label: reason for label, reason in skipped.items() if reason}


def _job(experiment: Experiment, variant: Variant, seed: int, directory: Path, *, quick: bool) -> Job:
    recipe = variant.recipe or experiment.recipe
    table = merge(table_of(experiment, variant, quick=quick), {"seed": seed})
    config = resolve(recipe, table)
    name = f"{slug(variant.label)}_seed{seed}"
    path = directory / "runs" / name
    state = state_of(path, config)
    own = [*arguments(table), "--output-dir", str(path), *(["--resume"] if state == "half" else [])]
    return Job(
        label=variant.label,
        seed=seed,
        path=path,
        log=directory / "logs" / f"{name}.log",
        command=(sys.executable, "-m", "simplerl", "train", recipe, *own),
        state=state,
        steps=config.steps,
        token_budget=config.token_budget,
    )


def slug(label: str) -> str:
    """Return a label as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", label).strip("-")


def arguments(table: Mapping[str, Any]) -> list[str]:
    """Return nested overrides as the command line takes them."""
    words = []
    for key, value in flatten(table).items():
        words += [f"--{key.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
    return words


def state_of(path: Path, config: Config) -> Literal["new", "half", "done"]:
    """Return whether a run is there, and whole. Raises RunError where it was made with other settings."""
    if not (path / "config.json").exists():
        return "new"
    # Read through Config, so that keys which are newer than the run have their defaults.
    old = flatten(json.loads(json.dumps(as_table(read_config(path, {})))))
    changed = changes(old, config, free=FREE)
    if changed:
        raise RunError(
            f"{path} was made with other settings: {'; '.join(changed)}. Keep it and choose another --output-dir, or "
            "remove it to run it anew"
        )
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        sampled, steps = summary["tokens"]["sampled"], summary["steps"]
    except (OSError, ValueError, KeyError):
        return "half"
    return "done" if steps >= config.steps or 0 < config.token_budget <= sampled else "half"


def child_environment() -> dict[str, str]:
    """Return the environment of a child: one thread each, since several run side by side and a cub gains nothing."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"}
