r"""Form alone: 1 when the response holds a closed, non-empty `\boxed{…}`, else 0. For mixtures and for ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.rewards.base import Reward
from simplerl.verify.extract import boxed, final_part


def has_box(completion: Completion) -> bool:
    """Whether the final part of the response holds a closed, non-empty box."""
    return boxed(final_part(completion.text)) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Format(Reward):
    """1 for a box, 0 without; the verdict is not looked at."""

    name: ClassVar[str] = "format"

    def __call__(self, problem: Problem, completion: Completion, verdict: Verdict) -> float:
        """Return 1 or 0."""
        return 1.0 if has_box(completion) else 0.0
