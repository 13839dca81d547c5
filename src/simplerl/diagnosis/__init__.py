"""Diagnosis: rules over a run's metrics and responses that say what goes wrong, why it matters and what to try.

    diagnose(path)       → Diagnosis: findings with figures, what was clean, what could not be judged, what was damaged
    RULES                → every rule by name
    Watch                → the same rules while a run goes on

Reads run directories (and result directories of `simplerl eval`) only; writes nothing. See docs/diagnosis.md.
"""

from simplerl.diagnosis.history import Example
from simplerl.diagnosis.judge import diagnose
from simplerl.diagnosis.live import Watch
from simplerl.diagnosis.rules import RULES
from simplerl.diagnosis.types import Diagnosis, Finding, Rule, Seen, Threshold

__all__ = ["RULES", "Diagnosis", "Example", "Finding", "Rule", "Seen", "Threshold", "Watch", "diagnose"]
