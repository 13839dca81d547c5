r"""Evaluation at points: two expressions are equal when they agree, to 30 digits, wherever both are real.

Nothing is rewritten: each expression is evaluated at fixed pseudo-random points with mpmath at 50 digits, every
operation bounded in size and charged to the work budget. Agreement is *relative*. Two different functions do not share
their values at random points by accident (Schwartz, 1980; Zippel, 1979). Imported by workers only.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simplerl.verify.numbers import MAX_FACTORIAL, Spent, TooBig, Work, exact
from simplerl.verify.parse import Node, has_symbols, is_scalar, num
from simplerl.verify.words import word_set

os.environ.setdefault("MPMATH_NOGMPY", "1")  # big integers of GMP abort the process when memory runs out

from mpmath import mp, mpc

#: Working precision in decimal digits, digits added for a check, what counts as agreement, and the number of points at
#: which expressions in variables are compared; a few may lie outside a domain.
DIGITS, CHECK_DIGITS, AGREE, POINTS = 50, 40, 30, 6
#: Magnitudes up to 2^(±_PLAIN_BITS) need no extra digits; beyond the second number of them nothing is computed.
_PLAIN_BITS, _MAX_EXTRA_DIGITS = 64, 4_000
#: Values beyond 2^(±MAX_MAGNITUDE), and functions of arguments beyond MAX_ARGUMENT, are never computed.
MAX_MAGNITUDE, MAX_ARGUMENT = 60_000, 10**6


class Undefined(Exception):
    """The expression has no real value at this point."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where to evaluate: `index` seeds the value of every symbol, `log_base` (0: natural) is that of a bare logarithm,
    `scale` says how far from zero symbols reach: |x − 50| and 50 − x are the same on a small scale."""

    index: int
    complex_: bool
    log_base: int = 10
    steps: bool = False
    scale: int = 1


def digest(*parts: object) -> int:
    """A number that depends on nothing but the arguments."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _symbol(name: str, point: Point) -> Any:
    """The value of a symbol at a point: positive at even indices, of either sign at odd ones. Where expressions have
    steps (⌈x⌉), values reach further, and are whole at even indices or always (n, k, m …)."""
    seed, index, integer = digest(name, point.index), point.index, name[0] in "nkmijN" and point.steps
    far = point.index % 4 == 1 and (point.steps or point.scale > 1)
    value = point.scale * (mp.mpf(seed % 10**9) / 10**9 * 3 + mp.mpf(1) / 7)
    if point.steps:
        value = mp.mpf(1 + seed % (200 * point.scale)) + (0 if integer or index % 2 == 0 else mp.mpf(seed % 997) / 997)
    return -value if index % 2 and (far or seed & 1 << 40) and not integer else value


# --- operations: (values of the arguments, node, point, work) → value -----------------------------------------------


def _constant(values: list, node: Node, point: Point, work: Work) -> Any:
    if node.name not in ("pi", "e", *("i" if point.complex_ else "")):
        raise Undefined
    return mp.mpc(0, 1) if node.name == "i" else +getattr(mp, node.name)


def _quotient(values: list, *_: object) -> Any:
    if abs(values[1]) < mp.mpf(10) ** -(mp.dps - 8):
        raise Undefined
    return values[0] / values[1]


def _power(values: list, node: Node, point: Point, work: Work) -> Any:
    base, exponent = values
    if not base:
        if mp.re(exponent) <= 0:
            raise Undefined
        return mp.mpf(0)
    if abs(mp.mag(base)) * min(abs(exponent), 10**9) > MAX_MAGNITUDE or abs(exponent) > 10**8:
        raise TooBig("a power beyond the limit")
    if isinstance(base, mpc) or base > 0 or mp.isint(exponent):
        return mp.power(base, exponent)
    rational = exact(node.args[1], work)
    if rational is not None and rational.denominator % 2:  # an odd root of a negative number is real
        return mp.power(-base, exponent) * (-1) ** rational.numerator
    return mp.power(mp.mpc(base), exponent)


def _factorial(values: list, node: Node, point: Point, work: Work) -> Any:
    if isinstance(values[0], mpc) or values[0] <= -1:
        raise Undefined
    if values[0] > MAX_FACTORIAL:
        raise TooBig("a factorial beyond the limit")
    return mp.factorial(values[0]) if node.op == "fact" else mp.fac2(values[0])


def _binomial(values: list, *_: object) -> Any:
    top, bottom = values
    if any(isinstance(value, mpc) or abs(value) > 4 * MAX_FACTORIAL for value in values):
        raise TooBig("a binomial coefficient beyond the limit")
    return mp.binomial(top, bottom)


