"""What every reward is: a frozen set of parameters that maps (problem, completion, verdict) to a number."""

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

    @property
    def judged(self) -> "list[Any]":
        """The rewards in this one for which a model is asked (`graders/`), which costs: only what is trained on is
        scored then."""
        return []

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return the number trained on, of a reward that looks at one response at a time."""
        raise NotImplementedError

    def score(
        self, problem: Problem, completions: Sequence[Completion], verdicts: Sequence[Verdict]
    ) -> list[Scored | Undecided]:
        """Return what the reward says of responses to one problem, whose verdicts are decided.

        Whatever goes wrong for a response makes it undecided, and nothing else. A reward that compares the samples of a
        problem, or asks somebody about them, defines this.
        """
        return [self._score(problem, *pair) for pair in zip(completions, verdicts, strict=True)]

    def _score(self, problem: Problem, completion: Completion, verdict: Verdict) -> Scored | Undecided:
        if not verdict.decided:  # It says nothing about the answer: a number for it would be an invention.
            return Undecided(f"no reward for a verdict of status {verdict.status!r}: {verdict.detail}")
        try:
            return self.scored(self(problem, completion, verdict))
        except SimpleRLError:
            raise
        except Exception as error:  # A reward may be anybody's code: the response is undecided, and counted.
            return Undecided(f"reward {self.label} raised {raised_at(error)}")

    @property
    def label(self) -> str:
        """What its part is called in the record."""
        return self.name or type(self).__name__

    def scored(self, value: Any, who: str = "") -> Scored | Undecided:
        """Return a value as what the reward says; one that is not a finite number is undecided, and `who` gave it."""
        who = who or self.label
        if value is None:
            return Undecided(f"reward {who} does not apply (None)", applies=False)
        try:
            number = float(value) if not isinstance(value, str | bytes) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            return Undecided(f"reward {who} gave {str(value)[:60]!r} ({type(value).__name__}), not a finite number")
        return Scored(number, {self.label: number})
