"""Data sets by name, and `read` and `load`, which also take a file, a hub data set, and mixtures of all these.

    gsm8k                                    a source: a name, a name@place, a file, owner/name on the hub
    reasoning-gym:chain_sum                  a task of a source that has tasks
    reasoning-gym:chain_sum,size=5000        options, each after a comma; several values are a|b
    arithmetic:0.25+math.jsonl:0.75          a mixture: parts joined by +, each with its weight (else 1)

Weights are shares of the problems, which are gone through equally often. So that the shares are exact, a part that is
larger than its share gives only as many problems as it may. Without any weight every part gives all that it has.

Adding a data set is one file with `load(split, *, size, seed, levels)`, which returns problems, or a `ProblemSet` where
there is more to say of them, and one line in `DATASETS`. A loader that also takes `at` reads from a directory or from a
revision of the hub's, given as `name@place`; one that takes `task` has several tasks, given as `name:task`; `options`
are what else stands behind the name, as `name,key=value`.

The published ones: GSM8K (arXiv 2110.14168): grade-school word problems; the answer stands after `####`. MATH (arXiv
2103.03874): competition problems, levels 1 to 5; the answer is the last box of the solution. Both are pinned to a
revision, so that a run today and a run next year see the same rows. SimpleRL-Zoo (arXiv 2503.18892): one set per tier
of difficulty. Its files come in two prompt formats with the same questions: `abel` (our template `simple`) and `qwen`
(`qwen-boxed`). Each tier is read in the format in which most of the paper's models were trained on it; the file's own
prompts are kept, so that `template = "from-data"` uses them and a template that differs is noticed. The test split is
MATH-500. Two of its level-5 rows have no gold; they are left out and listed.
"""

import dataclasses
import inspect
import math
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simplerl.core.errors import ConfigError, DataError, nearest
from simplerl.core.registry import Registry, is_object
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet, Reading, problem_set, readings, select
from simplerl.data.rows import SUFFIXES, file_origin, open_hub, open_source, path_of, read_rows

#: Name → loader.
DATASETS: Registry[Callable[..., list[Problem] | ProblemSet]] = Registry(
    "data",
    {
        "arithmetic": "simplerl.data.arithmetic:load",
        "families": "simplerl.data.arithmetic:load_families",
        "knights": "simplerl.environments.knights:load",
        "reasoning-gym": "simplerl.environments.gym:load",
        "stack": "simplerl.environments.stack:load",
        "verifiers": "simplerl.environments.adapters:tasks",
        "gsm8k": "simplerl.data:load_gsm8k",
        "math": "simplerl.data:load_math",
        "simplerl-zoo-easy": "simplerl.data:load_zoo_easy",
        "simplerl-zoo-medium": "simplerl.data:load_zoo_medium",
        "simplerl-zoo-hard": "simplerl.data:load_zoo_hard",
    },
)

ZOO = "hkust-nlp/SimpleRL-Zoo-Data"

#: Tier of SimpleRL-Zoo → directory of its files in the published data set.
ZOO_DIRECTORIES = {
    "easy": "simplelr_abel_gsm8k_level1",
    "medium": "simplelr_abel_level1to4",
    "hard": "simplelr_qwen_level3to5",
}


def _published(
    name: str, hub: str, revision: str | None = None, *, configuration: str | None = None, tier: str = ""
) -> Callable[..., ProblemSet]:
    """Return the loader of a data set of the hub, whose `at` is a directory with its files, or another revision."""

    def load(
        split: str = "train", *, size: int = 0, seed: int = 0, levels: tuple[int, ...] = (), at: str = ""
    ) -> ProblemSet:
        if tier and split not in ("train", "test"):
            raise ConfigError(f"data set {name!r} has the splits train and test, not {split!r}")
        file = f"{ZOO_DIRECTORIES[tier]}/{split}.parquet" if tier else None
        directory = path_of(at)
        if not at or not (directory.is_dir() or at.startswith((".", "/", "~"))):
            origin, rows = open_hub(hub, split=split, configuration=configuration, revision=at or revision, file=file)
        else:
            wanted = [file] if file else [f"{split}{suffix}" for suffix in SUFFIXES]
            path = next((directory / name for name in wanted if (directory / name).is_file()), None)
            if path is None:
                raise DataError(
                    f"{directory} does not hold {' or '.join(wanted)}; download the files of {hub} from the hub there, "
                    "or give the file itself"
                )
            origin, rows = file_origin(path), read_rows(path)
        source = f"{name}-{split}" if tier and split != "train" else name
        return select(problem_set(rows, source=source, origin=origin), name=source, levels=levels, size=size)

    load.__doc__ = f"Return the first `size` problems (0: all) of a split of {name}, from the hub or from `at`."
    return load


load_gsm8k = _published("gsm8k", "openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee", configuration="main")
load_math = _published("math", "DigitalLearningGmbH/MATH-lighteval", "0530c78699ea5e8eb5530600900e1f328b48acad")
load_zoo_easy, load_zoo_medium, load_zoo_hard = (
    _published(f"simplerl-zoo-{tier}", ZOO, tier=tier) for tier in ZOO_DIRECTORIES
)


