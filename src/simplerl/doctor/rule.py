"""What a rule is: one thing that can go wrong in a run, what it sees, its thresholds, and the finding it comes to.

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

A plug-in adds a rule like this, or by `@simplerl.register("rule", NAME)` of a `Rule`. An `Observation` serves a
finished run and one that is going on: a rule sees the past of one step at a time.
"""

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simplerl.core.errors import ConfigError, SimpleRLError, nearest
from simplerl.core.registry import Registry
from simplerl.runs.metrics import as_number

#: Most values that make a window. Figures of the responses are known at few steps: fewer of them make one.
WINDOW, TEXT_WINDOW = 10, 3
TEXT = "text/"

#: 1 where a step's loss or gradient norm is recorded and is not a number, 0 where it is one.
NOT_FINITE = "doctor/not_finite"
_MUST_BE_FINITE = ("policy/loss", "sft/loss", "optimizer/grad_norm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A response that shows a finding. `excerpt` is the model's own text: hostile until escaped."""

    step: int
    problem_id: str
    sample: int
    excerpt: str


@dataclass(frozen=True)
class Series:
    """The known values of one metric, in the order of their steps.

    `width` values make a window: a third of them all, from 3 to `WINDOW`. Means of windows: `early` (the first),
    `recent` (the last), `windows` (all, [n − width + 1]), `before` (those that share no step with the last one).
    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    width: int

    def __len__(self) -> int:
        return len(self.values)

    early = property(lambda self: float(self.values[: self.width].mean()))
    recent = property(lambda self: float(self.values[-self.width :].mean()))
    first = property(lambda self: float(self.values[0]))
    last = property(lambda self: float(self.values[-1]))

    @functools.cached_property
    def windows(self) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        return (sums[self.width :] - sums[: -self.width]) / self.width

    @property
    def before(self) -> np.ndarray:
        return self.windows[: max(0, len(self) - 2 * self.width + 1)]

    def window_steps(self, start: int) -> str:
        """Return the steps of the window that begins at an index, in words: `step 5` or `steps 5–14`."""
        steps = self.steps[start : start + self.width]
        return f"step {steps[-1]}" if steps[0] == steps[-1] else f"steps {steps[0]}–{steps[-1]}"

    early_steps = property(lambda self: self.window_steps(0))
    recent_steps = property(lambda self: self.window_steps(max(0, len(self) - self.width)))

    @functools.cached_property
    def error(self) -> float:
        """Standard error of the difference between two windows, from the changes between neighbouring steps.

        The median of the absolute changes is used, so that a trend or a single jump does not pass for noise.
        """
        if len(self) < 3:
            return math.inf
        deviation = float(np.median(np.abs(np.diff(self.values)))) / 0.6745 / math.sqrt(2)
        return deviation * math.sqrt(2 / self.width)


class Observation:
    """A run as it was known after some step. `at(step)` is the same run at an earlier step."""

    def __init__(self, *, config: Mapping[str, Any] | None = None, stage: str = "train"):
        """`config` is flat, its keys dotted; `stage` the command that made the run.

        `steps` are those with a record, `until` the one up to which the run is known.
        """
        self.config, self.stage = dict(config or {}), stage
        self.until = -1
        self.steps: list[int] = []
        self._values: dict[str, tuple[list[int], list[float]]] = {}
        self._arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._examples: dict[str, list[Example]] = {}

    def add(
        self, step: int, figures: Mapping[str, Any], examples: Mapping[str, Sequence[Example]] | None = None
    ) -> None:
        """Take in what was recorded of a step, later than those before. Values that are not numbers are not known."""
        watched = [name for name in _MUST_BE_FINITE if name in figures]
        if watched:
            figures = {**figures, NOT_FINITE: int(any(math.isnan(as_number(figures[name])) for name in watched))}
        self.steps.append(step)
        self.until = step
        for name, value in figures.items():
            if name != "step" and not math.isnan(number := as_number(value)):
                steps, values = self._values.setdefault(name, ([], []))
                steps.append(step)
                values.append(number)
                self._arrays.pop(name, None)
        for name, shown in (examples or {}).items():
            self._examples.setdefault(name, []).extend(shown)

    def at(self, step: int) -> "Observation":
        """Return the run as it was known after a step. What was recorded is shared, not copied."""
        view = copy.copy(self)
        view.until = step
        return view

    def _width(self, name: str, count: int) -> int:
        if name.startswith(TEXT):
            return max(1, min(TEXT_WINDOW, count // 2))
        return max(1, min(count, WINDOW, max(3, count // 3)))

    def series(self, name: str) -> Series:
        """Return the known values of a metric so far; empty where there are none."""
        if name not in self._arrays:
            steps, values = self._values.get(name, ([], []))
            self._arrays[name] = (np.array(steps, np.int64), np.array(values, np.float64))
        steps_N, values_N = self._arrays[name]
        count = int(np.searchsorted(steps_N, self.until, side="right"))
        return Series(name, steps_N[:count], values_N[:count], self._width(name, count))

    def aligned(self, *names: str) -> list[Series]:
        """Return several series at the steps at which all of them are known."""
        all_series = [self.series(name) for name in names]
        steps = all_series[0].steps
        if all(np.array_equal(steps, series.steps) for series in all_series[1:]):
            return all_series  # Nearly always.
        steps = functools.reduce(np.intersect1d, [series.steps for series in all_series])
        width = self._width(names[0], len(steps))
        return [Series(s.name, steps, s.values[np.isin(s.steps, steps)], width) for s in all_series]

    def examples(self, name: str) -> tuple[Example, ...]:
        """Return the newest responses that show a figure, at most two."""
        return tuple([e for e in self._examples.get(name, []) if e.step <= self.until][-2:])


# -- a rule and what it finds ----------------------------------------------------------------------------------------


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


# -- thresholds by name: their defaults, and what a user sets them to (`RULE.NAME=VALUE`) ----------------------------


def parse_thresholds(assignments: Iterable[str]) -> dict[str, str]:
    """Return what `RULE.NAME=VALUE` texts set. Raises ConfigError, naming the nearest threshold."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"threshold {assignment!r}: give RULE.NAME=VALUE, e.g. clip-ratio.share=0.3")
        values[name.strip()] = value.strip()
    all_thresholds(values)
    return values


def all_thresholds(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return rule → its thresholds by short names: `values` by `RULE.NAME`, else defaults. Raises ConfigError."""
    for name, rule in RULES.items():
        if not isinstance(rule, Rule):
            raise SimpleRLError(
                f"the rule {name!r} ({RULES.place(name)}) is not a Rule; decorate its check with simplerl.doctor.rule"
            )
    known = {f"{name}.{key}": entry for name, rule in RULES.items() for key, entry in rule.thresholds.items()}
    numbers = {name: entry.default for name, entry in known.items()}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown threshold {name!r}; {nearest(name, known)}")
        numbers[name] = math.nan
        with contextlib.suppress(TypeError, ValueError):
            numbers[name] = float(value)
        # What no figure of the kind can be would make a rule speak always or never, without a word.
        negative = numbers[name] < 0 <= known[name].default
        if negative or not math.isfinite(numbers[name]):
            wanted = "0 or more" if negative and math.isfinite(numbers[name]) else "a finite number"
            raise ConfigError(f"threshold {name} = {value!r}: must be {wanted} ({known[name].unit})")
    return {name: {key: numbers[f"{name}.{key}"] for key in rule.thresholds} for name, rule in RULES.items()}
