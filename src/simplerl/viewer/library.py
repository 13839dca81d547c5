"""A directory as the page sees it: the catalogue, metrics and responses, each read when asked for and kept a while."""

import copy
import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import RunError, SimpleRLError, nearest
from simplerl.doctor import Diagnosis
from simplerl.runs.metrics import MetricLines
from simplerl.viewer import pairs
from simplerl.viewer.catalog import HELD_OUT, TRAINING, Catalog, Entry, Records, root_of, scan
from simplerl.viewer.findings import diagnosis
from simplerl.viewer.index import Cache, Index, build, read_rows, rows_as_json, search
from simplerl.viewer.pairs import Pair
from simplerl.viewer.plots import Curves, curves_of
from simplerl.viewer.state import View
from simplerl.viewer.tokens import Tokens, tokens_for

#: Seconds for which the directory is not looked at again.
FRESH_S = 2.0

DEFAULT_METRICS = ("eval/accuracy", "accuracy/mean", "length/mean", "length/clip_ratio", "policy/entropy")

#: Runs whose metrics are drawn when nothing is chosen.
FIRST_RUNS = 6

#: What is read of the responses that are shown.
SHOWN = (
    "problem_id", "sample", "source", "level", "kind", "question", "answer", "response", "stop_reason", "verdict",
    "extracted", "rule", "detail", "reward", "reward_parts", "advantages", "policy_version", "token_ids", "logprobs",
    "entropies",
)  # fmt: skip

#: What an export of the table holds per response: everything but the numbers of single tokens.
EXPORTED = tuple(name for name in SHOWN if name not in ("advantages", "token_ids", "logprobs", "entropies"))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """What a view comes to: the problems that pass, in order."""

    pair: Pair
    places: np.ndarray


