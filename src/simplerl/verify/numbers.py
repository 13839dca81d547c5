"""Plain numbers: the exact fast path.

Integers, decimals, fractions, mixed numbers, repeating decimals and scientific notation become a `Fraction`, so that
equality is exact at any size and a rounded or a nearly right number is simply another number. Every pattern is
anchored and linear, and digits and exponents are capped, so that this runs safely in the calling process.
"""

from __future__ import annotations

import re
from fractions import Fraction

#: A number with more digits is not read as a number; it can still equal the gold literally.
MAX_DIGITS = 1_000
#: The largest power of ten read exactly, as in `1e999`.
MAX_POWER_OF_TEN = 1_000

_PLAIN = re.compile(r"([-+]?)\s?(\d+|\d{1,3}(?:,\d{3})+)?(?:\.(\d*))?", re.ASCII)
_FRACTION = re.compile(r"([-+]?)\s?\\frac\s?(?:\{\s?([-+]?\d+)\s?\}|(\d))\s?(?:\{\s?([-+]?\d+)\s?\}|(\d))", re.ASCII)
_SLASH = re.compile(r"([-+]?)\s?(\d+)\s?/\s?(\d+)", re.ASCII)
_MIXED = re.compile(r"([-+]?)\s?(\d+)\s?\\frac\s?(?:\{\s?(\d+)\s?\}|(\d))\s?(?:\{\s?(\d+)\s?\}|(\d))", re.ASCII)
_MIXED_SLASH = re.compile(r"([-+]?)\s?(\d+)\s(\d+)\s?/\s?(\d+)", re.ASCII)
_SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]([-+]?\d+)", re.ASCII)
_REPEATING = re.compile(
    r"([-+]?)\s?(\d*)\.(\d*)(?:\\overline\s?\{\s?(\d+)\s?\}|\\overline\s?(\d)|\\bar\s?\{\s?(\d+)\s?\}|\\bar\s?(\d)"
    r"|\\dot\s?\{\s?(\d)\s?\}|(?<=\.)\((\d+)\))",
    re.ASCII,
)
_ELLIPSIS = re.compile(r"([-+]?)\s?(\d*)\.(\d+)\s?(?:\\ldots|\.\.\.)", re.ASCII)


def plain(text: str) -> Fraction | None:
    """Return the value of a signed integer or decimal (thousands separators allowed), else None."""
    match = _PLAIN.fullmatch(text)
    if not match or len(text) > MAX_DIGITS:
        return None
    sign, whole, decimals = match.groups()
    if not whole and not decimals:
        return None
    whole = (whole or "0").replace(",", "")
    value = Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(whole))
    return -value if sign == "-" else value


def _ratio(sign: str, top: str, bottom: str, whole: str = "0") -> Fraction | None:
    denominator = int(bottom)
    if not denominator:
        return None
    value = int(whole) + Fraction(int(top), denominator)
    return -value if sign == "-" else value


def _repeating(sign: str, whole: str, fixed: str, cycle: str) -> Fraction:
    scale = 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed), scale) + Fraction(int(cycle), scale * (10 ** len(cycle) - 1))
    return -value if sign == "-" else value


def _ellipsis(sign: str, whole: str, decimals: str) -> Fraction | None:
    """`0.333…` is a repeating decimal when its digits end with one short cycle written out at least three times."""
    for length in range(1, len(decimals) // 3 + 1):
        cycle = decimals[-length:]
        repeats = 1
        while decimals[: len(decimals) - repeats * length].endswith(cycle):
            repeats += 1
        if repeats >= 3:
            return _repeating(sign, whole, decimals[: len(decimals) - repeats * length], cycle)
    return None


def number(text: str) -> Fraction | None:
    """Return the exact value of a normalised text that is one number, else None."""
    if len(text) > MAX_DIGITS:
        return None
    value = plain(text)
    if value is not None:
        return value
    if match := _FRACTION.fullmatch(text):
        sign, top, top_digit, bottom, bottom_digit = match.groups()
        return _ratio(sign, top or top_digit, bottom or bottom_digit)
    if match := _SLASH.fullmatch(text):
        return _ratio(*match.groups())
    if match := _MIXED.fullmatch(text):
        sign, whole, top, top_digit, bottom, bottom_digit = match.groups()
        return _ratio(sign, top or top_digit, bottom or bottom_digit, whole)
    if match := _MIXED_SLASH.fullmatch(text):
        sign, whole, top, bottom = match.groups()
        return _ratio(sign, top, bottom, whole)
    if match := _SCIENTIFIC.fullmatch(text):
        return scientific(*match.groups())
    if match := _REPEATING.fullmatch(text):
        sign, whole, fixed, *cycles = match.groups()
        return _repeating(sign, whole, fixed, next(cycle for cycle in cycles if cycle))
    if match := _ELLIPSIS.fullmatch(text):
        return _ellipsis(*match.groups())
    return None


def scientific(mantissa: str, exponent: str) -> Fraction | None:
    """Return mantissa × 10^exponent exactly, or None beyond the cap (an answer of that size is a bomb)."""
    if len(exponent) > 6 or abs(int(exponent)) > MAX_POWER_OF_TEN:
        return None
    return Fraction(mantissa) * Fraction(10) ** int(exponent)
