"""Exploration and exploitation over the steps of training (B-STaR, arXiv 2412.17256): reads runs and results.

Every figure is a mean over problems of a measure of one problem's samples (`ops.exploration`), with a 95% bootstrap
interval over problems. Right and wrong are the verdicts; what the verifier could not decide is left out of both, and
counted.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import ConfigError, RunError
from simplerl.core.types import UNDECIDED
from simplerl.ops import exploration as ops
from simplerl.ops.statistics import bootstrap_interval, pass_at_k, powers_up_to, ratio_figures
from simplerl.runs.directory import read_metrics
from simplerl.runs.stages import Series, Stage, choose, is_run, list_means, read_columns, series

#: What each figure is; docs/exploration.md has a line for each.
MEANING: dict[str, str] = {
    "pass@k": "probability that at least one of k samples is right, unbiased",
    "pass@K-S": "probability that at least S unique right responses are among K samples",
    "reward@K-S": "probability that the S samples of highest reward among K are all right; S = 1 is Best-of-K",
    "likelihood@K-S": "the same, ranked by the model's own mean log-probability of a token instead of the reward",
    "distinct_answers": "different final answers among a problem's samples; all right ones are one answer",
    "distinct_right": "unique right responses among a problem's samples",
    "unique_responses": "share of a problem's responses that are different from each other",
    "distinct_equations": "unique equations / all equations in a problem's right responses (0/0 = 0)",
    "distinct_2": "different bigrams of words / all bigrams in a problem's responses (distinct-2)",
    "similarity": "mean Jaccard similarity of the bigrams of two of a problem's responses: 1 is no diversity",
    "query_effect": "B-STaR's balance of exploration and exploitation, of the right responses of a problem",
    "useful_tokens": "share of the response tokens sampled for training that carried gradient",
}

#: Figures that are no share of anything, so that they are not shown as percentages.
COUNTS = frozenset({"distinct_answers", "distinct_right"})

#: n* of the query effect: how many unique right responses a problem is wanted to have. The paper's.
WANTED = 6

#: Figures that are 0 or 1 in each problem, so that an interval of no width would be too sure of itself.
_SURE = ("pass@", "reward@", "likelihood@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One evaluation."""

    step: int | None
    label: str
    problems: int
    samples: int
    """The most samples that a problem has."""
    undecided: int
    """Responses that the verifier could not judge."""
    figures: Mapping[str, Mapping[str, Any]]
    """Name → {value, low, high, problems}: `pass@4`, `pass@8-2`, `reward@8-2`, `distinct_answers` …"""
    by_problem: Mapping[str, Mapping[str, float]]
    """Name → problem id → value, of the problems that have one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploration:
    """A run, or results over checkpoints."""

    name: str
    path: Path
    points: tuple[Point, ...]
    useful: tuple[tuple[int, float, float], ...]
    """(step, response tokens sampled, of them useful) of every training step of a run; empty for results."""
    left_out: tuple[str, ...]
    """Evaluations that could not be read, each with its reason."""

    def useful_share(self, after: int, until: int) -> float:
        """Return the share of useful tokens over the steps after one and up to another; NaN where there are none."""
        steps = [(sampled, used) for step, sampled, used in self.useful if after < step <= until]
        sampled = sum(count for count, _ in steps)
        return sum(used for _, used in steps) / sampled if sampled else math.nan


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
    `wanted` the n* of the query effect. A damaged file is told to `warn`, named and left out. Raises RunError where
    there is nothing to read, ConfigError where K or S do not fit the samples.
    """
    return [
        _of_series(one, choose(one.stages, steps), k=k, s=s, wanted=wanted, warn=warn, on_done=on_done)
        for one in series(path, warn)
    ]


def _of_series(
    one: Series,
    stages: Sequence[Stage],
    *,
    k: int | None,
    s: Sequence[int],
    wanted: int,
    warn: Callable[[str], None],
    on_done: Callable[[], None],
) -> Exploration:
    points, left_out = [], []
    for stage in stages:
        try:
            points.append(point(stage, k=k, s=s, wanted=wanted))
        except RunError as error:
            left_out.append(f"{stage.label}: {error}")
            warn(f"left out: {error}")
        on_done()
    if not points:
        raise RunError(f"{one.path}: no evaluation of {one.name} can be read; " + "; ".join(left_out))
    lines = []
    try:
        lines = read_metrics(one.path) if is_run(one.path) else []
    except RunError as error:
        left_out.append(f"useful tokens: {error}")
        warn(f"left out: useful tokens: {error}")
    useful = tuple(
        (line["step"], line["tokens/sampled"], line["tokens/useful"])
        for line in lines
        if line["step"] > 0 and all(_is_count(line.get(f"tokens/{name}")) for name in ("sampled", "useful"))
    )
    return Exploration(name=one.name, path=one.path, points=tuple(points), useful=useful, left_out=tuple(left_out))


