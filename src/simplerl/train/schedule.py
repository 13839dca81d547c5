"""The learning rate as a pure function of the step."""

import math

from simplerl.train.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: float, steps: int) -> float:
    """Return the learning rate at a (fractional) step of `steps`: linear warm-up, then the schedule.

    `linear` reaches 0 at the last step's end, `cosine` `min_lr_ratio`; the first update of a warm-up of w steps has
    1/w of the peak.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    share = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "linear":
        return config.lr * max(0.0, 1 - share)
    if config.schedule == "cosine":
        floor = config.min_lr_ratio
        return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
    return config.lr
