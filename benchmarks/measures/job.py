"""The job that both trainers do: cub, problems in their order, batch, sampling and optimizer, said once."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.config.resolve import resolve
from simplerl.config.sections import Config

#: The learning rate is low enough to leave the policy, and so the response lengths, as they are while we measure.
LEARNING_RATE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be measured, and how long."""

    steps: int
    """Steps measured."""
    warmup: int
    """Steps before them that do not count."""
    threads: int
    """Threads of a process; 0 leaves PyTorch's own choice."""
    tiny: bool
    """Sizes that prove the code path and measure nothing."""
    trl: dict[str, Any]
    """Settings of TRL that differ from the best known, for trials."""

    @property
    def total(self) -> int:
        """All steps."""
        return self.steps + self.warmup

    @property
    def config(self) -> Config:
        """The `cub-qwen` recipe, on-policy, without evaluation and without checkpoints before the last step."""
        sizes = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 24} if self.tiny else {}
        return resolve(
            "cub-qwen",
            {
                "steps": self.total,
                "sampling": {"prompts_per_step": 32, "samples_per_prompt": 8, "max_new_tokens": 80, **sizes},
                "optimizer": {"lr": LEARNING_RATE},
                "evaluation": {"every": 0, "size": 1, "samples": 1},
                "checkpoint": {"every": self.total + 1},
            },
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it was measured."""

    seconds: float
    phases: dict[str, float]
    """Seconds of its parts, by name."""
    responses: int
    tokens: int
    """Response tokens, up to and including the end of text."""


def summary(steps: Sequence[Step], warmup: int) -> dict[str, Any]:
    """Return medians over the steps after the warm-up (a machine may pause), and means of what does not take time."""
    kept = steps[warmup:]
    return {
        "seconds_per_step": statistics.median(step.seconds for step in kept),
        "fastest_step": min(step.seconds for step in kept),
        "slowest_step": max(step.seconds for step in kept),
        "phases": {name: statistics.median(step.phases[name] for step in kept) for name in kept[0].phases},
        "tokens_per_second": statistics.median(step.tokens / step.seconds for step in kept),
        "response_length": sum(step.tokens for step in kept) / sum(step.responses for step in kept),
        "responses_per_step": sum(step.responses for step in kept) / len(kept),
        "steps": len(kept),
    }
