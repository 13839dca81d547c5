"""What a report knows: runs and results as far as they can be read, which are one setting, and what came of them.

Everything is read through `Run`: what can be read is shown, what cannot is named.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
import re
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from simplerl import behaviours
from simplerl.analysis import exploration
from simplerl.analysis.compare import averages, compare, rows
from simplerl.analysis.estimates import Band, Estimate, paired
from simplerl.analysis.plots import band_of
from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.core.types import UNDECIDED
from simplerl.doctor import spread
from simplerl.markup.text import quantity
from simplerl.runs.files import flatten
from simplerl.runs.metrics import as_number
from simplerl.runs.run import BEHAVIOURS, Evaluation, Run, find_runs, is_run

T = TypeVar("T")


def or_why(of: Callable[..., T], *arguments: Any) -> T | str:
    """Return what a function gives; where there is nothing to show, the sentence of its RunError."""
    try:
        return of(*arguments)
    except RunError as error:
        return str(error)


class Evaluated:
    """The figures of one evaluation. Intervals are over problems."""

    def __init__(self, source: Evaluation):
        figures = source.figures
        self.source = source
        self.step = source.step or 0
        names = ("acc", "tokens", "clip_ratio")
        self.accuracy, self.length, self.clip_ratio = (Estimate.of(figures.get(name)) for name in names)
        table = self.table("pass@k")
        known = {int(k): Estimate.of(figure) for k, figure in table.items() if re.fullmatch(r"[1-9]\d{0,5}", k)}
        self.pass_at = {k: known[k] for k in sorted(known) if known[k].known}
        """k → pass@k, ascending."""

    def table(self, name: str) -> Mapping[str, Any]:
        """Return figures by k, level or source; empty where there are none."""
        table = self.source.figures.get(name)
        return table if isinstance(table, Mapping) else {}

    @functools.cached_property
    def readable(self) -> bool:
        """Whether its responses can be read."""
        return not isinstance(or_why(self.source.records.check), str)

    @property
    def pass_at_k(self) -> Band:
        """The pass@k curve."""
        return band_of([(float(k), self.table("pass@k")[str(k)]) for k in self.pass_at])


class ReportedRun:
    """A run with what a report needs of it. Raises RunError where there is no run."""

    def __init__(self, path: Path, label: str):
        self.run = run = Run(path)
        self.label = label  # Name of the directory, with as much of the path as tells it from the other runs
        self.path, self.finished = run.path, run.finished
        self.settings = flatten(run.config)
        self.environment = flatten(run.environment[-1]) if run.environment else {}
        """What the last session noted, by dotted keys: versions, commit, machine, hashes of its data."""
        self.everything = {"stage": run.stage, **self.environment, **self.settings}
        self.steps = run.last_step
        self.seed = self.settings.get("seed")
        self.evaluations = [e for e in map(Evaluated, run.evaluations) if e.accuracy.known]
        self.remarks = self._remarks()  # What a reader should know: how far it is, what it lacks

    @property
    def first(self) -> Evaluated | None:
        """The evaluation before training; None where step 0 was not evaluated."""
        return self.evaluations[0] if self.evaluations and self.evaluations[0].step == 0 else None

    @property
    def last(self) -> Evaluated | None:
        """The last evaluation after training began."""
        return self.evaluations[-1] if self.evaluations and self.evaluations[-1].step > 0 else None

    @property
    def readable(self) -> list[Evaluated]:
        """The evaluations whose responses can be read."""
        return [evaluated for evaluated in self.evaluations if evaluated.readable]

    @property
    def k(self) -> int:
        """The largest k of pass@k that the first and the last evaluation have; 0 where there is none."""
        return max(self.first.pass_at.keys() & self.last.pass_at.keys(), default=0) if self.first and self.last else 0

    @property
    def seconds(self) -> float:
        """The time of all sessions together; the sum of the steps where the run has not finished."""
        return as_number((self.run.summary or {}).get("seconds", self.total("time/step")))

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Return (step, value) wherever a metric was recorded after training began."""
        steps, values = self.run.history(metric)
        return [(float(step), float(value)) for step, value in zip(steps, values, strict=True) if step > 0]

    def total(self, metric: str) -> float:
        """Return the sum of a metric over the steps of training."""
        return sum(value for _, value in self.curve(metric))

    def _remarks(self) -> list[str]:
        remarks = []
        if not self.run.lines:
            remarks.append("No step is recorded yet.")
        elif not self.finished:
            steps, budget = self.run.planned
            planned = f"{quantity(budget)} tokens" if budget > 0 else quantity(steps)
            age = duration(time.time() - self.run.written)
            remarks.append(
                f"Not finished: shown up to its last complete line, step {self.steps} of {planned}, written {age} ago."
            )
        if not self.evaluations:
            remarks.append("It has no held-out evaluation.")
        elif self.evaluations[0].step != 0:
            remarks.append("The base model was not evaluated (no step 0): there is no before.")
        return remarks


