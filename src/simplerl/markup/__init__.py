"""Hostile text as safe HTML: pure functions from strings to strings, shared by the report and the viewer."""

from pathlib import Path

#: The style sheet of what this room writes.
CSS = (Path(__file__).parent / "markup.css").read_text(encoding="utf-8")
