"""The published data sets, from the hub or from files.

GSM8K (arXiv 2110.14168): grade-school word problems; the answer stands after `####`. MATH (arXiv 2103.03874):
competition problems, levels 1 to 5; the answer is the last box of the solution. Both are pinned to a revision, so that
a run today and a run next year see the same rows.

SimpleRL-Zoo (arXiv 2503.18892), one set per tier of difficulty, as its authors published them. The files come in two
prompt formats with the same questions: `abel` (our template `simple`) and `qwen` (`qwen-boxed`). Each tier is read in
the format in which most of the paper's models were trained on it; the file's own prompts are kept, so that
`template = "from-data"` uses them and a template that differs is noticed. The test split is MATH-500. Two of its
level-5 rows have no gold; they are left out and listed.
"""

from collections.abc import Callable

from simplerl.core.errors import ConfigError
from simplerl.data.problems import ProblemSet, problem_set, select
from simplerl.data.rows import open_place

ZOO = "hkust-nlp/SimpleRL-Zoo-Data"

#: Tier of SimpleRL-Zoo → directory of its files in the published data set.
ZOO_DIRECTORIES = {
    "easy": "simplelr_abel_gsm8k_level1",
    "medium": "simplelr_abel_level1to4",
    "hard": "simplelr_qwen_level3to5",
}


def _loader(
    name: str, hub: str, revision: str | None = None, *, configuration: str | None = None, tier: str = ""
) -> Callable[..., ProblemSet]:
    def load(
        split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (), at: str = ""
    ) -> ProblemSet:
        if tier and split not in ("train", "test"):
            raise ConfigError(f"data set {name!r} has the splits train and test, not {split!r}")
        file = f"{ZOO_DIRECTORIES[tier]}/{split}.parquet" if tier else None
        origin, rows = open_place(hub, at, split=split, configuration=configuration, revision=revision, file=file)
        source = f"{name}-{split}" if tier and split != "train" else name
        return select(problem_set(rows, source=source, origin=origin), name=source, levels=levels, size=size)

    load.__doc__ = f"Return the first `size` problems (0: all) of a split of {name}, from the hub or from `at`."
    return load


gsm8k = _loader("gsm8k", "openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee", configuration="main")
math = _loader("math", "DigitalLearningGmbH/MATH-lighteval", "0530c78699ea5e8eb5530600900e1f328b48acad")
zoo_easy, zoo_medium, zoo_hard = (_loader(f"simplerl-zoo-{tier}", ZOO, tier=tier) for tier in ZOO_DIRECTORIES)