def duration(seconds: float) -> str:
    """Return a time as `82 s`, `14 min`, `3 h 20 min`."""
    if math.isnan(seconds) or seconds < 120:
        return "–" if math.isnan(seconds) else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Sources(NamedTuple):
    """Everything that was given to a report; `damage` says which results could not be read."""

    runs: Sequence[ReportedRun]
    results: Sequence[Evaluation] = ()
    damage: Sequence[str] = ()


def gather(paths: Sequence[Path]) -> Sources:
    """Read runs and directories of results. Raises RunError where a path is neither."""
    runs: list[ReportedRun] = []
    results: list[Evaluation] = []
    damage: list[str] = []
    for path, label in zip(paths, labels_of(paths), strict=True):
        if is_run(path) or not path.expanduser().is_dir():
            try:
                runs.append(ReportedRun(path, label))
            except RecursionError:
                raise RunError(f"{path}: a JSON file in it is nested too deeply; restore it from a copy") from None
            continue
        below = find_runs(path, damage.append)
        if inside := [run.path.name for run in below if not run.is_result]:
            names = ", ".join(inside[:5])
            raise RunError(f"{path} holds {len(inside)} runs ({names}); give them: simplerl report {path}/*")
        for result in below or [Run(path)]:  # `Run` says why it is neither run nor result.
            results += result.evaluations
            damage += result.damage
    return Sources(runs, results, damage)


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: what of it is below the folder that holds them all."""
    absolute = [path.expanduser().resolve() for path in paths]
    if twice := sorted(path for path in absolute if absolute.count(path) > 1):
        raise RunError(f"{twice[0]} is given twice")
    above = os.path.commonpath([path.parent for path in absolute])
    return [str(path.relative_to(above)) for path in absolute]


# -- what runs have in common and where they differ: configuration, environment, setting -----------------------------

#: Keys that do not make another setting: the seed, where the run lies, and who is told about it.
NOT_A_SETTING = ("seed", "output_dir", "tracking.")

#: Keys that a reader wants to see even where all runs agree.
ALWAYS = ("model", "data", "algorithm.name", "seed")

#: Runs with different seeds from which an interval over seeds is given.
ENOUGH_SEEDS = 3

#: What of a setting, and of an environment, is of this one run: its own paths, and what changes with every session.
_OF_ONE_RUN = ("output_dir", "start_step", "data_origin", "data.left_out", "base_model.path", "reference.path")


class Group(NamedTuple):
    """Runs of one setting; in figures a curve, which is that of a setting over its seeds or of one run."""

    name: str
    runs: tuple[ReportedRun, ...]
    number: int = 0  # Colour, marker and line everywhere

    @property
    def independent(self) -> tuple[ReportedRun, ...]:
        """One run of each seed, the first given: two of one seed say nothing about other seeds."""
        by_seed: dict[str, ReportedRun] = {}
        for run in self.runs:
            by_seed.setdefault(json.dumps(run.seed, default=str), run)
        return tuple(by_seed.values())

    @property
    def over_seeds(self) -> bool:
        """Whether there are seeds enough for an interval over them."""
        return len(self.independent) >= ENOUGH_SEEDS


def groups(runs: Sequence[ReportedRun]) -> tuple[Group, ...]:
    """Return the runs by setting, in the order in which settings appear."""
    by_key: dict[str, list[ReportedRun]] = {}
    for run in runs:
        # A setting is the configuration, the command, and what the data and base model really were.
        values = {key: value for key, value in run.settings.items() if not key.startswith(NOT_A_SETTING)}
        hashes = {key: value for key, value in run.environment.items() if key.endswith("sha256")}
        by_key.setdefault(_text([run.run.stage, values, hashes]), []).append(run)
    named: dict[str, Group] = {}
    for members in by_key.values():
        base = members[0].label if len(members) == 1 else _common_name(members)
        name = next(n for n in (base, *(f"{base} #{i}" for i in range(2, len(named) + 2))) if n not in named)
        named[name] = Group(name, tuple(members))
    return tuple(named.values())


def series(settings: Sequence[Group]) -> tuple[Group, ...]:
    """Return what figures draw: a setting with seeds enough as one curve, every other run as its own."""
    drawn: list[tuple[str, tuple[ReportedRun, ...]]] = []
    for group in settings:
        if group.over_seeds:
            drawn.append((f"{group.name} ({len(group.independent)} seeds)", group.independent))
        else:
            drawn += [(run.label, (run,)) for run in group.runs]
    return tuple(Group(name, runs, number) for number, (name, runs) in enumerate(drawn))


def _common_name(runs: Sequence[ReportedRun]) -> str:
    """Return what the names of several runs begin with; the model and algorithm where that is too little."""
    common = os.path.commonprefix([run.label for run in runs]).rstrip("0123456789")  # noqa: RUF071 (not of paths)
    common = re.sub(r"(^|[_\-. /])(seed|run|s)?[_\-. /]*$", "", common)
    known = (str(runs[0].settings.get(key, "?")) for key in ("model", "algorithm.name"))
    return common if len(common) >= 3 else " ".join(known)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def differences(runs: Sequence[ReportedRun]) -> dict[str, tuple[Any, ...]]:
    """Return the keys of configuration and environment that differ, after those that a reader always wants.

    Each with the value of every run, None where it lacks the key.
    """
    tables = [run.everything for run in runs]
    keys = dict.fromkeys([*ALWAYS, *(key for table in tables for key in table if not key.startswith(_OF_ONE_RUN))])
    rows = {key: tuple(table.get(key) for table in tables) for key in keys}
    return {key: row for key, row in rows.items() if key in ALWAYS or len(set(map(_text, row))) > 1}


# -- before and after, over seeds, one beside another, exploration, behaviours ---------------------------------------

#: Titles, captions and headings.
TEXTS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "texts.toml").read_text(encoding="utf-8"))

#: Panels: role → (title, unit, factor). Columns of the table of shapes: figure → (heading, whether it is a share).
ROLES: dict[str, tuple[str, str, float]] = TEXTS["exploration"]
SHAPES: dict[str, tuple[str, bool]] = TEXTS["shapes"]

#: Evaluations of a run whose exploration is looked at: each takes part of a second.
MOST_EVALUATIONS = 12

#: What is said of a run whose responses nobody judged.
NOBODY = "No responses were judged yet."

Change = dict[str, Any]
"""What `compare` says of one evaluation beside another."""


def _held_out(before: Evaluated, after: Evaluated, labels: Sequence[str]) -> Change:
    return compare(*(dataclasses.replace(e.source, label=n) for n, e in zip(labels, (before, after), strict=True)))


def gain(run: ReportedRun) -> Change:
    """Return what came of a run: its last evaluation beside the one before training. Raises RunError without both."""
    if run.first is None or run.last is None:
        raise RunError(f"there is no evaluation {'before training' if run.first is None else 'after training began'}")
    return _held_out(run.first, run.last, [f"{run.label}@{side.step}" for side in (run.first, run.last)])


def against_first(runs: Sequence[ReportedRun]) -> dict[str, Change | str]:
    """Return label → the run's last evaluation beside the first run's, or why they cannot be compared."""
    last = [(run.label, run.last) for run in runs if run.last is not None]
    return {label: or_why(_held_out, last[0][1], after, (last[0][0], label)) for label, after in last[1:]}


class OverSeeds(NamedTuple):
    """A number of one setting over its seeds."""

    share: bool  # Whether it is shown as a percentage
    values: Mapping[str, float]  # By seed
    mean: Estimate  # By Student's t over seeds; without interval where there are fewer than three


def _of(evaluated: Evaluated | None, name: str) -> float:
    return getattr(evaluated, name).value if evaluated else math.nan


def over_seeds(groups: Sequence[Group]) -> list[dict[str, OverSeeds]]:
    """Return every measure of each setting over its seeds, by its label; pass@k at the largest k that all runs have."""
    known = [set(run.last.pass_at) for group in groups for run in group.independent if run.last]
    k = max(set.intersection(*known), default=0) if known else 0
    measures: dict[str, tuple[bool, Callable[[ReportedRun], float]]] = {
        "accuracy before": (True, lambda run: _of(run.first, "accuracy")),
        "accuracy after": (True, lambda run: _of(run.last, "accuracy")),
        "gain": (True, lambda run: _of(run.last, "accuracy") - _of(run.first, "accuracy")),
        f"pass@{k or 'k'} after": (True, lambda run: run.last.pass_at[k].value if run.last and k else math.nan),
        "length after": (False, lambda run: _of(run.last, "length")),
        "truncated after": (True, lambda run: _of(run.last, "clip_ratio")),
    }
    table: list[dict[str, OverSeeds]] = []
    for group in groups:
        table.append({})
        for label, (share, of) in measures.items():
            values = {str(run.seed): of(run) for run in group.independent}
            mean = Estimate.over(list(values.values()))
            if not group.over_seeds or any(map(math.isnan, values.values())):
                mean = Estimate(value=mean.value)
            table[-1][label] = OverSeeds(share, values, mean)
    return table


def paired_gain(group: Group, reference: Group) -> Estimate:
    """Return the difference in final accuracy from another setting, seed by seed; no value below three shared seeds."""
    by_seed = ({str(r.seed): r.last.accuracy.value for r in g.independent if r.last} for g in (group, reference))
    gain = paired(*by_seed)
    return gain if gain.n >= ENOUGH_SEEDS else Estimate()


class Problems(NamedTuple):
    """What the ledger of a run says of its problems."""

    sampled: int
    visits: float  # Steps in which a problem was sampled, the mean
    last: tuple[float, float, float]  # Shares of problems all right, mixed and all wrong when they were last sampled
    opened: tuple[int, int]  # Of those all wrong at first and sampled again: (some right at the last, all of them)


def problems(run: ReportedRun) -> Problems | None:
    """Return what came of a run's training problems; None where none was judged."""
    visits: dict[str, list[float]] = {}
    for row in run.run.ledger.to_pylist():
        if row["decided"]:
            visits.setdefault(row["problem_id"], []).append(row["right"] / row["decided"])
    if not visits:
        return None
    last = [rates[-1] for rates in visits.values()]
    again = [rates[-1] > 0 for rates in visits.values() if len(rates) > 1 and not rates[0]]
    kinds = (sum(rate == 1 for rate in last), sum(0 < rate < 1 for rate in last), sum(rate == 0 for rate in last))
    right, mixed, wrong = (kind / len(last) for kind in kinds)
    mean = sum(map(len, visits.values())) / len(visits)
    return Problems(len(visits), mean, (right, mixed, wrong), (sum(again), len(again)))


