"""Verifiers: decide whether a response's final answer equals the gold. See docs/verifier.md.

    verify(response, gold, question=…)  → Verdict: status, extracted answer, the rule that decided, one line why
    verify_many(rows)                   → verdicts of (response, gold) or (response, gold, question) rows
    extract(response)                   → the final answer as written, or None
    equal(a, b)                         → whether two answers are the same
    is_correct(gold, response)          → bool, the default policy
    VerifierPool(...)                   → a stream of responses in parallel, with killable workers

Importing this imports neither torch nor NumPy; workers start when an answer first needs one.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable

from simplerl.core.types import Verdict
from simplerl.verify.extract import POLICIES
from simplerl.verify.judge import RULES
from simplerl.verify.pool import LENIENCIES, VerifierPool, as_text, extract

__all__ = ["LENIENCIES", "POLICIES", "RULES", "VerifierPool", "equal", "extract", "is_correct", "verify", "verify_many"]

_lock = threading.Lock()
_shared: VerifierPool | None = None


def _judge(answer: str | None, gold: str, question: str | None = None) -> Verdict:
    """Judge an answer by the process's own small pool, which starts at first use and anew after a fork."""
    global _shared
    with _lock:
        if _shared is None or _shared.owner != os.getpid():
            _shared = VerifierPool(workers=1)
            atexit.register(_shared.close)
    return _shared.judge(answer, gold, question)


def verify(response: str, gold: str, *, question: str | None = None, policy: str = "boxed") -> Verdict:
    """Judge a response: extract its final answer by the named policy and compare it with the gold.

    With the question an answer that only restates an expression of it is `wrong` (rule `restates`). Never raises for
    any text; an unknown policy is a `SimpleRLError`.
    """
    return _judge(extract(response, policy), gold, question)


def verify_many(rows: Iterable[tuple[object, ...]], *, policy: str = "boxed", workers: int = 2) -> list[Verdict]:
    """Judge (response, gold) or (response, gold, question) rows in parallel; verdicts in the order of the rows."""
    with VerifierPool(policy, workers=workers) as pool:
        return pool.verify_many(rows)


def equal(a: str, b: str) -> bool:
    """Return whether two bare answers have the same value, whether or not it is left to the reader to compute."""
    verdict = _judge(as_text(a), b)
    return verdict.correct or verdict.rule == "unfinished"


def is_correct(gold: str, response: str) -> bool:
    """Return whether the response's last closed box equals the gold in value, as `equal` has it."""
    answer = extract(response)
    return answer is not None and equal(answer, gold)
