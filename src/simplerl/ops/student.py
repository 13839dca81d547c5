"""Student's t: how sure the mean of a few seeds is. Pure Python, exact for whole degrees of freedom."""

import math
from collections.abc import Sequence

import numpy as np


def two_sided(t: float, freedom: int) -> float:
    """Return P(|T| ≤ t) for Student's T with `freedom` degrees of freedom (a whole number, at least 1).

    The finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4, in θ = arctan(t / √ν).
    """
    if freedom < 1 or t < 0:
        raise ValueError(f"Student's t needs at least one degree of freedom and t >= 0; got {freedom} and {t}")
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    if freedom == 1:
        total = 0.0
    for power in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (power - 1) / power
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def quantile(confidence: float, freedom: int) -> float:
    """Return the t with P(|T| ≤ t) = confidence, by bisection."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    low, high = 0.0, 1.0
    while two_sided(high, freedom) < confidence:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return (mean, low, high): mean ± t · s / √n, s the unbiased standard deviation of n independent values.

    One value has no interval: low and high are NaN. Assumes values that are about normal, as means over many responses
    are; the interval may reach beyond what the quantity can be.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"an interval needs a non-empty vector of values, got shape {array.shape}")
    mean = float(array.mean())
    if len(array) == 1:
        return mean, math.nan, math.nan
    half = quantile(confidence, len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return mean, mean - half, mean + half
