"""Files that are either complete or not there (written beside their place, flushed, then renamed), and JSON lines."""

import hashlib
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import filelock

from simplerl.core.errors import RunError

MANIFEST = "manifest.json"

#: Longest line of JSON (bytes) that is believed; more is damage.
LONGEST_LINE = 50_000_000


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into a RunError: the message for a path that cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. What was saved before is intact; free space or fix the "
            "permissions and give the same command again (train and sft: with --resume), or choose another "
            "--output-dir or --output"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` in one step when all is written and flushed to disk.

    Raises RunError where it cannot be written; the old file then stays.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one step. Raises RunError where it cannot be written; the old file then stays.

    Lone surrogates, as in file names that are not UTF-8, become `?`.
    """
    with replacing(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically. NaN and infinity are written as null: they are not JSON."""
    write_atomic(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(value: dict[str, Any]) -> str:
    """Return one line of JSON, with its newline."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False) + "\n"


def make_directory(path: Path) -> None:
    """Make a directory where it is not there. Raises RunError where that cannot be done."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


class LockedDirectory:
    """A directory that one process at a time writes to: `with` makes it, with its folders, and holds its lock.

    Raises RunError where another process has the lock and does not let go of it within `patience_s` seconds; who only
    looks (`held`) has it for a moment.
    """

    folders: tuple[str, ...] = ()

    def __init__(self, path: Path, *, patience_s: float = 0.5):
        self.path = path
        self._lock = filelock.FileLock(path / ".lock", timeout=patience_s)

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in self.folders:
                (self.path / name).mkdir(exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise RunError(
                    f"another process is writing to {self.path}; wait for it, or choose another --output-dir"
                ) from None
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether another process is writing to the directory, at this moment."""
        if not self.path.is_dir():
            return False
        with writing(self.path):
            try:
                with self._lock.acquire(timeout=0):
                    return False
            except filelock.Timeout:
                return True


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a directory in one step: `fill` writes into a temporary one, which gets a manifest and is renamed.

    An existing directory of that name is replaced. Raises RunError where it cannot be written, leaving nothing behind.
    """
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            fill(temporary)
            files = sorted(file for file in temporary.rglob("*") if file.is_file())
            sums = {str(file.relative_to(temporary)): _digest(file) for file in files}
            (temporary / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
            for file in [*files, temporary / MANIFEST]:
                _sync(file)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(path: Path) -> str | None:
    """Return what is wrong with a directory made by `write_directory`, or None if it is complete."""
    try:
        sums = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, digest in sums.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if _digest(path / name) != digest:
                return f"{name} has changed or is cut short"
    except (OSError, ValueError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None


class JsonLines:
    """A file of JSON objects, one a line, that is only appended to: every line is on disk before it counts.

    Several threads may append; one process writes at a time, and the caller sees to that.
    """

    def __init__(self, path: Path):
        self.path = path
        self.unfinished = False
        """Whether the last line was cut short, or still being written, when the file was read."""
        self._lock, self._repaired = threading.Lock(), False

    def append(self, values: Iterable[dict[str, Any]]) -> None:
        """Append objects and flush them to disk. The first call cuts off a last line that was never finished.

        Lone surrogates, which are not characters, become `?`.
        """
        data = "".join(map(json_line, values)).encode("utf-8", "replace")
        with self._lock:
            repaired, self._repaired = self._repaired, False  # Should this fail, half a line may be there.
            with writing(self.path), self.path.open("ab") as file:
                if not repaired:
                    file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._repaired = True

    def read(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Yield (number from 1, its object) of every finished line; None for one that is not an object.

        Nothing is yielded where there is no file. Raises RunError where it cannot be read.
        """
        if not self.path.exists():
            return
        try:
            if not self.path.is_file():  # A pipe would never end.
                raise OSError(None, "it is not a file")
            number, begins, self.unfinished = 1, True, False
            with self.path.open("rb") as file:
                while piece := file.readline(LONGEST_LINE):
                    ends = piece.endswith(b"\n")
                    if not ends and len(piece) < LONGEST_LINE:
                        self.unfinished = bool(piece.strip())
                        return
                    if begins and piece.strip():
                        yield number, _object(piece) if ends else None
                    number, begins = number + ends, ends
        except OSError as error:
            raise RunError(f"{self.path} cannot be read: {error.strerror or error}") from error


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def flatten(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return dotted key → value of nested tables, as JSON has them: a tuple is a list; an empty table is a value."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def slug(name: str) -> str:
    """Return a name that is one path component and cannot lead elsewhere."""
    return re.sub(r"[^\w.@+=-]+", "-", name).strip("-.") or "unnamed"
