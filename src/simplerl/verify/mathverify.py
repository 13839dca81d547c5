"""math-verify as a fallback and as a second opinion: the only place that imports it, and only inside workers.

As a fallback it is asked about expressions that our own reader does not know; its yes is believed only when both sides
parse to one scalar and those agree numerically, to a relative tolerance.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

from simplerl.verify.nodes import Unreadable
from simplerl.verify.normalize import normalize
from simplerl.verify.tokens import tokenize
from simplerl.verify.work import Spent

_DIGITS, _AGREE = 40, 25
#: What it leaves out silently: primes (5' is feet or minutes), subscripts of digits, digits in text, all round a box.
_DROPPED = re.compile(r"\d\s*['_]|\\(?:text|mathrm|mbox|operatorname)[a-z]*\s*\{[^{}]*\d|\\f?box|\\frame")
#: Calls of functions that one question may cost math-verify; usual ones cost a hundred thousand.
MAX_CALLS = 2_000_000


#: Whether this process has math-verify and its tables in memory: seconds of work that no answer is to blame for.
ready = False


def prepare() -> None:
    """Import math-verify and let it build the tables of its parser; without it the verifier works all the same."""
    global ready
    ready = True
    # It warns that its own time limits are off. They must be: they need the main thread, and ours are outside.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    try:
        _asked(r"\frac{1}{2}x", r"\frac{x}{2}")
    except ImportError as error:
        print(f"simplerl: math-verify is not available to the verifier: {error}", file=sys.stderr)


class _Stop(BaseException):
    """Passes through every `except Exception` of the libraries."""


def _metered(task: Callable[[], bool | None]) -> bool | None:
    """Run a task of somebody else's code within a count of calls, which is its only measure that is not a clock."""
    left = MAX_CALLS

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Stop

    sys.setprofile(count)
    try:
        return task()
    except _Stop:
        raise Spent("more work than one answer may cause") from None
    finally:
        sys.setprofile(None)


def _scalar(text: str) -> Any | None:
    """Return the single SymPy expression that math-verify reads in the whole text, else None."""
    import sympy
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(
        "$" + text + "$", extraction_config=[LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    found = [item for item in parsed if isinstance(item, sympy.Expr)]
    return found[0] if len(found) == 1 and len(parsed) == 1 else None


def agrees(answer: str, gold: str) -> bool | None:
    """Return math-verify's judgement on two normalised expressions, confirmed numerically; None if it has none. Raise
    `Spent` when it would take too long."""
    if any(_DROPPED.search(text) for text in (answer, gold)):
        return None
    try:
        # Words make it pick a number out of a sentence, and then it judges something that nobody said.
        if any(token.kind in ("txt", "sep") for text in (answer, gold) for token in tokenize(text)):
            return None
    except Unreadable:
        return None
    if not ready:
        prepare()
    return _metered(lambda: _asked(answer, gold))


def _asked(answer: str, gold: str) -> bool | None:
    try:
        from math_verify import verify

        left, right = _scalar(answer), _scalar(gold)
        if left is None or right is None:
            return None
        return bool(verify(right, left, timeout_seconds=None)) and _confirm(left, right)
    except (ImportError, MemoryError):
        raise
    except Exception:
        return None


def _confirm(left: Any, right: Any) -> bool:
    """Evaluate both at two points and compare with a relative tolerance."""
    import sympy

    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    for shift in (0, 1):
        point = {symbol: sympy.Rational(7 * i + 3 + 5 * shift, 11) for i, symbol in enumerate(symbols)}
        a, b = (side.subs(point).evalf(_DIGITS) for side in (left, right))
        if not (a.is_number and b.is_number):
            return False
        if abs(a - b) > sympy.Float(10, _DIGITS) ** -_AGREE * max(abs(a), abs(b)):
            return False
    return True


def own_judgement(response: str, gold: str) -> bool | None:
    """Return what math-verify itself says of a response, with its default settings; None when it fails."""
    try:
        from math_verify import parse, verify

        gold_parsed = parse("$" + normalize(gold) + "$", parsing_timeout=None)
        return bool(verify(gold_parsed, parse(response, parsing_timeout=None), timeout_seconds=None))
    except MemoryError:
        raise
    except Exception:
        return None
