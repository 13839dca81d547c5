"""A number with its 95% interval, and the one way in which every command, report and page writes it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simplerl.ops.statistics import t_interval
from simplerl.runs.metrics import as_number


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with its 95% interval; NaN where there is no value, or no interval.

    >>> Estimate(value=0.5).known, Estimate(value=0.5).bounded
    (True, False)
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0  # Seeds that it is over; 0 where it is over something else

    @classmethod
    def of(cls, figure: Any) -> "Estimate":
        """Return a figure `{"value", "low", "high"}`; whatever is not a number in it is NaN."""
        table = figure if isinstance(figure, Mapping) else {}
        value, low, high = (as_number(table.get(end)) for end in ("value", "low", "high"))
        return cls(value=value, low=low, high=high)

    @classmethod
    def over(cls, values: Sequence[float]) -> "Estimate":
        """Return the mean of several seeds with its interval by Student's t; those without a value are left out."""
        known = [value for value in values if not math.isnan(value)]
        value, low, high = t_interval(known) if known else [math.nan] * 3
        return cls(value=value, low=low, high=high, n=len(known))

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def shown(figure: Any, *, share: bool = True, digits: int = 1, sign: bool = False, unit: str = "") -> str:
    """Return `52.1 [49.4, 54.8]`, a share in per cent; a dash without a value, the value alone without an interval.

    >>> shown({"value": 0.5, "low": 0.25, "high": 0.75}), shown(0.5, unit="%"), shown(None)
    ('50.0 [25.0, 75.0]', '50.0%', '–')
    """
    number = isinstance(figure, int | float)
    estimate = figure if isinstance(figure, Estimate) else Estimate.of({"value": figure} if number else figure)

    def written(value: float) -> str:
        return f"{(100 if share else 1) * value:{'+' if sign else ''}z,.{digits}f}{unit}"

    ends = f" [{written(estimate.low)}, {written(estimate.high)}]" if estimate.bounded else ""
    return written(estimate.value) + ends if estimate.known else "–"
