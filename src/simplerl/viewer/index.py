"""Responses of one Parquet file, found quickly: light columns at once, texts only for what is shown or searched.

100,000 responses: the index takes about 0.15 s, a search through all texts about 0.2 s (docs/viewer.md).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from simplerl.core.errors import RunError
from simplerl.core.types import UNDECIDED
from simplerl.viewer.catalog import Records

#: Verdicts by code; a word that is none of them is `other`.
VERDICTS = ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error", "other")
STOPS = ("eos", "stop", "length", "other")
CORRECT, TIMEOUT, LENGTH = VERDICTS.index("correct"), VERDICTS.index("timeout"), STOPS.index("length")
_DECIDED = np.array([name not in UNDECIDED and name != "other" for name in VERDICTS])

NEEDED = ("problem_id", "sample", "verdict", "question", "answer", "response", "stop_reason")
_LIGHT = ("problem_id", "sample", "level", "kind", "verdict", "stop_reason")
_SEARCHED = ("problem_id", "question", "answer", "response", "extracted")
_REPEATED = ("problem_id", "level", "kind", "verdict", "stop_reason", "question", "answer")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Index:
    """What is known of every response without its text. R rows of the file, P problems in order of appearance."""

    records: Records
    ids: list[str]
    problem_R: np.ndarray
    """int64 [R]: index into `ids`."""
    sample_R: np.ndarray
    verdict_R: np.ndarray
    """int8 [R]: index into VERDICTS."""
    stop_R: np.ndarray
    """int8 [R]: index into STOPS."""
    length_R: np.ndarray
    """float64 [R]: tokens; NaN where they are not known."""
    levels: list[str]
    kinds: list[str]
    asked_P: np.ndarray
    """int64 [P]: hash of question and gold, to tell problems apart that share an id."""
    first_P: np.ndarray
    """int64 [P]: a row of the problem."""

    @property
    def n_P(self) -> np.ndarray:
        """Number of responses per problem."""
        return np.bincount(self.problem_R, minlength=len(self.ids))

    def count(self, rows_R: np.ndarray) -> np.ndarray:
        """Return how many of the rows marked true each problem has."""
        return np.bincount(self.problem_R[rows_R], minlength=len(self.ids))

    @property
    def correct_P(self) -> np.ndarray:
        """Number of correct responses per problem."""
        return self.count(self.verdict_R == CORRECT)

    @property
    def decided_P(self) -> np.ndarray:
        """Number of responses per problem that the verifier could judge."""
        return self.count(_DECIDED[self.verdict_R])

    @property
    def length_P(self) -> np.ndarray:
        """Mean length per problem; NaN where no length is known."""
        known = ~np.isnan(self.length_R)
        total = np.bincount(self.problem_R[known], weights=self.length_R[known], minlength=len(self.ids))
        count = self.count(known)
        return np.divide(total, count, out=np.full(len(self.ids), np.nan), where=count > 0)

    def rows(self, problem: int) -> np.ndarray:
        """Return the rows of a problem, by sample."""
        rows = np.flatnonzero(self.problem_R == problem)
        return rows[np.argsort(self.sample_R[rows], kind="stable")]


def build(records: Records) -> Index:
    """Read the light columns. Raises RunError where the file is damaged or holds something else."""
    with _reading(records):
        file = _opened(records)
        there = set(file.schema_arrow.names)
        if missing := [name for name in NEEDED if name not in there]:
            raise RunError(f"{records.path.name} is no record of responses: it has no column {', '.join(missing)}")
        table = file.read(columns=[name for name in _LIGHT if name in there])
        asked = file.read(columns=["question", "answer"])
        ids, problem_R = _words(table["problem_id"])
        first_P = np.full(len(ids), -1)
        first_P[problem_R[::-1]] = np.arange(len(problem_R))[::-1]
        pairs = zip(_at(asked, "question", first_P), _at(asked, "answer", first_P), strict=True)
        return Index(
            records=records,
            ids=ids,
            problem_R=problem_R,
            sample_R=table["sample"].cast(pyarrow.int64()).fill_null(0).to_numpy(),
            verdict_R=_codes(table["verdict"], VERDICTS),
            stop_R=_codes(table["stop_reason"], STOPS),
            length_R=_lengths(file, there, len(table)),
            levels=_at(table, "level", first_P),
            kinds=_at(table, "kind", first_P),
            asked_P=np.fromiter((hash(pair) for pair in pairs), np.int64, len(ids)),
            first_P=first_P,
        )


def _opened(records: Records) -> pyarrow.parquet.ParquetFile:
    """Open a file so that words that repeat are read once. Raises RunError where it is not the file that was seen."""
    now = records.path.stat()
    if (now.st_size, now.st_mtime_ns) != (records.size, records.mtime_ns):
        raise RunError(f"{records.path.name} is being written anew; look again in a moment")
    plain = pyarrow.parquet.ParquetFile(_source(records))
    repeated = [name for name in _REPEATED if name in plain.schema_arrow.names]
    return pyarrow.parquet.ParquetFile(_source(records), metadata=plain.metadata, read_dictionary=repeated)


def _source(records: Records) -> Any:
    """Return what Arrow reads a file from: given a path, it would try to read it as an address or as UTF-8."""
    try:
        return pyarrow.OSFile(str(records.path))
    except UnicodeEncodeError:
        return records.path.open("rb")


class _reading:
    """Turns what Arrow raises on damaged or foreign files into RunError."""

    def __init__(self, records: Records):
        self.records = records

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, FileNotFoundError):
            raise RunError(f"{self.records.path.name} is no longer there: this step is left out") from error
        if isinstance(error, OSError | pyarrow.ArrowException | KeyError | UnicodeDecodeError | MemoryError):
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{self.records.path.name} is damaged ({reason}): this step is left out") from error


def _words(column: pyarrow.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts in order of appearance and the code of each row.

    A text that repeats is never written out row by row: a file of kilobytes could then fill the memory.
    """
    if not pyarrow.types.is_dictionary(column.type):
        column = pyarrow.compute.dictionary_encode(column.cast(pyarrow.string()))
    kept: dict[str, int] = {"": 0}
    code_of, codes = [0], []
    for chunk in column.chunks:
        start = len(code_of)
        code_of += [kept.setdefault(word, len(kept)) for word in _texts(chunk.dictionary)]
        codes.append(chunk.indices.cast(pyarrow.int64()).fill_null(-start).to_numpy(zero_copy_only=False) + start)
    code_R = np.array(code_of)[np.concatenate(codes)] if codes else np.zeros(0, np.int64)
    used, first, word_R = np.unique(code_R, return_index=True, return_inverse=True)
    order = np.argsort(first)
    words = list(kept)
    return [words[used[place]] for place in order], np.argsort(order)[word_R]


