"""Diagnosis: rules over a run's metrics and responses that say what goes wrong, why it matters and what to try.

    diagnose(path)       → Diagnosis: findings with figures, what was clean, what could not be judged, what was damaged
    Watch                → the same rules while a run goes on
    RULES, rule          → every rule by name; the decorator that adds one

Reads run directories (and result directories of `simplerl eval`) only; writes nothing. See docs/doctor.md.
"""

from simplerl.doctor.diagnosis import Diagnosis, Watch, diagnose
from simplerl.doctor.rule import Finding, Observation, Rule, Symptom, Threshold, rule
from simplerl.doctor.rules import RULES

__all__ = ["RULES", "Diagnosis", "Finding", "Observation", "Rule", "Symptom", "Threshold", "Watch", "diagnose", "rule"]
