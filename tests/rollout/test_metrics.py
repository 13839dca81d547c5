"""Metrics of steps, by hand."""

import dataclasses
import math

import pytest
from support import CORRECT, TIMED_OUT, WRONG, group, trajectory

from simplerl.core.types import Verdict
from simplerl.rollout.metrics import rollout_metrics

NO_ANSWER = Verdict(status="no_answer", extracted=None, rule="no-answer", detail="")
BROKEN = Verdict(status="error", extracted=None, rule="", detail="")


def members(*verdicts: Verdict, lengths: list[int] | None = None, cut: tuple[int, ...] = ()):
    return [
        trajectory(
            verdict=verdict,
            response=[9] * (lengths[i] if lengths else 3),
            stop_reason="length" if i in cut else "eos",
        )
        for i, verdict in enumerate(verdicts)
    ]


GROUPS = [
    group(*members(CORRECT, CORRECT, lengths=[2, 4]), id="a", level="1"),
    group(*members(CORRECT, WRONG, lengths=[6, 8], cut=(1,)), id="b", level="2"),
    group(*members(WRONG, NO_ANSWER, lengths=[1, 9], cut=(1,)), id="c", level="2"),
    group(*members(TIMED_OUT, CORRECT, lengths=[5, 5]), id="d", level="1"),
    group(*members(TIMED_OUT, BROKEN, lengths=[7, 3]), id="e", level="3"),
]


def test_a_step() -> None:
    found = rollout_metrics(GROUPS)
    assert found["accuracy/mean"] == pytest.approx(4 / 7)  # seven decided
    assert found["reward/mean"] == pytest.approx(4 / 7)
    assert found["groups/all_right"] == pytest.approx(2 / 5)  # a, and d by what could be decided
    assert found["groups/all_wrong"] == pytest.approx(1 / 5)
    assert found["groups/mixed"] == pytest.approx(1 / 5)
    assert found["length/mean"] == pytest.approx(5.0)
    assert (found["length/min"], found["length/max"]) == (1, 9)
    assert found["length/clip_ratio"] == pytest.approx(0.2)
    assert found["length/mean_stopped"] == pytest.approx((2 + 4 + 6 + 1 + 5 + 5 + 7 + 3) / 8)
    statuses = {name.removeprefix("verdict/"): value for name, value in found.items() if name.startswith("verdict/")}
    assert statuses == {"correct": 4, "wrong": 2, "no_answer": 1, "unjudgeable": 0, "timeout": 2, "error": 1}
    assert found["accuracy/unfinished"] == found["accuracy/restates"] == 0.0
    assert found["tokens/sampled"] == 50


def test_answers_that_restate_or_are_not_finished_are_counted_among_the_decided() -> None:
    copied = dataclasses.replace(CORRECT, status="wrong", rule="restates")
    unfinished = dataclasses.replace(CORRECT, rule="unfinished")
    found = rollout_metrics([group(*members(CORRECT, copied, unfinished, copied, BROKEN))])
    assert found["accuracy/restates"] == pytest.approx(2 / 4)
    assert found["accuracy/unfinished"] == pytest.approx(1 / 4)


def test_nothing_decided_and_nothing_stopped_is_no_number() -> None:
    found = rollout_metrics([group(*members(TIMED_OUT, BROKEN, cut=(0, 1)))])
    assert math.isnan(found["accuracy/mean"])
    assert math.isnan(found["reward/mean"])
    assert math.isnan(found["length/mean_stopped"])
    assert found["groups/mixed"] == found["groups/all_wrong"] == 0.0


def test_accuracy_by_domain() -> None:
    def of(source: str, *verdicts: Verdict):
        made = group(*members(*verdicts), id=source)
        problem = dataclasses.replace(made.problem, source=source)
        return dataclasses.replace(
            made,
            problem=problem,
            trajectories=tuple(dataclasses.replace(t, problem=problem) for t in made.trajectories),
        )

    found = rollout_metrics([of("sums", CORRECT, WRONG, TIMED_OUT), of("sorts", CORRECT, CORRECT)])
    assert (found["accuracy/sums"], found["accuracy/sorts"]) == (0.5, 1.0)
    assert "accuracy/test" not in rollout_metrics(GROUPS), "one domain has accuracy/mean"