def _codes(column: pyarrow.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    words, code_R = _words(column)
    codes = np.array([known.index(word) if word in known else len(known) - 1 for word in words], dtype=np.int8)
    return codes[code_R] if len(words) else np.zeros(0, np.int8)


def _texts(column: pyarrow.Array) -> list[str]:
    return column.cast(pyarrow.string()).fill_null("").to_pylist()


def _at(table: pyarrow.Table, name: str, rows: np.ndarray) -> list[str]:
    """Return the text of a column in some rows; empty where there is no such column."""
    if name not in table.column_names:
        return [""] * len(rows)
    words, word_R = _words(table[name])
    return [words[code] for code in word_R[rows].tolist()]


def _lengths(file: pyarrow.parquet.ParquetFile, there: set[str], count: int) -> np.ndarray:
    if "token_ids" not in there:
        return np.full(count, np.nan)
    parts = [
        pyarrow.compute.list_value_length(batch.column(0)).cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
        for batch in file.iter_batches(batch_size=8192, columns=["token_ids"])
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def read_rows(records: Records, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return whole rows by their numbers, in that order; columns that the file does not have are left out."""
    found: dict[int, dict[str, Any]] = {}
    wanted = np.unique(np.asarray(rows, dtype=np.int64))
    for start, batch in _batches(records, columns, wanted):
        inside = wanted[(wanted >= start) & (wanted < start + len(batch))]
        if len(inside):
            taken = batch.take(pyarrow.array(inside - start))
            with _reading(records):
                found.update(zip(inside.tolist(), taken.to_pylist(), strict=True))
    return [found[int(row)] for row in rows]


def _batches(
    records: Records, columns: Sequence[str], wanted: np.ndarray | None = None
) -> Iterator[tuple[int, pyarrow.RecordBatch]]:
    """Yield (first row, batch); row groups and batches beyond the wanted rows are not read."""
    with _reading(records):
        file = _opened(records)
        there = [name for name in columns if name in file.schema_arrow.names]
        start = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            ahead = None if wanted is None else wanted[wanted >= start]
            if ahead is not None and not len(ahead):
                return
            if ahead is None or ahead[0] < start + count:
                place = start
                last = None if wanted is None else wanted[wanted < start + count][-1]
                for batch in file.iter_batches(batch_size=4096, row_groups=[group], columns=there):
                    if len(batch):
                        yield place, batch
                    place += len(batch)
                    if last is not None and place > last:
                        break
            start += count


def search(records: Records, text: str, rows: int) -> np.ndarray:
    """Return bool [R]: rows whose id, question, gold, response or extracted answer holds a text, in any case."""
    found = np.zeros(rows, dtype=bool)
    for start, batch in _batches(records, _SEARCHED):
        hits = np.zeros(len(batch), dtype=bool)
        with _reading(records):
            for column in batch.columns:
                hits |= _matches(column, text)
        found[start : start + len(batch)] = hits
    return found


def _matches(column: pyarrow.Array, text: str) -> np.ndarray:
    if pyarrow.types.is_dictionary(column.type):
        words = _matches(column.dictionary, text)
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        none = column.is_null().to_numpy(zero_copy_only=False)
        return words[codes] & ~none if len(words) else np.zeros(len(column), dtype=bool)
    if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)):
        return np.zeros(len(column), dtype=bool)
    match = pyarrow.compute.match_substring(column, text, ignore_case=True)
    return match.fill_null(False).to_numpy(zero_copy_only=False)


def rows_as_json(records: Records, wanted: np.ndarray, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows marked true, as they come in the file."""
    for start, batch in _batches(records, columns, np.flatnonzero(wanted)):
        inside = np.flatnonzero(wanted[start : start + len(batch)])
        with _reading(records):
            yield from batch.take(pyarrow.array(inside)).to_pylist()


class Cache:
    """Keeps the newest results of functions of files; a file that has changed is another file."""

    def __init__(self, most: int):
        self.most = most
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is kept under a key, or make it; an exception is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return made