class Library:
    """Reads one directory. Several requests may use it at a time."""

    def __init__(self, directory: Path):
        self.root = root_of(directory)
        self._lock = threading.Lock()
        self._catalog: tuple[float, Catalog] | None = None
        self._lines: dict[Path, MetricLines] = {}
        self._indexes, self._pairs = Cache(24), Cache(12)
        self._searches, self._tokens, self._diagnoses = Cache(64), Cache(8), Cache(32)

    def catalog(self) -> Catalog:
        """Return what there is now."""
        with self._lock:
            if self._catalog is None or time.monotonic() - self._catalog[0] > FRESH_S:
                found = scan(self.root)
                self._catalog = (time.monotonic(), found)
            return self._catalog[1]

    def now(self) -> "Library":
        """Return it with the catalogue of this moment: a run that comes or goes while a page is made changes nothing.

        What was read is shared.
        """
        same = copy.copy(self)
        same._catalog = (math.inf, self.catalog())
        return same

    def curves(self, entry: Entry) -> Curves | None:
        """Return the metrics of a run as far as they are written; None for results."""
        if entry.metrics is None:
            return None
        with self._lock:
            lines = self._lines.setdefault(entry.metrics, MetricLines(path=entry.metrics))
            try:
                return curves_of(lines.refresh())
            except RunError as error:
                raise RunError(f"{entry.name}/metrics.jsonl cannot be read ({error.__cause__})") from error

    def diagnosis(self, key: str) -> tuple[str, Diagnosis | SimpleRLError]:
        """Return the name of an entry and what the doctor finds in it, or why it cannot say."""
        entry = self.catalog().entries[key]
        if entry.metrics is None:
            return entry.name, RunError(
                "results of evaluations are diagnosed with `simplerl doctor` on their directory"
            )
        try:
            size = entry.metrics.stat().st_size
            return entry.name, self._diagnoses.get((entry.path, size), lambda: diagnosis(entry))
        except OSError as error:
            return entry.name, RunError(f"metrics.jsonl cannot be read ({error.strerror})")
        except SimpleRLError as error:
            return entry.name, error

    def resolve(self, view: View) -> tuple[View, list[str]]:
        """Fill what a view leaves open, and take out what is not there. Return it with a message for each of these."""
        entries, notices = self.catalog().entries, []
        if not entries:
            return View(), notices
        runs = tuple(self._known(key, notices) for key in view.runs)
        runs = tuple(dict.fromkeys(key for key in runs if key)) or tuple(entries)[:FIRST_RUNS]
        a = self._known(view.a, notices) or _best(entries, runs)
        b = self._known(view.b, notices) or a
        a_step, b_step = (
            _step(entries[key], step, last=last, notices=notices)
            for key, step, last in ((a, view.a_step, a != b), (b, view.b_step, True))
        )
        sides = (entries[a].steps.get(a_step, {}), entries[b].steps.get(b_step, {}))
        names = benchmarks(*sides)
        benchmark = view.benchmark
        if benchmark not in names:
            if benchmark:
                notices.append(f"neither side has responses of {benchmark!r}")
            benchmark = names[0] if names else ""
        metrics = view.metrics or self._metrics(runs)
        resolved = dataclasses.replace(
            view, runs=runs, metrics=metrics, a=a, b=b, a_step=a_step, b_step=b_step, benchmark=benchmark
        )
        return resolved, notices

    def _known(self, key: str, notices: list[str]) -> str:
        entries = self.catalog().entries
        if not key or key in entries:
            return key
        notices.append(
            f"the link names {key!r}, which is no run in {self.root.name} (nothing outside it is opened); "
            + nearest(key, list(entries))
        )
        return ""

    def _metrics(self, runs: tuple[str, ...]) -> tuple[str, ...]:
        names = self.metric_names(runs)
        return tuple(name for name in DEFAULT_METRICS if name in names) or tuple(names[:4])

    def metric_names(self, runs: tuple[str, ...]) -> list[str]:
        """Return the names of all metrics of some runs."""
        found: dict[str, None] = {}
        for key in runs:
            entry = self.catalog().entries.get(key)
            try:
                curves = self.curves(entry) if entry else None
            except RunError:
                continue
            found.update(dict.fromkeys(curves.series if curves else ()))
        return sorted(found)

    def records(self, view: View, side: int) -> Records | None:
        """Return the file of a side of a resolved view."""
        key, step = ((view.a, view.a_step), (view.b, view.b_step))[side]
        entry = self.catalog().entries.get(key)
        return entry.steps.get(step, {}).get(view.benchmark) if entry else None

    def index(self, records: Records) -> Index:
        """Return the index of a file. Raises RunError where it cannot be read."""
        return self._indexes.get(records, lambda: build(records))

    def pair(self, view: View, notices: list[str]) -> Pair:
        """Return both sides of a resolved view; a damaged one is named and missing."""
        found: list[Index | None] = []
        for side in (0, 1):
            records = self.records(view, side)
            try:
                found.append(self.index(records) if records else None)
            except RunError as error:
                found.append(None)
                notices.append(f"{'AB'[side]}: {error}")
        key = tuple(index and index.records for index in found)
        return self._pairs.get(key, lambda: pairs.pair(*found))

    def select(self, view: View, notices: list[str]) -> Selection:
        """Return the problems that a resolved view shows."""
        pair = self.pair(view, notices)
        hits = None
        if view.search:
            hits = pair.having(lambda index: self._search(index, view.search, notices))
        return Selection(pair=pair, places=pairs.select(pair, view, hits))

    def _search(self, index: Index, text: str, notices: list[str]) -> np.ndarray:
        try:
            return self._searches.get((index.records, text), lambda: search(index.records, text, len(index.problem_R)))
        except RunError as error:
            notices.append(str(error))
            return np.zeros(len(index.problem_R), dtype=bool)

    def questions(self, pair: Pair, places: np.ndarray) -> list[str]:
        """Return the questions of some problems."""
        found = dict.fromkeys(places.tolist(), "")
        for side in (1, 0):
            index, of = pair.sides[side], pair.places[side]
            here = [place for place in places.tolist() if of[place] >= 0]
            if index is not None and here:
                rows = index.first_P[of[here]]
                texts = read_rows(index.records, rows, ("question",))
                found.update({place: row["question"] or "" for place, row in zip(here, texts, strict=True)})
        return [found[place] for place in places.tolist()]

    def responses(self, pair: Pair, place: int, side: int) -> list[dict[str, Any]]:
        """Return all that is recorded of the responses of a problem on one side, by sample."""
        index, at = pair.sides[side], int(pair.places[side][place])
        if index is None or at < 0:
            return []
        return read_rows(index.records, index.rows(at), SHOWN)

    def tokens(self, entry: Entry) -> Tokens:
        """Return what turns token ids into texts."""
        catalog = self.catalog()
        return self._tokens.get(entry.path, lambda: tokens_for(self.root, entry, catalog))

    def export(self, view: View) -> Iterator[dict[str, Any]]:
        """Yield the responses that a resolved view shows: its problem's, else of all problems that pass its filters."""
        notices: list[str] = []
        selection = self.select(view, notices)
        entries = self.catalog().entries
        for side in (0, 1):
            index = selection.pair.sides[side]
            key, step = ((view.a, view.a_step), (view.b, view.b_step))[side]
            if index is None or (side and (view.a, view.a_step) == (view.b, view.b_step)):
                continue
            label = {"side": "AB"[side], "run": entries[key].name, "step": step, "benchmark": view.benchmark}
            if view.problem is not None:
                place = selection.pair.positions.get(view.problem)
                rows: Any = self.responses(selection.pair, place, side) if place is not None else []
            else:
                of = selection.pair.places[side][selection.places]
                shown = np.zeros(len(index.ids) + 1, dtype=bool)
                shown[of] = True
                shown[-1] = False
                rows = rows_as_json(index.records, shown[index.problem_R], EXPORTED)
            for row in rows:
                yield label | row


def benchmarks(*sides: dict[str, Records]) -> list[str]:
    """Return the benchmarks of two sides: those of both first, training responses last."""
    names = dict.fromkeys(name for side in sides for name in side)
    return sorted(
        names, key=lambda name: (not all(name in side for side in sides), name == TRAINING, name != HELD_OUT, name)
    )


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
