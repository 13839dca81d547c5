"""GSM8K (arXiv 2110.14168): grade-school word problems; 7,473 train, 1,319 test; the answer stands after `####`."""

from simplerl.data.problems import problems
from simplerl.data.rows import read_hub
from simplerl.errors import ConfigError
from simplerl.types import Problem


def load(split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()) -> list[Problem]:
    """Return the first `size` problems of a split (0: all), from the hub. GSM8K has no levels."""
    if levels:
        raise ConfigError("data set 'gsm8k' has no levels; leave out dataset.levels")
    return problems(read_hub("openai/gsm8k", split=split, configuration="main"), source="gsm8k", size=size)
