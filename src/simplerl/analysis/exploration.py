"""Exploration and exploitation over the steps of training (B-STaR, arXiv 2412.17256).

Every figure is a mean over problems of a measure of one problem's samples (`ops.exploration`), with a 95% bootstrap
interval over problems. Right and wrong are the verdicts; what the verifier could not decide is left out of both, and
counted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import ConfigError, RunError
from simplerl.ops import exploration as ops
from simplerl.ops.statistics import difference_figure, intervals, pass_at_k, powers_up_to, ratio_figures
from simplerl.runs.metrics import as_number
from simplerl.runs.responses import Answer, by_problem
from simplerl.runs.run import Evaluation, Run, is_run, read_series

#: Figures that are numbers and not shares, so that they are not shown as percentages.
COUNTS = ("distinct_answers", "distinct_right")
#: Figures that are 0 or 1 in each problem, so that an interval of no width would be too sure of itself.
_SURE = ("pass@", "reward@")

#: n* of the query effect: how many unique right responses a problem is wanted to have. The paper's.
WANTED = 6


class Point:
    """The figures of one evaluation. Raises RunError where it cannot be read, ConfigError as `over_steps`."""

    def __init__(self, evaluation: Evaluation, *, k: int | None = None, s: Sequence[int] = (), wanted: int = WANTED):
        if not (groups := by_problem(answers := evaluation.answers())):
            raise RunError(f"{evaluation.path} holds no responses")
        self.step, self.label = evaluation.step, evaluation.label
        self.problems, self.samples = len(groups), max(map(len, groups.values()))  # The most that a problem has
        self.undecided = sum(not answer.decided for answer in answers)  # What the verifier could not judge
        among = self.samples if k is None else k
        tops = tuple(s) or powers_up_to(among)
        if not 1 <= among <= self.samples:
            raise ConfigError(
                f"--k {among}: {self.label} has {self.samples} samples per problem; K is between 1 and that"
            )
        if not all(1 <= top <= among for top in tops):
            raise ConfigError(f"--s {','.join(map(str, tops))}: S must be between 1 and K = {among}")
        measured = {problem: _of_problem(group, self.samples, among, tops, wanted) for problem, group in groups.items()}
        names = list(dict.fromkeys(name for values in measured.values() for name in values))
        sums = [{name: (value, 1.0) for name, value in values.items()} for values in measured.values()]
        self.figures = intervals(sums, names, shares=[name for name in names if name.startswith(_SURE)])
        """Name (docs/exploration.md) → {value, low, high, problems}: `pass@4`, `pass@8-2`, `distinct_answers` …"""
        self.by_problem = {
            name: {p: values[name] for p, values in measured.items() if name in values} for name in names
        }
        """Name → problem id → value, of the problems that have one."""

    def has(self, name: str) -> bool:
        """Return whether a figure has a value."""
        return name in self.figures and not math.isnan(self.figures[name]["value"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploration:
    """A run, or results over checkpoints."""

    name: str
    path: Path
    points: tuple[Point, ...]
    useful: tuple[tuple[int, float, float], ...]
    """(step, response tokens sampled, of them useful) of every training step of a run; empty for results."""
    left_out: tuple[str, ...]  # Evaluations that could not be read, each with its reason

    def useful_share(self, after: int, until: int) -> float:
        """Return the share of useful tokens over the steps after one and up to another; NaN where there are none."""
        steps = [(sampled, useful) for step, sampled, useful in self.useful if after < step <= until]
        sampled = sum(count for count, _ in steps)
        return sum(useful for _, useful in steps) / sampled if sampled else math.nan


def over_steps(
    path: Path,
    *,
    k: int | None = None,
    s: Sequence[int] = (),
    wanted: int = WANTED,
    steps: str = "all",
    warn: Callable[[str], None] = lambda message: None,
    on_done: Callable[[], None] = lambda: None,
) -> list[Exploration]:
    """Return exploration and exploitation over steps: of a run one, of a directory of results one per series.

    `k` is the K of Pass@K-S and its like (default: the number of samples), `s` their S (default: 1, 2, 4 … up to K),
    `wanted` the n* of the query effect. `warn` hears of a damaged file, which is left out. Raises RunError where there
    is nothing to read, ConfigError where K or S do not fit the samples.
    """
    explorations = []
    for one in read_series(path, steps, lambda e: Point(e, k=k, s=s, wanted=wanted), warn=warn, on_done=on_done):
        lines = Run(path, warn=warn).lines if is_run(path) else {}
        tokens = [
            (step, as_number(line.get("tokens/sampled")), as_number(line.get("tokens/useful")))
            for step, line in lines.items()
        ]
        useful = tuple(entry for entry in tokens if entry[0] > 0 and all(0 <= number < 1e15 for number in entry[1:]))
        what: Any = {"points": tuple(one.values), "useful": useful, "left_out": tuple(one.left_out)}
        explorations.append(Exploration(name=one.name, path=path, **what))
    return explorations


def _of_problem(group: Sequence[Answer], most: int, among: int, tops: Sequence[int], wanted: int) -> dict[str, float]:
    """Return the measures that a problem's samples have. Figures among k need as many decided samples."""
    decided = [answer for answer in group if answer.decided]
    texts, truth = [answer.response for answer in group], [answer.correct for answer in decided]
    right = [answer.response for answer in decided if answer.correct]
    n, classes = len(decided), ops.unique_classes([ops.normalised(text) for text in right])
    measures: dict[str, float] = {f"pass@{k}": pass_at_k(n, len(right), k) for k in powers_up_to(most) if k <= n}
    if among <= n:
        measures |= {f"pass@{among}-{top}": ops.pass_at_k_s(n, classes, among, top) for top in tops}
        scores = [answer.reward for answer in decided if answer.reward is not None and not math.isnan(answer.reward)]
        if len(scores) == n:
            measures |= {f"reward@{among}-{top}": ops.reward_at_k_s(scores, truth, among, top) for top in tops}
    if decided:
        wrong = {a.extracted for a in decided if not a.correct and a.extracted is not None}
        measures["distinct_answers"] = float(len({ops.normalised(answer) for answer in wrong}) + bool(right))
        measures["distinct_right"] = float(len(classes))
        measures["distinct_equations"] = ops.distinct_equations(right)
        measures["query_effect"] = ops.query_effect(len(classes), len(right), wanted)
    measures["unique_responses"] = len({ops.normalised(text) for text in texts}) / len(texts)
    different, grams = ops.distinct_n(texts)
    if grams:
        measures["distinct_2"] = different / grams
    return measures


