"""Every metric of our own, defined once, in glossary.toml. A plug-in may record others."""

import tomllib
from pathlib import Path

_GROUPS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

#: `group/name` → what it is, with its unit. In lines of metrics.jsonl.
#: Of problems from several sources: one metric for each, whose name stands in place of SOURCE.
DOMAINS: dict[str, str] = _GROUPS.pop("domains")
METRICS = {f"{group}/{name}": meaning for group, names in _GROUPS.items() for name, meaning in names.items()}


def meaning(metric: str) -> str | None:
    """Return what a metric is; None for one that is not ours.

    >>> meaning("accuracy/chain_sum")
    'share of the decided responses to problems of that source that are right; with several sources only'
    """
    group = metric.rpartition("/")[0]
    return METRICS.get(metric) or DOMAINS.get(f"{group}/SOURCE")


#: Prefixes of what depends on the machine's speed, and so differs between a run and the same run resumed.
TIMINGS = ("time/", "throughput/", "memory/")
