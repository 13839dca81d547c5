"""Apply every rule to every point of a run, and say what was found, since when, and whether it is still so."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from simplerl.doctor import thresholds as limits
from simplerl.doctor.evidence import read
from simplerl.doctor.history import TEXT, History
from simplerl.doctor.rules import RULES
from simplerl.doctor.types import Diagnosis, Finding, Rule, Seen

#: Points of a run at which rules are applied; of a longer run so many, evenly apart, and the last.
POINTS = 600
#: Steps with metrics below which a run is not called healthy: hardly a rule can judge it.
EARLY = 6


def diagnose(run: Path, thresholds: Mapping[str, float] | None = None) -> Diagnosis:
    """Return what the rules find in a run directory, or in a result directory of `simplerl eval`.

    `thresholds` maps `RULE.NAME` to values instead of the defaults. Raises RunError where there is nothing to judge,
    ConfigError for an unknown threshold.
    """
    set_to = limits.check(thresholds or {})
    evidence = read(run, window=int(set_to.get("window.steps", limits.WINDOW.default)))
    history = evidence.history
    findings, clean, unfit = [], [], {}
    for name, rule in RULES.items():
        reason = misfit(rule, history)
        if reason:
            unfit[name] = reason
            continue
        found = follow(rule, history, limits.of_rule(name, set_to))
        if found:
            findings.append(found)
        else:
            clean.append(name)
    return Diagnosis(
        path=run,
        kind=history.kind,
        last_step=max(history.steps, default=0),
        findings=tuple(sorted(findings, key=lambda f: (f.severity != "serious", not f.lasting, f.steps[0]))),
        clean=tuple(clean),
        unfit=unfit,
        early=history.kind != "evaluation" and evidence.measured < EARLY,
        looked=evidence.looked,
        warnings=evidence.warnings,
    )


def misfit(rule: Rule, history: History) -> str | None:
    """Return why a rule cannot judge what is known so far; None where it can."""
    for name in rule.needs:
        known = len(history.series(name).values)
        what = "looks at responses" if name.startswith(TEXT) else f"values of {name}"
        if not known and (rule.absent or len(history.steps) >= rule.least):
            return rule.absent or f"{name} was not recorded"
        # The text of one evaluation is all that there is of it.
        if known < (1 if history.kind == "evaluation" else rule.least):
            return f"needs {rule.least} {what}, there {'is' if known == 1 else 'are'} {known}"
    return rule.unfit(history)


def apply(rule: Rule, history: History, values: Mapping[str, float]) -> Seen | None:
    """Return what a rule sees in what is known so far; None also where it cannot judge yet."""
    return None if misfit(rule, history) else rule.check(history, values)


def follow(rule: Rule, history: History, values: Mapping[str, float]) -> Finding | None:
    """Apply a rule to every point of a run; None where it held at none."""
    steps = sorted({int(step) for name in rule.needs for step in history.series(name).steps})
    if len(steps) > POINTS:
        steps = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))]
    held = [(step, seen) for step in steps if (seen := apply(rule, history.at(step), values)) is not None]
    if not held:
        return None
    lasting = held[-1][0] == steps[-1]
    return finding(rule, held[-1][1], first=held[0][0], last=held[-1][0], lasting=lasting)


def finding(rule: Rule, seen: Seen, *, first: int, last: int, lasting: bool) -> Finding:
    """Return the finding of a rule. What has passed is a warning at most."""
    return Finding(
        rule=rule.name,
        title=rule.title,
        severity="serious" if seen.serious and lasting else "warning",
        seen=seen.text,
        why=rule.why,
        advice=rule.advice,
        steps=(first, last),
        lasting=lasting,
        figures=seen.figures,
        examples=seen.examples,
    )
