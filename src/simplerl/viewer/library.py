"""A directory as the page sees it: what a link asks for, the responses that pass, and the runs and results there are.

Everything is read through `Run`, when it is asked for, and kept a while: light columns at once, texts only for what is
shown or searched. 100,000 responses: the index takes about 0.15 s, a search through all texts about 0.2 s
(docs/viewer.md). Nothing outside the directory is opened: links that lead out of it are left out and named. What the
page asks for, it asks for by a key of the catalogue, never by a path.
"""

import copy
import dataclasses
import functools
import hashlib
import itertools
import os
import tomllib
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute

from simplerl.core.errors import RunError, nearest
from simplerl.core.types import UNDECIDED
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import HELD_OUT, Run, find_runs

# -- what a link asks for ---------------------------------------------------------------------------------------------

_TEXTS = tomllib.loads((Path(__file__).parent / "page.toml").read_text(encoding="utf-8"))

#: Outcome filters: name in links → what people read.
OUTCOMES: dict[str, str] = _TEXTS["outcomes"]

#: Way of reading token by token → (the column that is recorded for it, what is said where it was not).
TOKEN_COLUMNS: dict[str, tuple[str, str]] = _TEXTS["tokens"]

#: What the table is sorted by, and how responses are read.
SORTS = ("file", "right-a", "right-b", "change", "length-a", "length-b")
MODES = ("rendered", "source", "differences", *TOKEN_COLUMNS)

_CHOICES = {"outcome": tuple(OUTCOMES), "sort": SORTS, "mode": MODES}
_WHOLE_NUMBERS = ("a_step", "b_step", "shortest", "longest", "sheet")

