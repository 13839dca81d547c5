"""The zero-RL reward of SimpleRL-Zoo: 1 for a right answer, 0 for any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness(Reward):
    """`correct` for a right answer, `wrong` for a wrong or a missing one. No reward for form: it hurts weak models."""

    name: ClassVar[str] = "correctness"
    correct: float = 1.0
    """For a right answer."""
    wrong: float = 0.0
    """For a wrong answer, and for none."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return 1 or 0 (or the two values given)."""
        return self.correct if decided(verdict).correct else self.wrong
