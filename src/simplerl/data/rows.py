"""Read rows from JSONL, JSON and Parquet files and from hub data sets; every row knows where it came from."""

import codecs
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from simplerl.core.errors import DataError, nearest

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a data set."""

    fields: dict[str, Any]
    place: str  # Where it stands, for messages: `file:line` or `name[index]`

    @property
    def there(self) -> str:
        """Its fields, for messages."""
        return f"Fields there: {', '.join(map(repr, self.fields)) or 'none'}"


def path_of(name: str) -> Path:
    """Return the path that a user names; `~` is the home directory."""
    return Path(os.path.expanduser(name))  # Path.expanduser raises an error for a user that there is not.


def suffix_of(path: Path) -> str:
    """Return the ending that makes a path a data file, in lower case; empty where it has none of `SUFFIXES`."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """Return the name of a data file without its ending."""
    return path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.stem


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a data file. Raises DataError naming file and line.

    JSON is one list or one object a line, whichever of `.json` and `.jsonl` the file is called; byte-order marks are
    no part of it.
    """
    if os.path.isdir(path):
        raise DataError(f"data file {path} is a directory; give one of the files in it")
    if not os.path.isfile(path):
        raise DataError(f"data file {path} does not exist")
    suffix = suffix_of(path)
    if not suffix:
        raise DataError(f"data file {path}: the ending must be one of {', '.join(SUFFIXES)}, got {path.suffix!r}")
    try:
        if suffix == ".parquet":
            yield from _read_parquet(path)
        else:
            with gzip.open(path, "rb") if suffix.endswith(".gz") else path.open("rb") as stream:
                yield from read_json(cast(IO[bytes], stream), path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a complete gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror or error}") from error


def _record(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{place}: a row must be an object with fields, got {type(value).__name__}")
    return Row(fields=value, place=place)


def _parse(text: bytes, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # Also an integer of more digits than Python reads.
        raise DataError(f"{place}: not valid JSON, as one list or one object a line: {error}") from error


def read_json(stream: IO[bytes], path: Path) -> Iterator[Row]:
    """Yield the rows of an open JSON file: one list, or one object a line. Raises DataError naming `path` and line."""
    mark = stream.read(2)
    stream.seek(0)
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        try:
            stream = io.BytesIO(stream.read().decode("utf-16").encode())
        except ValueError as error:
            raise DataError(f"{path}: not valid UTF-16, which its byte-order mark says it is: {error}") from error
    lines = ((number, line.removeprefix(codecs.BOM_UTF8)) for number, line in enumerate(stream, 1))
    rows = ((number, line) for number, line in lines if line.strip())
    first = next(rows, None)
    if first is not None and first[1].lstrip().startswith(b"["):
        for index, value in enumerate(_parse(b"".join([first[1], *stream]), str(path))):
            yield _record(value, f"{path}[{index}]")
        return
    for number, line in (first, *rows) if first is not None else ():
        yield _record(_parse(line, f"{path}:{number}"), f"{path}:{number}")


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    def exact(column: pyarrow.Array) -> pyarrow.Array:
        """Return 0.1 in single precision as the text 0.1 has it: as a double it is 0.10000000149011612."""
        single, double = pyarrow.float32(), pyarrow.float64()
        for wrap in (lambda kind: kind, pyarrow.list_, pyarrow.large_list):
            if column.type == wrap(single):
                return column.cast(wrap(pyarrow.string())).cast(wrap(double))
        return column

    try:
        read = pyarrow.parquet.ParquetFile(path).iter_batches()
        batches = (pyarrow.record_batch([*map(exact, batch.columns)], names=batch.schema.names) for batch in read)
        for index, value in enumerate(value for batch in batches for value in batch.to_pylist()):
            yield _record(value, f"{path}[{index}]")
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # Text that is not UTF-8, odd dates.
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def file_origin(path: Path) -> dict[str, Any]:
    """Return a file's place and SHA-256, for the record. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as content:
            return {"file": str(path), "sha256": hashlib.file_digest(content, "sha256").hexdigest()}
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {error.strerror or error}") from error


def open_hub(
    name: str, *, split: str, configuration: str | None = None, revision: str | None = None, file: str | None = None
) -> tuple[dict[str, Any], Iterator[Row]]:
    """Return (where the rows come from, the rows) of a Hugging Face data set. Needs the extra `hub`.

    `revision` is a commit, tag or branch; `file` reads one file of the data set. The origin names the commit that was
    read, where the library tells it, and the library's fingerprint of the content.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data set {name!r} is on the hub, and reading from there needs: pip install 'simplerl[hub]'. Without a "
            "network, download it elsewhere and give the .parquet or .jsonl file instead"
        ) from error
    try:
        rows = datasets.load_dataset(
            name, configuration, split=split, revision=revision, **({"data_files": {split: file}} if file else {})
        )
    except Exception as error:  # The library raises its own kinds of error for every way in which a hub can fail.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"cannot load data set {name!r} (split {split!r}) from the hub: {reason}\n"
            "Without a network, download it elsewhere and give the .parquet or .jsonl file instead."
        ) from error
    urls = " ".join(map(str, getattr(rows.info, "download_checksums", None) or ()))
    commit = re.search(r"@([0-9a-f]{40})/", urls)
    origin = {
        "hub": name,
        "revision": revision,
        "commit": commit[1] if commit else None,
        "fingerprint": getattr(rows, "_fingerprint", None),
    }
    return origin, (_record(dict(value), f"{name}/{split}[{index}]") for index, value in enumerate(rows))


def open_source(name: str, *, split: str, known: Iterable[str], what: str) -> tuple[dict[str, Any], Iterator[Row], str]:
    """Return (origin, rows, source) of a file, or of a hub data set `owner/name` or `owner/name@revision`.

    Raises DataError for anything else: an unknown `what`, of which `known` are the built-in ones.
    """
    path, (base, _, at) = path_of(name), name.partition("@")
    if suffix_of(path) or os.path.exists(path):  # Path.exists raises an error for what is too long for a name.
        return file_origin(path) if os.path.isfile(path) else {}, read_rows(path), stem_of(path)
    if base.count("/") == 1 and not name.startswith((".", "/", "~")):
        return *open_hub(base, split=split, revision=at or None), base
    raise DataError(
        f"unknown {what} {name!r}; {nearest(name, known)} A {', '.join(SUFFIXES)} file or a hub data set (owner/name) "
        "works too."
    )
