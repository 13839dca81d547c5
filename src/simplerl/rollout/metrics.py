"""Metrics of a training step's trajectory groups (an evaluation's figures: `evaluate.figures`)."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np

from simplerl.core.types import TrajectoryGroup, VerdictStatus
from simplerl.verify import LENIENCIES


def rollout_metrics(groups: Sequence[TrajectoryGroup]) -> dict[str, float]:
    """Return the metrics of a training step's groups. Undecided responses count in `verdict/…` and in no mean.

    `length/mean_stopped` is the average length of the responses that ended by themselves. A mean of nothing is NaN.
    """
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    decided = [t for t in trajectories if t.verdict.decided]
    statuses = Counter(t.verdict.status for t in trajectories)
    rules = Counter(t.verdict.rule for t in decided)
    sources = sorted({group.problem.source for group in groups})
    kinds = Counter(_kind(group) for group in groups)
    tokens = np.array([len(t.completion.token_ids) for t in trajectories])
    sampled = sum(int(t.loss_mask.sum()) for t in trajectories)
    clipped = np.array([t.completion.stop_reason == "length" for t in trajectories])
    return {
        "reward/mean": _mean([t.reward for t in decided]),
        "accuracy/mean": _mean([t.verdict.correct for t in decided]),
        **{
            f"accuracy/{source}": _mean([t.verdict.correct for t in decided if t.problem.source == source])
            for source in (sources if len(sources) > 1 else ())
        },
        **{f"accuracy/{rule}": rules[rule] / len(decided) if decided else float("nan") for rule in LENIENCIES},
        **{f"groups/{kind}": kinds[kind] / len(groups) for kind in ("all_right", "all_wrong", "mixed")},
        "length/mean": _mean(tokens),
        "length/min": int(tokens.min()),
        "length/max": int(tokens.max()),
        "length/clip_ratio": _mean(clipped),
        "length/mean_stopped": _mean(tokens[~clipped]),
        **{f"verdict/{status}": statuses[status] for status in get_args(VerdictStatus)},
        "tokens/sampled": sampled,
    }


def environment_metrics(groups: Sequence[TrajectoryGroup]) -> dict[str, float]:
    """Return the metrics of episodes: turns, calls of tools and what became of them, and at which limit they ended."""
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    calls = [call for t in trajectories for call in t.calls or ()]
    right = sum(t.verdict.correct for t in trajectories)
    observed = [int((~t.loss_mask).sum()) for t in trajectories]
    failed = [t.verdict.rule == "environment" and not t.verdict.decided for t in trajectories]
    statuses = Counter(call.status for call in calls)
    return {
        "environment/turns": _mean([sum(s.author == "policy" for s in t.segments) for t in trajectories]),
        "environment/calls": _mean([len(t.calls or ()) for t in trajectories]),
        "environment/calling": _mean([bool(t.calls) for t in trajectories]),
        "environment/calls_per_right": len(calls) / right if right else float("nan"),
        "environment/invalid": statuses["invalid"] / len(calls) if calls else float("nan"),
        "environment/tool_errors": (statuses["error"] + statuses["timeout"]) / len(calls) if calls else float("nan"),
        "environment/observed": _mean(observed),
        "environment/turn_limit": _mean([t.completion.stop_reason == "turns" for t in trajectories]),
        "environment/failed": _mean(failed),
        "time/tools": sum(call.seconds for call in calls),
    }


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _kind(group: TrajectoryGroup) -> str:
    right = {t.verdict.correct for t in group.trajectories if t.verdict.decided}
    return {0: "undecided", 2: "mixed"}.get(len(right)) or ("all_right" if True in right else "all_wrong")
