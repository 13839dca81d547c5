"""Compare two evaluations problem by problem: did it help, or did we only sample again?

Only problems that both sides answered are compared: those with the same id, question and gold. The rest is counted.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.errors import RunError
from simplerl.core.seeds import generator
from simplerl.ops.statistics import difference_figure, pass_at_k, powers_up_to, ratio_figures, sign_flip_test
from simplerl.runs.responses import Answer, by_problem
from simplerl.runs.run import HOW, Evaluation, Run, is_run, results

#: Parts of a protocol that must be equal for a difference to be the models' own.
FAIR = (*(name for name in HOW if name != "samples"), "data_sha256")


def sides(name: str) -> dict[str, Evaluation]:
    """Return benchmark → evaluation. `name` is a result directory (one model's, or one evaluation) or `RUN@STEP`: the
    held-out evaluation of a run after a step (`RUN` alone: the last).

    Raises RunError where there is nothing, or where a benchmark is there more than once.
    """
    path = Path(name).expanduser()
    run, _, step = name.rpartition("@")
    if not path.exists() and run and step.isdecimal() and is_run(run):
        return _of_run(Run(Path(run)), int(step))
    if not path.is_dir():
        raise RunError(f"{name} does not exist; give the directory of a result, or RUN@STEP for a run's evaluation")
    if is_run(path):
        return _of_run(Run(path), None)
    there: dict[str, Evaluation] = {}
    for one in results(path):
        if one.benchmark in there:
            raise RunError(
                f"{path} holds more than one evaluation of {one.benchmark}: {there[one.benchmark].home} and "
                f"{one.home}; give one of them, or the directory of one model"
            )
        there[one.benchmark] = one
    if not there:
        raise RunError(f"{path} holds no finished evaluation (responses.parquet with figures.json)")
    return there


def _of_run(run: Run, step: int | None) -> dict[str, Evaluation]:
    by_step = _evaluated(run)
    if not by_step:
        raise RunError(f"{run.path} has no evaluation yet")
    step = max(by_step) if step is None else step
    if step not in by_step:
        raise RunError(f"{run.path} has no evaluation of step {step}; it has {', '.join(map(str, by_step))}")
    return {by_step[step].benchmark: by_step[step]}


def _evaluated(run: Run) -> dict[int, Evaluation]:
    return {one.step or 0: one for one in run.evaluations if one.path.exists()}


def first_and_last(run: str) -> tuple[str, str]:
    """Return the two names that compare a run with itself: before training, and after the last evaluation."""
    if not is_run(run):
        raise RunError(f"{run} is not a run with evaluations; give two evaluations to compare")
    steps = list(_evaluated(Run(Path(run))))
    if len(steps) < 2:
        raise RunError(f"{run} has only {len(steps)} evaluation; there is nothing to compare yet")
    return f"{run}@{steps[0]}", f"{run}@{steps[-1]}"


def compare(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Return what changed from one evaluation to the other on one benchmark.

    Differences are after − before, with 95% bootstrap intervals over problems and a two-sided sign-flip test.
    """
    first, second = (by_problem(answer for answer in one.answers() if answer.decided) for one in (before, after))
    asked = [questions(one) for one in (before, after)]
    both = [problem for problem in asked[0] if problem in asked[1]]
    other = {problem for problem in both if asked[0][problem] != asked[1][problem]}
    shared = [p for p in both if p in first and p in second and p not in other]
    if not shared:
        raise RunError(
            f"{before.label} and {after.label} have no judged problem of {before.benchmark} in common"
            + (f": {len(other)} have the same id, but another question or gold" if other else ": other data?")
        )
    pairs = [(first[problem], second[problem]) for problem in shared]
    score_P2 = np.array([[_pass(a, 1), _pass(b, 1)] for a, b in pairs])
    change_P = score_P2[:, 1] - score_P2[:, 0]
    strict_P2 = np.array([[_pass(a, 1, strict=True), _pass(b, 1, strict=True)] for a, b in pairs])
    sets = _sets(shared, pairs)
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
        "acc": _both_sides(score_P2),
        "acc_strict": _both_sides(strict_P2),
        "difference": difference_figure(change_P),
        "p_value": sign_flip_test(change_P),
        "by_level": _by(change_P, [a[0].level for a, _ in pairs]),
        "by_source": _by(change_P, sources) if len(set(sources := [a[0].source for a, _ in pairs])) > 1 else {},
        **_curves(pairs),
        "sets": sets,
        "gained": sets["expansion"],
        "lost": sets["shrinkage"],
        "more_often": int((change_P > 0).sum()),
        "less_often": int((change_P < 0).sum()),
    }