#: Characters of a value in a link, and values of one name, that are read.
_LONGEST, _MOST = 500, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Everything that decides what is on the page. Runs are keys of the catalogue."""

    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    a: str = ""
    a_step: int | None = None
    b: str = ""
    b_step: int | None = None
    benchmark: str = ""
    outcome: str = "all"
    levels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    shortest: int | None = None
    longest: int | None = None
    search: str = ""
    sort: str = "file"
    descending: bool = False
    sheet: int = 1  # Page of the table
    problem: str | None = None
    mode: str = "rendered"

    def pairs(self) -> list[tuple[str, Any]]:
        """Return the names and values of what differs from an empty view; a name may stand there several times."""
        values = {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) != f.default}
        return [
            (name, 1 if one is True else one)
            for name, value in values.items()
            for one in (value if isinstance(value, tuple) else (value,))
        ]

    def query(self) -> str:
        """Return it as the query of a link."""
        return urllib.parse.urlencode(self.pairs(), errors="surrogatepass")

    def side(self, side: int) -> tuple[str, int | None]:
        """Return the run and the step of side 0 (A) or 1 (B)."""
        return ((self.a, self.a_step), (self.b, self.b_step))[side]

    def but(self, **changes: Any) -> "View":
        """Return it with other values; what is on the page changes, so it starts at the first page and in the table."""
        if not {"sheet", "problem", "mode", "metrics", "runs"} & set(changes):
            changes = {"sheet": 1, "problem": None, **changes}
        return dataclasses.replace(self, **changes)

    def sorted_by(self, sort: str) -> "View":
        """Return it after a click on a heading: first the highest, then the lowest, then the order of the file."""
        if self.sort != sort:
            return self.but(sort=sort, descending=True)
        return self.but(descending=False) if self.descending else self.but(sort="file")


def parse(query: str) -> tuple[View, list[str]]:
    """Return the view of a link, and what of it could not be used."""
    notices: list[str] = []
    try:
        given = urllib.parse.parse_qs(query.removeprefix("?")[:100_000], keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return View(), ["the link has too many parts: it is left aside"]
    values: dict[str, Any] = {}
    for field in dataclasses.fields(View):
        name, texts = field.name, [text[:_LONGEST] for text in given.get(field.name, ())][:_MOST]
        if not texts:
            continue
        text, problem = texts[0], ""
        if name in _WHOLE_NUMBERS and not text:
            continue  # An empty box of the page.
        if name in _WHOLE_NUMBERS:
            if text.isascii() and text.isdigit() and len(text) < 10:
                values[name] = max(int(text), int(name == "sheet"))
            else:
                problem = "is not a whole number"
        elif name in _CHOICES and text not in _CHOICES[name]:
            problem = f"is not one of {', '.join(_CHOICES[name])}"
        elif isinstance(field.default, tuple):
            values[name] = tuple(dict.fromkeys(texts))
        else:
            values[name] = text == "1" if isinstance(field.default, bool) else text
        if problem:
            notices.append(f"the link's {name} {text!r} {problem}: left aside")
    return View(**values), notices


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
    """What is known of every response of a file without its text. Raises RunError where the file is damaged.

    R rows of the file, P problems in order of appearance.
    """

    def __init__(self, records: Records):
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


def _link(problem: str) -> str:
    """Return how a link names a problem."""
    if len(problem) <= LONGEST_ID:
        return problem
    return "sha256:" + hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()


class Pair:
    """The problems of two sides (either may be missing), those of A first, in the order of the file. All arrays [P]."""

    def __init__(self, a: Index | None, b: Index | None):
        self.sides = (a, b)
        self.ids = ids = list(dict.fromkeys([*(a.ids if a else ()), *(b.ids if b else ())]))
        self.links = [_link(problem) for problem in ids]
        self.positions = {link: number for number, link in enumerate(self.links)}
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

    def verdicts(self, number: int) -> list[list[str]]:
        """Return the verdicts of a problem on both sides, by sample; empty where a side does not have it."""
        own = zip(self.sides, (int(numbers[number]) for numbers in self.numbers), strict=True)
        codes = [index.verdict_R[index.rows(problem)] if index and problem >= 0 else () for index, problem in own]
        return [[VERDICTS[code] for code in side] for side in codes]

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


def _order(pair: Pair, view: View, numbers: np.ndarray) -> np.ndarray:
    """Return the order of a view; equals stay in the order of the file, what has no number comes last either way."""
    if view.sort == "file":
        return np.arange(len(numbers))
    values = {
        "right-a": pair.share(0),
        "right-b": pair.share(1),
        "change": pair.change,
        "length-a": pair.length[0],
        "length-b": pair.length[1],
    }[view.sort][numbers]
    return np.argsort(-values if view.descending else values, kind="stable")


# -- the directory ---------------------------------------------------------------------------------------------------

#: The name among benchmarks of the responses that a run was trained on.
TRAINING = "training"

#: Metrics that are drawn when none is chosen, and how many runs.
DEFAULT_METRICS = ("eval/accuracy", "accuracy/mean", "length/mean", "length/clip_ratio", "policy/entropy")
FIRST_RUNS = 6

#: What is read of the responses that are shown.
SHOWN = (
    "problem_id", "sample", "source", "level", "kind", "question", "answer", "response", "stop_reason", "verdict",
    "extracted", "rule", "detail", "reward", "reward_parts", "advantages", "policy_version", "token_ids", "logprobs",
    "entropies", "turns", "calls", "prefix",
)  # fmt: skip

#: What an export of the table holds per response: everything but the numbers of single tokens.
EXPORTED = (*SHOWN[: SHOWN.index("advantages")], "policy_version")

#: Training responses of a run beyond which the history of a problem is not looked for (bytes of its files).
LARGEST_HISTORY = 300_000_000

#: Largest tokenizer file that is read (bytes).
LARGEST_TOKENIZER = 100_000_000


class Entry(NamedTuple):
    """A run, or the results of one model: something with steps to choose from."""

    name: str
    run: Run | None  # None for results
    steps: dict[int, dict[str, Records]]
    """Step → benchmark → responses. A run has `held-out` and `training`; 0 is the base model."""
    stamp: Any = None  # What changes when the run does

    @property
    def evaluated(self) -> list[int]:
        """The steps with an evaluation, and not with training responses alone."""
        return [step for step, there in self.steps.items() if set(there) - {TRAINING}]

    def at(self, step: int | None) -> dict[str, Records]:
        """Return benchmark → responses of a step; empty where the step has none."""
        return {} if step is None else self.steps.get(step, {})


class Catalog(NamedTuple):
    """Every entry, by its path under the directory percent-encoded, as links name it, and what was left out and why."""

    entries: dict[str, Entry]
    notices: list[str]


class Library:
    """Reads one directory as it is when it is first asked. Raises RunError where there is no directory."""

    def __init__(self, directory: Path):
        try:
            self.root = directory.expanduser().resolve(strict=True)
        except OSError as error:
            raise RunError(f"{directory} cannot be opened ({error.strerror}); give a directory with runs") from error
        if not self.root.is_dir():
            raise RunError(f"{directory} is a file; give the directory of a run, or one with runs in it")

    # -- what there is ---------------------------------------------------------------------------------------------

    def now(self) -> "Library":
        """Return the directory as it is now: runs that come or go while a page is made change nothing on it."""
        now = copy.copy(self)
        vars(now).pop("catalog", None)
        return now

    def stamp(self) -> str:
        """Return what changes when anything under the directory does."""
        entries, notices = self.catalog
        shown = [(key, entry.stamp, entry.steps) for key, entry in entries.items()]
        return hashlib.sha256(repr((shown, notices)).encode("utf-8", "replace")).hexdigest()

    def inside(self, path: Path) -> bool:
        """Return whether a path, its links followed, is under the directory and there."""
        try:
            return path.resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            return False

    @functools.cached_property
    def catalog(self) -> Catalog:
        """What there is. It is looked for once; what was read of a run stays while its files do."""
        notices: list[str] = [_leads_out(link) for link in self._links_out(self.root)]
        entries: dict[str, Entry] = {}
        results: dict[tuple[Path, str], dict[int, list[tuple[str, str, Records]]]] = {}
        try:
            paths = [run.path for run in find_runs(self.root, notices.append)]
        except RunError as error:
            return Catalog({}, [str(error)])
        for path in paths:
            if links := self._links_out(path):
                notices += [*map(_leads_out, links), f"{path} holds such a link: this run is left out"]
                continue
            try:
                stamp = tuple((item.name, _stamp(item)) for item in sorted(path.iterdir()))
                run, said = _opened(path, stamp)
            except (OSError, RunError) as error:  # It is gone since.
                notices.append(str(error))
                continue
            notices += [sentence for sentence in said if "is still being written" not in sentence]
            if run.is_result:
                self._add_result(run, results, notices)
            else:
                entries[self._key(path)] = self._entry(run, stamp, notices)
        for (folder, label), evaluated in results.items():
            key = f"results:{self._key(folder)}:{urllib.parse.quote(label, safe='', errors='surrogatepass')}"
            steps = {step: _named(own) for step, own in sorted(evaluated.items())}
            entries[key] = Entry(f"{label} (eval)", None, steps)
        shown = [notice.replace(f"{self.root}{os.sep}", "") for notice in notices]
        return Catalog(entries, list(dict.fromkeys(shown)))

    def _links_out(self, folder: Path) -> list[Path]:
        """Return the links in a folder that lead out of the directory."""
        try:
            return [path for path in folder.iterdir() if path.is_symlink() and not self.inside(path)]
        except OSError:  # `find_runs` says so.
            return []

    def _entry(self, run: Run, stamp: Any, notices: list[str]) -> Entry:
        steps: dict[int, dict[str, Records]] = {}
        files = [(e.step or 0, HELD_OUT, e.path) for e in run.evaluations if e.path.exists()]
        files += [(step, TRAINING, run.records(step).path) for step in run.steps]
        for step, benchmark, path in sorted(files, key=lambda file: file[0]):
            if (records := self._records(path, notices)) is not None:
                steps.setdefault(step, {})[benchmark] = records
        name = run.path.name if run.path == self.root else str(run.path.relative_to(self.root))
        return Entry(name, run, steps, stamp)

    def _records(self, path: Path, notices: list[str]) -> Records | None:
        """Return a file of responses; None, with a notice, where it is damaged or leads outside."""
        if not self.inside(path):
            notices.append(_leads_out(path))
            return None
        records = Records(path, *(_stamp(path) or (0, 0)))
        if problem := _problem(records):
            notices.append(f"{problem}: this step is left out")
        return None if problem else records

    def _add_result(self, run: Run, results: dict, notices: list[str]) -> None:
        for evaluation in run.evaluations:
            if (records := self._records(evaluation.path, notices)) is not None:
                # OUT/MODEL/BENCHMARK/KEY: steps of one run are models of their own, side by side in OUT.
                folder = run.path.parents[2] if len(run.path.relative_to(self.root).parts) >= 3 else self.root
                steps = results.setdefault((folder, evaluation.label.removesuffix(f"@{evaluation.step}")), {})
                steps.setdefault(evaluation.step or 0, []).append((evaluation.benchmark, run.path.name, records))

    def _key(self, path: Path) -> str:
        return urllib.parse.quote_from_bytes(os.fsencode(path.relative_to(self.root)), safe="/@=+,-._~")

    # -- metrics ---------------------------------------------------------------------------------------------------

    def metric_names(self, runs: Sequence[str]) -> list[str]:
        """Return the names of all metrics of some runs."""
        chosen = [entry.run for key in runs if (entry := self.catalog.entries.get(key)) and entry.run]
        return sorted({name for run in chosen for name in run.metrics.column_names} - {"step"})

    def visits(self, entry: Entry, problem: str) -> list[dict[str, Any]] | str:
        """Return what came of a problem whenever a run sampled it, or why that is not said."""
        if entry.run is None:
            return []
        files = [there[TRAINING] for there in entry.steps.values() if TRAINING in there]
        if sum(file.size for file in files) > LARGEST_HISTORY:
            return f"{entry.name} has too many training responses to look through; Run(…).ledger has them all"
        ledger = entry.run.ledger
        return ledger.filter(pyarrow.compute.field("problem_id") == problem).to_pylist()

    # -- views -----------------------------------------------------------------------------------------------------

    def resolve(self, view: View) -> tuple[View, list[str]]:
        """Fill what a view leaves open, and take out what is not there. Return it with a message for each of these."""
        entries = self.catalog.entries
        notices: list[str] = []
        if not entries:
            return View(), notices
        runs = tuple(self._known(key, notices) for key in view.runs)
        runs = tuple(dict.fromkeys(key for key in runs if key)) or tuple(entries)[:FIRST_RUNS]
        a = self._known(view.a, notices) or _best(entries, runs)
        b = self._known(view.b, notices) or a
        a_step = _step(entries[a], view.a_step, last=a != b, notices=notices)
        b_step = _step(entries[b], view.b_step, last=True, notices=notices)
        names = benchmarks(entries[a].at(a_step), entries[b].at(b_step))
        benchmark = view.benchmark
        if benchmark not in names:
            if benchmark:
                notices.append(f"neither side has responses of {benchmark!r}")
            benchmark = names[0] if names else ""
        recorded = self.metric_names(runs) if not view.metrics else []
        usual = tuple(name for name in DEFAULT_METRICS if name in recorded)
        metrics = view.metrics or usual or tuple(recorded[:4])
        sides: Any = {"a": a, "a_step": a_step, "b": b, "b_step": b_step}
        return dataclasses.replace(view, runs=runs, metrics=metrics, benchmark=benchmark, **sides), notices

    def _known(self, key: str, notices: list[str]) -> str:
        entries = self.catalog.entries
        if not key or key in entries:
            return key
        notices.append(
            f"the link names {key!r}, which is not a run in {self.root.name} (nothing outside it is opened); "
            + nearest(key, list(entries))
        )
        return ""

    def pair(self, view: View, notices: list[str]) -> Pair:
        """Return both sides of a resolved view; a damaged one is named and missing."""
        sides: list[Index | None] = [None, None]
        for side, letter in enumerate("AB"):
            key, step = view.side(side)
            entry = self.catalog.entries.get(key)
            try:
                if entry and (records := entry.at(step).get(view.benchmark)):
                    sides[side] = build(records)
            except RunError as error:
                notices.append(f"{letter}: {error}")
        return pair_up(*sides)

    def select(self, view: View, notices: list[str]) -> tuple[Pair, np.ndarray]:
        """Return the two sides of a resolved view, and the numbers of the problems that it shows, in order."""

        def matches(index: Index) -> np.ndarray:
            try:
                return search(index.records, view.search, len(index.problem_R))
            except RunError as error:
                notices.append(str(error))
                return np.zeros(len(index.problem_R), dtype=bool)

        pair = self.pair(view, notices)
        keep = pair.outcome(view.outcome)
        for chosen, texts in ((view.levels, pair.levels), (view.kinds, pair.kinds)):
            if chosen:
                keep &= np.array([text in chosen for text in texts], dtype=bool)
        if view.shortest is not None or view.longest is not None:
            low, high = view.shortest or 0, np.inf if view.longest is None else view.longest
            keep &= pair.having(lambda index: (index.length_R >= low) & (index.length_R <= high))
        if view.search:
            keep &= pair.having(matches)
        numbers = np.flatnonzero(keep)
        return pair, numbers[_order(pair, view, numbers)]

    def questions(self, pair: Pair, numbers: np.ndarray) -> list[str]:
        """Return the questions of some problems."""
        texts = dict.fromkeys(numbers.tolist(), "")
        for side in (1, 0):
            index, of = pair.sides[side], pair.numbers[side]
            here = [number for number in texts if of[number] >= 0]
            if index is not None and here:
                rows = read_rows(index.records, index.first_P[of[here]], ("question",))
                texts |= {number: row["question"] or "" for number, row in zip(here, rows, strict=True)}
        return list(texts.values())

    def responses(self, pair: Pair, number: int, side: int) -> list[dict[str, Any]]:
        """Return all that is recorded of the responses of a problem on one side, by sample."""
        index, at = pair.sides[side], int(pair.numbers[side][number])
        rows = read_rows(index.records, index.rows(at), SHOWN) if index is not None and at >= 0 else []
        for row, name in itertools.product(rows, ("turns", "calls")):
            if row.get(name):  # No turn and no call of ours lacks a part.
                row[name] = [part for part in row[name] if part and None not in part.values()]
        return rows

    def export(self, view: View) -> Iterator[dict[str, Any]]:
        """Yield the responses that a resolved view shows: its problem's, else of all problems that pass its filters.

        What cannot be read is said at the end, in rows with nothing but an `error`.
        """
        notices: list[str] = []
        (pair, numbers), entries = self.select(view, notices), self.catalog.entries
        for side, index in enumerate(pair.sides):
            key, step = view.side(side)
            if index is None or (side and view.side(0) == view.side(1)):
                continue
            label = {"side": "AB"[side], "run": entries[key].name, "step": step, "benchmark": view.benchmark}
            try:
                if view.problem is None:
                    shown = np.isin(index.problem_R, pair.numbers[side][numbers])
                    rows: Any = rows_in_order(index.records, np.flatnonzero(shown), EXPORTED)
                else:
                    known = view.problem in pair.positions
                    rows = self.responses(pair, pair.positions[view.problem], side) if known else ()
                yield from (label | row for row in rows)
            except RunError as error:
                notices.append(str(error))
        yield from ({"error": notice} for notice in dict.fromkeys(notices))

    # -- tokens ----------------------------------------------------------------------------------------------------

    def tokens(self, entry: Entry) -> "Tokens":
        """Return what turns token ids into texts: the tokenizer.json of a run's newest checkpoint.

        No model is loaded and no code of its is run. Results use the run of the same name.
        """
        others, name = self.catalog.entries.values(), entry.name.removesuffix(" (eval)")
        runs = [entry.run] if entry.run else [other.run for other in others if other.run and other.run.name == name]
        problem = f"no tokenizer.json in checkpoints of {entry.name}"
        for file in [c.path / "tokenizer.json" for run in runs for c in reversed(run.checkpoints)]:
            if not file.exists():
                continue
            if not self.inside(file) or not file.is_file() or file.stat().st_size > LARGEST_TOKENIZER:
                problem = f"{file.name} of {entry.name} leads outside or is too large"
                continue
            try:
                return Tokens(_tokenizer(file, _stamp(file)), "")
            except Exception as error:  # The library raises plain Exception on a damaged file.
                problem = f"{file.name} of {entry.name} cannot be read ({str(error)[:100]})"
        return Tokens(None, f"{problem}: tokens are shown by number")


class Tokens(NamedTuple):
    """A tokenizer, or why there is none."""

    tokenizer: Any
    problem: str

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token; its number where there is no tokenizer or no such token."""
        known = {number: self._text(number) for number in set(ids)}
        return [known[number] for number in ids]

    def _text(self, number: int) -> str:
        if self.tokenizer is None or number < 0 or (name := self.tokenizer.id_to_token(number)) is None:
            return f"⟨{number}⟩"
        if "▁" in name:
            return name.replace("▁", " ")
        text = self.tokenizer.decode([number], skip_special_tokens=False)
        # A part of a character decodes to replacement characters: then its name says more.
        return text if text and "\ufffd" not in text else f"⟨{name}⟩"


