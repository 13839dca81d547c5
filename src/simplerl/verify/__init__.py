"""Verifiers: decide whether a response's final answer equals the gold. See docs/verifier.md."""
