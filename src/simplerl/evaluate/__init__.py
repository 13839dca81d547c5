"""Evaluation: benchmarks, their protocols, figures with intervals. An evaluation is a rollout without an update."""
