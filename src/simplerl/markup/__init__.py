"""Hostile text as safe HTML: pure functions from strings to strings, shared by the report and the viewer."""
