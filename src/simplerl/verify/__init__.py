"""Verifiers: decide whether a response's final answer equals the gold. See docs/verifier.md.

    verify(response, gold)        → Verdict: status, extracted answer, the rule that decided, one line why
    extract(response)             → the final answer as written, or None
    equal(a, b)                   → whether two answers are the same
    is_correct(gold, response)    → bool, the default policy with full isolation
    VerifierPool(...)             → a stream of responses in parallel, with killable workers

Importing this imports neither torch nor SymPy; algebra lives in worker processes that start when first needed.
"""

from __future__ import annotations

import atexit
import os
import threading

from simplerl.types import Verdict
from simplerl.verify.extraction import POLICIES, Extractor, final_part
from simplerl.verify.judge import RULES, quick
from simplerl.verify.pool import VerifierPool
from simplerl.verify.requests import NO_ANSWER, as_text, verdict_of

__all__ = ["POLICIES", "RULES", "Extractor", "VerifierPool", "equal", "extract", "is_correct", "verify"]

_lock = threading.Lock()
_shared: VerifierPool | None = None


def _pool() -> VerifierPool:
    """The process's own small pool, made at first use and remade after a fork."""
    global _shared
    if _shared is None or _shared.owner != os.getpid():
        _shared = VerifierPool(workers=1)
        atexit.register(_shared.close)
    return _shared


def _discard() -> None:
    """End the shared pool: what an interruption left half done in it concerns nobody."""
    global _shared
    pool, _shared = _shared, None
    if pool is not None:
        atexit.unregister(pool.close)
        pool.close()


def _judge(answer: str, gold: str) -> Verdict:
    outcome = quick(answer, gold)
    if outcome is not None:
        return verdict_of(outcome, answer)
    with _lock:
        token = object()  # no earlier call's answer, left behind by an interruption, can carry it
        try:
            pool = _pool()
            pool.submit_answer(token, answer, gold)
            return next(verdict for key, verdict in pool.results() if key is token)
        except BaseException:
            _discard()
            raise


def _extractor(policy: str) -> Extractor:
    if policy not in POLICIES:
        VerifierPool(policy=policy)  # raises the message with the nearest name
    return POLICIES[policy]


def verify(response: str, gold: str, policy: str = "boxed") -> Verdict:
    """Judge a response: extract its final answer by the named policy and compare it with the gold. Never raises for
    any text; an unknown policy is a `SimpleRLError`."""
    answer = _extractor(policy)(final_part(as_text(response)))
    return NO_ANSWER if answer is None else _judge(answer, as_text(gold))


def extract(response: str, policy: str = "boxed") -> str | None:
    """Return the final answer as written in the response, or None."""
    return _extractor(policy)(final_part(as_text(response)))


def equal(a: str, b: str) -> bool:
    """Return whether two bare answers are the same."""
    verdict = _judge(as_text(a), as_text(b))
    return verdict.correct or verdict.rule == "unfinished"


def is_correct(gold: str, response: str) -> bool:
    """Return whether the response's last closed box equals the gold."""
    verdict = verify(response, gold)
    return verdict.correct or verdict.rule == "unfinished"
