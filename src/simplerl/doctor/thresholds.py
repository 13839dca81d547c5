"""Thresholds by name: their defaults, and what a user sets them to (`RULE.NAME=VALUE`)."""

import contextlib
import math
from collections.abc import Iterable, Mapping

from simplerl.core.errors import ConfigError, SimpleRLError, nearest
from simplerl.doctor.rule import Rule, Threshold
from simplerl.doctor.rules import RULES

#: What does not belong to one rule alone.
WINDOW = Threshold(
    10,
    "what a rule averages over, at the beginning and at the end of what there is; shorter runs have a third of their "
    "steps, from 3 up",
    "steps",
)


def parse(assignments: Iterable[str]) -> dict[str, float]:
    """Return what `RULE.NAME=VALUE` texts set. Raises ConfigError, naming the nearest threshold."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"threshold {assignment!r}: give RULE.NAME=VALUE, e.g. clip-ratio.share=0.3")
        values[name.strip()] = value.strip()
    return check(values)


def check(values: Mapping[str, object]) -> dict[str, float]:
    """Return thresholds as numbers, names checked. Raises ConfigError."""
    known = {"window.steps": WINDOW}
    for name, rule in RULES.items():
        if not isinstance(rule, Rule):
            raise SimpleRLError(
                f"the rule {name!r} ({RULES.place(name)}) is not a Rule; decorate its check with simplerl.doctor.rule"
            )
        known |= {f"{name}.{key}": entry for key, entry in rule.thresholds.items()}
    numbers: dict[str, float] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown threshold {name!r}; {nearest(name, known)}")
        entry, number = known[name], math.nan
        with contextlib.suppress(TypeError, ValueError):
            number = float(value)  # type: ignore[arg-type]
        # What no figure of the kind can be would make a rule speak always or never, without a word.
        wanted = "a finite number" if not math.isfinite(number) else "0 or more" if number < 0 <= entry.default else ""
        if wanted:
            raise ConfigError(f"threshold {name} = {value!r}: must be {wanted} ({entry.unit})")
        numbers[name] = number
    window = numbers.get("window.steps", 3)
    if window < 3 or window != int(window):
        raise ConfigError(f"threshold window.steps = {window:g}: must be a whole number, at least 3")
    return numbers


def resolved(values: Mapping[str, object]) -> tuple[int, dict[str, dict[str, float]]]:
    """Return the steps of a window, and rule → its thresholds by their short names, set ones instead of defaults."""
    numbers = check(values)
    of_rules = {
        name: {key: numbers.get(f"{name}.{key}", entry.default) for key, entry in rule.thresholds.items()}
        for name, rule in RULES.items()
    }
    return int(numbers.get("window.steps", WINDOW.default)), of_rules
