"""What came of runs and results: before and after, over seeds, one beside another, exploration, behaviours."""

import dataclasses
import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simplerl.analysis import behaviours, evaluations, exploration
from simplerl.analysis.compare import compare
from simplerl.analysis.estimates import Estimate
from simplerl.analysis.panels import band_of
from simplerl.analysis.seeds import Band, paired
from simplerl.core.errors import RunError
from simplerl.doctor.diagnosis import spread
from simplerl.report.reading import Evaluated, ReportedRun, or_why
from simplerl.report.settings import ENOUGH_SEEDS, Group
from simplerl.runs.run import BEHAVIOURS, Evaluation

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
"""What `compare` says of one evaluation beside another; `difference` (after − before) as an Estimate."""


def change(before: Evaluation, after: Evaluation) -> Change:
    """Compare two evaluations problem by problem. Raises RunError where they cannot be compared."""
    table = compare(before, after)
    return {**table, "difference": Estimate.of(table["difference"])}


def _held_out(before: Evaluated, after: Evaluated, labels: Sequence[str]) -> Change:
    for label, side in zip(labels, (before, after), strict=True):
        if not side.readable:
            raise RunError(f"the responses of {label} cannot be read")
    return change(*(dataclasses.replace(e.source, label=n) for n, e in zip(labels, (before, after), strict=True)))


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


def _measures(k: int) -> dict[str, tuple[bool, Callable[[ReportedRun], float]]]:
    """Return what is averaged over seeds: label → (whether it is a share, the number of a run)."""
    return {
        "accuracy before": (True, lambda run: _of(run.first, "accuracy")),
        "accuracy after": (True, lambda run: _of(run.last, "accuracy")),
        "gain": (True, lambda run: _of(run.last, "accuracy") - _of(run.first, "accuracy")),
        f"pass@{k or 'k'} after": (True, lambda run: run.last.pass_at[k].value if run.last and k else math.nan),
        "length after": (False, lambda run: _of(run.last, "length")),
        "truncated after": (True, lambda run: _of(run.last, "clip_ratio")),
    }


def _of(evaluated: Evaluated | None, name: str) -> float:
    return getattr(evaluated, name).value if evaluated else math.nan


def over_seeds(groups: Sequence[Group]) -> list[dict[str, OverSeeds]]:
    """Return every measure of each setting over its seeds, by its label; pass@k at the largest k that all runs have."""
    known = [set(run.last.pass_at) for group in groups for run in group.independent if run.last]
    measures = _measures(max(set.intersection(*known), default=0) if known else 0)
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
    own, other = ({run.seed: run.last.accuracy.value for run in g.independent if run.last} for g in (group, reference))
    gain = paired(own, other)
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
    agreement: Mapping[str, Estimate]
    """Behaviour → Cohen's κ with the keywords; empty for these themselves, and where there are none."""


def read_judges(run: ReportedRun) -> list[Judge]:
    """Return what each judge saw, those that match words last. Raises RunError where nobody judged."""
    judgements = [judgement for judgement in run.run.behaviours() if judgement.step is not None]
    if not judgements:
        raise RunError(NOBODY)
    table = behaviours.table(judgements)
    agreed = {(a["judge"], a["settings"]): a["behaviours"] for a in table["agreement"]}
    judges: dict[str, Judge] = {}  # Judgements by several patterns, or prompts, are not mixed: the last settings hold.
    for entry in table["judges"]:
        name, steps, undecided = entry["judge"], entry["steps"], sum(step["undecided"] for step in entry["steps"])
        curves = {n: band_of([(float(step["step"]), step["behaviours"][n]) for step in steps]) for n in BEHAVIOURS}
        agreement = agreed.get((name, entry["settings"]), {})
        kappas = {behaviour: Estimate.of(figures["kappa"]) for behaviour, figures in agreement.items()}
        judged = sum(step["responses"] for step in steps) - undecided
        judges[name] = Judge(name, judged, undecided, curves, kappas)
    return list(judges.values())


class Benchmarks:
    """Every evaluation that was given, in a table, and every row beside the first, problem by problem."""

    def __init__(self, results: Sequence[Evaluation]):
        self.table = evaluations.rows(results)  # Row (a model under one protocol) → benchmark → evaluation
        self.names = list(dict.fromkeys(name for row in self.table.values() for name in row))
        """Benchmarks, in the order of columns."""
        self.averages = {model: evaluations.averages(row)["acc"] for model, row in self.table.items()}
        self.beside: dict[tuple[str, str], Change | str] = {}  # (row, benchmark) → how it compares with the first row
        first, *others = self.table
        for model, name in itertools.product(others, self.names):
            if name in self.table[first] and name in self.table[model]:
                self.beside[model, name] = or_why(change, self.table[first][name], self.table[model][name])
