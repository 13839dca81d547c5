r"""Algebra by evaluation: two expressions are equal when they agree, to 30 digits, wherever both are real.

No rewriting, so nothing can explode: each expression is evaluated at fixed pseudo-random points with mpmath at 50
digits, every operation bounded in size beforehand. Agreement is *relative*; a difference that should vanish must keep
vanishing at twice the precision. An expression that two different functions share at random points to 30 digits does
not occur by accident (Schwartz, 1980; Zippel, 1979). Runs in workers only.

Conventions: roots of odd index are real for negative arguments; `\log` without a base may mean either the decimal or
the natural logarithm; unknown functions `f(x)` are generic; domains must agree when an absolute value is involved.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import mpmath
from mpmath import mp

from simplerl.verify.evaluate import Point, Span, Undefined, evaluate
from simplerl.verify.exact import exact
from simplerl.verify.nodes import Node, is_scalar
from simplerl.verify.work import Spent, TooBig

#: Working precisions in decimal digits, and what counts as agreement.
DIGITS, CHECK_DIGITS, AGREE = 50, 90, 30
#: Magnitudes up to 2^(±_PLAIN_BITS) need no extra digits; beyond the second number of them nothing is computed.
_PLAIN_BITS, _MAX_EXTRA_DIGITS = 64, 4_000
#: Points at which expressions in variables are compared; a few may lie outside a domain.
POINTS = 10


def _agree(left: object, right: object, digits: int = AGREE) -> bool:
    return abs(left - right) <= mp.mpf(10) ** -digits * max(abs(left), abs(right))


def _vanishes(left: Node, right: Node, point: Point) -> bool:
    """Whether left − right is zero although both are small or cancel: it must shrink with the precision."""
    with mp.workdps(CHECK_DIGITS):
        difference = abs(evaluate(left, point) - evaluate(right, point))
        return difference <= mp.mpf(10) ** -(CHECK_DIGITS - 25)


def _agree_closer(left: Node, right: Node, point: Point) -> bool:
    """Whether two values still agree with more digits: tanh 50 is 1 to 43 digits."""
    with mp.workdps(CHECK_DIGITS):
        return _agree(evaluate(left, point), evaluate(right, point), CHECK_DIGITS - 25)


def _value(node: Node, point: Point) -> object | None:
    try:
        return evaluate(node, point)
    except Undefined:
        return None


def _at(left: Node, right: Node, point: Point) -> tuple[tuple[object | None, object | None], bool]:
    """Return both values at a point and whether they agree, with as many digits as their magnitudes call for."""
    Span.bits = 0
    with mp.workdps(DIGITS):
        values = _value(left, point), _value(right, point)
        if values[0] is None or values[1] is None:
            return values, False
        if Span.bits <= _PLAIN_BITS:
            same = _agree(*values)
            if same and not _agree(*values, DIGITS - 5):
                same = _agree_closer(left, right, point)
            if not same and abs(values[0] - values[1]) < mp.mpf(10) ** -AGREE:
                same = _vanishes(left, right, point)
            return values, same
    extra = int(Span.bits * 0.302)
    if extra > _MAX_EXTRA_DIGITS:
        raise TooBig("a value beyond the limit")
    with mp.workdps(DIGITS + 2 * extra):
        values = _value(left, point), _value(right, point)
        if values[0] is None or values[1] is None:
            return values, False
        return values, _agree(*values, AGREE + extra) or abs(values[0] - values[1]) < mp.mpf(10) ** -(
            AGREE + extra + 10
        )


def within_limits(node: Node) -> bool:
    """Whether every scalar of an answer can be computed: asked about a gold, to tell whose fault a failure is."""
    try:
        if not is_scalar(node):
            return all(map(within_limits, node.args))
        if exact(node) is None:
            equal_at_points(node, node)
    except TooBig:
        return False
    return True


def has_symbols(node: Node) -> bool:
    """Whether the value depends on anything but constants."""
    return any(part.op in ("sym", "app", "opaque") for part in node.walk())


def _has(node: Node, op: str, name: str = "") -> bool:
    return any(part.op == op and (not name or part.name == name) for part in node.walk())


def _has_kinks(node: Node) -> bool:
    """Whether an expression may change its form, or end, far from zero: |x|, max, ⌊x⌋, even roots, logarithms."""
    return any(
        part.op == "abs"
        or (part.op == "func" and part.name in ("max", "min", "floor", "ceil", "ln", "log"))
        or (part.op == "root" and not (part.args[0].value or 2) % 2)
        or (part.op == "pow" and part.args[1].op == "div")
        for part in node.walk()
    )


def _points(left: Node, right: Node, complex_: bool, log_base: int) -> Iterator[Point]:
    """Where to compare expressions in variables: near zero, and far from it where that may matter."""
    # In complex arithmetic branches differ off the positive axis, so symbols stay positive there.
    stride = 2 if complex_ else 1
    steps = any(_has(node, "func", name) for node in (left, right) for name in ("floor", "ceil"))
    for index in range(3 * POINTS if steps else POINTS):
        yield Point(stride * index, complex_, log_base, steps)
    if _has_kinks(left) or _has_kinks(right):
        for i, scale in enumerate((10, 100, 1000)):
            for index in range(4 * i, 4 * i + 4):
                yield Point(100 + stride * index, complex_, log_base, steps, scale)


def equal_at_points(left: Node, right: Node, log_base: int = 10) -> bool:
    """Return whether two expressions agree wherever both are defined; raise `TooBig` beyond the limits."""
    complex_ = _has(left, "const", "i") or _has(right, "const", "i")
    symbols = has_symbols(left) or has_symbols(right)
    strict = _has(left, "abs") != _has(right, "abs")
    agreed = 0
    for point in _points(left, right, complex_, log_base) if symbols else [Point(0, complex_, log_base)]:
        try:
            values, same = _at(left, right, point)
        except Spent:
            raise
        except TooBig:
            if point.scale == 1:
                raise
            continue
        if values[0] is None or values[1] is None:
            if not symbols and not complex_:
                return _equal_complex(left, right, log_base)
            if strict and values[0] is not values[1]:
                return False
            continue
        if not same:
            return False
        agreed += 1
    return agreed >= (3 if symbols else 1)


def _equal_complex(left: Node, right: Node, log_base: int) -> bool:
    """Constants that are not real, such as the square root of −4."""
    point = Point(0, True, log_base)
    values = _value(left, point), _value(right, point)
    return values[0] is not None and values[1] is not None and bool(_agree(*values))


def equal(left: Node, right: Node) -> bool:
    r"""Return whether two scalar expressions are equal; `\log` may mean either base where it is used without one."""
    if left == right:
        return True
    if equal_at_points(left, right):
        return True
    bare_log = any(
        part.op == "func" and part.name == "log" and len(part.args) == 1
        for node in (left, right)
        for part in node.walk()
    )
    return bare_log and equal_at_points(left, right, log_base=0)


def _extra_digits(left: Node, right: Node, point: Point) -> int:
    """How many digits the magnitudes at a point call for: beside 10^24, x + y and x + 2y are nearly the same."""
    Span.bits = 0
    with mp.workdps(DIGITS):
        _value(left, point)
        _value(right, point)
    extra = int(Span.bits * 0.302)
    if extra > _MAX_EXTRA_DIGITS:
        raise TooBig("a value beyond the limit")
    return extra


def proportion(left: Node, right: Node) -> int:
    """Return the sign of the constant k ≠ 0 with left = k · right at every point, or 0 if there is none."""
    ratio = None
    agreed = 0
    complex_ = _has(left, "const", "i") or _has(right, "const", "i")
    for point in _points(left, right, complex_, 10):
        try:
            extra = _extra_digits(left, right, point)
        except Spent:
            raise
        except TooBig:
            if point.scale == 1:
                raise
            continue
        with mp.workdps(DIGITS + 2 * extra):
            values = _value(left, point), _value(right, point)
            if values[0] is None or values[1] is None:
                continue
            if not values[0] or not values[1]:
                return 0
            here = values[0] / values[1]
            if ratio is not None and not _agree(ratio, here, AGREE - 8 + extra):
                return 0
            ratio = here
            agreed += 1
    if agreed < 3 or ratio is None or mp.im(ratio):
        return 0
    return 1 if mp.re(ratio) > 0 else -1


def rounds_to(decimal: Fraction, places: int, node: Node) -> bool:
    """Return whether a decimal with that many places is the value of a constant expression, rounded or truncated."""
    with mp.workdps(DIGITS):
        value = _value(node, Point(0, False, 10))
        if value is None or isinstance(value, mpmath.mpc):
            return False
        gap = abs(value - mp.mpf(decimal.numerator) / decimal.denominator)
        return bool(gap < mp.mpf(10) ** -places)


def close(left: Node, right: Node, tolerance: float) -> bool:
    """Return whether two constants agree to a relative tolerance: for a stated approximation beside an exact value."""
    with mp.workdps(DIGITS):
        values = _value(left, Point(0, False, 10)), _value(right, Point(0, False, 10))
        if values[0] is None or values[1] is None:
            return False
        return bool(abs(values[0] - values[1]) <= tolerance * max(abs(values[0]), abs(values[1])))
