"""The only hands that write: to the directory of a run, of a result of `simplerl eval`, and of judgements.

What stands in them is in docs/run-format.md and docs/evaluation.md. A result is one model on one benchmark under one
protocol; its name has a hash of all that matters, so that another temperature, or another checkpoint of the same name,
is another directory. Judgements have a lock of their own, so that a run may be judged while it trains.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow

from simplerl.core.errors import RunError
from simplerl.core.types import TrajectoryGroup
from simplerl.runs.files import (
    JsonLines,
    LockedDirectory,
    damage,
    json_line,
    slug,
    write_atomic,
    write_directory,
    write_json,
    writing,
)
from simplerl.runs.metrics import scan_metrics
from simplerl.runs.responses import ResponseFile, write_table, write_trajectories
from simplerl.runs.run import FIGURES, FOLDERS, JUDGEMENTS, PROTOCOL, RESPONSES, STATUS, STEP, TIMING, Judgement

T = TypeVar("T")

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
        if any("\ud800" <= letter <= "\udfff" for letter in str(self.path)):
            problem = "is not UTF-8, and a tokenizer cannot be saved there; choose another --output-dir"
        elif self.path.exists() and not self.path.is_dir():
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
        return checkpoint_steps(self.path)

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
            match = STEP.fullmatch(path.name)
            if path.name.startswith(".") or (match and int(match[1]) > step):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def checkpoint_steps(run: Path) -> list[int]:
    """Return the steps of which a run has a checkpoint, oldest first. What a user keeps beside them is left alone."""
    matches = (STEP.fullmatch(path.name) for path in (run / "checkpoints").glob("step_*"))
    return sorted(int(match[1]) for match in matches if match and not match[2])


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, for the process that goes on with it; none where there is no file.

    A last line that was cut short is left out; raises RunError where another is damaged.
    """
    by_step, damaged = scan_metrics(JsonLines(run / "metrics.jsonl"))
    if damaged:
        raise RunError(f"{run / 'metrics.jsonl'}:{damaged[0]} is damaged")
    return list(by_step.values())


def _number(name: str, value: Any) -> int | float | None:
    """Return a metric's value; that of an array or tensor with one element. Raises RunError for anything else."""
    if not isinstance(value, int | float | None):
        try:
            return value.item()
        except (AttributeError, TypeError, ValueError, RuntimeError):
            raise RunError(f"metric {name!r} is {str(value)[:80]!r}; a metric must be a number, or None") from None
    return value


# --- what it is doing -------------------------------------------------------------------------------------------------

#: Seconds after which the file is looked at again, and after which it is written though nothing has changed.
EVERY_S, AT_LEAST_S = 1.0, 20.0


class StatusFile:
    """Writes what `describe` returns, as long as it is entered, in a thread of its own: a wait is shown as well."""

    def __init__(self, path: Path, describe: Callable[[], Mapping[str, Any]]):
        self._path, self._describe = path / STATUS, describe
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, daemon=True)

    def __enter__(self) -> "StatusFile":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _write_on(self) -> None:
        written: tuple[float, Any] = (0.0, None)
        while True:
            now, table = time.time(), dict(self._describe())
            if table != written[1] or now - written[0] > AT_LEAST_S:
                whole = {"time": now, "pid": os.getpid(), "host": socket.gethostname(), **table}
                temporary = self._path.with_name(f".{STATUS}.partial")
                with suppress(OSError):  # A full disk is said by what must be written.
                    temporary.write_text(json.dumps(whole, indent=1), encoding="utf-8")
                    temporary.replace(self._path)
                    written = now, table
            if self._ended.wait(EVERY_S):
                return


def key_of(shown: str, protocol: Mapping[str, Any]) -> str:
    """Return `shown` and a hash of the complete protocol."""
    canonical = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    return f"{slug(shown)}_{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


class ResultDirectory(LockedDirectory):
    """One evaluation that is being made, or is complete."""

    folders = ("parts",)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.path / FIGURES).is_file() and (self.path / RESPONSES).is_file()

    def begin(self, protocol: Mapping[str, Any], *, overwrite: bool) -> None:
        """Write the protocol, keeping what is there already unless `overwrite`."""
        if overwrite:
            # The figures go first: a process that ends here must not leave old ones beside new responses.
            old = [self.path / name for name in (FIGURES, RESPONSES, TIMING)]
            with writing(self.path):
                for file in [*old, *(self.path / "parts").iterdir()]:
                    file.unlink(missing_ok=True)
        write_json(self.path / PROTOCOL, dict(protocol))

    def fill(
        self,
        problems: Sequence[T],
        sample: Callable[[Sequence[T]], Sequence[TrajectoryGroup]],
        *,
        size: int,
        step: int = 0,
        on_start: Callable[[int], None] = lambda done: None,
    ) -> ResponseFile:
        """Sample what is missing, `size` problems at a time, each part saved when it is done; return all responses.

        A part that cannot be read to its end, or that an older version wrote, is made again. `on_start` gets how many
        problems are done already.
        """
        starts = range(0, len(problems), size)
        parts = {start: self.path / "parts" / f"part_{number:05d}.parquet" for number, start in enumerate(starts)}
        tables = dict[int, pyarrow.Table]()
        for start, path in parts.items():
            part = ResponseFile(path)
            with suppress(RunError):
                if part.current:
                    tables[start] = part.read()
        on_start(sum(len(problems[start : start + size]) for start in tables))
        for start in [start for start in parts if start not in tables]:
            write_trajectories(parts[start], step, sample(problems[start : start + size]))
            tables[start] = ResponseFile(parts[start]).read()
        write_table(self.path / RESPONSES, pyarrow.concat_tables(tables[start] for start in parts))
        return ResponseFile(self.path / RESPONSES)

    def finish(self, figures: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> None:
        """Write what came of it, or other figures of the same responses; the parts are no longer needed."""
        if timing is not None:
            write_json(self.path / TIMING, dict(timing))
        write_json(self.path / FIGURES, dict(figures))
        shutil.rmtree(self.path / "parts", ignore_errors=True)


class BehaviourDirectory(LockedDirectory):
    """The folder of judgements, for the one process that writes to it."""

    def record(self, judgements: Iterable[Judgement]) -> None:
        """Append judgements and flush them to disk."""
        JsonLines(self.path / JUDGEMENTS).append(dataclasses.asdict(judgement) for judgement in judgements)
