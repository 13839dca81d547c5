"""Training: the plan before it, the loop, the run that it writes, the learner, and fine-tuning on demonstrations."""

from simplerl.feed import BUFFERS, SAMPLERS, TRANSFORMS  # What a step is made of is part of training to its user.

__all__ = ["BUFFERS", "SAMPLERS", "TRANSFORMS"]
