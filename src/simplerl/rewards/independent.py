"""SimpleRL-Zoo's `independent` mode: the answer and its box are rewarded separately.

+1 right and boxed, +0.5 right but not boxed (found by a fallback extraction policy), −0.5 wrong but boxed, −1 neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided
from simplerl.rewards.format import has_box


@dataclass(frozen=True, kw_only=True, slots=True)
class Independent(Reward):
    """Four values; use it with the policy `boxed-then-phrases-then-last-number`, else the second never occurs."""

    name: ClassVar[str] = "independent"
    correct_boxed: float = 1.0
    """For a right answer in a box."""
    correct_unboxed: float = 0.5
    """For a right answer that a fallback policy found outside a box."""
    wrong_boxed: float = -0.5
    """For a wrong answer in a box."""
    neither: float = -1.0
    """For a wrong answer, or none, without a box."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return +1, +0.5, −0.5 or −1 (or the values given)."""
        box = has_box(completion)
        if decided(verdict).correct:
            return self.correct_boxed if box else self.correct_unboxed
        return self.wrong_boxed if box else self.neither
