"""Compare two evaluations problem by problem: did it help, or did we only sample again?

Reads result directories and the evaluations of run directories. Only problems that both sides answered are compared:
those with the same id, question and gold. The rest is counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from simplerl.errors import RunError
from simplerl.ops.statistics import bootstrap_interval, pass_at_k, sign_flip_test
from simplerl.runs.answers import Answer, by_problem, read_answers
from simplerl.runs.directory import read_metrics
from simplerl.runs.results import RESPONSES, results

#: Parts of a protocol that must be equal for a difference to be the models' own.
FAIR = ("template", "sampling", "policy", "data_sha256", "seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison on one benchmark."""

    label: str
    benchmark: str
    responses: Path
    protocol: Mapping[str, Any]
    """Empty for a run's own evaluations: the run directory says how they were made."""


def sides(name: str) -> dict[str, Side]:
    """Return benchmark → side. `name` is a result directory (one model's, or one evaluation) or `RUN@STEP`: the
    held-out evaluation of a run after a step (`RUN` alone: the last).

    Raises RunError where there is nothing, or where a benchmark is there more than once.
    """
    path = Path(name).expanduser()
    run, _, step = name.rpartition("@")
    if not path.exists() and run and step.isdecimal() and (Path(run) / "evaluations").is_dir():
        return _of_run(Path(run).expanduser(), int(step))
    if not path.is_dir():
        raise RunError(f"{name} does not exist; give the directory of a result, or RUN@STEP for a run's evaluation")
    if (path / "evaluations").is_dir() and (path / "config.json").is_file():
        evaluated = sorted(_evaluated(path))
        if not evaluated:
            raise RunError(f"{path} holds no evaluation yet")
        return _of_run(path, evaluated[-1])
    found: dict[str, Side] = {}
    for result in results(path):
        if result.benchmark in found:
            other = found[result.benchmark].responses.parent
            raise RunError(
                f"{path} holds more than one evaluation of {result.benchmark}: {other} and {result.path}; give one of "
                "them, or the directory of one model"
            )
        found[result.benchmark] = Side(
            label=result.model,
            benchmark=result.benchmark,
            responses=result.path / RESPONSES,
            protocol=result.protocol,
        )
    if not found:
        raise RunError(f"{path} holds no finished evaluation (responses.parquet with figures.json)")
    return found


def _evaluated(run: Path) -> list[int]:
    names = (file.stem.removeprefix("step_") for file in (run / "evaluations").glob("step_*.parquet"))
    return [int(name) for name in names if name.isdecimal()]


def _of_run(run: Path, step: int) -> dict[str, Side]:
    there = sorted(_evaluated(run))
    if step not in there:
        raise RunError(f"{run} has no evaluation of step {step}; it has {', '.join(map(str, there)) or 'none'}")
    file = run / "evaluations" / f"step_{step:06d}.parquet"
    side = Side(label=f"{run.resolve().name}@{step}", benchmark="held-out", responses=file, protocol={})
    return {"held-out": side}


def compare(before: Side, after: Side) -> dict[str, Any]:
    """Return what changed from one side to the other on one benchmark.

    Differences are after − before, with 95% bootstrap intervals over problems and a two-sided sign-flip test.
    """
    first, second = (_decided(side) for side in (before, after))
    asked = [questions(side) for side in (before, after)]
    both = [problem for problem in asked[0] if problem in asked[1]]
    other = [problem for problem in both if asked[0][problem] != asked[1][problem]]
    shared = [p for p in both if p in first and p in second and p not in set(other)]
    if not shared:
        raise RunError(
            f"{before.label} and {after.label} have no judged problem of {before.benchmark} in common"
            + (f": {len(other)} have the same id, but another question or gold" if other else ": other data?")
        )
    scores = {problem: (_score(first[problem]), _score(second[problem])) for problem in shared}
    strict = {problem: (_strict(first[problem]), _strict(second[problem])) for problem in shared}
    change_P = np.array([b - a for a, b in scores.values()])
    levels = sorted({first[problem][0].level for problem in shared} - {""})
    gained = [p for p in shared if not _solved(first[p]) and _solved(second[p])]
    lost = [p for p in shared if _solved(first[p]) and not _solved(second[p])]
    return {
        "benchmark": before.benchmark,
        "before": before.label,
        "after": after.label,
        "problems": len(shared),
        "left_out": {
            "only_before": len(asked[0]) - len(both),
            "only_after": len(asked[1]) - len(both),
            "other_question": len(other),
            "undecided": len(both) - len(other) - len(shared),
        },
        "unfair": unfair(before.protocol, after.protocol),
        "acc": {"before": _mean(scores, 0), "after": _mean(scores, 1)},
        "acc_strict": {"before": _mean(strict, 0), "after": _mean(strict, 1)},
        "difference": _difference(change_P),
        "p_value": sign_flip_test(change_P),
        "by_level": {
            level: _difference(np.array([b - a for p, (a, b) in scores.items() if first[p][0].level == level]))
            for level in levels
        },
        **_curves([first[p] for p in shared], [second[p] for p in shared]),
        "gained": gained,
        "lost": lost,
        "more_often": int((change_P > 0).sum()),
        "less_often": int((change_P < 0).sum()),
    }


