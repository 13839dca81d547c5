"""Metrics of a training step's trajectory groups (an evaluation's figures: `evaluate.figures`)."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np

from simplerl.core.types import Trajectory, TrajectoryGroup, VerdictStatus
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
