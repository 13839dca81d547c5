"""Verifiers: decide whether a response's final answer equals the gold. See docs/verifier.md.

Importing this imports neither torch nor NumPy; workers start when an answer first needs one.
"""

import atexit
import os
from collections.abc import Iterable
from functools import lru_cache

from simplerl.core.types import Verdict
from simplerl.verify.extract import POLICIES
from simplerl.verify.judge import RULES
from simplerl.verify.pool import LENIENCIES, VerifierPool, as_text, extract

__all__ = ["LENIENCIES", "POLICIES", "RULES", "VerifierPool", "equal", "extract", "is_correct", "verify", "verify_many"]


@lru_cache(maxsize=1)
def _pool(owner: int) -> VerifierPool:
    """The small pool of this process: it starts at first use, and anew after a fork."""
    pool = VerifierPool(workers=1)
    atexit.register(pool.close)
    return pool


def verify(response: str, gold: str, *, question: str | None = None, policy: str = "boxed") -> Verdict:
    """Judge a response: extract its final answer by the named policy and compare it with the gold.

    With the question an answer that only restates an expression of it is `wrong` (rule `restates`). Never raises for
    any text; an unknown policy is a `SimpleRLError`.
    """
    return _pool(os.getpid()).judge(extract(response, policy), gold, question)


def verify_many(rows: Iterable[tuple[object, ...]], *, policy: str = "boxed", workers: int = 2) -> list[Verdict]:
    """Judge (response, gold) or (response, gold, question) rows in parallel; verdicts in the order of the rows."""
    with VerifierPool(policy, workers=workers) as pool:
        return pool.verify_many(rows)


def equal(a: str, b: str) -> bool:
    """Return whether two bare answers have the same value, whether or not it is left to the reader to compute."""
    verdict = _pool(os.getpid()).judge(as_text(a), b)
    return verdict.correct or verdict.rule == "unfinished"


def is_correct(gold: str, response: str) -> bool:
    """Return whether the response's last closed box equals the gold in value, as `equal` has it."""
    answer = extract(response)
    return answer is not None and equal(answer, gold)
