"""The three tiers of difficulty of SimpleRL-Zoo (arXiv 2503.18892), built from GSM8K and MATH."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from simplerl.core.errors import DataError
from simplerl.core.types import Problem
from simplerl.data.decontaminate import exact

#: Tier → (whether GSM8K is in it, levels of MATH, how many problems the paper reports).
TIERS = {
    "easy": (True, ("1",), "about 8,000"),
    "medium": (False, ("1", "2", "3", "4"), "about 8,000"),
    "hard": (False, ("3", "4", "5"), "8,523"),
}


class Tiers(NamedTuple):
    """The tiers, and the problems that are in none."""

    problems: dict[str, list[Problem]]
    excluded: list[Problem]  # Asked by a benchmark that was to be kept out
    without_level: list[Problem]  # Rows of MATH whose level is not 1 to 5


def named(problems: Sequence[Problem], source: str, label: str) -> list[Problem]:
    """Return problems with a source and with ids that stay unique when sets are put together."""
    return [
        dataclasses.replace(
            item,
            id=f"{label}-{index}",
            source=source,
            meta={key: value for key, value in item.meta.items() if key not in ("origin", "original_id", "messages")},
        )
        for index, item in enumerate(problems)
    ]


def build(gsm8k: Sequence[Problem], math: Sequence[Problem], *, exclude: Collection[str] = ()) -> Tiers:
    """Return the tiers. `exclude` holds questions that must not be trained on. Raises DataError for an empty tier."""
    asked = {exact(question) for question in exclude}
    left: list[Problem] = []
    excluded: list[Problem] = []
    for item in [*gsm8k, *math]:
        (excluded if exact(item.question) in asked else left).append(item)
    levels = {item.level for item in left if item.source == "math"}
    tiers: dict[str, list[Problem]] = {}
    for name, (with_gsm8k, wanted, _) in TIERS.items():
        if not levels & {*wanted}:
            raise DataError(
                f"tier {name} has no problem of MATH: it needs levels {', '.join(wanted)}, and the levels there "
                f"are {', '.join(sorted(map(repr, levels))) or 'none'}"
            )
        tiers[name] = [p for p in left if (p.level in wanted if p.source == "math" else with_gsm8k)]
    without_level = [item for item in left if item.source == "math" and item.level not in tuple("12345")]
    return Tiers(tiers, excluded, without_level)


def counts(problems: Sequence[Problem]) -> dict[str, int]:
    """Return `gsm8k` and `math level N` → problems."""
    numbers = Counter(item.source if item.source == "gsm8k" else f"math level {item.level}" for item in problems)
    return dict(sorted(numbers.items()))
