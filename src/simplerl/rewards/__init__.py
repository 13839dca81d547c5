"""Rewards: the number trained on, from a problem, a completion and its verdict."""
