"""Doubles: what is a number plus itself? Made here, from a seed, with a train and a test split that share nothing."""

from simplerl import register
from simplerl.core.errors import ConfigError
from simplerl.core.seeds import generator
from simplerl.core.types import Problem


@register("data", "doubles")
def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()) -> list[Problem]:
    """Return questions about doubles of even numbers (train) or odd ones (test), in an order that the seed decides."""
    if levels:
        raise ConfigError("data set 'doubles' has no levels; leave out dataset.levels")
    numbers = generator(seed, "doubles", split).permutation(50)[: size or None] * 2 + (split == "test")
    return [
        Problem(id=f"doubles-{split}-{n}", question=f"What is {n}+{n}?", answer=str(2 * n), source="doubles")
        for n in numbers.tolist()
    ]
