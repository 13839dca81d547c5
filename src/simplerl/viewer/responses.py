"""Responses of one file, found quickly, and two evaluations beside each other, problem by problem.

Light columns are read at once, texts only for what is shown or searched. 100,000 responses: the index takes about
0.15 s, a search through all texts about 0.2 s (docs/viewer.md).
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute

from simplerl.core.errors import RunError
from simplerl.core.types import UNDECIDED
from simplerl.markup.text import natural
from simplerl.runs.responses import ResponseFile
from simplerl.viewer.state import View

#: Verdicts by code; a word that is none of them is `other`.
VERDICTS = ("correct", "wrong", "no_answer", "unjudgeable", "timeout", "error", "other")
STOPS = ("eos", "stop", "length", "other")
CORRECT, NO_ANSWER, TIMEOUT = (VERDICTS.index(name) for name in ("correct", "no_answer", "timeout"))
LENGTH = STOPS.index("length")
_UNDECIDED = [VERDICTS.index(name) for name in VERDICTS if name in UNDECIDED]
_DECIDED = np.array([name not in UNDECIDED and name != "other" for name in VERDICTS])

#: An id longer than this is named by its hash in links.
LONGEST_ID = 300

_SEARCHED = ("problem_id", "question", "answer", "response", "extracted")
_REPEATED = ("problem_id", "level", "kind", "verdict", "stop_reason", "question", "answer")
_LIGHT = ("sample", *_REPEATED)


# -- one file ------------------------------------------------------------------------------------------------------


class Records(NamedTuple):
    """A file of responses as it was when it was seen; another size or time is another file."""

    path: Path
    size: int
    mtime_ns: int

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file, words that repeat read once. Raises RunError where it is damaged or not the one seen."""
        with ResponseFile(self.path).open(_REPEATED) as file:
            now = self.path.stat()
            if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
                raise RunError(f"{self.path.name} is being written anew; look again in a moment")
            yield file

    def batches(self, columns: Sequence[str], wanted: np.ndarray) -> Iterator[tuple[pyarrow.RecordBatch, np.ndarray]]:
        """Yield batches with the rows that are wanted of each (ascending); what holds none of them is not read."""
        with self.open() as file:
            names = [name for name in columns if name in file.schema_arrow.names]
            end = 0
            for group in range(file.metadata.num_row_groups):
                start, end = end, end + file.metadata.row_group(group).num_rows
                own = wanted[(wanted >= start) & (wanted < end)]
                batches = file.iter_batches(batch_size=4096, row_groups=[group], columns=names) if len(own) else ()
                for batch in batches:
                    inside = own[(own >= start) & (own < start + len(batch))] - start
                    if len(inside):
                        yield batch, inside
                    start += len(batch)
                    if start > own[-1]:
                        break


class Index:
    """What is known of every response of a file without its text. Raises RunError where the file is damaged or foreign.

    R rows of the file, P problems in order of appearance.
    """

    def __init__(self, records: Records):
        ResponseFile(records.path).check()
        with records.open() as file:
            names = file.schema_arrow.names
            table = file.read(columns=[name for name in _LIGHT if name in names])
            self.sample_R = table["sample"].cast("int64").fill_null(0).to_numpy()
            lengths = [np.full(len(table), np.nan)]
            if "token_ids" in names:
                lengths = [
                    batch.column(0).value_lengths().cast("float64").to_numpy(zero_copy_only=False)
                    for batch in file.iter_batches(batch_size=8192, columns=["token_ids"])
                ]
        words = {name: _words(table[name]) for name in _REPEATED if name in names}
        nothing = ([""], np.zeros(len(table), np.int64))
        ids, problem_R = words["problem_id"]
        first_P = np.full(len(ids), -1)
        first_P[problem_R[::-1]] = np.arange(len(problem_R))[::-1]

        def of_problems(name: str) -> list[str]:
            """Return the text of a column in the first row of each problem; empty where there is no such column."""
            texts, code_R = words.get(name, nothing)
            return [texts[code] for code in code_R[first_P].tolist()]

        def codes(name: str, known: Sequence[str]) -> np.ndarray:
            """Return the code of each row's word; the last one where there is no such word, or no such column."""
            texts, code_R = words.get(name, nothing)
            other = len(known) - 1
            return np.array([known.index(text) if text in known else other for text in texts], np.int8)[code_R]

        self.records, self.ids = records, ids
        self.problem_R, self.first_P = problem_R, first_P  # int64: index into `ids`; a row of the problem
        self.verdict_R, self.stop_R = codes("verdict", VERDICTS), codes("stop_reason", STOPS)
        self.length_R = np.concatenate([np.zeros(0), *lengths])  # float64: tokens; NaN where they are not known
        self.levels, self.kinds = of_problems("level"), of_problems("kind")
        asked = zip(of_problems("question"), of_problems("answer"), strict=True)
        # Hashes of question and gold, to tell problems apart that share an id.
        self.asked_P = np.fromiter(map(hash, asked), np.int64, len(ids))

    def count(self, rows_R: np.ndarray) -> np.ndarray:
        """Return how many of the rows marked true each problem has."""
        return np.bincount(self.problem_R[rows_R], minlength=len(self.ids))

    def length(self) -> np.ndarray:
        """Return the mean length per problem; NaN where no length is known."""
        known = ~np.isnan(self.length_R)
        total = np.bincount(self.problem_R[known], weights=self.length_R[known], minlength=len(self.ids))
        return _ratio(total, self.count(known))

    def rows(self, problem: int) -> np.ndarray:
        """Return the rows of a problem, by sample."""
        rows = np.flatnonzero(self.problem_R == problem)
        return rows[np.argsort(self.sample_R[rows], kind="stable")]


