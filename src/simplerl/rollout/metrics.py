"""Figures of a set of trajectory groups: what a step or an evaluation looked like."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from simplerl.ops.statistics import bootstrap_interval, pass_at_k
from simplerl.types import Trajectory, TrajectoryGroup, VerdictStatus
from simplerl.verify import LENIENCIES


def flat(groups: Sequence[TrajectoryGroup]) -> list[Trajectory]:
    """Return all trajectories, group by group."""
    return [trajectory for group in groups for trajectory in group.trajectories]


def lengths(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Return mean, shortest and longest response, clip ratio and average stopped length (NaN if none stopped)."""
    tokens = np.array([len(t.completion.token_ids) for t in trajectories])
    clipped = np.array([t.completion.stop_reason == "length" for t in trajectories])
    return {
        "length/mean": float(tokens.mean()),
        "length/min": int(tokens.min()),
        "length/max": int(tokens.max()),
        "length/clip_ratio": float(clipped.mean()),
        "length/mean_stopped": float(tokens[~clipped].mean()) if not clipped.all() else float("nan"),
    }


def rollout_metrics(groups: Sequence[TrajectoryGroup]) -> dict[str, float]:
    """Return the metrics of a training step's groups. Undecided responses count in `verdict/…` and in no mean."""
    trajectories = flat(groups)
    decided = [t for t in trajectories if t.verdict.decided]
    statuses = Counter(t.verdict.status for t in trajectories)
    rules = Counter(t.verdict.rule for t in decided)
    kinds = Counter(_kind(group) for group in groups)
    return {
        "reward/mean": float(np.mean([t.reward for t in decided])) if decided else float("nan"),
        "accuracy/mean": float(np.mean([t.verdict.correct for t in decided])) if decided else float("nan"),
        **{f"accuracy/{rule}": rules[rule] / len(decided) if decided else float("nan") for rule in LENIENCIES},
        **{f"groups/{kind}": kinds[kind] / len(groups) for kind in ("all_right", "all_wrong", "mixed")},
        **lengths(trajectories),
        **{f"verdict/{status}": statuses[status] for status in get_args(VerdictStatus)},
        "tokens/sampled": int(sum(len(t.completion.token_ids) for t in trajectories)),
    }


def _kind(group: TrajectoryGroup) -> str:
    right = {t.verdict.correct for t in group.trajectories if t.verdict.decided}
    return {frozenset({True}): "all_right", frozenset({False}): "all_wrong", frozenset(): "undecided"}.get(
        frozenset(right), "mixed"
    )


def _scores(groups: Sequence[TrajectoryGroup]) -> list[tuple[int, int]]:
    """Return (decided samples, right samples) of each problem with a decided sample."""
    counts = [
        (sum(t.verdict.decided for t in group.trajectories), sum(t.verdict.correct for t in group.trajectories))
        for group in groups
    ]
    return [(n, c) for n, c in counts if n]


def evaluation_figures(groups: Sequence[TrajectoryGroup]) -> dict[str, Any]:
    """Return accuracy (avg@n) and pass@k with 95% intervals over problems, the same by level, and lengths.

    k runs over the powers of two up to the number of samples. Undecided responses are counted and left out.
    """
    trajectories = flat(groups)
    most = max(len(group.trajectories) for group in groups)
    powers = [2**i for i in range(most.bit_length()) if 2**i <= most]

    def figure(values: list[float]) -> dict[str, Any]:
        if not values:
            return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "problems": 0}
        low, high = bootstrap_interval(np.array(values))
        return {"value": float(np.mean(values)), "low": low, "high": high, "problems": len(values)}

    def accuracy(members: Sequence[TrajectoryGroup]) -> dict[str, Any]:
        return figure([c / n for n, c in _scores(members)])

    finished = [
        sum(t.verdict.correct and t.verdict.rule not in LENIENCIES for t in group.trajectories) for group in groups
    ]
    decided = [sum(t.verdict.decided for t in group.trajectories) for group in groups]
    levels = sorted({group.problem.level for group in groups if group.problem.level})
    statuses = Counter(t.verdict.status for t in trajectories)
    return {
        "accuracy": accuracy(groups),
        "accuracy_strict": figure([c / n for n, c in zip(decided, finished, strict=True) if n]),
        "pass_at": {str(k): figure([pass_at_k(n, c, k) for n, c in _scores(groups) if n >= k]) for k in powers},
        "by_level": {level: accuracy([g for g in groups if g.problem.level == level]) for level in levels},
        "problems": len(groups),
        "samples": most,
        "boxed": float(np.mean([t.verdict.extracted is not None for t in trajectories])),
        "verdicts": {status: statuses[status] for status in get_args(VerdictStatus)},
        **{
            name.removeprefix("length/"): value
            for name, value in lengths(trajectories).items()
            if name != "length/mean"
        },
        "length": lengths(trajectories)["length/mean"],
    }


def evaluation_metrics(figures: dict[str, Any]) -> dict[str, float]:
    """Return the few figures of an evaluation that belong on a step's metrics line."""
    return {
        "eval/accuracy": figures["accuracy"]["value"],
        "eval/accuracy_low": figures["accuracy"]["low"],
        "eval/accuracy_high": figures["accuracy"]["high"],
        "eval/accuracy_strict": figures["accuracy_strict"]["value"],
        "eval/pass_at_k": list(figures["pass_at"].values())[-1]["value"],
        "eval/length": figures["length"],
        "eval/clip_ratio": figures["clip_ratio"],
        "eval/boxed": figures["boxed"],
    }
