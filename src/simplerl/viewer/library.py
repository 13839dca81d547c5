"""A directory as the page sees it: what a link asks for, the responses that pass, and the runs and results there are.

Everything is read through `Run`, when it is asked for, and kept a while: light columns at once, responses only for what
is shown or searched. 100,000 responses: the light columns take about 0.15 s, a search through all texts about 0.2 s
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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from simplerl.core.errors import RunError, nearest
from simplerl.core.types import UNDECIDED
from simplerl.runs.responses import ResponseFile, list_lengths
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

#: Characters of a value in a link, and values of one name, that are read.
_LONGEST, _MOST = 500, 50

_Whole = Annotated[Annotated[int, Field(ge=0, lt=10**9)] | None, BeforeValidator(lambda text: text or None)]
"""A whole number; an empty box of the page is none."""


def _one_of(names: Sequence[str]) -> Any:
    return Field(pattern=f"^({'|'.join(names)})$")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Everything that decides what is on the page. Runs are keys of the catalogue."""

    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    a: str = ""
    a_step: _Whole = None
    b: str = ""
    b_step: _Whole = None
    benchmark: str = ""
    outcome: Annotated[str, _one_of(tuple(OUTCOMES))] = "all"
    levels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    shortest: _Whole = None
    longest: _Whole = None
    search: str = ""
    sort: Annotated[str, _one_of(SORTS)] = "file"
    descending: bool = False
    sheet: Annotated[int, Field(ge=1, lt=10**9)] = 1  # Page of the table
    problem: str | None = None
    mode: Annotated[str, _one_of(MODES)] = "rendered"

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


_CHECKED = TypeAdapter(View)


def parse(query: str) -> tuple[View, list[str]]:
    """Return the view of a link, and what of it could not be used."""
    try:
        given = urllib.parse.parse_qs(query.removeprefix("?")[:100_000], keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return View(), ["the link has too many parts: it is left aside"]
    values: dict[str, Any] = {}
    for field in dataclasses.fields(View):
        if texts := [text[:_LONGEST] for text in given.get(field.name, ())][:_MOST]:
            values[field.name] = tuple(dict.fromkeys(texts)) if isinstance(field.default, tuple) else texts[0]
    wrong: dict[str, str] = {}
    try:
        _CHECKED.validate_python(values)
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one["msg"] for one in error.errors()}
    notices = [f"the link's {name} {values[name]!r}: {why}; left aside" for name, why in wrong.items()]
    return _CHECKED.validate_python({name: values[name] for name in values if name not in wrong}), notices


# -- one file ---------------------------------------------------------------------------------------------------------

#: An id longer than this is named by its hash in links.
LONGEST_ID = 300

#: Columns whose words repeat: each word is read once, and these are held of every response.
_REPEATED = ("problem_id", "level", "kind", "verdict", "stop_reason", "question", "answer")
_SEARCHED = ("problem_id", "question", "answer", "response", "extracted")

#: What is read of the responses that are shown.
SHOWN = (
    "problem_id", "sample", "source", "level", "kind", "question", "answer", "response", "stop_reason", "verdict",
    "extracted", "rule", "detail", "reward", "reward_parts", "advantages", "policy_version", "token_ids", "logprobs",
    "entropies", "turns", "calls", "prefix",
)  # fmt: skip

#: What an export of the table holds per response: everything but the numbers of single tokens.
EXPORTED = (*SHOWN[: SHOWN.index("advantages")], "policy_version")

Words = tuple[list[str], np.ndarray]
"""A column: its distinct texts in order of appearance, and the number of each row's text in them."""


