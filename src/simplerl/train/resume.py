"""Going on with a run: is it the same run, where was it, and what did it run on."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.directory import RunDirectory, read_metrics
from simplerl.train.config import Config
from simplerl.train.resolve import FREE_ON_RESUME, as_table, flatten
from simplerl.train.session import Session


def changes(old: Mapping[str, Any], config: Config, *, free: Sequence[str]) -> list[str]:
    """Return `key was …, now …` for each key in which a flat table of config.json and a configuration differ.

    Keys in `free` may differ; one that ends in a dot stands for its section.
    """
    new = flatten(json.loads(json.dumps(as_table(config))))
    return [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
        and not any(key == name or (name.endswith(".") and key.startswith(name)) for name in free)
    ]


def check_stage(run: RunDirectory, stage: str) -> None:
    """Raise RunError where the run was made by another command than the one that is to continue it."""
    made_by = (run.read("stage.json") or {"stage": "train"})["stage"]
    if made_by != stage:
        raise RunError(
            f"{run.path} was made by simplerl {made_by}: continue it with simplerl {made_by} --output-dir {run.path} "
            f"--resume, or begin from it with simplerl {stage} --model {run.path}"
        )


def go_back(run: RunDirectory, config: Config, say: Callable[[str], None]) -> int:
    """Check that it is the same run and return the step of its newest whole checkpoint, 0 if there was none yet."""
    old = flatten(run.read("config.json"))
    changed = changes(old, config, free=FREE_ON_RESUME)
    if changed:
        raise RunError(f"cannot resume {run.path} with another configuration: {'; '.join(changed)}")
    if old["steps"] != config.steps and config.optimizer.schedule != "constant":
        raise ConfigError(
            f"steps was {old['steps']}, now {config.steps}: with the {config.optimizer.schedule} schedule that would "
            "change the learning rate of the steps already done"
        )
    start = run.newest_whole_checkpoint(say)
    if not start and run.checkpoint_steps():
        raise RunError(
            f"cannot resume {run.path}: every checkpoint is damaged. Its record is left as it is; start again with "
            "another --output-dir, from a copy of a checkpoint if its weights can be saved (--model DIR)"
        )
    return start


def rewind(run: RunDirectory, config: Config, start: int, say: Callable[[str], None]) -> None:
    """Forget what came after step `start`, so that it is done again."""
    run.rewind(start)
    run.prune(config.checkpoint.keep)
    lines = len(read_metrics(run.path))
    if lines != start + 1 and start:
        raise RunError(
            f"{run.path}/metrics.jsonl has {lines} lines up to step {start}, not {start + 1}: it was changed"
        )
    say(f"resuming {run.path} after step {start}" if start else f"no checkpoint in {run.path} yet: starting anew")


def describe(run: RunDirectory, session: Session, start: int, say: Callable[[str], None]) -> None:
    """Add this session to environment.json; refuse to go on with other data or another model, warn of other changes."""
    sessions = (run.read("environment.json") or {"sessions": []})["sessions"]
    now = session.environment
    if sessions:
        before = sessions[-1]
        for what, old, new in (
            ("data or the template", before["data"], now["data"]),
            ("model", before["base_model"]["sha256"], now["base_model"]["sha256"]),
            ("reference", before["reference"], now["reference"]),
        ):
            if old != new:
                raise RunError(
                    f"cannot resume {run.path}: the {what} has changed since it began (see environment.json)"
                )
        silent = ("git_commit", "data", "data_origin", "base_model", "reference")
        differing = [key for key in now if key in before and before[key] != now[key] and key not in silent]
        if differing:
            say(
                "resuming on another machine or with other versions: the result will not be the same to the last bit: "
                + "; ".join(f"{key} was {before[key]}, now {now[key]}" for key in differing)
            )
    run.write("environment.json", {"sessions": [*sessions, {"start_step": start, **now}]})
