"""Numbers and texts as a report shows them."""

import json
import math
from collections.abc import Sequence
from typing import Any

from simplerl.analysis.report.records import Estimate

NONE = "–"


def percent(value: float, *, digits: int = 1) -> str:
    """Return a share as a percentage; a dash where there is none."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f}%"


def percent_of(estimate: Estimate) -> str:
    """Return `91.5% [89.4, 93.3]`, without brackets where there is no interval."""
    if not estimate.known:
        return NONE
    shown = percent(estimate.value)
    return f"{shown} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if estimate.bounded else shown


def signed(value: float) -> str:
    """Return a difference of shares in points with its sign, `+56.4`, `−3.9`."""
    return NONE if math.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def points_of(estimate: Estimate) -> str:
    """Return a difference of shares in points, `+56.4 [+53.7, +59.0]`."""
    if not estimate.bounded:
        return signed(estimate.value)
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def number_of(estimate: Estimate, *, digits: int = 1) -> str:
    """Return `23.0 [22.4, 23.5]`, with a real minus, and none before a zero."""
    if not estimate.known:
        return NONE
    ends = (estimate.value, estimate.low, estimate.high) if estimate.bounded else (estimate.value,)
    shown, *rest = (f"{end:z,.{digits}f}".replace("-", "−") for end in ends)
    return f"{shown} [{', '.join(rest)}]" if rest else shown


def quantity(value: float) -> str:
    """Return a number of any size as few characters: `851,177`, `0.246`, `1.3e-05`."""
    if value is None or math.isnan(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    return f"{value:,.1f}" if size >= 100 else f"{value:.3g}" if size >= 1e-3 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """Return a time as `82 s`, `14 min`, `3 h 20 min`."""
    if seconds is None or math.isnan(seconds):
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def cut(text: str, limit: int) -> str:
    """Return a text of at most about `limit` characters: its beginning and its end, and how much was left out."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    head = limit - tail
    return f"{text[:head]} […{len(text) - limit:,} characters left out…] {text[len(text) - tail :]}"


def setting(value: Any, *, limit: int = 200) -> str:
    """Return a value of a configuration as one would write it."""
    if value is None:
        return NONE
    if value == "":
        return '""'
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(shown, limit)


def listed(names: Sequence[str], *, most: int = 12) -> str:
    """Return names with commas, the number of the others where there are too many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