class Records(NamedTuple):
    """A file of responses as it was when it was seen; another size or time is another file."""

    path: Path
    size: int
    mtime_ns: int

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file, words that repeat read once. Raises RunError where it is damaged or not the one seen."""
        with ResponseFile(self.path).open(_REPEATED) as file:
            if _stamp(self.path) != (self.size, self.mtime_ns):
                raise RunError(f"{self.path.name} is being written anew; look again in a moment")
            yield file

    def batches(self, columns: Sequence[str], wanted_R: np.ndarray) -> Iterator[pyarrow.RecordBatch]:
        """Yield the rows marked true, in order. Row groups without any, and what comes after the last, are not read."""
        with self.open() as file:
            ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
            parts = [(n, part) for n, part in enumerate(np.split(wanted_R, ends[:-1])) if part.any()]
            names = [name for name in columns if name in file.schema_arrow.names]
            for group, part in parts:
                start, end = 0, np.flatnonzero(part)[-1]
                for batch in file.iter_batches(batch_size=4096, row_groups=[group], columns=names):
                    own = part[start : start + len(batch)]
                    if own.any():
                        yield batch if own.all() else batch.filter(pyarrow.array(own))
                    start += len(batch)
                    if start > end:
                        break


class Light(NamedTuple):
    """What is known of every response of a file without the response. R rows."""

    words: dict[str, Words]  # Of every column of `_REPEATED`; empty texts where the file does not have it
    sample_R: np.ndarray
    length_R: np.ndarray  # float64: tokens; NaN where they are not known


@functools.lru_cache(24)
def light(records: Records | None) -> Light:
    """Read the light columns of a file once; of no file there are no rows. Raises RunError where it is damaged."""
    if records is None:
        return Light({name: ([], np.zeros(0, np.int64)) for name in _REPEATED}, np.zeros(0, np.int64), np.zeros(0))
    with records.open() as file:
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in ("sample", *_REPEATED) if name in names])
        lengths = [np.full(len(table), np.nan)]
        if "token_ids" in names:
            batches = (batch.column(0) for batch in file.iter_batches(batch_size=8192, columns=["token_ids"]))
            lengths = [list_lengths(ids).cast("float64").to_numpy(zero_copy_only=False) for ids in batches]
    nothing = ([""], np.zeros(len(table), np.int64))
    return Light(
        {name: _words(table[name]) if name in names else nothing for name in _REPEATED},
        table["sample"].cast("int64").fill_null(0).to_numpy(),
        np.concatenate([np.zeros(0), *lengths]),
    )


def _words(column: pyarrow.ChunkedArray) -> Words:
    """Return a column. A text that repeats is not written out row by row: a file of kilobytes could fill the memory."""
    if not pyarrow.types.is_dictionary(column.type):
        column = column.cast("string").dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    words = [*array.dictionary.cast("string").fill_null("").to_pylist(), ""]
    code_R = array.indices.fill_null(words.index("")).to_numpy()  # What is null reads as an empty text.
    used, first, word_R = np.unique(code_R, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return [words[used[index]] for index in order], np.argsort(order)[word_R]


@functools.lru_cache(64)
def search(records: Records, text: str, rows: int) -> np.ndarray:
    """Return bool [R]: rows whose id, question, gold, response or extracted answer holds a text, in any case."""
    batches = records.batches(_SEARCHED, np.ones(rows, bool))
    hits = [np.any([_matches(column, text) for column in batch.columns], axis=0) for batch in batches]
    return np.concatenate([np.zeros(0, bool), *hits])


def _matches(column: pyarrow.Array, text: str) -> np.ndarray:
    if pyarrow.types.is_dictionary(column.type):
        codes = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
        return np.append(_matches(column.dictionary, text), False)[codes]
    options = pyarrow.compute.MatchSubstringOptions(text, ignore_case=True)
    match = pyarrow.compute.call_function("match_substring", [column.cast("large_string")], options)
    return match.fill_null(False).to_numpy(zero_copy_only=False)


# -- two files --------------------------------------------------------------------------------------------------------


def _link(problem: str) -> str:
    """Return how a link names a problem."""
    if len(problem) <= LONGEST_ID:
        return problem
    return "sha256:" + hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()


def _joined(a: Words, b: Words) -> Words:
    """Return the column of the rows of A, then those of B."""
    place = {word: number for number, word in enumerate(dict.fromkeys([*a[0], *b[0]]))}
    codes = [np.array([place[word] for word in words], np.int64)[code_R] for words, code_R in (a, b)]
    return list(place), np.concatenate(codes)


class Pair:
    """Every response of two sides (either may be missing), and the problems that they are of.

    R responses: those of A in the order of its file, then those of B. P problems in order of appearance. S sides.
    """

    def __init__(self, a: Records | None, b: Records | None):
        self.records = (a, b)
        sides = (light(a), light(b))
        self.sample_R = np.concatenate([side.sample_R for side in sides])
        self.length_R = np.concatenate([side.length_R for side in sides])
        self.side_R = np.repeat([0, 1], [len(side.sample_R) for side in sides])
        self._columns = {name: _joined(*(side.words[name] for side in sides)) for name in _REPEATED}
        self.ids, self.problem_R = self._columns["problem_id"]
        self.links = [_link(problem) for problem in self.ids]
        self.positions = {link: number for number, link in enumerate(self.links)}
        self._cell_R = len(self.ids) * self.side_R + self.problem_R  # Number of the response's side and problem
        first = np.full(2 * len(self.ids), -1)
        first[self._cell_R[::-1]] = np.arange(len(self._cell_R))[::-1]
        first_SP = first.reshape(2, -1)  # A row of the problem; −1 where the side does not have it
        self.there_SP = first_SP >= 0
        self.first_P = np.where(self.there_SP[0], *first_SP)
        self.levels, self.kinds = (self.texts(name, self.first_P) for name in ("level", "kind"))
        asked = np.stack([self._columns[name][1][first_SP] for name in ("question", "answer")])
        self.other_question = self.there_SP.all(0) & (asked[:, 0] != asked[:, 1]).any(0)
        """Bool [P]: the same id on both sides, but another question or gold: such problems are not compared."""
        self.correct_SP = self.count(self.having("verdict", "correct"))
        self.decided_SP = self.count(self.having("verdict", "correct", "wrong", "no_answer"))
        self.compared = (self.decided_SP > 0).all(0) & ~self.other_question
        """Bool [P]: judged on both sides, and the same problem."""
        self.share_SP = _ratio(self.correct_SP, self.decided_SP)
        """Share of right responses among those judged; NaN where none is."""
        self.change = np.where(self.compared, self.share_SP[1] - self.share_SP[0], np.nan)
        """float64 [P]: by how much the share of B is higher; NaN where they are not compared."""
        known_R = ~np.isnan(self.length_R)
        self.length_SP = _ratio(self.count(known_R, self.length_R[known_R]), self.count(known_R))
        """Mean length; NaN where no length is known."""

    def texts(self, name: str, rows: np.ndarray) -> list[str]:
        """Return the texts of a repeated column in some rows."""
        words, code_R = self._columns[name]
        return [words[code] for code in code_R[rows].tolist()]

    def having(self, name: str, *texts: str) -> np.ndarray:
        """Return bool [R]: the responses whose column has one of some texts."""
        words, code_R = self._columns[name]
        return np.array([word in texts for word in words], bool)[code_R]

    def count(self, marked_R: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return [S, P]: how many of the responses marked true each problem has, or the sum of their weights."""
        return np.bincount(self._cell_R[marked_R], weights, minlength=2 * len(self.ids)).reshape(2, -1)

    def of(self, marked_R: np.ndarray) -> np.ndarray:
        """Return bool [P]: the problems with a response, on either side, that is marked true."""
        return self.count(marked_R).max(0) > 0

    def rows(self, number: int, side: int) -> np.ndarray:
        """Return the responses of a problem on a side, by sample."""
        rows = np.flatnonzero(self._cell_R == side * len(self.ids) + number)
        return rows[np.argsort(self.sample_R[rows], kind="stable")]

    @functools.cached_property
    def outcomes(self) -> dict[str, np.ndarray]:
        """Bool [P]: the problems of each outcome filter."""
        (right_a, right_b), (judged_a, judged_b) = self.correct_SP > 0, self.decided_SP > 0
        return {
            "all": np.ones(len(self.ids), bool),
            "gained": self.compared & ~right_a & right_b,
            "lost": self.compared & right_a & ~right_b,
            "better": self.change > 0,
            "worse": self.change < 0,
            "right-a": right_a,
            "wrong-a": judged_a & ~right_a,
            "right-b": right_b,
            "wrong-b": judged_b & ~right_b,
            "no-answer": self.of(self.having("verdict", "no_answer")),
            "timeout": self.of(self.having("verdict", "timeout")),
            "undecided": self.of(self.having("verdict", *UNDECIDED)),
            "truncated": self.of(self.having("stop_reason", "length")),
        }

    def select(self, view: View, notices: list[str]) -> np.ndarray:
        """Return the numbers of the problems that a view shows, in its order: equals as in the file, what has no number
        last either way."""
        keep = self.outcomes[view.outcome].copy()
        for chosen, texts in ((view.levels, self.levels), (view.kinds, self.kinds)):
            if chosen:
                keep &= np.array([text in chosen for text in texts], bool)
        if view.shortest is not None or view.longest is not None:
            low, high = view.shortest or 0, np.inf if view.longest is None else view.longest
            keep &= self.of((self.length_R >= low) & (self.length_R <= high))
        if view.search:
            keep &= self.of(np.concatenate([self._matches(view.search, side, notices) for side in (0, 1)]))
        numbers = np.flatnonzero(keep)
        if view.sort == "file":
            return numbers
        columns = (*self.share_SP, self.change, *self.length_SP)
        values = dict(zip(SORTS[1:], columns, strict=True))[view.sort][numbers]
        return numbers[np.argsort(-values if view.descending else values, kind="stable")]

    def _matches(self, text: str, side: int, notices: list[str]) -> np.ndarray:
        records, rows = self.records[side], int((self.side_R == side).sum())
        try:
            return search(records, text, rows) if records else np.zeros(0, bool)
        except RunError as error:
            notices.append(str(error))
            return np.zeros(rows, bool)

    def read(self, marked_R: np.ndarray, side: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield columns, as far as the file has them, of the responses of a side that are marked true."""
        if (records := self.records[side]) is not None:
            for batch in records.batches(columns, marked_R[self.side_R == side]):
                yield from batch.to_pylist()

    def responses(self, number: int, side: int) -> list[dict[str, Any]]:
        """Return all that is recorded of the responses of a problem on one side, by sample."""
        rows = sorted(self.read(self.problem_R == number, side, SHOWN), key=lambda row: row["sample"] or 0)
        for row, name in itertools.product(rows, ("turns", "calls")):
            if row.get(name):  # No turn and no call of ours lacks a part.
                row[name] = [part for part in row[name] if part and None not in part.values()]
        return rows


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


#: Two sides beside each other, made once while both stay as they are.
pair_up = functools.lru_cache(12)(Pair)


# -- the directory ----------------------------------------------------------------------------------------------------

#: The name among benchmarks of the responses that a run was trained on.
TRAINING = "training"

#: Metrics that are drawn when none is chosen, and how many runs.
DEFAULT_METRICS = ("eval/accuracy", "accuracy/mean", "length/mean", "length/clip_ratio", "policy/entropy")
FIRST_RUNS = 6

#: Training responses of a run beyond which the history of a problem is not looked for (bytes of its files).
LARGEST_HISTORY = 300_000_000

#: Largest tokenizer file that is read (bytes).
LARGEST_TOKENIZER = 100_000_000


class Entry(NamedTuple):
    """A run, or the results of one model: something with steps to choose from."""

    name: str
    run: Run | None  # None for results
    stamp: Any  # What changes when the run does
    steps: dict[int | None, dict[str, Records]]
    """Step → benchmark → responses. A run has `held-out` and `training`; 0 is the base model."""

    @property
    def evaluated(self) -> list[int | None]:
        """The steps with an evaluation, and not with training responses alone."""
        return [step for step, there in self.steps.items() if set(there) - {TRAINING}]


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

    # -- what there is ------------------------------------------------------------------------------------------------

    def now(self) -> "Library":
        """Return the directory as it is now: runs that come or go while a page is made change nothing on it."""
        now = copy.copy(self)
        vars(now).pop("catalog", None)
        return now

    def stamp(self) -> str:
        """Return what changes when anything under the directory does."""
        return hashlib.sha256(repr(self.catalog).encode("utf-8", "replace")).hexdigest()

    @functools.cached_property
    def catalog(self) -> Catalog:
        """What there is, runs first. It is looked for once; what was read of a run stays while its files do."""
        notices, heads = self._led_out(self.root), dict[str, tuple[str, Run | None, Any]]()
        found = defaultdict[str, defaultdict[int, dict[tuple[str, str], Records]]](lambda: defaultdict(dict))
        try:
            paths = [run.path for run in find_runs(self.root, notices.append)]
        except RunError as error:
            return Catalog({}, [str(error)])
        for path in paths:
            if led_out := self._led_out(path):
                notices += [*led_out, f"{path} holds such a link: this run is left out"]
                continue
            try:
                stamp = tuple((item.name, _stamp(item)) for item in sorted(path.iterdir()))
                run, said = _opened(path, stamp)
            except (OSError, RunError) as error:  # It is gone since.
                notices.append(str(error))
                continue
            notices += [sentence for sentence in said if "is still being written" not in sentence]
            key, name = self._key(path), path.name if path == self.root else str(path.relative_to(self.root))
            for one in run.evaluations if run.is_result else ():
                # OUT/MODEL/BENCHMARK/KEY: steps of one run are models of their own, side by side in OUT.
                folder = path.parents[2] if len(path.relative_to(self.root).parts) >= 3 else self.root
                label = one.label.removesuffix(f"@{one.step}")
                key = f"results:{self._key(folder)}:{urllib.parse.quote(label, safe='', errors='surrogatepass')}"
                name = f"{label} (eval)"
            heads[key] = (name, None if run.is_result else run, stamp)
            files = [(one.step or 0, one.benchmark, one.path) for one in run.evaluations if one.path.exists()]
            files += [(step, TRAINING, run.records(step).path) for step in run.steps]
            for step, benchmark, file in files:
                if (records := self._records(file, notices)) is not None:
                    found[key][step][benchmark, path.name] = records
        entries = {}
        for key in sorted(heads, key=lambda key: heads[key][1] is None):
            steps: dict[int | None, Any] = {step: _named(there) for step, there in sorted(found[key].items())}
            if steps or heads[key][1]:
                entries[key] = Entry(*heads[key], steps)
        shown = [notice.replace(f"{self.root}{os.sep}", "") for notice in notices]
        return Catalog(entries, list(dict.fromkeys(shown)))

    def _led_out(self, folder: Path) -> list[str]:
        """Return a notice for each link in a folder that leads out of the directory."""
        try:
            return [_leads_out(path) for path in folder.iterdir() if path.is_symlink() and not self.inside(path)]
        except OSError:  # `find_runs` says so.
            return []

    def inside(self, path: Path) -> bool:
        """Return whether a path, its links followed, is under the directory and there."""
        try:
            return path.resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            return False

    def _records(self, path: Path, notices: list[str]) -> Records | None:
        """Return a file of responses; None, with a notice, where it is damaged or leads outside."""
        if not self.inside(path):
            notices.append(_leads_out(path))
            return None
        records = Records(path, *(_stamp(path) or (0, 0)))
        if problem := _problem(records):
            notices.append(f"{problem}: this step is left out")
        return None if problem else records

    def _key(self, path: Path) -> str:
        return urllib.parse.quote_from_bytes(os.fsencode(path.relative_to(self.root)), safe="/@=+,-._~")

    # -- metrics and history ------------------------------------------------------------------------------------------

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
        return entry.run.ledger.filter(pyarrow.compute.field("problem_id") == problem).to_pylist()

    # -- views --------------------------------------------------------------------------------------------------------

    def resolve(self, view: View) -> tuple[View, list[str]]:
        """Fill what a view leaves open, and take out what is not there. Return it with a message for each of these."""
        entries, notices = self.catalog.entries, list[str]()
        if not entries:
            return View(), notices

        def known(key: str) -> str:
            if not key or key in entries:
                return key
            outside = f"is not a run in {self.root.name} (nothing outside it is opened)"
            notices.append(f"the link names {key!r}, which {outside}; {nearest(key, list(entries))}")
            return ""

        def known_step(key: str, wanted: int | None, *, last: bool) -> int | None:
            """Return the wanted step where it is there, else the first or last that was evaluated."""
            entry = entries[key]
            if wanted is not None and entry.steps and wanted not in entry.steps:
                notices.append(f"{entry.name} has no responses of step {wanted}")
            steps = [wanted] if wanted in entry.steps else entry.evaluated or [None, *entry.steps]
            return steps[-1 if last else 0]

        runs = tuple(dict.fromkeys(filter(None, map(known, view.runs)))) or tuple(entries)[:FIRST_RUNS]
        # Of the chosen runs the first that was evaluated, else that has responses, else the first.
        held_out = {key: any(HELD_OUT in there for there in entries[key].steps.values()) for key in runs}
        a = known(view.a) or max(runs, key=lambda key: (held_out[key], bool(entries[key].steps)))
        b = known(view.b) or a
        a_step, b_step = known_step(a, view.a_step, last=a != b), known_step(b, view.b_step, last=True)
        names = benchmarks(entries[a].steps.get(a_step, {}), entries[b].steps.get(b_step, {}))
        if view.benchmark and view.benchmark not in names:
            notices.append(f"neither side has responses of {view.benchmark!r}")
        benchmark = view.benchmark if view.benchmark in names else next(iter(names), "")
        recorded = self.metric_names(runs) if not view.metrics else []
        usual = tuple(name for name in DEFAULT_METRICS if name in recorded)
        metrics = view.metrics or usual or tuple(recorded[:4])
        sides: Any = {"a": a, "a_step": a_step, "b": b, "b_step": b_step}
        return dataclasses.replace(view, runs=runs, metrics=metrics, benchmark=benchmark, **sides), notices

    def pair(self, view: View, notices: list[str]) -> Pair:
        """Return both sides of a resolved view; a damaged one is named and missing."""
        sides: list[Records | None] = [None, None]
        for side, letter in enumerate("AB"):
            key, step = view.side(side)
            records = self.catalog.entries[key].steps.get(step, {}).get(view.benchmark) if key else None
            try:
                light(records)
                sides[side] = records
            except RunError as error:
                notices.append(f"{letter}: {error}")
        return pair_up(*sides)

    def export(self, view: View) -> Iterator[dict[str, Any]]:
        """Yield the responses that a resolved view shows: its problem's, else of all problems that pass its filters.

        What cannot be read is said at the end, in rows with nothing but an `error`.
        """
        notices: list[str] = []
        pair = self.pair(view, notices)
        numbers = pair.select(view, notices)
        for side in (0, 1) if view.side(0) != view.side(1) else (0,):
            key, step = view.side(side)
            try:
                if view.problem is None:
                    rows: Any = pair.read(np.isin(pair.problem_R, numbers), side, EXPORTED)
                else:
                    number = pair.positions.get(view.problem)
                    rows = () if number is None else pair.responses(number, side)
                name = self.catalog.entries[key].name if key else ""
                label = {"side": "AB"[side], "run": name, "step": step, "benchmark": view.benchmark}
                yield from (label | row for row in rows)
            except RunError as error:
                notices.append(str(error))
        yield from ({"error": notice} for notice in dict.fromkeys(notices))

    # -- tokens -------------------------------------------------------------------------------------------------------

    def tokens(self, entry: Entry, ids: Sequence[int]) -> tuple[list[str], str]:
        """Return the texts of tokens by the tokenizer.json of a run's newest checkpoint, and why there is none.

        Without it, or without such a token, the number is shown. No model is loaded and no code of its is run. Results
        use the run of the same name.
        """
        others, name = self.catalog.entries.values(), entry.name.removesuffix(" (eval)")
        runs = [entry.run] if entry.run else [other.run for other in others if other.run and other.run.name == name]
        tokenizer, problem = None, f"no tokenizer.json in checkpoints of {entry.name}"
        for file in [c.path / "tokenizer.json" for run in runs for c in reversed(run.checkpoints)]:
            if tokenizer is None and file.exists():
                try:
                    if not self.inside(file) or not file.is_file() or file.stat().st_size > LARGEST_TOKENIZER:
                        raise ValueError("it leads outside or is too large")
                    tokenizer = _tokenizer(file, _stamp(file))
                except Exception as error:  # The library raises plain Exception on a damaged file.
                    problem = f"{file.name} of {entry.name} cannot be read ({str(error)[:100]})"
        known = {number: _token(tokenizer, number) for number in set(ids)}
        return [known[number] for number in ids], "" if tokenizer else f"{problem}: tokens are shown by number"


def _token(tokenizer: Any, number: int) -> str:
    if tokenizer is None or number < 0 or (name := tokenizer.id_to_token(number)) is None:
        return f"⟨{number}⟩"
    if "▁" in name:
        return name.replace("▁", " ")
    text = tokenizer.decode([number], skip_special_tokens=False)
    # A part of a character decodes to replacement characters: then its name says more.
    return text if text and "\ufffd" not in text else f"⟨{name}⟩"


def _leads_out(link: Path) -> str:
    return f"{link} is a link that leads outside: left out"


def _named(there: dict[tuple[str, str], Records]) -> dict[str, Records]:
    """Return benchmark → responses; where one was done under several protocols, the name holds the protocol."""
    names = [benchmark for benchmark, _ in there]
    return {name if names.count(name) == 1 else f"{name} ({key})": there[name, key] for name, key in sorted(there)}


def benchmarks(*sides: dict[str, Records]) -> list[str]:
    """Return the benchmarks of two sides: those of both first, training responses last."""
    names = {name for side in sides for name in side}
    return sorted(names, key=lambda n: (not all(n in side for side in sides), n == TRAINING, n != HELD_OUT, n))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file or directory does; None where it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


# What is read is kept under the path and the stamp: a file or run that has changed is another one.


@functools.lru_cache(200)
def _opened(path: Path, stamp: Any) -> tuple[Run, list[str]]:
    """Return a run with what could not be read of its metrics and evaluations."""
    said: list[str] = []
    run = Run(path, warn=said.append)
    _ = run.metrics, run.evaluations, run.steps
    return run, said


@functools.lru_cache(100_000)
def _problem(records: Records) -> str:
    """Return why a file of responses cannot be read; empty where it can."""
    try:
        ResponseFile(records.path).check()
    except RunError as error:
        return str(error)
    return ""


@functools.lru_cache(8)
def _tokenizer(path: Path, stamp: Any) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))
