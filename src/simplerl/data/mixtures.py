"""What `--data` says: sources with tasks, weights and options, and how several become one set in the wanted shares.

    gsm8k                                    a source: a name, a name@place, a file, owner/name on the hub
    reasoning-gym:chain_sum                  a task of a source that has tasks
    reasoning-gym:chain_sum,size=5000        options, each after a comma; several values are a|b
    arithmetic:0.25+math.jsonl:0.75          a mixture: parts joined by +, each with its weight (else 1)

Weights are shares of the problems, which are gone through equally often. So that the shares are exact, a part that is
larger than its share gives only as many problems as it may. Without any weight every part gives all that it has.
"""

import dataclasses
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError
from simplerl.core.registry import is_object
from simplerl.core.types import Problem
from simplerl.data.problems import ProblemSet

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
    is_place = place and not _SIGNS.search(base) and Path(place).expanduser().exists()
    if is_object(text) or Path(text).expanduser().exists() or is_place:
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


def sizes(parts: Sequence[Part], size: int) -> list[int]:
    """Return how many problems to ask of each part for a mixture of `size` (0: all that it has)."""
    weights = weights_of(parts)
    return [math.ceil(size * weight / sum(weights)) if any(weights) else size for weight in weights]


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