def _is_count(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e15


@dataclass(frozen=True, slots=True)
class _Sample:
    response: str
    right: bool | None
    """None where the verifier could not decide."""
    answer: str | None
    reward: float | None
    likelihood: float | None


def point(stage: Stage, *, k: int | None = None, s: Sequence[int] = (), wanted: int = WANTED) -> Point:
    """Return the figures of one evaluation. Raises RunError where it cannot be read, ConfigError as `over_steps`."""
    groups = _samples(stage)
    if not groups:
        raise RunError(f"{stage.file} holds no responses")
    most = max(map(len, groups.values()))
    among = most if k is None else k
    tops = tuple(s) or powers_up_to(among)
    if not 1 <= among <= most:
        raise ConfigError(f"--k {among}: {stage.label} has {most} samples per problem; K must be between 1 and that")
    if not all(1 <= top <= among for top in tops):
        raise ConfigError(f"--s {','.join(map(str, tops))}: S must be between 1 and K = {among}")
    measured = {name: _of_problem(group, most, among, tops, wanted) for name, group in groups.items()}
    names = list(dict.fromkeys(name for values in measured.values() for name in values))
    above_PM = np.array([[values.get(name, 0.0) for name in names] for values in measured.values()], dtype=float)
    below_PM = np.array([[float(name in values) for name in names] for values in measured.values()])
    sure = [name for name in names if name.startswith(_SURE)]
    return Point(
        step=stage.step,
        label=stage.label,
        problems=len(groups),
        samples=most,
        undecided=sum(sample.right is None for group in groups.values() for sample in group),
        figures=ratio_figures(above_PM, below_PM, names, shares=sure),
        by_problem={
            name: {problem: values[name] for problem, values in measured.items() if name in values} for name in names
        },
    )


def _samples(stage: Stage) -> dict[str, list[_Sample]]:
    rows = read_columns(stage.file, ["problem_id", "response", "verdict"], ["extracted", "reward"])
    likelihoods = list_means(stage.file, "logprobs") or [None] * len(rows)
    groups: dict[str, list[_Sample]] = {}
    for row, likelihood in zip(rows, likelihoods, strict=True):
        groups.setdefault(row["problem_id"], []).append(
            _Sample(
                response=row["response"] or "",
                right=None if row["verdict"] in UNDECIDED else row["verdict"] == "correct",
                answer=None if row["extracted"] is None else ops.normalised(row["extracted"]),
                reward=row["reward"],
                likelihood=likelihood,
            )
        )
    return groups


def _of_problem(group: Sequence[_Sample], most: int, among: int, tops: Sequence[int], wanted: int) -> dict[str, float]:
    """Return the measures that a problem's samples have. Figures among k need as many decided samples."""
    decided = [sample for sample in group if sample.right is not None]
    right = [ops.normalised(sample.response) for sample in decided if sample.right]
    n, classes = len(decided), ops.unique_classes(right)
    found: dict[str, float] = {f"pass@{k}": pass_at_k(n, len(right), k) for k in powers_up_to(most) if k <= n}
    if among <= n:
        found |= {f"pass@{among}-{top}": ops.pass_at_k_s(n, classes, among, top) for top in tops}
        for name, scores in (
            ("reward", [sample.reward for sample in decided]),
            ("likelihood", [sample.likelihood for sample in decided]),
        ):
            if all(score is not None and score == score for score in scores):
                truth = [bool(sample.right) for sample in decided]
                found |= {f"{name}@{among}-{top}": ops.reward_at_k_s(scores, truth, among, top) for top in tops}
    if decided:
        wrong = {sample.answer for sample in decided if not sample.right and sample.answer is not None}
        found["distinct_answers"] = float(len(wrong) + bool(right))
        found["distinct_right"] = float(len(classes))
        found["distinct_equations"] = ops.distinct_equations(right)
        found["query_effect"] = ops.query_effect(len(classes), len(right), wanted)
    texts = [sample.response for sample in group]
    found["unique_responses"] = len({ops.normalised(text) for text in texts}) / len(texts)
    different, grams = ops.distinct_n(texts)
    if grams:
        found["distinct_2"] = different / grams
    if len(texts) > 1:
        found["similarity"] = ops.mean_similarity(texts)
    return found


def change(before: Point, after: Point, name: str) -> dict[str, Any] | None:
    """Return after − before of a figure with its 95% interval, paired over the problems that have it in both.

    None where there are none.
    """
    first, second = before.by_problem.get(name, {}), after.by_problem.get(name, {})
    shared = [problem for problem in first if problem in second]
    if not shared:
        return None
    change_P = np.array([second[problem] - first[problem] for problem in shared])
    low, high = bootstrap_interval(change_P)
    return {"value": float(change_P.mean()), "low": low, "high": high, "problems": len(shared)}


def peak(points: Sequence[Point], name: str) -> Point | None:
    """Return the evaluation at which a figure is highest, the earliest of equals; None where none has it."""
    known = [p for p in points if name in p.figures and not math.isnan(p.figures[name]["value"])]
    return max(known, key=lambda p: p.figures[name]["value"]) if known else None


def to_json(found: Exploration) -> dict[str, Any]:
    """Return everything but the values of single problems, for a JSON file."""
    names = list(dict.fromkeys(name for p in found.points for name in p.figures))
    first, last = found.points[0], found.points[-1]
    return {
        "name": found.name,
        "path": str(found.path),
        "points": [
            {
                "step": p.step,
                "label": p.label,
                "problems": p.problems,
                "samples": p.samples,
                "undecided": p.undecided,
                "figures": {name: dict(figure) for name, figure in p.figures.items()},
            }
            for p in found.points
        ],
        "useful_tokens": [
            {"step": step, "sampled": sampled, "useful": useful} for step, sampled, useful in found.useful
        ],
        "change": {name: change(first, last, name) for name in names},
        "peak": {name: _peak_and_fall(found, name) for name in names},
        "left_out": list(found.left_out),
    }


def _peak_and_fall(found: Exploration, name: str) -> dict[str, Any] | None:
    highest = peak(found.points, name)
    if highest is None:
        return None
    return {"step": highest.step, "to_last": change(highest, found.points[-1], name)}
