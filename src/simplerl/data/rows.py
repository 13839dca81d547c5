"""Read rows from JSONL, JSON and Parquet files and from hub data sets; every row knows where it came from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.errors import DataError

SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a data set."""

    fields: dict[str, Any]
    place: str
    """Where it stands, for messages: `file:line` or `name[index]`."""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a .jsonl, .json (one list) or .parquet file. Raises DataError naming file and line."""
    if path.is_dir():
        raise DataError(f"data file {path} is a directory; give one of the files in it")
    if not path.is_file():
        raise DataError(f"data file {path} does not exist")
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(f"data file {path}: the ending must be one of {', '.join(SUFFIXES)}, got {path.suffix!r}")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror or error}") from error


def _record(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{place}: a row must be an object with fields, got {type(value).__name__}")
    return Row(fields=value, place=place)


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:  # Also an integer of more digits than Python reads.
                raise DataError(f"{place}: not valid JSON: {error}") from error
            yield _record(value, place)


def _read_json(path: Path) -> Iterator[Row]:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(values, list):
        raise DataError(f"{path}: must be one list of objects, got {type(values).__name__}; use .jsonl for lines")
    for index, value in enumerate(values):
        yield _record(value, f"{path}[{index}]")


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        index = 0
        for batch in file.iter_batches():
            for value in batch.to_pylist():
                yield _record(value, f"{path}[{index}]")
                index += 1
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def read_hub(name: str, *, split: str, configuration: str | None = None, revision: str | None = None) -> Iterator[Row]:
    """Yield the rows of a Hugging Face data set. Needs the extra `hub`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data set {name!r} is neither a file nor built in; to read it from the hub: pip install 'simplerl[hub]'"
        ) from error
    try:
        rows = datasets.load_dataset(name, configuration, split=split, revision=revision)
    except Exception as error:  # The library raises its own kinds of error for every way in which a hub can fail.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"cannot load data set {name!r} (split {split!r}) from the hub: {reason}\n"
            "Without a network, download it elsewhere and give the .parquet or .jsonl file instead."
        ) from error
    for index, value in enumerate(rows):
        yield _record(dict(value), f"{name}/{split}[{index}]")
