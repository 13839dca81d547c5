"""Data sets by name, and `read` and `load`, which also take a file or a hub data set.

Adding one is one file with `load(split, *, size, seed, levels)`, which returns problems, or a `ProblemSet` where there
is more to say of them, and one line here. A loader that also takes `at` reads from a directory or from a revision of
the hub's, given as `name@place`.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from simplerl.core.errors import ConfigError, DataError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet, problem_set
from simplerl.data.rows import SUFFIXES, file_origin, open_hub, read_rows
from simplerl.data.select import select

#: Name → loader.
DATASETS: Registry[Callable[..., list[Problem] | ProblemSet]] = Registry(
    "data",
    {
        "arithmetic": "simplerl.data.arithmetic:load",
        "gsm8k": "simplerl.data.gsm8k:load",
        "math": "simplerl.data.math:load",
        "simplerl-zoo-easy": "simplerl.data.simplerl_zoo:load_easy",
        "simplerl-zoo-medium": "simplerl.data.simplerl_zoo:load_medium",
        "simplerl-zoo-hard": "simplerl.data.simplerl_zoo:load_hard",
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
        return _built_in(base, at, split, size=size, seed=seed, levels=tuple(levels))
    if path.suffix in SUFFIXES or path.exists():
        found = problem_set(read_rows(path), source=path.stem, origin=file_origin(path) if path.is_file() else {})
    elif base.count("/") == 1 and not name.startswith((".", "/", "~")):
        origin, rows = open_hub(base, split=split, revision=at or None)
        found = problem_set(rows, source=base, origin=origin)
    else:
        raise DataError(
            f"unknown data set {name!r}; {nearest(name, DATASETS)} A .jsonl, .json or .parquet file or a hub data set "
            "(owner/name) works too."
        )
    return select(found, name=name, levels=levels, size=size)


def _built_in(base: str, at: str, split: str, *, size: int, seed: int, levels: tuple[int, ...]) -> ProblemSet:
    loader = DATASETS[base]
    options = {"size": size, "seed": seed, **({"levels": levels} if levels else {})}
    if at and "at" not in inspect.signature(loader).parameters:
        raise ConfigError(f"data set {base!r} is made here, so there is no {at!r} to read it from; leave out '@{at}'")
    found = loader(split, **options, **({"at": at} if at else {}))
    return found if isinstance(found, ProblemSet) else ProblemSet(problems=found, origin={"generated": base})


def load(
    name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()
) -> list[Problem]:
    """Return the problems of `read`; rows left out are said on standard error."""
    found = read(name, split, size=size, seed=seed, levels=levels)
    if found.left_out:
        print(f"{name}: {left_out_message(found)}", file=sys.stderr)
    return found.problems


def left_out_message(found: ProblemSet) -> str:
    """Return a sentence that counts and names the rows that were left out."""
    named = "; ".join(item.place for item in found.left_out[:5]) + (" …" if len(found.left_out) > 5 else "")
    total = len(found.problems) + len(found.left_out)
    return f"{len(found.left_out)} of {total} rows have no gold answer and are left out: {named}"


def has_test_split(name: str) -> bool:
    """Return whether the data set comes with a test split of its own."""
    return name.partition("@")[0] in DATASETS
