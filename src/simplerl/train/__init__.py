"""Training: the plan before it, the loop, the run that it writes, the learner, and fine-tuning on demonstrations."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("SAMPLERS", "TRANSFORMS", "BUFFERS"):  # What a step is made of is part of training to its user.
        from simplerl import feed

        return getattr(feed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
