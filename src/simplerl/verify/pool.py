"""The pool: judges a stream of responses in parallel, and survives whatever they do to the workers.

What needs no algebra is decided in the calling process and costs no round trip; the workers start when the first
undecided answer arrives, and are the crew's business (`crew.py`). No threads: the pool moves whenever it is called, and
between calls the kernel's CPU limit holds.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from types import TracebackType

from simplerl.core.errors import SimpleRLError, nearest
from simplerl.core.types import Verdict
from simplerl.verify.crew import START_S, Crew
from simplerl.verify.extraction import POLICIES, final_part
from simplerl.verify.judge import quick
from simplerl.verify.requests import ABANDONED, NO_ANSWER, Position, Request, as_text, verdict_of

#: Seconds of computation that one answer may take.
TIMEOUT_S = 2.0


class VerifierPool(Crew):
    """Judges responses in parallel; a context manager.

    `submit(key, response, gold)` accepts a response, `ready()` gives what is finished without waiting, `results()`
    gives everything that is still to come, in the order in which it finishes. `verify_many(pairs)` keeps the order of
    its input. Each submitted response is answered exactly once.
    """

    def __init__(self, policy: str = "boxed", workers: int = 2, timeout_s: float = TIMEOUT_S) -> None:
        if policy not in POLICIES:
            raise SimpleRLError(f"unknown extraction policy {policy!r}; {nearest(policy, POLICIES)}")
        if workers < 1 or timeout_s <= 0:
            raise SimpleRLError(f"a verifier pool needs workers ≥ 1 and timeout_s > 0, not {workers} and {timeout_s}")
        super().__init__(workers, timeout_s)
        self.policy = policy
        self.owner = os.getpid()
        self._extract = POLICIES[policy]
        self._closed = False

    def submit(self, key: Hashable, response: object, gold: object) -> None:
        """Accept one response under a key of the caller's; its verdict comes from `ready` or `results`."""
        if self._closed:
            raise RuntimeError("this verifier pool is closed")
        answer = self._extract(final_part(as_text(response)))
        if answer is None:
            self._finished.append((key, NO_ANSWER))
            return
        self.submit_answer(key, answer, as_text(gold))

    def submit_answer(self, key: Hashable, answer: str, gold: str) -> None:
        """Accept an answer that is already extracted."""
        pair = (answer, gold)
        outcome = self._cache.get(pair)
        if outcome is None:
            outcome = quick(answer, gold)
            if outcome is not None:
                self._remember(pair, outcome)
        if outcome is not None:
            self._finished.append((key, verdict_of(outcome, answer)))
            return
        self._waiting.append(Request(key, answer, gold))
        self._pump(0)

    def ready(self) -> list[tuple[Hashable, Verdict]]:
        """Return the verdicts that are finished now, without waiting."""
        if self._waiting or self._running:
            self._pump(0)
        found = list(self._finished)
        self._finished.clear()
        return found

    def results(self) -> Iterator[tuple[Hashable, Verdict]]:
        """Yield the verdict of everything submitted and not yet returned, as it finishes."""
        while self._finished or self._waiting or self._running:
            while self._finished:
                yield self._finished.popleft()
            if self._waiting or self._running:
                self._pump(0.2)

    def verify_many(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """Judge (response, gold) pairs; the verdicts come in the order of the pairs, which may still be arriving."""
        call = object()
        mine: list[object] = []
        others: list[tuple[Hashable, Verdict]] = []
        try:
            for response, gold in pairs:
                key = Position(call, len(mine))
                mine.append(None)
                self.submit(key, response, gold)
            left = len(mine)
            results = self.results()
            while left:
                key, verdict = next(results)
                if isinstance(key, Position) and key.call is call:
                    mine[key.index] = verdict
                    left -= 1
                else:
                    others.append((key, verdict))
        finally:  # also when interrupted: no later call may meet this one's verdicts
            self._abandon(call)
            self._finished.extendleft(reversed(others))
        return mine  # type: ignore[return-value]

    def _abandon(self, call: object) -> None:
        """Drop what one call of `verify_many` still has in the pool; what a worker computes now, it finishes."""

        def own(key: Hashable) -> bool:
            return isinstance(key, Position) and key.call is call

        self._waiting = deque(request for request in self._waiting if not own(request.key))
        self._finished = deque(item for item in self._finished if not own(item[0]))
        for running in self._running.values():
            if own(running.request.key):
                running.request.key = ABANDONED

    def math_verify(self, key: Hashable, response: str, gold: str) -> None:
        """Ask for math-verify's own judgement of a response (for audits); the verdict's rule is `math-verify`."""
        extra = {"only": "math-verify", "answer": response[-20_000:]}
        self._waiting.append(Request(key, response[-200:], gold, extra=extra))
        self._pump(0)

    def warm_up(self) -> None:
        """Start the workers now and wait until one is ready, instead of at the first undecided answer."""
        self._start_missing(self.size)
        deadline = time.monotonic() + START_S
        while not self._idle and time.monotonic() < deadline:
            self._pump(0.1)

    def close(self) -> None:
        """End the workers and the helper; verdicts not yet fetched are dropped."""
        if self._closed:
            return
        self._closed = True
        workers = [*self._idle, *self._running, *self._starting]
        if os.getpid() == self.owner:
            for worker in workers:
                worker.kill()
            if self._helper:
                self._helper.close()
        for worker in workers:
            worker.sock.close()
        self._selector.close()

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()