def _unknown(values: list, node: Node, point: Point, work: Work) -> Any:
    """An unknown function: a generic smooth function fixed by its name, or its value at that point."""
    total = mp.mpf(digest("app", node.name) % 997) / 997
    for i, value in enumerate(values):
        factor = mp.mpf(digest(node.name, i, "scale") % 9973) / 9973 + 1
        total += _bounded(mp.sin, value * factor + i) + value * value * factor / (3 + i)
    return total


def _bounded(function: Callable, value: Any, most: float = MAX_ARGUMENT) -> Any:
    if abs(value) > most:
        raise TooBig("an argument beyond the limit")
    try:
        return function(value)
    except (ZeroDivisionError, ValueError) as error:
        raise Undefined from error


def _function(values: list, node: Node, point: Point, work: Work) -> Any:
    name = node.name
    if name in ("ln", "log"):
        if not all(values) or values[1:] == [1]:
            raise Undefined
        base = values[1:] or [mp.mpf(10)] * (name == "log" and point.log_base == 10)
        return mp.log(values[0]) / mp.log(base[0]) if base else mp.log(values[0])
    if name in ("max", "min", "gcd", "lcm") and not any(isinstance(value, mpc) for value in values):
        ordered = sorted(values)  # whole numbers are computed exactly: the others have a generic symmetric function
        return _unknown(ordered, node, point, work) if name in ("gcd", "lcm") else ordered[0 if name == "min" else -1]
    if name not in _FUNCTIONS or len(values) != 1:
        raise Undefined
    exponential = name in ("exp", "sinh", "cosh", "tanh", "coth")
    return _bounded(_FUNCTIONS[name], values[0], MAX_MAGNITUDE / 2 if exponential else MAX_ARGUMENT)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(mp, name.replace("arc", "a")) for name in word_set("mpmath_functions")},
    "arccot": lambda v: mp.pi / 2 - mp.atan(v), "sgn": mp.sign, "cis": mp.expj, "Re": mp.re, "Im": mp.im,
}  # fmt: skip
_OPERATIONS: dict[str, Callable[[list, Node, Point, Work], Any]] = {
    "add": lambda v, *_: v[0] + v[1], "neg": lambda v, *_: -v[0], "mul": lambda v, *_: v[0] * v[1],
    "percent": lambda v, *_: v[0] / 100, "degree": lambda v, *_: v[0] * mp.pi / 180, "abs": lambda v, *_: abs(v[0]),
    "unit": lambda v, *_: v[0], "const": _constant, "div": _quotient, "pow": _power, "fact": _factorial,
    "fact2": _factorial, "binom": _binomial, "app": _unknown, "func": _function,
    "sym": lambda _, node, point, *__: _symbol(node.name, point),
    "opaque": lambda _, node, point, *__: _symbol("opaque " + node.name, point),
}  # fmt: skip


def _cost(op: str) -> float:
    """Units of work for one operation at the working precision, as measured: those by series grow fastest with it."""
    if op in ("fact", "fact2", "binom"):
        return 50 + mp.dps**3 / 1_500
    return 25 + mp.dps**2 / 1_000 if op in ("pow", "func", "app", "const") else 4 + mp.dps**2 / 50_000


