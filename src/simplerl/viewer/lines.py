"""A run's metrics as they grow: whole lines of metrics.jsonl, read on from where the last reading ended."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

#: Longest line that is read (bytes), and metrics kept per line.
LONGEST_LINE, MOST_NAMES = 1_000_000, 500


@dataclass(kw_only=True, slots=True)
class Curves:
    """Metrics of one run: name → (steps, values), with what could not be read."""

    path: Path
    series: dict[str, dict[int, float]] = field(default_factory=dict)
    last_step: int | None = None
    damaged: list[int] = field(default_factory=list)
    """Numbers of lines that are no metrics; an unfinished last line is not among them."""
    _offset: int = 0
    _line: int = 0
    _seen: tuple[int, int] = (0, 0)

    def refresh(self) -> None:
        """Read what has been added; all anew where the file is shorter than before (a run that was rewound)."""
        found = self.path.stat()
        seen = (found.st_ino, found.st_size)
        if seen[0] != self._seen[0] or seen[1] < self._offset:
            self.series, self.damaged, self.last_step, self._offset, self._line = {}, [], None, 0, 0
        self._seen = seen
        if found.st_size == self._offset:
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    break  # Still being written.
                self._line += line.endswith(b"\n")
                self._offset += len(line)
                if line.strip():
                    self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            value = json.loads(line)
            step = value.pop("step")
            if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 10**9:
                raise ValueError("no step")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.damaged.append(self._line)
            return
        self.last_step = step if self.last_step is None else max(step, self.last_step)
        for name, number in list(value.items())[:MOST_NAMES]:
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
                self.series.setdefault(name, {})[step] = float(number)
