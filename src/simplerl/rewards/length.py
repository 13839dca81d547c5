"""A cost of length: −tokens / limit, optionally for right answers only, so that short right answers win."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward, decided


@dataclass(frozen=True, kw_only=True, slots=True)
class Length(Reward):
    """Between −1 (at `limit` tokens or more) and 0; a part of a mixture, not a reward by itself."""

    name: ClassVar[str] = "length"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    only_correct: bool = True
    """Leave wrong answers alone: a model should not learn to be wrong in few words."""

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"length needs limit ≥ 1, not {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return −tokens / limit, at least −1; 0 for a wrong answer when `only_correct`."""
        if self.only_correct and not decided(verdict).correct:
            return 0.0
        return -min(len(completion.token_ids) / self.limit, 1.0)
