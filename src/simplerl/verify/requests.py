"""What travels through the pool: requests, what is running, and verdicts made from outcomes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from simplerl.core.types import Verdict
from simplerl.verify.judge import Outcome


@dataclass(slots=True)
class Request:
    """One undecided pair on its way through the workers."""

    key: Hashable
    answer: str
    gold: str
    attempts: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    stopped: Outcome | None = None
    """How the answer was stopped, when this asks whether the gold alone stays within the limits."""


@dataclass(slots=True)
class Running:
    request: Request
    deadline: float
    cpu_at_start: float


def as_text(value: object) -> str:
    """Return any input as text: bytes are decoded with replacement, None is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def verdict_of(outcome: Outcome, answer: str) -> Verdict:
    """Return the verdict for an outcome."""
    status = outcome.status or ("correct" if outcome.equal else "wrong")
    return Verdict(status=status, extracted=answer, rule=outcome.rule, detail=outcome.detail)


def not_left_out(stopped: Outcome) -> Outcome:
    """The outcome of an answer that was stopped through its own doing: wrong."""
    return replace(stopped, status="", detail=stopped.detail + "; the gold alone stays within the limits")


#: Key of a request whose caller has gone: its verdict is dropped.
ABANDONED = object()

NO_ANSWER = Verdict(status="no_answer", extracted=None, rule="no-answer", detail="no closed, non-empty answer found")


@dataclass(frozen=True, slots=True)
class Position:
    """Key of one call of `verify_many`: `call` is an object of that call alone."""

    call: object
    index: int
