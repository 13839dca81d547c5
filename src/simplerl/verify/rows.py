r"""Rows for an audit: golds, and where a file has them responses and labels, from JSON lines as they are published.

Known shapes: GSM8K (`question`, `answer` ending in `#### 42`), MATH (`problem`, `solution` with a `\boxed{…}`, maybe
`answer`), OlympiadBench (`final_answer`, a list), SVAMP and SAT (`Question`/`Answer`), numeric answers as in AMC, and
labelled cases (`gold`, `prediction` or `response`, `expected`). Also `.gz`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from simplerl.core.errors import DataError
from simplerl.verify.extraction import last_box

_GOLD_FIELDS = ("gold", "final_answer", "ground_truth", "answer", "Answer", "target")
_RESPONSE_FIELDS = ("prediction", "response", "completion")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One gold; `response` and `expected` are None where the file has none."""

    id: str
    gold: str
    response: str | None = None
    expected: bool | None = None


def _plain_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain_text(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def gold_of(row: Mapping[str, Any]) -> str | None:
    """Return the gold of a row in any known shape, or None if it has no such field."""
    for field in _GOLD_FIELDS:
        if field in row:
            text = _plain_text(row[field])
            return text.rsplit("####", 1)[1].strip() if field == "answer" and "####" in text else text.strip()
    if "solution" in row:
        return (last_box(_plain_text(row["solution"])) or "").strip()
    return None


def row_of(raw: Mapping[str, Any], number: int, name: str) -> Row:
    """Return one row; a `DataError` names file, line and fields when there is no gold."""
    gold = gold_of(raw)
    if gold is None:
        raise DataError(
            f"{name}, line {number}: no gold answer among the fields {', '.join(sorted(raw)) or '(none)'}; "
            f"known fields: {', '.join((*_GOLD_FIELDS, 'solution'))}"
        )
    response = next((raw[field] for field in _RESPONSE_FIELDS if isinstance(raw.get(field), str)), None)
    expected = raw.get("expected")
    identity = raw.get("id", raw.get("idx", raw.get("unique_id", raw.get("ID", number))))
    return Row(
        id=str(identity), gold=gold, response=response, expected=expected if isinstance(expected, bool) else None
    )


def _open(path: Path) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8", errors="replace")


def _lines(lines: IO[str], path: Path) -> Iterator[str]:
    try:
        yield from lines
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error})") from error


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file, plain or gzipped."""
    found = False
    with _open(path) as lines:
        for number, line in enumerate(_lines(lines, path), 1):
            if not line.strip():
                continue
            try:
                raw = json.loads(line)
            except (ValueError, RecursionError) as error:  # also: nested too deeply, an integer of thousands of digits
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(raw, dict):
                raise DataError(f"{path}, line {number}: a row must be a JSON object, not {type(raw).__name__}")
            found = True
            yield row_of(raw, number, str(path))
    if not found:
        raise DataError(f"{path}: the file holds no rows")
