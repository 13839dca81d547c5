"""GSM8K (arXiv 2110.14168): grade-school word problems; 7,473 train, 1,319 test; the answer stands after `####`."""

from simplerl.core.errors import ConfigError
from simplerl.data.problems import ProblemSet, problem_set
from simplerl.data.rows import open_place

HUB = "openai/gsm8k"
#: Pinned, so that a run today and a run next year see the same rows.
REVISION = "e53f048856ff4f594e959d75785d2c2d37b678ee"


def load(
    split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (), at: str = ""
) -> ProblemSet:
    """Return the first `size` problems of a split (0: all), from the hub or from `at`. GSM8K has no levels."""
    if levels:
        raise ConfigError("data set 'gsm8k' has no levels; leave out dataset.levels")
    origin, rows = open_place(HUB, at, split=split, configuration="main", revision=REVISION)
    return problem_set(rows, source="gsm8k", size=size, origin=origin)