def _by(change_P: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return the differences of the problems of each name."""
    name_P = np.array(names)
    return {str(name): difference_figure(change_P[name_P == name]) for name in np.unique(name_P) if name}


def unfair(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two protocols beside the model, as far as both say."""
    # A result says only of another environment that there is one; a run's own evaluation says little.
    before, after = ({"environment": "single-turn", **p} if "policy" in p else p for p in (before, after))
    return [
        f"{key}: {_short(before[key])} before, {_short(after[key])} after"
        for key in FAIR
        if key in before and key in after and before[key] != after[key]
    ]


def _short(value: Any) -> str:
    text = value["name"] if isinstance(value, dict) and "name" in value else str(value)
    return re.sub(r"\s+", " ", text)[:120]


def _both_sides(score_P2: np.ndarray) -> dict[str, Any]:
    sides = ("before", "after")
    return ratio_figures(score_P2, np.ones_like(score_P2), sides, shares=sides)


def _curves(pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]]) -> dict[str, Any]:
    """Return the pass@k curves over k = 1, 2, 4 …, their difference, and where the curve of the base passes that of the
    trained model, if it does. A point is over the problems that have k decided samples on both sides."""
    even_P = np.array([min(map(len, pair)) for pair in pairs])
    ks = powers_up_to(int(even_P.max()))
    curve: dict[str, Any] = {}
    change_PK = np.full((len(pairs), len(ks)), np.nan)
    for index, k in enumerate(ks):
        pass_P2 = np.array(
            [[_pass(a, k), _pass(b, k)] for (a, b), even in zip(pairs, even_P, strict=True) if k <= even]
        )
        change_PK[even_P >= k, index] = change_P = pass_P2[:, 1] - pass_P2[:, 0]
        before, after = pass_P2.mean(0).tolist()
        curve[str(k)] = {"before": before, "after": after, "difference": difference_figure(change_P)}
    signs = [curve[str(k)]["difference"]["value"] for k in ks]
    crossing = next((k for k, s in zip(ks, signs, strict=True) if signs[0] > 0 > s), None)
    certain = crossing is not None and curve[str(crossing)]["difference"]["high"] < 0
    interval = _crossing_interval(change_PK, ks)
    return {"pass@k": curve, "crossing": crossing, "crossing_is_certain": certain, "crossing_interval": interval}


def _crossing_interval(change_PK: np.ndarray, ks: Sequence[int], resamples: int = 1000) -> dict[str, Any]:
    """Return where the curves cross in resampled problems: a 95% interval (None: not up to the largest k), and the
    share of resamples in which they do. NaN: the problem has no such k."""
    rng = generator(0, "crossing", len(change_PK))
    draws = (change_PK[rng.integers(0, len(change_PK), len(change_PK))] for _ in range(resamples))
    mean_RK = np.array([np.nansum(drawn, 0) / np.maximum((~np.isnan(drawn)).sum(0), 1) for drawn in draws])
    crossed_RK = (mean_RK < 0) & (mean_RK[:, :1] > 0)
    first_R = np.where(crossed_RK.any(1), np.array(ks)[crossed_RK.argmax(1)], np.inf)
    ends = np.quantile(first_R, [0.025, 0.975], method="nearest").tolist()
    low, high = (int(end) if end < np.inf else None for end in ends)
    return {"low": low, "high": high, "share": float(crossed_RK.any(1).mean())}


def _sets(problems: Sequence[str], pairs: Sequence[tuple[Sequence[Answer], Sequence[Answer]]]) -> dict[str, Any]:
    """Return what became of the set of problems solved within k (MATH-Beyond, arXiv 2510.11653).

    `expansion`: solved after alone; `shrinkage`: before alone; of those solved by both, `consolidation`: after more
    often, `preservation`: the rest. k is the most that a problem has decided samples on both sides; of one with fewer
    as many count on both: with more of them, more is solved by chance. `figures` are expansion as a share of what was
    not solved before (where nothing was: pass@k), shrinkage of what was, and the overlap of the two sets (both /
    either).
    """
    even_P = [min(map(len, pair)) for pair in pairs]
    right_P2 = np.array(
        [[sum(a.correct for a in members[:k]) for members in pair] for k, pair in zip(even_P, pairs, strict=True)]
    )
    was_P, is_P = (right_P2 > 0).T
    more_P = right_P2[:, 1] > right_P2[:, 0]
    names = {
        "expansion": is_P & ~was_P,
        "shrinkage": was_P & ~is_P,
        "consolidation": was_P & is_P & more_P,
        "preservation": was_P & is_P & ~more_P,
    }
    above_PM = np.stack([is_P & ~was_P, was_P & ~is_P, was_P & is_P], 1).astype(float)
    below_PM = np.stack([~was_P, was_P, was_P | is_P], 1).astype(float)
    shares = ("expansion", "shrinkage", "overlap")
    sets = {name: [p for p, own in zip(problems, own_P, strict=True) if own] for name, own_P in names.items()}
    return {"k": max(even_P), **sets, "figures": ratio_figures(above_PM, below_PM, shares, shares=shares)}


def _pass(members: Sequence[Answer], k: int, *, strict: bool = False) -> float:
    right = sum(a.strictly_correct if strict else a.correct for a in members)
    return right / len(members) if k == 1 else pass_at_k(len(members), right, k)


def questions(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """Return problem id → (question, gold)."""
    rows = evaluation.responses(["problem_id", "question", "answer"]).to_pylist()
    return {row["problem_id"]: (row["question"] or "", row["answer"] or "") for row in rows}