#: An index of a file; of a file that has not changed it is made once.
build = functools.lru_cache(24)(Index)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)


def _words(column: pyarrow.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts in order of appearance and the code of each row.

    A text that repeats is never written out row by row: a file of kilobytes could then fill the memory.
    """
    if not pyarrow.types.is_dictionary(column.type):
        column = column.cast("string").dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    words = [*array.dictionary.cast("string").fill_null("").to_pylist(), ""]
    code_R = array.indices.fill_null(words.index("")).to_numpy()  # What is null reads as an empty text.
    used, first, word_R = np.unique(code_R, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return [words[used[index]] for index in order], np.argsort(order)[word_R]


def read_rows(records: Records, rows: Sequence[int] | np.ndarray, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return all of some rows by their numbers, in that order; columns that the file does not have are left out."""
    wanted = np.unique(np.asarray(rows, dtype=np.int64))
    by_row = dict(zip(wanted.tolist(), rows_in_order(records, wanted, columns), strict=True))
    return [by_row[int(row)] for row in rows]


def rows_in_order(records: Records, wanted: np.ndarray, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield some rows by their ascending numbers."""
    for batch, inside in records.batches(columns, wanted):
        yield from batch.take(pyarrow.array(inside)).to_pylist()


@functools.lru_cache(64)
def search(records: Records, text: str, rows: int) -> np.ndarray:
    """Return bool [R]: rows whose id, question, gold, response or extracted answer holds a text, in any case."""
    batches = records.batches(_SEARCHED, np.arange(rows))
    hits = [np.any([_matches(column, text) for column in batch.columns], axis=0) for batch, _ in batches]
    return np.concatenate([np.zeros(0, bool), *hits])


def _matches(column: pyarrow.Array, text: str) -> np.ndarray:
    if pyarrow.types.is_dictionary(column.type):
        codes = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
        return np.append(_matches(column.dictionary, text), False)[codes]
    if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)):
        return np.zeros(len(column), dtype=bool)
    match = pyarrow.compute.call_function(
        "match_substring", [column], pyarrow.compute.MatchSubstringOptions(text, ignore_case=True)
    )
    return match.fill_null(False).to_numpy(zero_copy_only=False)


# -- two files -----------------------------------------------------------------------------------------------------


def reference(problem: str) -> str:
    """Return how a link names a problem."""
    if len(problem) <= LONGEST_ID:
        return problem
    return "sha256:" + hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()


class Pair:
    """The problems of two sides (either may be missing), those of A first, in the order of the file. All arrays [P]."""

    def __init__(self, a: Index | None, b: Index | None):
        self.sides = (a, b)
        self.ids = ids = list(dict.fromkeys([*(a.ids if a else ()), *(b.ids if b else ())]))
        self.positions = {reference(problem): number for number, problem in enumerate(ids)}
        """How a link names a problem → its number."""
        self.numbers = []
        """Two int64: index of the problem on each side; −1 where it is not there."""
        for index in self.sides:
            of = {problem: number for number, problem in enumerate(index.ids)} if index else {}
            self.numbers.append(np.fromiter((of.get(problem, -1) for problem in ids), np.int64, len(ids)))
        both = (self.numbers[0] >= 0) & (self.numbers[1] >= 0)
        self.other_question = np.zeros(len(ids), dtype=bool)
        """The same id on both sides, but another question or gold: such problems are not compared."""
        if a and b:
            self.other_question[both] = a.asked_P[self.numbers[0][both]] != b.asked_P[self.numbers[1][both]]
        self.levels, self.kinds = self._texts("levels"), self._texts("kinds")
        self.correct = self._spread(lambda index: index.count(index.verdict_R == CORRECT), 0)
        self.decided = self._spread(lambda index: index.count(_DECIDED[index.verdict_R]), 0)
        self.length = self._spread(Index.length, np.nan)

    def _spread(self, values_of: Callable[[Index], np.ndarray], missing: float) -> list[np.ndarray]:
        columns = [np.full(len(self.ids), missing) for _ in self.sides]
        for column, index, own in zip(columns, self.sides, self.numbers, strict=True):
            if index is not None:
                column[own >= 0] = values_of(index)[own[own >= 0]]
        return columns

    def _texts(self, name: str) -> list[str]:
        of_a, of_b = (getattr(index, name) if index else [] for index in self.sides)
        return [of_a[i] if i >= 0 else of_b[j] for i, j in np.transpose(self.numbers).tolist()]

    @property
    def compared(self) -> np.ndarray:
        """bool [P]: judged on both sides, and the same problem."""
        return (self.decided[0] > 0) & (self.decided[1] > 0) & ~self.other_question

    def share(self, side: int) -> np.ndarray:
        """Return the share of right responses among those judged: float64 [P], NaN where none is."""
        return _ratio(self.correct[side], self.decided[side])

    @property
    def change(self) -> np.ndarray:
        """float64 [P]: by how much the share of B is higher; NaN where they are not compared."""
        return np.where(self.compared, self.share(1) - self.share(0), np.nan)

    def outcome(self, name: str) -> np.ndarray:
        """Return bool [P]: the problems of an outcome filter."""
        right_a, right_b = (correct > 0 for correct in self.correct)
        judged_a, judged_b = (decided > 0 for decided in self.decided)
        change = self.change
        outcomes: dict[str, Callable[[], np.ndarray]] = {
            "all": lambda: np.ones(len(self.ids), dtype=bool),
            "gained": lambda: self.compared & ~right_a & right_b,
            "lost": lambda: self.compared & right_a & ~right_b,
            "better": lambda: change > 0,
            "worse": lambda: change < 0,
            "right-a": lambda: right_a,
            "wrong-a": lambda: judged_a & ~right_a,
            "right-b": lambda: right_b,
            "wrong-b": lambda: judged_b & ~right_b,
            "no-answer": lambda: self.having(lambda index: index.verdict_R == NO_ANSWER),
            "timeout": lambda: self.having(lambda index: index.verdict_R == TIMEOUT),
            "undecided": lambda: self.having(lambda index: np.isin(index.verdict_R, _UNDECIDED)),
            "truncated": lambda: self.having(lambda index: index.stop_R == LENGTH),
        }
        return outcomes[name]()

    def having(self, rows: Callable[[Index], np.ndarray]) -> np.ndarray:
        """Return bool [P]: problems with a response, on either side, among the rows marked true."""
        marked = np.zeros(len(self.ids), dtype=bool)
        for index, own in zip(self.sides, self.numbers, strict=True):
            if index is not None:
                marked[own >= 0] |= (index.count(rows(index)) > 0)[own[own >= 0]]
        return marked


#: Two sides beside each other, made once while both stay as they are.
pair_up = functools.lru_cache(12)(Pair)


def select(pair: Pair, view: View, hits: np.ndarray | None) -> np.ndarray:
    """Return the numbers of the problems that pass a view's filters, sorted. `hits`: what the text search left."""
    keep = pair.outcome(view.outcome)
    for chosen, texts in ((view.levels, pair.levels), (view.kinds, pair.kinds)):
        if chosen:
            keep &= np.array([text in chosen for text in texts], dtype=bool)
    if view.shortest is not None or view.longest is not None:
        low, high = view.shortest or 0, np.inf if view.longest is None else view.longest
        keep &= pair.having(lambda index: (index.length_R >= low) & (index.length_R <= high))
    if hits is not None:
        keep &= hits
    numbers = np.flatnonzero(keep)
    return numbers[_order(pair, view, numbers)]


def _order(pair: Pair, view: View, numbers: np.ndarray) -> np.ndarray:
    """Return the order of a view; equals stay in the order of the file, what has no number comes last either way."""
    sort, down = view.sort, view.descending
    if sort == "file":
        return np.arange(len(numbers))[:: -1 if down else 1]
    if sort in ("id", "level"):
        texts = pair.ids if sort == "id" else pair.levels
        keys = [natural(texts[number]) for number in numbers.tolist()]
        return np.array(sorted(range(len(numbers)), key=keys.__getitem__, reverse=down), dtype=np.int64)
    values = {
        "right-a": pair.share(0),
        "right-b": pair.share(1),
        "change": pair.change,
        "length-a": pair.length[0],
        "length-b": pair.length[1],
    }[sort][numbers]
    return np.argsort(-values if down else values, kind="stable")
