"""Training: the loop, the run that it writes, the learner, and fine-tuning on demonstrations."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "SAMPLERS":  # What chooses a step's problems is part of training to its user.
        from simplerl.feed import SAMPLERS

        return SAMPLERS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
