"""DAPO's soft overlong punishment (Yu et al., 2025, eq. 13): 0 until `limit − buffer` tokens, then linearly to −1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.errors import ConfigError
from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlong(Reward):
    """A cost of length in the last `buffer` tokens before `limit`; a part of a mixture, not a reward by itself."""

    name: ClassVar[str] = "overlong"
    limit: int = 16_384
    """Tokens at which the cost is −1: the maximum response length."""
    buffer: int = 4_096
    """Tokens before the limit over which the cost grows."""

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise ConfigError(f"overlong needs 0 < buffer ≤ limit, not buffer = {self.buffer}, limit = {self.limit}")

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return a value between −1 and 0, whatever the verdict."""
        over = len(completion.token_ids) - (self.limit - self.buffer)
        return -min(max(over / self.buffer, 0.0), 1.0)
