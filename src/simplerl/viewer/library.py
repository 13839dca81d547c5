"""A directory as the page sees it: runs and results, their metrics and responses, read when asked for and kept a while.

Everything is read through `Run`. Nothing outside the directory is opened: links that lead out of it are left out and
named. What the page asks for, it asks for by a key of this catalogue, never by a path.
"""

import copy
import dataclasses
import functools
import hashlib
import math
import os
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute

from simplerl.core.errors import RunError, nearest
from simplerl.runs.responses import ResponseFile
from simplerl.runs.run import HELD_OUT, Run, find_runs
from simplerl.viewer import responses as files
from simplerl.viewer.responses import Index, Pair, Records
from simplerl.viewer.state import View

#: Seconds for which the directory is not looked at again.
FRESH_S = 2.0

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

    key: str  # Its path under the directory, percent-encoded: what a link says
    name: str
    run: Run | None  # None for results
    steps: dict[int, dict[str, Records]]
    """Step → benchmark → responses. A run has `held-out` and `training`; 0 is the base model."""
    ended: bool = True  # Whether there is nothing more to come
    stamp: Any = None  # What changes when the run does

    def at(self, step: int | None) -> dict[str, Records]:
        """Return benchmark → responses of a step; empty where the step has none."""
        return {} if step is None else self.steps.get(step, {})


class Catalog(NamedTuple):
    """Every entry, in the order of names, and what was left out and why."""

    entries: dict[str, Entry]
    notices: list[str]


class Library:
    """Reads one directory. Several requests may use it at a time. Raises RunError where there is no directory."""

    def __init__(self, directory: Path):
        try:
            self.root = directory.expanduser().resolve(strict=True)
        except OSError as error:
            raise RunError(f"{directory} cannot be opened ({error.strerror}); give a directory with runs") from error
        if not self.root.is_dir():
            raise RunError(f"{directory} is a file; give the directory of a run, or one with runs in it")
        self._lock = threading.Lock()
        self._catalog: tuple[float, Catalog] | None = None

    # -- what there is ---------------------------------------------------------------------------------------------

    def catalog(self) -> Catalog:
        """Return what there is now."""
        with self._lock:
            if self._catalog is None or time.monotonic() - self._catalog[0] > FRESH_S:
                catalog = self._scan()
                self._catalog = (time.monotonic(), catalog)
            return self._catalog[1]

    def now(self) -> "Library":
        """Return it with the catalogue of this moment: runs that come or go while a page is made change nothing."""
        same = copy.copy(self)
        same._catalog = (math.inf, self.catalog())
        return same

    def stamp(self) -> str:
        """Return what changes when anything under the directory does."""
        catalog = self.catalog()
        shown = [(entry.key, entry.stamp, entry.ended, entry.steps) for entry in catalog.entries.values()]
        return hashlib.sha256(repr((shown, catalog.notices)).encode("utf-8", "replace")).hexdigest()

    def inside(self, path: Path) -> bool:
        """Return whether a path, its links followed, is under the directory and there."""
        try:
            return path.resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            return False

    def _scan(self) -> Catalog:
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
            entries[key] = Entry(key=key, name=f"{label} (eval)", run=None, steps=steps)
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
        ended = (run.path / "summary.json").exists()
        return Entry(key=self._key(run.path), name=name, run=run, steps=steps, ended=ended, stamp=stamp)

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
        chosen = [entry.run for key in runs if (entry := self.catalog().entries.get(key)) and entry.run]
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
        entries = self.catalog().entries
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
        entries = self.catalog().entries
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
            entry = self.catalog().entries.get(key)
            try:
                if entry and (records := entry.at(step).get(view.benchmark)):
                    sides[side] = files.build(records)
            except RunError as error:
                notices.append(f"{letter}: {error}")
        return files.pair_up(*sides)

    def select(self, view: View, notices: list[str]) -> tuple[Pair, np.ndarray]:
        """Return the two sides of a resolved view, and the numbers of the problems that it shows, in order."""

        def matches(index: Index) -> np.ndarray:
            try:
                return files.search(index.records, view.search, len(index.problem_R))
            except RunError as error:
                notices.append(str(error))
                return np.zeros(len(index.problem_R), dtype=bool)

        pair = self.pair(view, notices)
        return pair, files.select(pair, view, pair.having(matches) if view.search else None)

    def questions(self, pair: Pair, numbers: np.ndarray) -> list[str]:
        """Return the questions of some problems."""
        texts = dict.fromkeys(numbers.tolist(), "")
        for side in (1, 0):
            index, of = pair.sides[side], pair.numbers[side]
            here = [number for number in texts if of[number] >= 0]
            if index is not None and here:
                rows = files.read_rows(index.records, index.first_P[of[here]], ("question",))
                texts |= {number: row["question"] or "" for number, row in zip(here, rows, strict=True)}
        return list(texts.values())

    def responses(self, pair: Pair, number: int, side: int) -> list[dict[str, Any]]:
        """Return all that is recorded of the responses of a problem on one side, by sample."""
        index, at = pair.sides[side], int(pair.numbers[side][number])
        return files.read_rows(index.records, index.rows(at), SHOWN) if index is not None and at >= 0 else []

    def export(self, view: View) -> Iterator[dict[str, Any]]:
        """Yield the responses that a resolved view shows: its problem's, else of all problems that pass its filters."""
        (pair, numbers), entries = self.select(view, []), self.catalog().entries
        for side, index in enumerate(pair.sides):
            key, step = view.side(side)
            if index is None or (side and view.side(0) == view.side(1)):
                continue
            label = {"side": "AB"[side], "run": entries[key].name, "step": step, "benchmark": view.benchmark}
            rows: Any = ()
            if view.problem is None:
                shown = np.isin(index.problem_R, pair.numbers[side][numbers])
                rows = files.rows_in_order(index.records, np.flatnonzero(shown), EXPORTED)
            elif view.problem in pair.positions:
                rows = self.responses(pair, pair.positions[view.problem], side)
            yield from (label | row for row in rows)

    # -- tokens ----------------------------------------------------------------------------------------------------

    def tokens(self, entry: Entry) -> "Tokens":
        """Return what turns token ids into texts: the tokenizer.json of a run's newest checkpoint.

        No model is loaded and no code of its is run. Results use the run of the same name.
        """
        runs = [other.run for other in self.catalog().entries.values() if other.run]
        runs = [entry.run] if entry.run else [run for run in runs if run.name == entry.name.removesuffix(" (eval)")]
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
    held = [step for step, there in entry.steps.items() if set(there) - {TRAINING}] or list(entry.steps)
    return held[-1 if last else 0]
