"""A calculator: `<<48*97>>` in a turn is answered by its value, `=4656`. Exact, in this process, on any system.

The form is that of tool-integrated reasoning (ReTool, arXiv 2504.11536; Toolformer, 2302.04761): the call ends the
turn, its result is appended, and the policy writes on. Numbers and + − * / ** ( ) are read, by Python's own parser.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from simplerl.core.types import Call, Problem, Turn
from simplerl.environments.base import Environment

#: Characters of an expression, and digits of a value, beyond which it is refused.
LONGEST, DIGITS = 200, 60
UNKNOWN = "only numbers and + - * / ** ( ) are known"

OPERATIONS: dict[type, Callable[[Any, Any], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda left, right: _power(left, right),
}


@dataclass(frozen=True, kw_only=True)
class Calculator(Environment):
    """The policy may call a calculator in the middle of its response."""

    stop: ClassVar[tuple[str, ...]] = (">>",)
    slow: ClassVar[bool] = False

    max_turns: PositiveInt = 9
    """Turns of the policy: one more than calls."""

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Answer the call that ends a turn; without one the episode is over."""
        if not text.endswith(">>"):
            return Turn()
        before, opened, asked = text[:-2].rpartition("<<")
        if not opened:
            return _refused(before or asked, "a call looks like <<6*7>>")
        try:
            result = written(value_of(asked))
        except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError) as error:
            return _refused(asked, str(error) if type(error) is ValueError else "not arithmetic, or divided by zero")
        call = Call(tool="calculator", arguments=asked, result=result)
        return Turn(observation=f"={result}", done=False, calls=(call,))


def _refused(asked: str, reason: str) -> Turn:
    """Return the answer to a call that cannot be read: the policy sees that it failed, and goes on."""
    call = Call(tool="calculator", arguments=asked[:LONGEST], result=reason, status="invalid")
    return Turn(observation="=error", done=False, calls=(call,))


def value_of(text: str) -> Fraction:
    """Return the exact value of an expression.

    Raises ValueError or SyntaxError for what is not arithmetic, ZeroDivisionError, and ValueError for too much of it.

    >>> value_of("(1+2)*3/4")
    Fraction(9, 4)
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    if not re.fullmatch(r"[0-9.+\-*/() ]+", text):
        raise ValueError(UNKNOWN)
    return _value(ast.parse(text, mode="eval").body, text)


def _value(node: ast.expr, text: str) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(ast.get_source_segment(text, node) or "")  # As it is written: a float would be rounded.
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _value(node.operand, text) * (-1 if isinstance(node.op, ast.USub) else 1)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        value = OPERATIONS[type(node.op)](_value(node.left, text), _value(node.right, text))
        if max(abs(value.numerator), value.denominator) >= 10**DIGITS:
            raise ValueError(f"more than {DIGITS} digits")
        return value
    raise ValueError(UNKNOWN)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    size = max(abs(base.numerator), base.denominator).bit_length() * abs(exponent)
    if exponent.denominator != 1 or size > 4 * DIGITS:
        raise ValueError("a power is too large, or has a fraction as its exponent")
    return Fraction(base**exponent.numerator)


def written(value: Fraction) -> str:
    """Return a number as people write it: an integer, a decimal of up to 12 places, or a fraction.

    >>> written(Fraction(9, 4)), written(Fraction(1, 3))
    ('2.25', '1/3')
    """
    if 10**12 % value.denominator:
        return str(value)
    return f"{Context(prec=2 * DIGITS).divide(Decimal(value.numerator), Decimal(value.denominator)):f}"
