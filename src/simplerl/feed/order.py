"""The order in which a list is gone through, epoch by epoch: problems, demonstrations, lessons."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator

T = TypeVar("T")


class Sampler(Generic[T]):
    """Goes through the problems (or demonstrations) in a fresh order every epoch.

    An epoch is ⌊N / P⌋ steps, so that no problem comes twice in a step; the few problems left over at its end differ
    from epoch to epoch. Steps count from 1. The addresses of the draws count them from 0, as runs always have.
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
        """Return the problems of a step."""
        return [self.problems[i] for i in self.indices(step)]

    def indices(self, step: int) -> list[int]:
        """Return the indices of a step's problems in the list of all."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.problems))
        return order[position * self.per_step : (position + 1) * self.per_step].tolist()

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after a step."""
        return step / self.steps_per_epoch
