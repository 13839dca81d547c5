"""What every reward is: a frozen set of parameters that maps (problem, completion, verdict) to a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """Base of all rewards; subclasses set `name` and define `__call__`."""

    name: ClassVar[str] = ""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the number trained on."""
        raise NotImplementedError

    def parts(self, problem: Problem, completion: Completion, verdict: Verdict) -> dict[str, float]:
        """Return the unweighted values that make up the reward, by name."""
        return {self.name: self(problem, completion, verdict)}


def decided(verdict: Verdict) -> Verdict:
    """Return the verdict; raise `ValueError` when it says nothing about the answer.

    `timeout`, `error` and `unjudgeable` are not wrong answers: a reward for them would be an invention. The trainer
    excludes such trajectories from the loss and counts them; it never calls a reward with one.
    """
    if not verdict.decided:
        raise ValueError(
            f"no reward can be given for a verdict of status {verdict.status!r} ({verdict.detail}); "
            "exclude the trajectory from the loss and count it"
        )
    return verdict
