"""Diagnosis: rules over a run's metrics and responses that say what goes wrong, why it matters and what to try.

    diagnose(path)       → Diagnosis: findings with figures, what was clean, what could not be judged, what was damaged
    RULES                → every rule by name
    Watch                → the same rules while a run goes on

Reads run directories (and result directories of `simplerl eval`) only; writes nothing. See docs/doctor.md.
"""

from simplerl.doctor.history import Example
from simplerl.doctor.judge import diagnose
from simplerl.doctor.live import Watch
from simplerl.doctor.rules import RULES
from simplerl.doctor.types import Diagnosis, Finding, Rule, Seen, Threshold

__all__ = ["RULES", "Diagnosis", "Example", "Finding", "Rule", "Seen", "Threshold", "Watch", "diagnose"]
