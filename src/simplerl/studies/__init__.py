"""Experiments and races: questions as TOML, answered by runs in child processes, with intervals over seeds."""
