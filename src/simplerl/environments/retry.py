"""Guided retry: a wrong answer is followed by a hint, and the policy tries again (Agent-RLVR, arXiv 2506.11425).

The hint is the environment's, so nobody is trained on it. The last attempt is what counts.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from simplerl.core.types import Problem, Turn, Verdict
from simplerl.environments.base import Environment
from simplerl.verify import verify


@dataclass(frozen=True, kw_only=True)
class GuidedRetry(Environment):
    """A wrong attempt is followed by a hint and another one."""

    slow: ClassVar[bool] = False

    max_turns: int = 2
    """Attempts."""
    policy: str = "boxed"
    """How the answer of an attempt is found: a name from `simplerl.verify.POLICIES`."""
    hint: str = "\n\nThat is not right. {hint}\n\n"
    """What follows a wrong attempt; `{hint}` is the problem's own hint, where its data has a column `hint`."""

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return where the verdict on the last attempt is kept."""
        return []

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """End after a right attempt, or one of which nothing can be said; else give the hint."""
        state[:] = [verify(text, problem.answer, question=problem.question, policy=self.policy)]
        if state[0].correct or not state[0].decided:
            return Turn()
        hint = str(problem.meta.get("hint", "")) or "Try again."
        return Turn(observation=self.hint.replace("{hint}", hint), done=False)

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return the verdict on the last attempt; an attempt that was cut is the verifier's, like any other."""
        return state[0] if state else None
