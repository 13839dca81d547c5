"""Which problems a step sees: a function of (seed, step) alone, so that resuming needs no state."""

from collections.abc import Sequence
from typing import TypeVar

from simplerl.errors import ConfigError
from simplerl.seeds import generator

T = TypeVar("T")


class Sampler:
    """Goes through the problems in a fresh order every epoch.

    An epoch is ⌊N / P⌋ steps, so that no problem comes twice in a step; the few problems left over at its end differ
    from epoch to epoch.
    """

    def __init__(self, problems: Sequence[T], *, per_step: int, seed: int):
        if len(problems) < per_step:
            raise ConfigError(
                f"sampling.prompts_per_step = {per_step}, but there are only {len(problems)} training problems; "
                f"set --sampling.prompts-per-step {len(problems)} or give more data"
            )
        self.problems, self.per_step, self.seed = problems, per_step, seed
        self.steps_per_epoch = len(problems) // per_step

    def at(self, step: int) -> list[T]:
        """Return the problems of a step (the first is 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.problems))
        return [self.problems[i] for i in order[place * self.per_step : (place + 1) * self.per_step]]

    def epoch(self, step: int) -> float:
        """Return how many epochs have been gone through before a step."""
        return step / self.steps_per_epoch
