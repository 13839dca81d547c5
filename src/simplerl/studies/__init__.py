"""Experiments and races: questions as TOML, answered by runs in child processes, with intervals over seeds."""

from simplerl.studies.experiment import EXPERIMENTS, Bars, Curve, Experiment, PassAtK, Variant, read_experiment

__all__ = ["EXPERIMENTS", "Bars", "Curve", "Experiment", "PassAtK", "Variant", "read_experiment"]