class Explored(NamedTuple):
    """A run's exploration and exploitation over its evaluations: samples per problem (K), and curves by role."""

    samples: int
    curves: Mapping[str, Band]


def explore(run: ReportedRun) -> Explored:
    """Return the exploration of a run. Raises RunError where there is none."""
    points = [exploration.Point(e.source) for e in spread(run.readable, MOST_EVALUATIONS)]
    if not points:
        raise RunError("It has no evaluation whose responses can be read.")
    if (samples := max(p.samples for p in points)) < 2:
        advice = "set evaluation.samples to 8 or so"
        raise RunError(f"With one sample per problem there is nothing to say of exploration; {advice}.")
    names = {"pass@K": "pass@{0}", "two right": "pass@{0}-2", "reward": "reward@{0}-{1}"}
    of_role: dict[str, list[tuple[float, Any]]] = {role: [] for role in ROLES}
    for role, curve in of_role.items():
        for p in points:
            name = names.get(role, role).format(p.samples, best(p.samples))
            curve.append((float(p.step or 0), p.figures.get(name)))
    return Explored(samples, {role: band_of(curve) for role, curve in of_role.items()})


def best(samples: int) -> int:
    """Return the S of Reward@K-S that is shown: the largest power of two up to half the samples."""
    return 2 ** max(0, int(math.log2(samples)) - 1)