class Evaluator:
    """Algebra within one work budget."""

    def __init__(self, work: Work) -> None:
        self.work = work
        #: The largest binary magnitude met since it was last reset: how many digits cancellation may have cost.
        self.bits = 0

    def evaluate(self, node: Node, point: Point) -> Any:
        """Return the value of an expression at a point; raise `Undefined` or `TooBig`."""
        if node.op == "num":
            value = node.value or Fraction(0)
            return mp.mpf(value.numerator) / value.denominator
        if node.op == "root":
            node = Node("pow", (node.args[1], Node("div", (num(1), node.args[0]))))
        self.work.spend(_cost(node.op))
        if node.op not in _OPERATIONS:
            raise Undefined
        value = _OPERATIONS[node.op]([self.evaluate(arg, point) for arg in node.args], node, point, self.work)
        if isinstance(value, mpc) and not point.complex_:
            raise Undefined
        for part in (value.real, value.imag) if isinstance(value, mpc) else (value,):
            if not mp.isfinite(part):
                raise Undefined
            if part:
                bits = abs(mp.mag(part))
                if bits > MAX_MAGNITUDE:
                    raise TooBig("a value beyond the limit")
                self.bits = max(self.bits, bits)
        return value

    def _value(self, node: Node, point: Point, digits: int = DIGITS) -> Any:
        """The value of an expression at a point to some digits; None where it has none."""
        with mp.workdps(digits):
            try:
                return self.evaluate(node, point)
            except Undefined:
                return None

    def constant(self, node: Node) -> Any:
        """The real value of a constant; None where it has none."""
        return self._value(node, Point(0, False))

    def close(self, left: Node, right: Node, tolerance: Fraction) -> bool:
        """Whether two constants agree to a tolerance: for an approximation, or a printed decimal, of an exact value."""
        a, b = self.constant(left), self.constant(right)
        if a is None or b is None:
            return False
        with mp.workdps(DIGITS):
            return bool(abs(a - b) * tolerance.denominator <= tolerance.numerator)

    def equal(self, left: Node, right: Node) -> bool:
        r"""Whether two scalar expressions are equal; `\log` may mean either base where it is used without one."""
        bare_log = any(part.name == "log" and len(part.args) == 1 for node in (left, right) for part in node.walk())
        return left == right or any(
            self._agree_at_points(left, right, base) for base in ((10, 0) if bare_log else (10,))
        )

    def _agree_at_points(self, left: Node, right: Node, log_base: int = 10) -> bool:
        """Whether two expressions agree wherever both are defined; raise `TooBig` beyond the limits."""
        domains = _has(left, "abs") != _has(right, "abs")
        agreed = 0
        for a, b, digits in self._pairs(left, right, log_base):
            if a is None or b is None:
                if domains and a is not b:
                    return False
            elif not _agree(a, b, digits):
                return False
            else:
                agreed += 1
        return agreed >= (3 if has_symbols(left) or has_symbols(right) else 1)

    def proportion(self, left: Node, right: Node) -> int:
        """The sign of the constant k ≠ 0 with left = k · right at every point, or 0 if there is none."""
        ratios = []
        for a, b, digits in self._pairs(left, right):
            if a is None or b is None:
                continue
            if not a or not b:
                return 0
            with mp.workdps(digits + DIGITS):
                ratios.append(a / b)
                if not _agree(ratios[0], ratios[-1], digits - 8):
                    return 0
        if len(ratios) < 3 or mp.im(ratios[0]):
            return 0
        return 1 if mp.re(ratios[0]) > 0 else -1

    def _pairs(self, left: Node, right: Node, log_base: int = 10) -> Iterator[tuple[Any, Any, int]]:
        """Both values at every point, None where undefined, and the digits to which equal ones agree.

        Large magnitudes call for more digits: beside 10^24, x + y and x + 2y are nearly the same. So do values that
        nearly agree, or vanish: tanh 50 is 1 to 43 digits, and a difference must shrink with the precision. Far from
        zero a value may be beyond the limit.
        """
        for point in _points(left, right, log_base):
            try:
                self.bits = 0
                a, b, digits = self._value(left, point), self._value(right, point), AGREE
                extra = int(self.bits * 0.302) if self.bits > _PLAIN_BITS else 0
                if extra > _MAX_EXTRA_DIGITS:
                    raise TooBig("a value beyond the limit")
                if a is not None and b is not None and (extra or (_agree(a, b) and not _agree(a, b, DIGITS - 5))):
                    extra = extra or CHECK_DIGITS
                    a, b = (self._value(node, point, DIGITS + 2 * extra) for node in (left, right))
                    digits += extra
                yield a, b, digits
            except Spent:
                raise
            except TooBig:
                if point.scale == 1:
                    raise

    def within_limits(self, node: Node) -> bool:
        """Whether every scalar of an answer can be computed: asked about a gold, to tell whose fault a failure is."""
        try:
            if not is_scalar(node):
                return all(map(self.within_limits, node.args))
            if exact(node, self.work) is None:
                self._agree_at_points(node, node)
        except TooBig:
            return False
        return True


def _agree(left: Any, right: Any, digits: int = AGREE) -> bool:
    """Whether two values agree, relatively or, near zero, absolutely; undefined ones do not."""
    with mp.workdps(digits + DIGITS // 2):
        return bool(abs(left - right) <= mp.mpf(10) ** -digits * max(abs(left), abs(right), mp.mpf(10) ** -10))


def _has(node: Node, *names: str) -> bool:
    """Whether an operation, a constant or a function of these names is part of an expression."""
    return any((part.name if part.op in ("func", "const") else part.op) in names for part in node.walk())


def _points(left: Node, right: Node, log_base: int) -> Iterator[Point]:
    """Where to compare two expressions: constants once; others near zero, and far from it where they may change their
    form or end: |x|, max, ⌊x⌋, even roots, logarithms."""
    both = Node("list", (left, right))
    if not has_symbols(both):
        yield Point(0, True, log_base)
        return
    # In complex arithmetic branches differ off the positive axis, so symbols stay positive there.
    complex_ = _has(both, "i", "cis")
    stride, steps = 1 + complex_, _has(both, "floor", "ceil")
    for index in range(3 * POINTS if steps else POINTS):
        yield Point(stride * index, complex_, log_base, steps)
    ends = any(part.op == "pow" and part.args[1].op == "div" for part in both.walk())
    if ends or _has(both, "abs", "root", "max", "min", "floor", "ceil", "ln", "log"):
        for index in range(12):
            yield Point(100 + stride * index, complex_, log_base, steps, 10 ** (1 + index // 4))
