"""Which problems a step sees: a function of (seed, step) alone, so that resuming needs no state."""

from collections.abc import Sequence
from typing import TypeVar

from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator

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
        return [self.problems[i] for i in self.places(step)]

    def places(self, step: int) -> list[int]:
        """Return where the problems of a step stand in the list of all."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.problems))
        return order[place * self.per_step : (place + 1) * self.per_step].tolist()

    def more(self, step: int, round: int, count: int, seen: set[int]) -> list[int]:
        """Return the places of up to `count` further problems for a round of a step, none of those in `seen`."""
        order = generator(self.seed, "refill", step, round).permutation(len(self.problems))
        return [int(i) for i in order if int(i) not in seen][:count]

    def epoch(self, step: int) -> float:
        """Return how many epochs have been gone through before a step."""
        return step / self.steps_per_epoch
