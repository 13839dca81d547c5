"""A step's responses as figures."""

import numpy as np
import pytest

from simplerl.doctor.features import MOST, correlations, pooled, step_features, thin
from simplerl.runs.responses import Answer


def response(problem: int, sample: int, tokens: int, reward: float | None, status: str = "wrong") -> Answer:
    said = {"level": "", "kind": "", "response": "", "stop_reason": "eos", "extracted": None, "question": "?"}
    return Answer(problem_id=f"p{problem}", sample=sample, tokens=tokens, status=status, reward=reward, **said)


def test_pooled_correlation_is_that_of_centred_values() -> None:
    """Against NumPy's own, over values centred by hand."""
    rng = np.random.default_rng(0)
    x_PG = rng.normal(size=(30, 6))
    y_PG = 0.5 * x_PG + rng.normal(size=(30, 6)) + rng.normal(size=(30, 1)) * 10
    x_PG -= x_PG.mean(1, keepdims=True)
    y_PG -= y_PG.mean(1, keepdims=True)
    sums = np.stack([(x_PG * y_PG).sum(1), (x_PG**2).sum(1), (y_PG**2).sum(1)], 1)
    assert pooled(sums)[0] == pytest.approx(np.corrcoef(x_PG.ravel(), y_PG.ravel())[0, 1])


def test_error_of_the_correlation_is_what_resampling_problems_gives() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 8))
    y = 0.4 * x + rng.normal(size=(200, 8))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    sums = np.stack([(x * y).sum(1), (x**2).sum(1), (y**2).sum(1)], 1)
    resampled = [pooled(sums[rng.integers(0, 200, 200)])[0] for _ in range(2000)]
    assert pooled(sums)[1] == pytest.approx(np.std(resampled), rel=0.1)


def test_problems_of_different_difficulty_are_no_correlation() -> None:
    """Long problems that are hard: over all responses r is −1, within problems there is none."""
    found = [response(p, s, 10 + 50 * p + s % 2, float(p == 0)) for p in (0, 1) for s in range(4)]
    assert "text/reward_length" not in correlations(found)


def test_verdicts_are_held_apart() -> None:
    """Right ones are long and paid: a correlation of 1 that is the verdict's alone."""
    found = [
        response(p, s, 20 if s % 2 else 10, float(s % 2), "correct" if s % 2 else "wrong")
        for p in range(4)
        for s in range(4)
    ]
    figures = correlations(found)
    assert figures["text/reward_length"] == pytest.approx(1)
    assert "text/reward_length_same_verdict" not in figures


def test_undecided_responses_have_no_reward_to_correlate() -> None:
    judged = [response(p, s, s, float(s)) for p in (0, 1) for s in range(4)]
    undecided = [response(0, 9, 1_000_000, None, "timeout")]
    assert correlations([*judged, *undecided]) == correlations(judged)


def test_many_responses_are_thinned_by_whole_problems() -> None:
    many = [response(p, s, 1, 1.0) for p in range(1000) for s in range(8)]
    kept = thin(many)
    assert len(kept) == MOST
    problems = {r.problem_id for r in kept}
    assert len(problems) == MOST // 8
    assert {f"p{p}" for p in (0, 500)} <= problems
    assert thin(many[:100]) == many[:100]


def test_one_huge_problem_is_cut() -> None:
    assert len(thin([response(0, s, 1, 1.0) for s in range(5000)])) == MOST


def test_nothing_to_look_at() -> None:
    assert step_features(1, []) == ({}, {})
