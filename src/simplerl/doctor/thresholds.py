"""Thresholds by name: their defaults, and what a user sets them to (`RULE.NAME=VALUE`)."""

import math
from collections.abc import Iterable, Mapping

from simplerl.core.errors import ConfigError, nearest
from simplerl.doctor.rules import RULES
from simplerl.doctor.types import Threshold

#: What belongs to no rule alone.
WINDOW = Threshold(
    name="steps",
    default=10,
    unit="steps",
    meaning="what a rule averages over, at the beginning and at the end of what there is; shorter runs have a third of "
    "their steps, from 3 up",
)


def known() -> dict[str, Threshold]:
    """Return every threshold by its full name."""
    found = {"window.steps": WINDOW}
    return found | {f"{rule.name}.{entry.name}": entry for rule in RULES.values() for entry in rule.thresholds}


def parse(assignments: Iterable[str]) -> dict[str, float]:
    """Return what `RULE.NAME=VALUE` texts set. Raises ConfigError, naming the nearest threshold."""
    found = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"threshold {assignment!r}: give RULE.NAME=VALUE, e.g. clip-ratio.share=0.3")
        found[name.strip()] = value.strip()
    return check(found)


def check(values: Mapping[str, object]) -> dict[str, float]:
    """Return thresholds as numbers, names checked."""
    names, found = known(), {}
    for name, value in values.items():
        if name not in names:
            raise ConfigError(f"unknown threshold {name!r}; {nearest(name, names)}")
        try:
            found[name] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise ConfigError(f"threshold {name} = {value!r}: must be a finite number ({names[name].unit})")
        # What no figure of the kind can be would make a rule speak always or never, without a word.
        if found[name] < 0 <= names[name].default:
            raise ConfigError(f"threshold {name} = {value!r}: must be 0 or more ({names[name].unit})")
    window = found.get("window.steps", 3)
    if window < 3 or window != int(window):
        raise ConfigError(f"threshold window.steps = {window:g}: must be a whole number, at least 3")
    return found


def of_rule(rule: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return a rule's thresholds by their short names, set ones instead of the defaults."""
    return {entry.name: values.get(f"{rule}.{entry.name}", entry.default) for entry in RULES[rule].thresholds}
