"""The bomb screen: texts that no algebra system is ever given.

Our own reader and evaluator bound every operation and need no screen. This one guards the fallback, whose parser and
simplifier do not: exponent towers, large exponents, factorials and binomials, unevaluated sums, products and
integrals, long runs of digits, many bars, and deep nesting. Linear time.
"""

from __future__ import annotations

import re

from simplerl.verify.nodes import MAX_DEPTH

_TOWER = re.compile(r"(?:\^|\*\*)[\s{(]*[\w.\\]{1,40}\s*(?:\^|\*\*)")
_EXPONENT = re.compile(r"(?:\^|\*\*)\s*[{(\s]*[-+]?\s*\d{4,}|[eE][-+]?\d{4,}|\d{5,}\s*\}?\s*\)?\s*[!^]")
_EXPANSION = re.compile(r"[)\]}]\s*(?:\^|\*\*)\s*[{(\s]*[-+]?\s*\d{3,}")
_FACTORIAL = re.compile(r"\d{4,}\s*\)?\s*!|\)\s*!|!\s*!|!\s*\)\s*!")
_LARGE_BINOMIAL = re.compile(r"\\binom\s*\{?\s*\d{4,}")
_UNEVALUATED = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|bigcup|bigcap)(?![a-z])")
_DIGITS = re.compile(r"\d{400,}")


#: A bar opens or closes, and the fallback's parser tries every pairing: 40 of them take it seconds.
MAX_BARS = 8


def refuse(text: str) -> str:
    """Return why a normalised text must not be given to an algebra system; empty when it may."""
    depth = deepest = 0
    for char in text:
        if char in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "})]":
            depth -= 1
    if deepest > MAX_DEPTH:
        return "nesting beyond the limit"
    if text.count("|") > MAX_BARS:
        return "more vertical bars than can be paired"
    for pattern, problem in (
        (_TOWER, "a tower of exponents"),
        (_EXPONENT, "an exponent beyond the limit"),
        (_EXPANSION, "a power of a sum beyond the limit"),
        (_FACTORIAL, "a factorial beyond the limit"),
        (_LARGE_BINOMIAL, "a binomial coefficient beyond the limit"),
        (_UNEVALUATED, "an unevaluated sum, product, integral or limit"),
        (_DIGITS, "a number beyond the limit"),
    ):
        if pattern.search(text):
            return problem
    return ""
