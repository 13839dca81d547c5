"""What is evaluated: a model, or checkpoints of a run with the base model as step 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, RunError
from simplerl.runs.run import Run, is_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A model with what a run says of how it was trained."""

    label: str
    """Name in tables and of the result's directory: `RUN@20`, or the model's own."""
    source: str
    """What `models.load` takes."""
    step: int | None
    """Step of its run; None for a model that is not of a run."""
    config: Mapping[str, Any]
    """The run's configuration; for a model that is not of a run, the recipe that goes with it."""

    @property
    def base(self) -> bool:
        """Whether it is evaluated as a base model: greedily."""
        return not self.step


def targets(name: str, steps: str = "", *, recipe: Mapping[str, Any]) -> list[Target]:
    """Return the models that a command-line argument means.

    `name` is a run directory, a checkpoint in one, or anything else that can be loaded. `steps` chooses checkpoints of
    a run: `all`, `last`, or numbers such as `0,20,40`; empty is the base model and the last. `recipe` is the
    configuration to use for a model that is not of a run. Raises RunError for a run without checkpoints, ConfigError
    for a step that it does not have.
    """
    path = Path(name).expanduser()
    if path.parent.name == "checkpoints" and is_run(path.parents[1]):
        run = _run(path.parents[1])
        for checkpoint in run.checkpoints:
            if checkpoint.path.name == path.name and checkpoint.complete:
                return [_of_run(run, {checkpoint.step: checkpoint.path}, checkpoint.step)]
    if not is_run(path):
        if steps:
            raise ConfigError(f"--steps chooses checkpoints of a run, and {name} is not a run directory")
        return [Target(label=path.name or name, source=name, step=None, config=recipe)]
    run = _run(path)
    saved = {checkpoint.step: checkpoint.path for checkpoint in run.checkpoints}
    if not saved:
        raise RunError(
            f"{path} has no checkpoints yet; evaluate its base model by name ({run.config['model']}), or let it train "
            "to its first checkpoint (checkpoint.every)"
        )
    return [_of_run(run, saved, step) for step in _choose(steps, [0, *saved], path)]


def _choose(steps: str, there: list[int], path: Path) -> list[int]:
    if steps in ("", "all", "last"):
        return {"": [0, there[-1]], "all": there, "last": [there[-1]]}[steps]
    try:
        wanted = sorted({int(part) for part in steps.split(",")})
    except ValueError as error:
        raise ConfigError(f"--steps must be all, last or numbers such as 0,20,40; got {steps!r}") from error
    if missing := [step for step in wanted if step not in there]:
        raise ConfigError(
            f"{path} has no checkpoint of step {', '.join(map(str, missing))}; it has {', '.join(map(str, there))} "
            "(0 is the base model; checkpoint.keep decides how many are kept)"
        )
    return wanted


def _run(path: Path) -> Run:
    run = Run(path)
    if not isinstance(run.config.get("model"), str):
        raise RunError(f"{path / 'config.json'} is not a run's configuration: it names no model")
    return run


def _of_run(run: Run, saved: Mapping[int, Path], step: int) -> Target:
    source = str(saved[step]) if step else run.config["model"]
    return Target(label=f"{run.name}@{step}", source=source, step=step, config=run.config)
