"""Where expressions are evaluated: a point fixes the value of every symbol, and what is undefined there."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

os.environ.setdefault("MPMATH_NOGMPY", "1")  # big integers of GMP abort the process when memory runs out

import mpmath
from mpmath import mp

#: Letters that usually stand for whole numbers.
_WHOLE_NAMES = frozenset("nkmijN")


class Undefined(Exception):
    """The expression has no real value at this point."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where to evaluate: `index` seeds the value of every symbol; `complex_` allows complex values."""

    index: int
    complex_: bool
    log_base: int
    """10 or 0 for the natural logarithm: what `\\log` without a base means."""
    steps: bool = False
    """The expressions have steps (floor, ceiling)."""
    scale: int = 1
    """How far from zero symbols reach: |x − 50| and 50 − x are the same on a small scale."""


def digest(*parts: object) -> int:
    """A number that depends on nothing but the arguments."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def symbol_value(name: str, point: Point) -> mpmath.mpf:
    """Return the value of a symbol at a point: positive at even indices, of either sign at odd ones.

    Where expressions have steps, values reach further, and are whole at even indices or always (n, k, m …): there
    `⌈x⌉` and `⌊x⌋ + 1` differ.
    """
    seed = digest(name, point.index)
    index = point.index
    negative = index % 2 and (seed & (1 << 40) or (index % 4 == 1 and (point.steps or point.scale > 1)))
    if point.steps:
        whole = index % 2 == 0 or name[0] in _WHOLE_NAMES
        value = mp.mpf(1 + seed % (200 * point.scale)) + (0 if whole else mp.mpf(seed % 997) / 997)
        return -value if negative and name[0] not in _WHOLE_NAMES else value
    value = point.scale * (mp.mpf(seed % 10**9) / 10**9 * 3 + mp.mpf(1) / 7)
    return -value if negative else value
