"""Data sets by name, and `read` and `load`, which also take a file or a hub data set.

Adding one is one file with `load(split, *, size, seed, levels)`, which returns problems, or a `ProblemSet` where there
is more to say of them, and one line here. A loader that also takes `at` reads from a directory or from a revision of
the hub's, given as `name@place`; one that takes `task` has several tasks, given as `name:task`; `options` are what else
stands behind the name, as `name,key=value`. Mixtures of sources: `mixtures.py`.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence

from simplerl.core.errors import ConfigError, DataError, nearest
from simplerl.core.registry import Registry
from simplerl.core.types import Problem
from simplerl.data.mixtures import Part, mix, parse, sizes
from simplerl.data.problems import ProblemSet, Reading, problem_set, readings, select
from simplerl.data.rows import open_source

#: Name → loader.
DATASETS: Registry[Callable[..., list[Problem] | ProblemSet]] = Registry(
    "data",
    {
        "arithmetic": "simplerl.data.arithmetic:load",
        "families": "simplerl.data.families:load",
        "knights": "simplerl.environments.knights:load",
        "reasoning-gym": "simplerl.environments.gym:load",
        "stack": "simplerl.environments.stack:load",
        "verifiers": "simplerl.environments.adapters:tasks",
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
    benchmark: bool = False,
) -> ProblemSet:
    """Return a built-in data set, a data file or a hub data set (owner/name), with what is to be said of its rows.

    `NAME@PLACE` reads a data set of the hub at another revision, a built-in one also from a directory. A file has no
    splits: `split` is ignored. `seed` only matters to generated data, `levels` where levels are known. A row that
    cannot be read is a DataError, or without `strict` left out. Tasks, options and mixtures: `simplerl.data.mixtures`.
    The option `size` is that of the training problems, or of the test problems where these are a `benchmark`.
    """
    parts = parse(name)
    asked = sizes(parts, size)
    sets = [
        _read(part, split, size=count, seed=seed, levels=levels, strict=strict, sized=benchmark or split == "train")
        for part, count in zip(parts, asked, strict=True)
    ]
    return sets[0] if len(parts) == 1 else mix(parts, sets, size)


#: What may stand behind every name; a loader may take more.
OPTIONS = ("size", "seed", "levels")


def _read(
    part: Part, split: str, *, size: int, seed: int, levels: Sequence[int], strict: bool, sized: bool = True
) -> ProblemSet:
    """Return one part of what `read` is asked for; `sized`: its own size counts."""
    base, _, at = part.name.partition("@")
    loader = DATASETS.get(base)
    takes = inspect.signature(loader).parameters if loader else {}
    own = {key: value for key, value in part.options.items() if key in OPTIONS}
    more = {key: value for key, value in part.options.items() if key not in OPTIONS}
    if more and "options" not in takes:
        raise ConfigError(f"data set {part.name!r} has no option {min(more)!r}; {nearest(min(more), OPTIONS)}")
    for key in ("size", "seed"):
        if not isinstance(own.get(key, 0), int) or own.get(key, 0) < 0:
            raise ConfigError(f"data set {part.label!r}: {key} must be a whole number of at least 0, got {own[key]!r}")
    if sized:  # 0 is all, in either.
        size = min(filter(None, (size, own.get("size", 0))), default=0)
    seed, wanted = own.get("seed", seed), own.get("levels", levels)
    levels = tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
    if loader is None:
        if part.task:
            raise DataError(f"{part.label!r}: a file or a hub data set has no tasks; {nearest(part.name, DATASETS)}")
        origin, rows, source = open_source(part.name, split=split, known=DATASETS, what="data set")
        chosen = problem_set(rows, source=source, origin=origin, strict=strict)
        return select(chosen, name=part.name, levels=levels, size=size)
    if at and "at" not in takes:
        raise ConfigError(f"data set {base!r} is made here, so there is no {at!r} to read it from; leave out '@{at}'")
    if part.task and "task" not in takes:
        raise ConfigError(f"data set {base!r} has no tasks; leave out ':{part.task}'")
    given = {"levels": levels, "at": at, "task": part.task, "options": more}
    loaded = loader(split, size=size, seed=seed, **{key: value for key, value in given.items() if value})
    return loaded if isinstance(loaded, ProblemSet) else ProblemSet(problems=loaded, origin={"generated": base})


def load(
    name: str, split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = ()
) -> list[Problem]:
    """Return the problems of `read`; what is to be said of the rows is said on standard error."""
    chosen = read(name, split, size=size, seed=seed, levels=levels)
    for note in chosen.notes:
        print(f"{name}: {note}", file=sys.stderr)
    return chosen.problems


def rows_to_audit(name: str, split: str = "train") -> Iterator[Reading]:
    """Yield the rows of whatever `read` takes, for an audit: also those that training would refuse."""
    for part in parse(name):
        if part.name.partition("@")[0] not in DATASETS:
            _, rows, source = open_source(part.name, split=split, known=DATASETS, what="data set")
            yield from readings(rows, source=source, labelled=True)
            continue
        chosen = _read(part, split, size=0, seed=0, levels=(), strict=True)
        yield from (Reading(id=item.id, place="", problem=item) for item in chosen.problems)
        yield from chosen.left_out


def has_test_split(name: str) -> bool:
    """Return whether the data set comes with a test split of its own."""
    return all(source in DATASETS for source in sources(name))


def sources(name: str) -> list[str]:
    """Return the names of the data sets that `name` is read from."""
    return [part.name.partition("@")[0] for part in parse(name)]
