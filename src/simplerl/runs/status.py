"""status.json: what a run is doing at this moment, and since when. Nothing reads it but who looks on."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "status.json"
#: Seconds after which the file is looked at again, and after which it is written though nothing has changed.
EVERY_S, AT_LEAST_S = 1.0, 20.0


class StatusFile:
    """Writes what `describe` returns, as long as it is entered, in a thread of its own: a wait is shown as well."""

    def __init__(self, path: Path, describe: Callable[[], Mapping[str, Any]]):
        self._path, self._describe = path / NAME, describe
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
                temporary = self._path.with_name(f".{NAME}.partial")
                with suppress(OSError):  # A full disk is said by what must be written.
                    temporary.write_text(json.dumps(whole, indent=1), encoding="utf-8")
                    temporary.replace(self._path)
                    written = now, table
            if self._ended.wait(EVERY_S):
                return