class Judge(NamedTuple):
    """What one judge saw."""

    name: str
    judged: int
    undecided: int  # Responses for which it gave no answer that could be read
    curves: Mapping[str, Band]  # Behaviour → share of responses over steps, with 95% intervals over problems


def read_judges(run: ReportedRun) -> list[Judge]:
    """Return what each judge saw, those that match words last. Raises RunError where nobody judged."""
    judgements = [judgement for judgement in run.run.behaviours() if judgement.step is not None]
    if not judgements:
        raise RunError(NOBODY)
    judges: dict[str, Judge] = {}  # Judgements by several patterns, or prompts, are not mixed: the last settings hold.
    for entry in behaviours.table(judgements)["judges"]:
        name, steps, undecided = entry["judge"], entry["steps"], sum(step["undecided"] for step in entry["steps"])
        curves = {n: band_of([(float(step["step"]), step["behaviours"][n]) for step in steps]) for n in BEHAVIOURS}
        judged = sum(step["responses"] for step in steps) - undecided
        judges[name] = Judge(name, judged, undecided, curves)
    return list(judges.values())


class Benchmarks:
    """Every evaluation that was given, in a table, and every row beside the first, problem by problem."""

    def __init__(self, results: Sequence[Evaluation]):
        self.table = rows(results)  # Row (a model under one protocol) → benchmark → evaluation
        self.names = list(dict.fromkeys(name for row in self.table.values() for name in row))
        """Benchmarks, in the order of columns."""
        self.averages = {model: averages(row)["acc"] for model, row in self.table.items()}
        self.beside: dict[tuple[str, str], Change | str] = {}  # (row, benchmark) → how it compares with the first row
        first, *others = self.table
        for model, name in itertools.product(others, self.names):
            if name in self.table[first] and name in self.table[model]:
                self.beside[model, name] = or_why(compare, self.table[first][name], self.table[model][name])


