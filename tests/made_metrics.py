"""Run directories as `simplerl.runs` writes them, with made-up numbers and texts."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support import CORRECT, WRONG, group, trajectory

from simplerl.core.types import Problem, TrajectoryGroup
from simplerl.runs.directory import RunDirectory

#: Metric → value at a step, or the value at every step.
Figures = Mapping[str, Callable[[int], float | None] | float | None]

#: A healthy run of 30 steps: accuracy rises from 31% to 60%, and everything else is calm.
HEALTHY: Figures = {
    "reward/mean": lambda s: 0.3 + 0.01 * s,
    "accuracy/mean": lambda s: 0.3 + 0.01 * s,
    "accuracy/unfinished": 0.0,
    "accuracy/restates": 0.0,
    "groups/all_right": 0.1,
    "groups/all_wrong": 0.1,
    "groups/mixed": 0.8,
    "length/mean": 100.0,
    "length/mean_stopped": 100.0,
    "length/clip_ratio": 0.0,
    "policy/loss": 0.1,
    "policy/ratio": 1.0,
    "policy/clip_fraction": 0.01,
    "policy/entropy": 0.3,
    "policy/kl": 0.01,
    "policy/mismatch_kl": 1e-5,
    "optimizer/grad_norm": 0.2,
    "optimizer/updates": 4,
    "critic/explained_variance": 0.4,
    "verdict/correct": 50,
    "verdict/wrong": 48,
    "verdict/no_answer": 2,
    "verdict/unjudgeable": 0,
    "verdict/timeout": 0,
    "verdict/error": 0,
}

#: The evaluations of that run: step → accuracy, with an interval of ± 3 points.
EVALUATED: Mapping[int, float] = {0: 0.3, 10: 0.4, 20: 0.5, 30: 0.6}

CONFIG: Mapping[str, Any] = {
    "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 256},
    "evaluation": {"temperature": 1.0, "top_p": 1.0, "data": ""},
    "shuffle_rewards": False,
}

GOOD = "First 3 + 4 = 7, and then 7 * 2 = 14. So the answer is \\boxed{14}."


def value_at(value: Any, step: int) -> Any:
    return value(step) if callable(value) else value


def write_run(
    path: Path,
    figures: Figures | None = None,
    *,
    steps: int = 30,
    evaluated: Mapping[int, float] | None = None,
    config: Mapping[str, Any] | None = None,
    texts: Callable[[int], Sequence[TrajectoryGroup]] | None = None,
    looked: Sequence[int] = (1, 10, 20, 30),
    stage: str | None = None,
    base: Figures = HEALTHY,
) -> Path:
    """Write a run: the healthy one, with some figures, evaluations or texts of its own."""
    merged = {**base, **(figures or {})}
    if "accuracy/mean" in (figures or {}):  # What is right is what is paid, unless a test says otherwise.
        merged = {**merged, "reward/mean": merged["accuracy/mean"], **(figures or {})}
    held_out = EVALUATED if evaluated is None else evaluated
    with RunDirectory(path) as run:
        run.write("config.json", {**CONFIG, **(config or {})})
        if stage:
            run.write("stage.json", {"stage": stage})
        for step in range(steps + 1):
            line = {name: value_at(value, step) for name, value in merged.items()} if step else {}
            if step in held_out:
                accuracy = held_out[step]
                line |= {"eval/accuracy": accuracy, "eval/accuracy_low": accuracy - 0.03}
                line |= {"eval/accuracy_high": accuracy + 0.03}
            run.record_metrics(step, line)
            if step in looked and step:
                groups = texts(step) if texts else texts_of([GOOD] * 8)
                members = [t for g in groups for t in g.trajectories]
                run.record_trajectories(step, groups, [np.zeros(len(t.completion.token_ids)) for t in members])
    return path


def texts_of(
    responses: Sequence[str],
    *,
    question: str = "What is three plus four, times two?",
    lengths: Sequence[int] | None = None,
    rewards: Sequence[float] | None = None,
    samples: int = 4,
) -> list[TrajectoryGroup]:
    """Return groups of `samples` responses each; every other response is right unless rewards are given."""
    made = []
    for i, text in enumerate(responses):
        reward = (i % 2) if rewards is None else rewards[i]
        one = trajectory(
            response=range(8, 8 + (10 if lengths is None else lengths[i])),
            verdict=CORRECT if i % 2 else WRONG,
            reward=float(reward),
        )
        made.append(dataclasses.replace(one, completion=dataclasses.replace(one.completion, text=text)))
    groups = []
    for start in range(0, len(made), samples):
        members = group(*made[start : start + samples], id=f"p{start}")
        problem = Problem(id=f"p{start}", question=question, answer="14", source="test")
        asked = tuple(dataclasses.replace(t, problem=problem) for t in members.trajectories)
        groups.append(TrajectoryGroup(problem=problem, trajectories=asked))
    return groups


def mixed(bad: str, count: int, *, of: int = 20, good: str = GOOD) -> list[str]:
    """Return `of` responses, the first `count` of them bad."""
    return [bad] * count + [good] * (of - count)
