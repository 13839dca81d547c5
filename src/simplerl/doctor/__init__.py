"""Diagnosis: rules over a run's metrics and responses that say what goes wrong, why it matters and what to try.

    diagnose(path)       → Diagnosis: findings with figures, what was clean, what could not be judged, what was damaged
    Watch                → the same rules while a run goes on
    RULES, rule          → every rule by name; the decorator that adds one

Every rule is applied to every point of a run: afterwards, from its directory (or that of a result of `simplerl eval`),
or while it goes on. Nothing is written, changed, or drawn at random, so that a run that is watched is the same run, bit
for bit. See docs/doctor.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from simplerl.core.errors import PluginError, RunError, raised_at
from simplerl.core.types import TrajectoryGroup
from simplerl.doctor.features import step_features
from simplerl.doctor.rule import TEXT, Example, Finding, Observation, Rule, Symptom, Threshold, all_thresholds, rule
from simplerl.doctor.rules import RULES
from simplerl.runs.files import flatten

if TYPE_CHECKING:
    from simplerl.runs.run import Run

__all__ = ["RULES", "Diagnosis", "Finding", "Observation", "Rule", "Symptom", "Threshold", "Watch", "diagnose", "rule"]

Item = TypeVar("Item")

#: Points of a run at which rules are applied; of a longer run so many, evenly apart, and the last.
POINTS = 600
#: Steps with metrics below which a run is not called healthy: hardly a rule can judge it.
EARLY = 6
#: Steps whose responses are read: the first, the last, and some evenly between. Of a run that goes on: the first step,
#: and every so many, because reading texts takes longer than looking at metrics.
LOOKS, LOOK_EVERY = 12, 5
#: Responses read of a step (its problems stand in random order) and of an evaluation: what the memory may hold.
MOST_ROWS, MOST_EVALUATED = 1024, 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """All that the rules have to say of a run, or of a result of `simplerl eval` (whose `stage` is `eval`)."""

    path: Path
    stage: str
    last_step: int
    findings: tuple[Finding, ...]  # The serious ones first, then by the step at which they began
    clean: tuple[str, ...]  # Rules that were applied and found nothing
    unfit: Mapping[str, str] = field(default_factory=dict)  # Rule that could not be applied → why
    early: bool = False
    """Whether there are too few steps with metrics for most rules, so that nothing found means little."""
    looked: tuple[int, ...] = ()  # Steps whose responses were read
    warnings: tuple[str, ...] = ()  # What was damaged and left out, by name

    @property
    def healthy(self) -> bool:
        """Whether rules were applied to enough steps and none of them found anything."""
        return bool(self.clean) and not self.findings and not self.early

    def as_table(self) -> dict[str, Any]:
        """Return it as plain tables for JSON."""
        return {**asdict(self), "path": str(self.path), "healthy": self.healthy}


def diagnose(path: Path, thresholds: Mapping[str, Any] | None = None) -> Diagnosis:
    """Return what the rules find in a run directory, or in a result directory of `simplerl eval`.

    `thresholds` maps `RULE.NAME` to values instead of the defaults. Raises RunError where there is nothing to judge,
    ConfigError for an unknown threshold.
    """
    from simplerl.runs.run import Run  # Arrow is not needed to know the rules, as a configuration does.

    of_rules = all_thresholds(thresholds or {})
    run = Run(path)
    observed, looked, warnings = observe(run)
    unfit = {name: reason for name, rule in RULES.items() if (reason := misfit(rule, observed))}
    results = {name: follow(name, observed, of_rules[name]) for name in RULES if name not in unfit}
    findings = [finding for finding in results.values() if finding]
    return Diagnosis(
        path=path,
        stage=observed.stage,
        last_step=max(observed.steps, default=0),
        findings=tuple(sorted(findings, key=lambda f: (f.severity != "serious", not f.lasting, f.steps[0]))),
        clean=tuple(name for name, finding in results.items() if finding is None),
        unfit=unfit,
        early=not run.is_result and sum(step > 0 for step in run.lines) < EARLY,
        looked=looked,
        warnings=warnings,
    )


def observe(run: "Run") -> tuple[Observation, tuple[int, ...], tuple[str, ...]]:
    """Return what is known of a run on disk, the steps whose responses were read, and what was damaged and left out.

    Responses are those of training; after SFT, and of a result, those of the evaluations.
    """
    if run.is_result or run.stage == "sft":
        records = {one.step or 0: one.records for one in run.evaluations if one.path.exists()}
    else:
        records = {step: run.records(step) for step in run.steps}
    warnings = dict.fromkeys(run.damage)
    observed, looked = Observation(config=flatten(run.config), stage=run.stage), list[int]()
    chosen = spread(sorted(records), LOOKS)
    for step in sorted({*run.lines, *chosen}):
        responses: list[Any] = []
        try:
            if step in chosen:
                responses = records[step].answers(MOST_EVALUATED if run.is_result else MOST_ROWS)
        except RunError as error:
            warnings[f"{error}: left out"] = None
        seen, examples = step_features(step, responses)
        looked += [step] if seen else []
        if seen or step in run.lines:
            observed.add(step, {**run.lines.get(step, {}), **seen}, examples)
    return observed, tuple(looked), tuple(warnings)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` items evenly apart, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def misfit(rule: Rule, observed: Observation) -> str | None:
    """Return why a rule cannot judge what is known so far; None where it can."""
    for name in rule.needs:
        known = len(observed.series(name))
        what = "looks at responses" if name.startswith(TEXT) else f"values of {name}"
        if not known and (rule.absent or len(observed.steps) >= rule.least):
            return rule.absent or f"{name} was not recorded"
        # The text of one evaluation is all that there is of it.
        if known < (1 if observed.stage == "eval" else rule.least):
            return f"needs {rule.least} {what}, there {'is' if known == 1 else 'are'} {known}"
    return rule.unfit(observed)


def apply(name: str, observed: Observation, values: Mapping[str, float]) -> Symptom | None:
    """Return what a rule sees in what is known so far; None also where it cannot judge yet.

    Raises PluginError, with file and line, where the rule of a plug-in raises.
    """
    try:
        return None if misfit(RULES[name], observed) else RULES[name].check(observed, values)
    except Exception as error:
        if not RULES.plugin(name):
            raise
        raise PluginError(f"the rule {name} of {RULES.plugin(name)} failed: {raised_at(error)}") from error


def follow(name: str, observed: Observation, values: Mapping[str, float]) -> Finding | None:
    """Apply a rule to every point of a run; None where it held at none."""
    steps = sorted({int(step) for metric in RULES[name].needs for step in observed.series(metric).steps})
    steps = spread(steps, POINTS)
    held = [(step, symptom) for step in steps if (symptom := apply(name, observed.at(step), values)) is not None]
    if not held:
        return None
    return _finding(name, held[-1][1], first=held[0][0], last=held[-1][0], lasting=held[-1][0] == steps[-1])


def _finding(name: str, symptom: Symptom, *, first: int, last: int, lasting: bool) -> Finding:
    """Return the finding of a rule. What has passed is a warning at most."""
    rule = RULES[name]
    return Finding(
        rule=name,
        title=rule.title,
        severity="serious" if symptom.serious and lasting else "warning",
        seen=symptom.text,
        why=rule.why,
        advice=rule.advice,
        steps=(first, last),
        lasting=lasting,
        figures=symptom.figures,
        examples=symptom.examples,
    )


class Watch:
    """The same rules while a run goes on: a finding is said when it appears, and once more if it becomes serious."""

    def __init__(self, config: Mapping[str, Any], *, kind: str, thresholds: Mapping[str, Any]):
        """`config` is the run's, as nested tables; `kind` its stage; `thresholds` maps `RULE.NAME` to set values."""
        self._thresholds = all_thresholds(thresholds)
        self._observed = Observation(config=flatten(config), stage=kind)
        self._said: dict[str, Finding] = {}

    def take_up(self, path: Path) -> None:
        """Take up what a run had recorded before it was resumed. What held then has been said."""
        from simplerl.runs.run import Run

        observed, _, _ = observe(Run(path))
        observed.config, observed.stage = self._observed.config, self._observed.stage
        self._observed = observed
        held = {name: follow(name, observed, self._thresholds[name]) for name in RULES}
        self._said = {name: finding for name, finding in held.items() if finding}

    def step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> list[Finding]:
        """Take in a step (0: the base model) and return what is newly found."""
        figures: dict[str, float] = {}
        examples: dict[str, list[Example]] = {}
        if groups and (step == 1 or step % LOOK_EVERY == 0):
            from simplerl.runs.responses import answers_of

            figures, examples = step_features(step, answers_of(groups))
        self._observed.add(step, {**metrics, **figures}, examples)
        new = {}
        for name in RULES:
            if symptom := apply(name, self._observed, self._thresholds[name]):
                said = self._said.get(name)
                finding = _finding(name, symptom, first=said.steps[0] if said else step, last=step, lasting=True)
                if said is None or (finding.severity == "serious" != said.severity):
                    new[name] = finding
        self._said |= new
        return list(new.values())
