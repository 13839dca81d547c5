"""A file of JSON objects, one a line, that is only appended to: every line is on disk before it counts."""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.files import cannot_write, json_line


class JsonLines:
    """Appends, from several threads, and reads; one process writes at a time, and the caller sees to that."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._repaired = False

    def append(self, values: Iterable[dict[str, Any]]) -> None:
        """Append objects and flush them to disk. The first call cuts off a last line that was never finished.

        Lone surrogates, which are not characters, become `?`.
        """
        data = "".join(map(json_line, values)).encode("utf-8", "replace")
        with self._lock:
            try:
                with self.path.open("ab") as handle:
                    if not self._repaired:
                        handle.truncate(self.path.read_bytes().rfind(b"\n") + 1)
                        self._repaired = True
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
            except OSError as error:
                raise cannot_write(self.path, error) from error

    def read(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Yield (FILE:LINE, its object) of every finished line; None for a line that is not an object."""
        if not self.path.is_file():
            return
        try:
            *lines, _unfinished = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror or error}") from error
        for number, line in enumerate(lines, 1):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if line.strip():
                yield f"{self.path}:{number}", value if isinstance(value, dict) else None
