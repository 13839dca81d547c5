"""MATH (arXiv 2103.03874): competition problems, levels 1 to 5; the answer is the last box of the solution."""

from simplerl.data.problems import ProblemSet, problem_set
from simplerl.data.rows import open_place
from simplerl.data.select import select

HUB = "DigitalLearningGmbH/MATH-lighteval"
#: Pinned, so that a run today and a run next year see the same rows.
REVISION = "0530c78699ea5e8eb5530600900e1f328b48acad"


def load(
    split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (), at: str = ""
) -> ProblemSet:
    """Return the first `size` problems (0: all) of the wanted levels (none: all), from the hub or from `at`."""
    origin, rows = open_place(HUB, at, split=split, revision=REVISION)
    return select(problem_set(rows, source="math", origin=origin), name="math", levels=levels, size=size)