# -- responses before and after training -----------------------------------------------------------------------------
# Chosen by a rule that is written in the report, and not by hand. A problem is right where at least half of its judged
# samples are. Before and after give four kinds; from each, problems are drawn. Of a problem the first sample is shown
# whose verdict agrees with its side.

#: Kind → (right before, right after, what it is called).
KINDS: dict[str, tuple[bool, bool, str]] = {
    "gained": (False, True, "Gained: wrong before, right after"),
    "lost": (True, False, "Lost: right before, wrong after"),
    "still wrong": (False, False, "Still wrong"),
    "both right": (True, True, "Right before and after"),
}

Row = Mapping[str, Any]

_TEXTS = ("level", "question", "answer", "response", "stop_reason", "extracted", "rule", "detail")


class Examples(NamedTuple):
    """What was chosen from a run."""

    steps: tuple[int, int]  # Before and after
    counts: Mapping[str, int]  # Kind → problems of that kind
    chosen: Mapping[str, Sequence[Sequence[Row]]]
    """Kind → problems, each with a response before and one after: rows of the records, with their `step`, and of the
    problem how many samples were `judged` and are `right`."""
    left_out: int  # Problems that only one side has, or that nobody could judge on one side


def choose(run: ReportedRun, *, number: int) -> Examples:
    """Choose up to `number` problems of each kind. Raises RunError where that cannot be done."""
    if len(run.readable) < 2:
        raise RunError("There are not two evaluations whose responses can be read.")
    sides = (run.readable[0], run.readable[-1])
    before, after = map(_judged, sides)
    kinds: dict[tuple[bool, ...], list[str]] = defaultdict(list)
    for problem in sorted(p for p in before if before[p] and after.get(p)):
        kinds[tuple(2 * sum(map(_right, side[problem])) >= len(side[problem]) for side in (before, after))] += [problem]
    chosen: dict[str, list[list[Row]]] = {}
    for kind, (*right, _) in KINDS.items():
        problems = kinds[tuple(right)]
        # The draw of one kind does not depend on the others.
        drawn = generator(0, "report-examples", kind).permutation(len(problems))[:number]
        columns = list(zip((before, after), right, sides, strict=True))
        chosen[kind] = [[_response(rows[problems[i]], good, side.step) for rows, good, side in columns] for i in drawn]
    return Examples(
        steps=(sides[0].step, sides[1].step),
        counts={kind: len(kinds[right[:2]]) for kind, right in KINDS.items()},
        chosen=chosen,
        left_out=len(before.keys() | after.keys()) - sum(map(len, kinds.values())),
    )


def _judged(side: Evaluated) -> dict[str, list[Row]]:
    """Return problem → the rows of its samples that somebody could judge."""
    judged: dict[str, list[Row]] = defaultdict(list)
    for row in side.source.responses(["problem_id", "sample", "verdict", *_TEXTS]).to_pylist():
        judged[row["problem_id"]] += [row] if row["verdict"] not in UNDECIDED else []
    return judged


def _right(row: Row) -> bool:
    return row["verdict"] == "correct"


def _response(rows: Sequence[Row], right: bool, step: int) -> Row:
    """Return the first sample whose verdict agrees with the side; there is one, because half or more of them do."""
    row = next(row for row in rows if _right(row) == right)
    return {**row, "step": step, "right": sum(map(_right, rows)), "judged": len(rows)}
