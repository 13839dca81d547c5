"""What a rule is: one thing that can go wrong in a run, with its thresholds, what it saw, and the finding it comes to.

    @rule(
        "short",
        title="Responses are short",
        why="Short ones hold no reasoning.",
        advice="Raise `sampling.max_new_tokens`.",
        needs=("length/mean",),
        thresholds={"tokens": Threshold(20, "mean length over a window, at most", "tokens")},
    )
    def short(observed, t):
        length = observed.series("length/mean")
        if length.recent > t["tokens"]:
            return None
        return Symptom(f"the mean length is {length.recent:.1f} ({length.recent_steps})", {"length": length.recent})

A plug-in adds a rule like this, or by `@simplerl.register("rule", NAME)` of a `Rule`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from simplerl.core.registry import Registry
from simplerl.doctor.observation import Example, Observation


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a rule compares with. Set it as `RULE.NAME=VALUE`."""

    default: float
    meaning: str
    unit: str = "share"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What a rule saw at one point of a run: one sentence with its figures, and the same figures by name."""

    text: str
    figures: Mapping[str, float]
    serious: bool = False
    examples: tuple[Example, ...] = ()


#: (what is known up to a step, thresholds by name) → what was seen; None where all is well.
Check = Callable[[Observation, Mapping[str, float]], Symptom | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One thing that can go wrong: a headline, why it matters, and what to try (configuration keys in backticks)."""

    title: str
    why: str
    advice: str
    needs: tuple[str, ...]  # Metrics (or `text/…` figures of the responses) without which it cannot judge
    check: Check
    least: int = 6  # Steps with a value that it needs at least
    absent: str = ""  # Why there may be no value at all
    unfit: Callable[[Observation], str | None] = lambda observed: None
    """Why it does not apply to this run although there are values; None where it does."""
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)


#: Name → rule, in the order in which they are shown. The built-in ones: `simplerl.doctor.rules`.
RULES: Registry[Rule] = Registry("rule")


def rule(name: str, *, needs: Sequence[str], **fields: Any) -> Callable[[Check], Check]:
    """Return a decorator that registers a check as a rule, and returns it unchanged. `fields` are those of `Rule`."""

    def decorate(check: Check) -> Check:
        RULES.register(name, Rule(needs=tuple(needs), check=check, **fields))
        return check

    return decorate


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is wrong with a run: a rule with what was seen, in words and figures, and when."""

    rule: str
    title: str
    severity: Literal["serious", "warning"]
    seen: str
    why: str
    advice: str
    steps: tuple[int, int]  # First and last step at which the rule held
    lasting: bool  # Whether it still holds at the end of what there is; else it passed
    figures: Mapping[str, float]
    examples: tuple[Example, ...] = ()


def ratio(above: float, below: float) -> float:
    """Return above / below, for figures of which neither should be 0 but both can be read from a file."""
    return above / below if below > 1e-12 else 0.0
