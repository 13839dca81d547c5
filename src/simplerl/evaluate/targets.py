"""What is evaluated: a model, or checkpoints of a run with the base model as step 0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.directory import RunDirectory
from simplerl.runs.files import MANIFEST


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A model with what a run says of how it was trained."""

    label: str
    """Name in tables and of the result's directory: `RUN@20`, or the model's own."""
    source: str
    """What `models.load` takes."""
    step: int | None
    """Step of its run; None for a model that is of no run."""
    config: Mapping[str, Any]
    """The run's configuration; for a model that is of no run, the recipe that goes with it."""

    @property
    def base(self) -> bool:
        """Whether it is evaluated as a base model: greedily."""
        return not self.step


def is_run(name: str) -> bool:
    """Return whether a name is that of a run directory."""
    path = Path(name).expanduser()
    return (path / "config.json").is_file() and (path / "checkpoints").is_dir()


def targets(name: str, steps: str = "", *, recipe: Mapping[str, Any]) -> list[Target]:
    """Return the models that a command-line argument means.

    `name` is a run directory, a checkpoint in one, or anything else that can be loaded. `steps` chooses checkpoints of
    a run: `all`, `last`, or numbers such as `0,20,40`; empty is the base model and the last. `recipe` is the
    configuration to use for a model that is of no run. Raises RunError for a run without checkpoints, ConfigError for a
    step that it has not.
    """
    path = Path(name).expanduser()
    if path.parent.name == "checkpoints" and path.name.startswith("step_") and (path / MANIFEST).is_file():
        run, number = path.parent.parent, path.name.removeprefix("step_")
        if (run / "config.json").is_file() and number.isdecimal():
            return [_of_run(run, int(number), _configuration(run))]
    if not is_run(name):
        if steps:
            raise ConfigError(f"--steps chooses checkpoints of a run, and {name} is not a run directory")
        return [Target(label=path.name or name, source=name, step=None, config=recipe)]
    config, there = _configuration(path), RunDirectory(path).checkpoint_steps()
    if not there:
        raise RunError(
            f"{path} has no checkpoints yet; evaluate its base model by name ({config.get('model')}), or let it train "
            "to its first checkpoint (checkpoint.every)"
        )
    return [_of_run(path, step, config) for step in _choose(steps, there, path)]


def _choose(steps: str, there: Sequence[int], path: Path) -> list[int]:
    every = [0, *there]
    if steps in ("", "all", "last"):
        return {"": [0, there[-1]], "all": every, "last": [there[-1]]}[steps]
    try:
        wanted = sorted({int(part) for part in steps.split(",")})
    except ValueError as error:
        raise ConfigError(f"--steps must be all, last or numbers such as 0,20,40; got {steps!r}") from error
    missing = [step for step in wanted if step not in every]
    if missing:
        raise ConfigError(
            f"{path} has no checkpoint of step {', '.join(map(str, missing))}; it has {', '.join(map(str, every))} "
            "(0 is the base model; checkpoint.keep decides how many are kept)"
        )
    return wanted


def _of_run(run: Path, step: int, config: Mapping[str, Any]) -> Target:
    return Target(
        label=f"{run.resolve().name}@{step}",
        source=str(RunDirectory(run).checkpoint(step)) if step else str(config["model"]),
        step=step,
        config=config,
    )


def _configuration(run: Path) -> dict[str, Any]:
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{run / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict) or "model" not in config:
        raise RunError(f"{run / 'config.json'} is not a run's configuration: it names no model")
    return config
