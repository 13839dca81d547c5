"""What every reward is: a frozen set of parameters that maps (problem, completion, verdict) to a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from simplerl.core.errors import SimpleRLError, raised_at
from simplerl.core.types import Completion, Problem, Scored, Undecided, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """Base of all rewards; subclasses define `__call__`, and set `name` where it is built in."""

    name: ClassVar[str] = ""
    costs: ClassVar[bool] = False
    """Whether a model is asked for it, which costs: only what is trained on is scored then."""
    answer_tokens: ClassVar[int] = 0
    """Tokens of an answer of that model, at most."""

    def begin(self, desk: Any) -> None:
        """Take the desk (`graders/desk.py`) at which a run asks its judge; only rewards that cost are given one."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the number trained on."""
        raise NotImplementedError

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return what the reward says of responses to one problem, whose verdicts are decided.

        Whatever goes wrong for a response makes it undecided, and nothing else.
        """
        return [self._score(problem, *pair) for pair in zip(completions, verdicts, strict=True)]

    def _score(self, problem: Problem, completion: Completion, verdict: Verdict) -> Scored | Undecided:
        label = self.name or type(self).__name__
        try:
            value = checked_value(self(problem, completion, verdict), label)
            return value if isinstance(value, Undecided) else Scored(value, {label: value})
        except SimpleRLError:
            raise
        except Exception as error:  # A reward may be anybody's code: the response is undecided, and counted.
            return Undecided(f"reward {label} raised {raised_at(error)}")


@dataclass(frozen=True, kw_only=True)
class GroupReward(Reward):
    """Base of the rewards that score the samples of a problem together; subclasses define `score`."""

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the value of one response. Raises SimpleRLError where there is none."""
        (scored,) = self.score(problem, [completion], [verdict])
        if isinstance(scored, Undecided):
            raise SimpleRLError(scored.detail)
        return scored.value


def checked_value(value: Any, label: str) -> float | Undecided:
    """Return a reward's value as a float; Undecided for what is not a finite number."""
    if value is None:
        return Undecided(f"reward {label} does not apply (None)", applies=False)
    try:
        number = float(value) if not isinstance(value, str | bytes) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        return Undecided(f"reward {label} gave {str(value)[:60]!r} ({type(value).__name__}), not a finite number")
    return number


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
