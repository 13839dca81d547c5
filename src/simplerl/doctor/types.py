"""What a diagnosis is made of: rules with their thresholds, and the findings that they come to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from simplerl.doctor.history import Example, History

Severity = Literal["serious", "warning"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """A number that a rule compares with. Set it as `RULE.NAME=VALUE`."""

    name: str
    default: float
    unit: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a rule saw at one point of a run."""

    text: str
    """One sentence with its figures."""
    figures: Mapping[str, float]
    """The same figures by name."""
    serious: bool = False
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One thing that can go wrong. Registered in `simplerl.doctor.rules.RULES`."""

    name: str
    title: str
    """What has gone wrong, as a headline."""
    why: str
    """Why it matters."""
    advice: str
    """What to try; configuration keys stand in backticks."""
    needs: tuple[str, ...]
    """Metrics (or `text/…` figures of the responses) without which it cannot judge."""
    check: Callable[[History, Mapping[str, float]], Seen | None]
    """(what is known up to a step, thresholds by name) → what was seen; None where all is well."""
    least: int = 6
    """Steps with a value that it needs at least."""
    absent: str = ""
    """Why there may be no value at all."""
    unfit: Callable[[History], str | None] = lambda history: None
    """Why it does not apply to this run although there are values; None where it does."""
    thresholds: tuple[Threshold, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that is wrong with a run, with the figures that say so."""

    rule: str
    title: str
    severity: Severity
    seen: str
    """What was seen, with figures and steps, in words."""
    why: str
    advice: str
    steps: tuple[int, int]
    """First and last step at which the rule held."""
    lasting: bool
    """Whether it still holds at the end of what there is; else it passed."""
    figures: Mapping[str, float]
    examples: tuple[Example, ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return it as plain tables for JSON."""
        return {
            "rule": self.rule,
            "title": self.title,
            "severity": self.severity,
            "seen": self.seen,
            "why": self.why,
            "advice": self.advice,
            "steps": list(self.steps),
            "lasting": self.lasting,
            "figures": dict(self.figures),
            "examples": [
                {"step": e.step, "problem_id": e.problem_id, "sample": e.sample, "excerpt": e.excerpt}
                for e in self.examples
            ],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """All that the rules have to say of a run."""

    path: Path
    kind: str
    """`train`, `sft` or `evaluation`: what the directory holds."""
    last_step: int
    findings: tuple[Finding, ...]
    """The serious ones first, then by the step at which they began."""
    clean: tuple[str, ...]
    """Rules that were applied and found nothing."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Rule that could not be applied → why."""
    early: bool = False
    """Whether there are too few steps with metrics for most rules, so that nothing found means little."""
    looked: tuple[int, ...] = ()
    """Steps whose responses were read."""
    warnings: tuple[str, ...] = ()
    """What was damaged and left out, by name."""

    @property
    def healthy(self) -> bool:
        """Whether rules were applied to enough steps and none of them found anything."""
        return bool(self.clean) and not self.findings and not self.early

    def as_table(self) -> dict[str, Any]:
        """Return it as plain tables for JSON."""
        return {
            "run": str(self.path),
            "kind": self.kind,
            "last_step": self.last_step,
            "healthy": self.healthy,
            "too_early": self.early,
            "findings": [finding.as_table() for finding in self.findings],
            "checked_without_finding": list(self.clean),
            "not_applicable": dict(self.unfit),
            "responses_read_of_steps": list(self.looked),
            "warnings": list(self.warnings),
        }
