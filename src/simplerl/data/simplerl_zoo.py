"""The training sets of SimpleRL-Zoo (arXiv 2503.18892) as its authors published them, one per tier of difficulty.

The published files come in two prompt formats with the same questions: `abel` (our template `simple`) and `qwen`
(`qwen-boxed`). Each tier is read in the format in which most of the paper's models were trained on it; the file's own
prompts are kept, so that `template = "from-data"` uses them and a template that differs is noticed. The test split is
MATH-500. Two of its level-5 rows have no gold; they are left out and listed.
"""

from collections.abc import Callable

from simplerl.core.errors import ConfigError
from simplerl.data.problems import ProblemSet, problem_set
from simplerl.data.rows import open_place
from simplerl.data.select import select

HUB = "hkust-nlp/SimpleRL-Zoo-Data"

#: Tier → directory of its files in the published data set.
DIRECTORIES = {
    "easy": "simplelr_abel_gsm8k_level1",
    "medium": "simplelr_abel_level1to4",
    "hard": "simplelr_qwen_level3to5",
}
#: Tier → what is in it.
CONTENT = {"easy": "GSM8K and MATH level 1", "medium": "MATH levels 1 to 4", "hard": "MATH levels 3 to 5"}


def tier(name: str) -> Callable[..., ProblemSet]:
    """Return the loader of a tier."""

    def load(
        split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (), at: str = ""
    ) -> ProblemSet:
        if split not in ("train", "test"):
            raise ConfigError(f"data set 'simplerl-zoo-{name}' has the splits train and test, not {split!r}")
        file = f"{DIRECTORIES[name]}/{split}.parquet"
        origin, rows = open_place(HUB, at, split=split, file=file)
        source = f"simplerl-zoo-{name}" + ("" if split == "train" else f"-{split}")
        return select(problem_set(rows, source=source, origin=origin), name=source, levels=levels, size=size)

    load.__doc__ = f"Return the {name} tier ({CONTENT[name]}), from the hub or from `at`."
    return load


load_easy, load_medium, load_hard = tier("easy"), tier("medium"), tier("hard")
