r"""The reward of the first SimpleRL (the PPO blog, January 2025).

+1 right and boxed, −0.5 boxed but wrong, −1 without an answer in the format. There "boxed" was the mere substring;
here it is a closed, non-empty box in the final part of the response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided
from simplerl.rewards.format import has_box


@dataclass(frozen=True, kw_only=True, slots=True)
class SimplerlV0(Reward):
    """Three values: right, wrong in a box, no box."""

    name: ClassVar[str] = "simplerl-v0"
    correct: float = 1.0
    """For a right answer in a box."""
    wrong: float = -0.5
    """For a wrong answer in a box."""
    no_box: float = -1.0
    """Without a closed, non-empty box, whatever the answer."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return +1, −0.5 or −1 (or the values given)."""
        right = decided(verdict).correct
        if not has_box(completion):
            return self.no_box
        return self.correct if right else self.wrong
