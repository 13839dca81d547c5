"""Data sets by name, and `read` and `load`, which also take a file or a hub data set.

Adding one is one file with `load(split, *, size, seed, levels)`, which returns problems, or a `ProblemSet` where there
is more to say of them, and one line here. A loader that also takes `at` reads from a directory or from a revision of
the hub's, given as `name@place`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, DataError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem
from simplerl.data import audit
from simplerl.data.problems import ProblemSet, audit_rows, problem_set, select
from simplerl.data.rows import SUFFIXES, Row, file_origin, open_hub, read_rows, stem_of, suffix_of

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


def read(
    name: str,
    split: str = "train",
    *,
    size: int = 0,
    seed: int = 0,
    levels: tuple[int, ...] = (),
    strict: bool = True,
) -> ProblemSet:
    """Return a built-in data set, a data file or a hub data set (owner/name), with what is to be said of its rows.

    `NAME@PLACE` reads a data set of the hub at another revision, a built-in one also from a directory. A file has no
    splits: `split` is ignored. `seed` only matters to generated data, `levels` where levels are known. A row that
    cannot be read is a DataError, or without `strict` left out.
    """
    base, _, at = name.partition("@")
    if base in DATASETS:
        loader = DATASETS[base]
        options: dict[str, Any] = {"size": size, "seed": seed, **({"levels": tuple(levels)} if levels else {})}
        if at and "at" not in inspect.signature(loader).parameters:
            raise ConfigError(
                f"data set {base!r} is made here, so there is no {at!r} to read it from; leave out '@{at}'"
            )
        loaded = loader(split, **options, **({"at": at} if at else {}))
        return loaded if isinstance(loaded, ProblemSet) else ProblemSet(problems=loaded, origin={"generated": base})
    origin, rows, source = _open(name, split)
    return select(problem_set(rows, source=source, origin=origin, strict=strict), name=name, levels=levels, size=size)


def _open(name: str, split: str) -> tuple[dict[str, Any], Iterable[Row], str]:
    """Return (origin, rows, source) of a file or a hub data set."""
    path, (base, _, at) = Path(name).expanduser(), name.partition("@")
    if suffix_of(path) or path.exists():
        return file_origin(path) if path.is_file() else {}, read_rows(path), stem_of(path)
    if base.count("/") == 1 and not name.startswith((".", "/", "~")):
        return *open_hub(base, split=split, revision=at or None), base
    raise DataError(
        f"unknown data set {name!r}; {nearest(name, DATASETS)} A {', '.join(SUFFIXES)} file or a hub data set "
        "(owner/name) works too."
    )


def load(
    name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()
) -> list[Problem]:
    """Return the problems of `read`; what is to be said of the rows is said on standard error."""
    chosen = read(name, split, size=size, seed=seed, levels=levels)
    for note in chosen.notes:
        print(f"{name}: {note}", file=sys.stderr)
    return chosen.problems


def rows_to_audit(name: str, split: str = "train") -> Iterator[audit.Row]:
    """Yield the rows of whatever `read` takes, for an audit: also those that training would refuse."""
    if name.partition("@")[0] not in DATASETS:
        _, rows, source = _open(name, split)
        yield from audit_rows(rows, source=source)
        return
    chosen = read(name, split)
    for item in chosen.problems:
        yield audit.Row(id=item.id, gold=item.answer, question=item.question)
    for row in chosen.left_out:
        yield audit.Row(id=row.id, gold="", left_out=row.why)


def has_test_split(name: str) -> bool:
    """Return whether the data set comes with a test split of its own."""
    return name.partition("@")[0] in DATASETS
