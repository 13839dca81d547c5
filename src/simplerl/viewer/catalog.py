"""What there is to see under a directory: runs, the steps they recorded, and the results of evaluations.

Nothing outside the directory is opened: links that lead out of it are left out and named. What the page asks for, it
asks for by a key of this catalogue, never by a path.
"""

import json
import os
import re
import stat
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError
from simplerl.runs.results import FIGURES, PROTOCOL, RESPONSES

#: How far down runs are looked for, and how many directories at most.
DEEPEST, MOST_DIRECTORIES = 8, 20_000

#: Largest JSON file that is read (bytes).
LARGEST_JSON = 50_000_000

HELD_OUT, TRAINING = "held-out", "training"

_STEP = re.compile(r"step_(\d{1,9})\.parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """A Parquet file of responses as it was when it was seen; another size or time is another file."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A run, or the results of one model: something with steps to choose from."""

    key: str
    """Its path under the directory, percent-encoded: what a link says."""
    name: str
    path: Path
    metrics: Path | None
    """metrics.jsonl; None for results."""
    steps: dict[int, dict[str, Records]]
    """Step → benchmark → responses. A run has `held-out` and `training`; 0 is the base model."""
    ended: bool
    """Whether there is nothing more to come."""


@dataclass(kw_only=True, slots=True)
class Catalog:
    """Everything found, in the order of names, and what was left out and why."""

    entries: dict[str, Entry] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def root_of(directory: Path) -> Path:
    """Return a directory without links in its path. Raises RunError where there is none."""
    try:
        root = directory.expanduser().resolve(strict=True)
    except OSError as error:
        raise RunError(f"{directory} cannot be opened ({error.strerror}); give a directory with runs") from error
    if not root.is_dir():
        raise RunError(f"{directory} is a file; give the directory of a run, or one with runs in it")
    return root


def scan(root: Path) -> Catalog:
    """Return what there is under a directory (the directory itself may be a run)."""
    catalog = Catalog()
    results: dict[tuple[Path, str], dict[int, list[tuple[str, str, Records]]]] = {}
    for path, names in _directories(root, catalog.notices):
        if "metrics.jsonl" in names or {"config.json", "trajectories"} <= names:
            entry = _run(root, path, names, catalog.notices)
            catalog.entries[entry.key] = entry
        if {RESPONSES, FIGURES, PROTOCOL} <= names:
            _result(root, path, results, catalog.notices)
    for (place, label), steps in results.items():
        key = "results:" + _key(root, place) + ":" + urllib.parse.quote(label, safe="", errors="surrogatepass")
        catalog.entries[key] = Entry(
            key=key,
            name=f"{label} (eval)",
            path=place,
            metrics=None,
            steps={step: _named(found) for step, found in sorted(steps.items())},
            ended=True,
        )
    catalog.notices = list(dict.fromkeys(catalog.notices))
    return catalog


def _directories(root: Path, notices: list[str]) -> Iterator[tuple[Path, set[str]]]:
    """Yield every directory with the names in it. Links are not followed; those that lead outside are named."""
    waiting, seen = [(root, 0)], 0
    while waiting:
        path, depth = waiting.pop()
        seen += 1
        if seen > MOST_DIRECTORIES:
            notices.append(f"only the first {MOST_DIRECTORIES:,} directories were looked at; give one further down")
            return
        names, below = set(), []
        try:
            with os.scandir(path) as found:
                for item in found:
                    names.add(item.name)
                    if item.is_symlink():
                        if not inside(root, Path(item.path)):
                            notices.append(f"{_shown(root, Path(item.path))} is a link that leads outside: left out")
                            names.discard(item.name)
                    elif item.is_dir() and not item.name.startswith("."):
                        below.append(Path(item.path))
        except OSError as error:
            notices.append(f"{_shown(root, path)} cannot be read ({error.strerror}): left out")
            continue
        is_run = "metrics.jsonl" in names or "config.json" in names
        if depth < DEEPEST:
            below = [b for b in below if not (is_run and b.name in ("checkpoints", "trajectories"))]
            waiting += [(b, depth + 1) for b in sorted(below, reverse=True)]
        yield path, names


def inside(root: Path, path: Path) -> bool:
    """Return whether a path, its links followed, is under the root and there."""
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _run(root: Path, path: Path, names: set[str], notices: list[str]) -> Entry:
    steps: dict[int, dict[str, Records]] = {}
    for folder, benchmark in (("evaluations", HELD_OUT), ("trajectories", TRAINING)):
        for step, records in _recorded(root, path / folder, notices):
            steps.setdefault(step, {})[benchmark] = records
    return Entry(
        key=_key(root, path),
        name=path.name if path == root else str(path.relative_to(root)),
        path=path,
        metrics=path / "metrics.jsonl" if "metrics.jsonl" in names else None,
        steps=dict(sorted(steps.items())),
        ended="summary.json" in names,
    )


def _recorded(root: Path, folder: Path, notices: list[str]) -> Iterator[tuple[int, Records]]:
    if not folder.is_dir() or not inside(root, folder):
        return
    with os.scandir(folder) as found:
        for item in found:
            if match := _STEP.fullmatch(item.name):
                records = records_at(root, Path(item.path), notices)
                if records is not None:
                    yield int(match[1]), records


def records_at(root: Path, path: Path, notices: list[str]) -> Records | None:
    """Return a file of responses; None, with a notice, where it is damaged, no file, or leads outside."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if not inside(root, path):
                notices.append(f"{_shown(root, path)} is a link that leads outside: left out")
                return None
            found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            notices.append(f"{_shown(root, path)} is no file: left out")
            return None
        with path.open("rb") as file:
            begin = file.read(4)
            file.seek(max(0, found.st_size - 8))
            end = file.read(8)
    except OSError as error:
        notices.append(f"{_shown(root, path)} cannot be read ({error.strerror}): left out")
        return None
    footer = int.from_bytes(end[:4], "little") + 12
    if begin != b"PAR1" or end[4:] != b"PAR1" or footer > found.st_size:
        notices.append(f"{_shown(root, path)} is damaged (not a whole Parquet file): this step is left out")
        return None
    return Records(path=path, size=found.st_size, mtime_ns=found.st_mtime_ns)


def _result(root: Path, path: Path, results: dict, notices: list[str]) -> None:
    protocol = read_object(root, path / PROTOCOL, notices)
    if protocol is None:
        return
    label, benchmark, step = (protocol.get(name) for name in ("label", "benchmark", "step"))
    if not isinstance(label, str) or not isinstance(benchmark, str) or not (step is None or isinstance(step, int)):
        notices.append(f"{_shown(root, path)} is no result of this version: left out")
        return
    records = records_at(root, path / RESPONSES, notices)
    if records is not None:
        name = label.removesuffix(f"@{step}")
        # OUT/MODEL/BENCHMARK/KEY: steps of one run are models of their own, side by side in OUT.
        place = path.parents[2] if path.is_relative_to(root) and len(path.relative_to(root).parts) >= 3 else root
        results.setdefault((place, name), {}).setdefault(step or 0, []).append((benchmark, path.name, records))


def _named(found: list[tuple[str, str, Records]]) -> dict[str, Records]:
    """Return name → responses; where a benchmark was done under several protocols, the name holds the protocol."""
    benchmarks = [benchmark for benchmark, _, _ in found]
    return {
        benchmark if benchmarks.count(benchmark) == 1 else f"{benchmark} ({key})": records
        for benchmark, key, records in sorted(found, key=lambda item: item[:2])
    }


def read_object(root: Path, path: Path, notices: list[str]) -> dict[str, Any] | None:
    """Return a JSON object; None, with a notice, where there is none."""
    try:
        if not inside(root, path) or not path.is_file() or path.stat().st_size > LARGEST_JSON:
            raise ValueError("no file of a reasonable size in the directory")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        notices.append(f"{_shown(root, path)} cannot be read ({error}): left out")
        return None
    return value


def _key(root: Path, path: Path) -> str:
    relative = os.fsencode(path.relative_to(root))
    return urllib.parse.quote_from_bytes(relative, safe="/@=+,-._~")


def _shown(root: Path, path: Path) -> str:
    return str(path.relative_to(root)) if path != root else path.name
