"""Guided retry: a wrong answer is followed by a hint, and the policy tries again (Agent-RLVR, arXiv 2506.11425).

The hint is the environment's, so nobody is trained on it; the answer that comes last is judged.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from simplerl.core.types import Problem, Turn
from simplerl.environments.base import Environment
from simplerl.verify import verify


@dataclass(frozen=True, kw_only=True)
class GuidedRetry(Environment):
    """A wrong attempt is followed by a hint and another one."""

    slow: ClassVar[bool] = False

    max_turns: PositiveInt = 2
    """Attempts."""
    policy: str = "boxed"
    """How the answer of an attempt is found: a name from `simplerl.verify.POLICIES`."""
    hint: str = "\n\nThat is not right. {hint}\n\n"
    """What follows a wrong attempt; `{hint}` is the problem's own hint, where its data has a column `hint`."""

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """End after a right attempt, or one of which nothing can be said; else give the hint."""
        verdict = verify(text, problem.answer, question=problem.question, policy=self.policy)
        if verdict.correct or not verdict.decided:
            return Turn()
        hint = str(problem.meta.get("hint", "")) or "Try again."
        return Turn(observation=self.hint.replace("{hint}", hint), done=False)