def _leads_out(link: Path) -> str:
    return f"{link} is a link that leads outside: left out"


# What is read is kept under the path and the stamp: a file or run that has changed is another one.


@functools.lru_cache(200)
def _opened(path: Path, stamp: Any) -> tuple[Run, list[str]]:
    """Return a run with what could not be read of its metrics and evaluations."""
    said: list[str] = []
    run = Run(path, warn=said.append)
    _ = run.metrics, run.evaluations, run.steps
    return run, said


@functools.lru_cache(8)
def _tokenizer(path: Path, stamp: Any) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file or directory does; None where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(100_000)
def _problem(records: Records) -> str:
    """Return why a file of responses cannot be read; empty where it can."""
    try:
        ResponseFile(records.path).check()
    except RunError as error:
        return str(error)
    return ""


def _named(evaluated: list[tuple[str, str, Records]]) -> dict[str, Records]:
    """Return name → responses; where a benchmark was done under several protocols, the name holds the protocol."""
    names = [benchmark for benchmark, _, _ in evaluated]
    return {
        benchmark if names.count(benchmark) == 1 else f"{benchmark} ({key})": records
        for benchmark, key, records in sorted(evaluated, key=lambda item: item[:2])
    }


def benchmarks(*sides: dict[str, Records]) -> list[str]:
    """Return the benchmarks of two sides: those of both first, training responses last."""
    names = {name for side in sides for name in side}
    return sorted(names, key=lambda n: (not all(n in side for side in sides), n == TRAINING, n != HELD_OUT, n))


def _best(entries: dict[str, Entry], runs: tuple[str, ...]) -> str:
    """Return the first of the chosen runs that was evaluated, else that has responses, else the first."""
    evaluated = [key for key in runs if any(HELD_OUT in held for held in entries[key].steps.values())]
    return next(iter([*evaluated, *(key for key in runs if entries[key].steps), *runs]))


def _step(entry: Entry, wanted: int | None, *, last: bool, notices: list[str]) -> int | None:
    """Return the wanted step where it is there, else the first or last that was evaluated."""
    if wanted in entry.steps or not entry.steps:
        return wanted if wanted in entry.steps else None
    if wanted is not None:
        notices.append(f"{entry.name} has no responses of step {wanted}")
    return (entry.evaluated or list(entry.steps))[-1 if last else 0]
