"""MATH (arXiv 2103.03874): competition problems, levels 1 to 5; the answer is the last box of the solution."""

from simplerl.data.problems import problems
from simplerl.data.rows import read_hub
from simplerl.types import Problem


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()) -> list[Problem]:
    """Return the first `size` problems (0: all) of the wanted levels (none: all), from the hub."""
    found = problems(read_hub("DigitalLearningGmbH/MATH-lighteval", split=split), source="math")
    kept = [item for item in found if not levels or item.level in {str(level) for level in levels}]
    return kept[:size] if size else kept