#: A source, perhaps its task, perhaps its weight.
_HEAD = re.compile(r"(?P<name>[^:]+|.+?)(?::(?P<task>[A-Za-z_][\w-]*))?(?::(?P<weight>\d*\.?\d+))?", re.DOTALL)
#: Between parts; a value may be the sign itself (`operators=+|-`).
_BETWEEN = re.compile(r"(?<![=|])\+")
_KEY = re.compile(r"\w+")
#: What a part may hold beside its name: before an `@`, more than the name of one source.
_SIGNS = re.compile(r"[+:,]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One source of a mixture.

    >>> parse("reasoning-gym:chain_sum:0.5,max_terms=3")
    [Part(name='reasoning-gym', task='chain_sum', weight=0.5, options={'max_terms': 3})]
    """

    name: str
    task: str = ""
    weight: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The source as it was named, without weight and options."""
        return f"{self.name}:{self.task}" if self.task else self.name


def parse(text: str) -> list[Part]:
    """Return the parts of what `--data` says. A file of that very name is a file. Raises ConfigError."""
    base, _, place = text.partition("@")
    is_place = place and not _SIGNS.search(base) and os.path.exists(path_of(place))
    if is_object(text) or os.path.exists(path_of(text)) or is_place:
        return [Part(name=text)]
    return [_part(each.strip(), text) for each in _BETWEEN.split(text)]


def _part(text: str, complete: str) -> Part:
    head, *pairs = (each.strip() for each in text.split(","))
    matched = _HEAD.fullmatch(head)
    if matched is None:
        raise ConfigError(f"data {complete!r} has an empty part; write name:weight+name:weight")
    weight = None if matched["weight"] is None else float(matched["weight"])
    if weight == 0:
        raise ConfigError(f"data {complete!r}: the weight of {matched['name']!r} must be positive; leave the part out")
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not _KEY.fullmatch(key) or key in options:
            why = "is given twice" if key in options else "is not key=value"
            raise ConfigError(f"data {complete!r}: {pair!r} {why}; options follow a name as name,key=value,key=value")
        options[key] = [_value(each) for each in value.split("|")] if "|" in value else _value(value)
    return Part(name=matched["name"], task=matched["task"] or "", weight=weight, options=options)


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def weights_of(parts: Sequence[Part]) -> list[float]:
    """Return the weight of each part; 0 for all where none is given, and every part gives all that it has."""
    given = any(part.weight is not None for part in parts)
    return [float(given) if part.weight is None else part.weight for part in parts]


def mix(parts: Sequence[Part], sets: Sequence[ProblemSet], size: int) -> ProblemSet:
    """Return one set of up to `size` problems (0: as many as there are) in the shares that the weights say.

    The parts take turns, so that the first problems have the shares too. What a part has beyond its share is said.
    """
    lengths = [len(each.problems) for each in sets]
    weights = weights_of(parts) if any(weights_of(parts)) else lengths
    total = min(length / weight for length, weight in zip(lengths, weights, strict=True)) * sum(weights)
    counts = [round(min(total, size or total) * weight / sum(weights)) for weight in weights]
    decisions = defaultdict[str, list[str]](list)
    for each in sets:
        for what, places in each.decisions.items():
            decisions[what] += places
    for part, each, count in zip(parts, sets, counts, strict=True):
        if not count:
            raise ConfigError(f"the mixture has no room for a problem of {part.label!r}: ask for more than {size}")
        if beyond := [problem.id for problem in each.problems[count:]]:
            decisions[f"{part.label}: more than its share, not used"] += beyond
    turns = [(number / count, index) for index, count in enumerate(counts) for number in range(count)]
    pools = [iter(each.problems) for each in sets]
    drawn = [(index, next(pools[index])) for _, index in sorted(turns)]
    # An id addresses the random draws of a problem, so two problems may not share one; a source is a domain of its own.
    often = Counter(problem.id for _, problem in drawn)
    labels = defaultdict[str, set[str]](set)
    for index, problem in drawn:
        labels[problem.source].add(parts[index].label)

    def own(index: int, problem: Problem) -> Problem:
        shared = {"id": often[problem.id] > 1, "source": len(labels[problem.source]) > 1}
        names: dict[str, Any] = {name: f"{index}-{getattr(problem, name)}" for name, is_so in shared.items() if is_so}
        return dataclasses.replace(problem, **names)

    return ProblemSet(
        problems=[own(index, problem) for index, problem in drawn],
        left_out=tuple(row for each in sets for row in each.left_out),
        decisions=dict(decisions),
        origin={
            "mixture": [
                {"data": part.label, "problems": count, **each.origin}
                for part, each, count in zip(parts, sets, counts, strict=True)
            ]
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
    cannot be read is a DataError, or without `strict` left out. The option `size` is that of the training problems, or
    of the test problems where these are a `benchmark`.
    """
    parts = parse(name)
    weights, sized = weights_of(parts), benchmark or split == "train"
    counts = [math.ceil(size * weight / sum(weights)) if any(weights) else size for weight in weights]  # 0 is all.
    sets = [
        _read(part, split, size=count, seed=seed, levels=levels, strict=strict, sized=sized)
        for part, count in zip(parts, counts, strict=True)
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
    given: dict[str, Any] = {"levels": levels, "at": at, "task": part.task, "options": more}
    given = {"size": size, "seed": seed, **{key: value for key, value in given.items() if value}}
    try:
        inspect.signature(loader).bind(split, **given)
    except TypeError as error:
        raise ConfigError(f"data set {base!r} ({DATASETS.place(base)}) cannot be loaded: {error}") from error
    loaded = loader(split, **given)
    chosen = loaded if isinstance(loaded, ProblemSet) else ProblemSet(problems=loaded, origin={"generated": base})
    if not chosen.problems or not all(isinstance(each, Problem) for each in chosen.problems):
        what = f"{type(chosen.problems[0]).__name__} objects" if chosen.problems else "nothing"
        raise DataError(f"data set {base!r} ({DATASETS.place(base)}) must return problems, not {what}")
    return chosen


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
