"""Data sets by name, and `load`, which also takes a file or a hub data set.

Adding one is one file with `load(split, *, size, seed, levels) -> list[Problem]` and one line here.
"""

from collections.abc import Callable
from pathlib import Path

from simplerl.data import arithmetic, gsm8k, math
from simplerl.data.problems import problems
from simplerl.data.rows import SUFFIXES, read_hub, read_rows
from simplerl.errors import DataError, nearest
from simplerl.types import Problem

DATASETS: dict[str, Callable[..., list[Problem]]] = {
    "arithmetic": arithmetic.load,
    "gsm8k": gsm8k.load,
    "math": math.load,
}


def load(
    name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()
) -> list[Problem]:
    """Return the problems of a built-in data set, a file (.jsonl, .json, .parquet) or a hub data set (owner/name).

    A file has no splits: `split` is ignored. `seed` only matters to generated data, `levels` where levels are known.
    """
    if name in DATASETS:
        return DATASETS[name](split, size=size, seed=seed, **({"levels": tuple(levels)} if levels else {}))
    path = Path(name).expanduser()
    if path.suffix in SUFFIXES or path.exists():
        found = problems(read_rows(path), source=path.stem)
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        found = problems(read_hub(name, split=split), source=name)
    else:
        raise DataError(
            f"unknown data set {name!r}; {nearest(name, DATASETS)} A .jsonl, .json or .parquet file or a hub data set "
            "(owner/name) works too."
        )
    wanted = {str(level) for level in levels}
    if wanted:
        found = [item for item in found if item.level in wanted]
        if not found:
            raise DataError(f"data set {name!r} has no problem of level {', '.join(sorted(wanted))}")
    return found[:size] if size else found


def has_test_split(name: str) -> bool:
    """Return whether the data set comes with a test split of its own."""
    return name in DATASETS
