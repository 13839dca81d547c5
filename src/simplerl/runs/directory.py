"""A run directory: its layout, and the only hands that write to it.

config.json               the resolved configuration; what --resume reads
stage.json                which command made the run, where it was not `train`
environment.json          versions, machine, git commit, data hashes of each session
metrics.jsonl             one line per step; step 0 is the base model
trajectories/step_N.parquet   every training response
evaluations/step_N.parquet    every held-out response
evaluations/step_N.json       the evaluation's figures with intervals
status.json               what it is doing at this moment (`simplerl status`)
ahead/step_N.frames       what was sampled for a step that is not saved yet (`rollout.lag`)
checkpoints/step_N/           a Hugging Face directory, with trainer/ and manifest.json
summary.json, learning.png    at the end
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import RunError
from simplerl.core.types import TrajectoryGroup
from simplerl.runs.files import JsonLines, LockedDirectory, damage, json_line, write_atomic, write_directory, write_json
from simplerl.runs.metrics import read_metrics
from simplerl.runs.responses import write_trajectories
from simplerl.runs.run import FOLDERS

#: What a run that never came as far as its configuration leaves behind: its name is still free.
_EMPTY_LAYOUT = {".lock", *FOLDERS, ".config.json.partial", "stage.json", ".stage.json.partial"}


class RunDirectory(LockedDirectory):
    """A run that is being written."""

    folders = FOLDERS

    def __init__(self, path: Path):
        super().__init__(path)
        self._metrics = JsonLines(path / "metrics.jsonl")

    def check(self, *, resume: bool) -> None:
        """Raise RunError where there is a run already, or with `resume` where there is none. Writes nothing."""
        exists, problem = (self.path / "config.json").exists(), ""
        if self.path.exists() and not self.path.is_dir():
            problem = "is a file; choose another --output-dir"
        elif exists and not resume:
            problem = "already holds a run. Continue it with --resume, or choose another name with --output-dir"
        elif not exists and any(entry.name not in _EMPTY_LAYOUT for entry in self.path.rglob("*")):
            problem = "is not empty and is not a run; choose another --output-dir"
        elif resume and not exists:
            problem = "has no run to resume; leave out --resume to start one, or fix --output-dir"
        if problem:
            raise RunError(f"{self.path} {problem}")

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the run."""
        write_json(self.path / name, value)

    def read(self, name: str) -> Any:
        """Read a JSON file of the run; None if it is not there."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{self.path / name} is damaged: {error}") from error

    def record_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Append a step's line to metrics.jsonl and flush it to disk.

        A metric that is not in the glossary, of a plug-in, is recorded like any other. Raises RunError where a value is
        not a number.
        """
        self._metrics.append([{"step": step, **{name: _number(name, value) for name, value in metrics.items()}}])

    def record_trajectories(
        self, step: int, groups: Sequence[TrajectoryGroup], advantages: Sequence[np.ndarray]
    ) -> None:
        """Write the training responses of a step."""
        write_trajectories(self.path / f"trajectories/step_{step:06d}.parquet", step, groups, advantages)

    def record_evaluation(self, step: int, groups: Sequence[TrajectoryGroup], figures: dict[str, Any]) -> None:
        """Write the held-out responses of a step, then their figures: the figures say that it is complete."""
        write_trajectories(self.path / f"evaluations/step_{step:06d}.parquet", step, groups)
        write_json(self.path / f"evaluations/step_{step:06d}.json", figures)

    def save_checkpoint(self, step: int, fill: Callable[[Path], None], *, keep: int) -> Path:
        """Write a checkpoint in one step, then remove the oldest beyond `keep` (0: none)."""
        path = self.checkpoint(step)
        write_directory(path, fill)
        self.prune(keep)
        return path

    def prune(self, keep: int) -> None:
        """Remove the oldest checkpoints beyond `keep` (0: none). Hidden first, so that no half of one can be seen."""
        for old in self.checkpoint_steps()[:-keep] if keep else []:
            path = self.checkpoint(old)
            shutil.rmtree(path.rename(path.with_name(f".{path.name}.partial")), ignore_errors=True)

    def checkpoint(self, step: int) -> Path:
        """Return the directory of the checkpoint after a step."""
        return self.path / f"checkpoints/step_{step:06d}"

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that have a checkpoint, oldest first."""
        return sorted(int(path.name.removeprefix("step_")) for path in (self.path / "checkpoints").glob("step_*"))

    def newest_complete_checkpoint(self, warn: Callable[[str], None]) -> int:
        """Return the newest step whose checkpoint is complete, 0 if there is none; `warn` names the damaged ones."""
        for step in reversed(self.checkpoint_steps()):
            reason = damage(self.checkpoint(step))
            if reason is None:
                return step
            warn(f"checkpoint {self.checkpoint(step)} is damaged ({reason}); falling back to the one before")
        return 0

    def rewind(self, step: int) -> None:
        """Forget everything after a step, so that it is done again: metrics, trajectories, evaluations, checkpoints."""
        lines = [json_line(line) for line in read_metrics(self.path) if line["step"] <= step]
        write_atomic(self.path / "metrics.jsonl", "".join(lines))
        for path in [path for name in FOLDERS for path in (self.path / name).glob("*step_*")]:
            number = path.name.lstrip(".").removeprefix("step_").split(".")[0]
            if path.name.startswith(".") or int(number) > step:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _number(name: str, value: Any) -> int | float | None:
    """Return a metric's value; that of an array or tensor with one element. Raises RunError for anything else."""
    if not isinstance(value, int | float | None):
        try:
            return value.item()
        except (AttributeError, TypeError, ValueError, RuntimeError):
            raise RunError(f"metric {name!r} is {str(value)[:80]!r}; a metric must be a number, or None") from None
    return value
