"""Every metric of our own, defined once, in glossary.toml. A plug-in may record others."""

import tomllib
from pathlib import Path

_GROUPS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

#: `group/name` → what it is, with its unit. In lines of metrics.jsonl.
METRICS = {f"{group}/{name}": meaning for group, names in _GROUPS.items() for name, meaning in names.items()}

#: Prefixes of what depends on the machine's speed, and so differs between a run and the same run resumed.
TIMINGS = ("time/", "throughput/", "memory/")
