"""metrics.jsonl as it is found, also while a run is being written: complete lines are read, damaged ones numbered."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError

#: Longest line (bytes) and last step that are believed; more is damage.
LONGEST_LINE, LAST_STEP = 1_000_000, 10**12


def as_number(value: Any) -> float:
    """Return a number as a float; NaN for anything else, and for what a float cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


@dataclass(kw_only=True, slots=True)
class MetricLines:
    """The lines of a run's metrics.jsonl, for whoever looks at it; a run that goes on itself refuses damage instead
    (`read_metrics`)."""

    path: Path
    by_step: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What was recorded, in the file's order; of a step that was done again the last."""
    damaged: list[int] = field(default_factory=list)
    """Numbers of the lines that are no metrics, the first is 1."""
    unfinished: bool = False
    """Whether the last line is still being written."""
    _offset: int = 0
    _lines: int = 0
    _inside: bool = False
    _inode: int = 0

    def refresh(self) -> "MetricLines":
        """Read on from where the last reading ended; anew where the file is shorter or another (a run that went back).

        Raises RunError where there is no file, or it cannot be read.
        """
        try:
            if not self.path.is_file():  # A pipe would never end.
                raise OSError(None, "it is not a file" if self.path.exists() else "it does not exist")
            status = self.path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self.by_step, self.damaged = {}, []
                self._offset, self._lines, self._inside, self._inode = 0, 0, False, status.st_ino
            if status.st_size > self._offset:
                self._read_on()
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror or error}") from error
        return self

    def _read_on(self) -> None:
        self.unfinished = False
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while piece := file.readline(LONGEST_LINE):
                ends = piece.endswith(b"\n")
                if not ends and len(piece) < LONGEST_LINE:
                    self.unfinished = bool(piece.strip())
                    return
                self._offset += len(piece)
                if not self._inside and piece.strip() and not (ends and self._keep(piece)):
                    self.damaged.append(self._lines + 1)
                self._inside = not ends
                self._lines += ends

    def _keep(self, line: bytes) -> bool:
        """Take a line up; return whether it is one."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return False
        step = value.get("step") if isinstance(value, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < LAST_STEP:
            return False
        self.by_step.pop(step, None)
        self.by_step[step] = value
        return True


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, for the process that goes on with it; none where there is no file.

    A last line that was cut short is left out; raises RunError where another is damaged.
    """
    file = run / "metrics.jsonl"
    lines = MetricLines(path=file).refresh() if file.exists() else None
    if lines and lines.damaged:
        raise RunError(f"{file}:{lines.damaged[0]} is damaged")
    return list(lines.by_step.values()) if lines else []
