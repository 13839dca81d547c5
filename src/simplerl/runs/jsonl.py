"""A file of JSON objects, one a line, that is only appended to: every line is on disk before it counts."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.files import cannot_write, json_line

#: Longest line (bytes) that is believed; more is damage.
LONGEST_LINE = 50_000_000


class JsonLines:
    """Appends, from several threads, and reads; one process writes at a time, and the caller sees to that."""

    def __init__(self, path: Path):
        self.path = path
        self.unfinished = False
        """Whether the last line was still being written when it was read."""
        self._lock = threading.Lock()
        self._repaired = False
        self._inode = 0
        self.rewind()

    def rewind(self) -> None:
        """Forget what was read."""
        self._offset, self._lines, self._inside = 0, 0, False

    def append(self, values: Iterable[dict[str, Any]]) -> None:
        """Append objects and flush them to disk. The first call cuts off a last line that was never finished.

        Lone surrogates, which are not characters, become `?`.
        """
        data = "".join(map(json_line, values)).encode("utf-8", "replace")
        with self._lock:
            try:
                with self.path.open("ab") as file:
                    if not self._repaired:
                        file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
                        self._repaired = True
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                self._repaired = False  # Half a line may be there.
                raise cannot_write(self.path, error) from error

    def read(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Yield (number, its object) of every line finished since the last reading; None for one that is not an object.

        Lines count from 1. All are read again where the file is shorter or another: a run that went back. Nothing is
        yielded where there is no file. Raises RunError where it cannot be read.
        """
        if not self.path.exists():
            return
        try:
            if not self.path.is_file():  # A pipe would never end.
                raise OSError(None, "it is not a file")
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode = status.st_ino
                    self.rewind()
                file.seek(self._offset)
                self.unfinished = False
                while piece := file.readline(LONGEST_LINE):
                    ends = piece.endswith(b"\n")
                    if not ends and len(piece) < LONGEST_LINE:
                        self.unfinished = bool(piece.strip())
                        return
                    number, begins = self._lines + 1, not self._inside
                    self._offset, self._lines, self._inside = self._offset + len(piece), self._lines + ends, not ends
                    if begins and piece.strip():
                        yield number, _object(piece) if ends else None
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror or error}") from error


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
