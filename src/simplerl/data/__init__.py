"""Data sets by name, and `read` and `load`, which also take a file or a hub data set.

Adding one is one file with `load(split, *, size, seed, levels)`, which returns problems, or a `ProblemSet` where there
is more to say of them, and one line here. A loader that also takes `at` reads from a directory or from a revision of
the hub's, given as `name@place`.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, DataError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet, problem_set, select
from simplerl.data.rows import SUFFIXES, file_origin, open_hub, read_rows

#: Name → loader.
DATASETS: Registry[Callable[..., list[Problem] | ProblemSet]] = Registry(
    "data",
    {
        "arithmetic": "simplerl.data.arithmetic:load",
        "gsm8k": "simplerl.data.published:gsm8k",
        "math": "simplerl.data.published:math",
        "simplerl-zoo-easy": "simplerl.data.published:zoo_easy",
        "simplerl-zoo-medium": "simplerl.data.published:zoo_medium",
        "simplerl-zoo-hard": "simplerl.data.published:zoo_hard",
    },
)


def read(name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()) -> ProblemSet:
    """Return a built-in data set, a file (.jsonl, .json, .parquet) or a hub data set (owner/name), with its origin.

    `NAME@PLACE` reads a data set of the hub at another revision, a built-in one also from a directory. A file has no
    splits: `split` is ignored. `seed` only matters to generated data, `levels` where levels are known.
    """
    base, _, at = name.partition("@")
    path = Path(name).expanduser()
    if base in DATASETS:
        loader = DATASETS[base]
        options: dict[str, Any] = {"size": size, "seed": seed, **({"levels": tuple(levels)} if levels else {})}
        if at and "at" not in inspect.signature(loader).parameters:
            raise ConfigError(
                f"data set {base!r} is made here, so there is no {at!r} to read it from; leave out '@{at}'"
            )
        loaded = loader(split, **options, **({"at": at} if at else {}))
        return loaded if isinstance(loaded, ProblemSet) else ProblemSet(problems=loaded, origin={"generated": base})
    if path.suffix in SUFFIXES or path.exists():
        problems = problem_set(read_rows(path), source=path.stem, origin=file_origin(path) if path.is_file() else {})
    elif base.count("/") == 1 and not name.startswith((".", "/", "~")):
        origin, rows = open_hub(base, split=split, revision=at or None)
        problems = problem_set(rows, source=base, origin=origin)
    else:
        raise DataError(
            f"unknown data set {name!r}; {nearest(name, DATASETS)} A .jsonl, .json or .parquet file or a hub data set "
            "(owner/name) works too."
        )
    return select(problems, name=name, levels=levels, size=size)


def load(
    name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()
) -> list[Problem]:
    """Return the problems of `read`; rows left out are said on standard error."""
    chosen = read(name, split, size=size, seed=seed, levels=levels)
    if chosen.left_out:
        print(f"{name}: {left_out_message(chosen)}", file=sys.stderr)
    return chosen.problems


def left_out_message(chosen: ProblemSet) -> str:
    """Return a sentence that counts and names the rows that were left out."""
    named = "; ".join(item.place for item in chosen.left_out[:5]) + (" …" if len(chosen.left_out) > 5 else "")
    total = len(chosen.problems) + len(chosen.left_out)
    return f"{len(chosen.left_out)} of {total} rows have no gold answer and are left out: {named}"


def has_test_split(name: str) -> bool:
    """Return whether the data set comes with a test split of its own."""
    return name.partition("@")[0] in DATASETS