def unfair(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two protocols beside the model."""
    if not before or not after:
        return []
    return [
        f"{key}: {_short(before.get(key))} before, {_short(after.get(key))} after"
        for key in FAIR
        if before.get(key) != after.get(key)
    ]


def _short(value: Any) -> str:
    text = value["name"] if isinstance(value, dict) and "name" in value else str(value)
    return re.sub(r"\s+", " ", text)[:120]


def _decided(side: Side) -> dict[str, list[Answer]]:
    """Return problem → its decided samples, without problems that have none."""
    groups = by_problem(answer for answer in read_answers(side.responses) if answer.decided)
    return {problem: members for problem, members in groups.items() if members}


def _score(members: Sequence[Answer]) -> float:
    return sum(a.correct for a in members) / len(members)


def _strict(members: Sequence[Answer]) -> float:
    return sum(a.strictly_correct for a in members) / len(members)


def _solved(members: Sequence[Answer]) -> bool:
    return any(a.correct for a in members)


def _mean(scores: Mapping[str, tuple[float, float]], side: int) -> dict[str, float]:
    values = np.array([pair[side] for pair in scores.values()])
    low, high = bootstrap_interval(values)
    return {"value": float(values.mean()), "low": low, "high": high}


def _difference(change_P: np.ndarray) -> dict[str, float]:
    low, high = bootstrap_interval(change_P)
    return {"value": float(change_P.mean()), "low": low, "high": high, "problems": len(change_P)}


def _curves(first: Sequence[Sequence[Answer]], second: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Return the pass@k curves over k = 1, 2, 4 … that every problem has samples for, their difference, and where the
    curve of the base passes that of the trained model, if it does."""
    most = min(len(members) for members in [*first, *second])
    ks = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})
    curve: dict[str, Any] = {}
    for k in ks:
        pair = np.array([[_pass(a, k), _pass(b, k)] for a, b in zip(first, second, strict=True)])
        curve[str(k)] = {
            "before": float(pair[:, 0].mean()),
            "after": float(pair[:, 1].mean()),
            "difference": _difference(pair[:, 1] - pair[:, 0]),
        }
    signs = [curve[str(k)]["difference"]["value"] for k in ks]
    crossing = next((k for k, s in zip(ks, signs, strict=True) if signs[0] > 0 > s), None)
    certain = crossing is not None and curve[str(crossing)]["difference"]["high"] < 0
    return {"pass@k": curve, "crossing": crossing, "crossing_is_certain": certain}


def _pass(members: Sequence[Answer], k: int) -> float:
    return pass_at_k(len(members), sum(a.correct for a in members), k)


def questions(side: Side) -> dict[str, tuple[str, str]]:
    """Return problem id → (question, gold)."""
    try:
        table = pyarrow.parquet.read_table(side.responses, columns=["problem_id", "question", "answer"]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise RunError(f"{side.responses} cannot be read: {error}") from error
    return {row["problem_id"]: (row["question"] or "", row["answer"] or "") for row in table}


def first_and_last(run: str) -> tuple[str, str]:
    """Return the two names that compare a run with itself: before training, and after the last evaluation."""
    path = Path(run).expanduser()
    if not (path / "evaluations").is_dir() or not read_metrics(path):
        raise RunError(f"{run} is no run with evaluations; give two evaluations to compare")
    steps = sorted(_evaluated(path))
    if len(steps) < 2:
        raise RunError(f"{run} has only {len(steps)} evaluation; there is nothing to compare yet")
    return f"{run}@{steps[0]}", f"{run}@{steps[-1]}"