def change(before: Point, after: Point, name: str) -> dict[str, Any] | None:
    """Return after − before of a figure with its 95% interval, paired over the problems that have it in both.

    None where there are none.
    """
    first, second = before.by_problem.get(name, {}), after.by_problem.get(name, {})
    shared = [problem for problem in first if problem in second]
    if not shared:
        return None
    change_P = np.array([second[problem] - first[problem] for problem in shared])
    if name.startswith(_SURE):
        return difference_figure(change_P)
    return ratio_figures(change_P[:, None], np.ones((len(shared), 1)), [name])[name]


def peak(points: Sequence[Point], name: str) -> Point | None:
    """Return the evaluation at which a figure is highest, the earliest of equals; None where none has it."""
    return max((p for p in points if p.has(name)), key=lambda p: p.figures[name]["value"], default=None)


def to_json(exploration: Exploration) -> dict[str, Any]:
    """Return everything but the values of single problems, for a JSON file."""
    first, last = exploration.points[0], exploration.points[-1]
    names = list(dict.fromkeys(name for p in exploration.points for name in p.figures))
    peaks = {name: peak(exploration.points, name) for name in names}
    columns = ("step", "sampled", "useful")
    return {
        "name": exploration.name,
        "path": str(exploration.path),
        "points": [{key: v for key, v in vars(p).items() if key != "by_problem"} for p in exploration.points],
        "useful_tokens": [dict(zip(columns, entry, strict=True)) for entry in exploration.useful],
        "change": {name: change(first, last, name) for name in names},
        "peak": {name: p and {"step": p.step, "to_last": change(p, last, name)} for name, p in peaks.items()},
        "left_out": list(exploration.left_out),
    }
