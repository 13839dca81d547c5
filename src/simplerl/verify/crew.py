"""The crew: the workers of a pool, their requests and deadlines.

Every request carries a deadline kept on this side: a worker that exceeds it is killed and replaced; what that says of
the answer, the gold decides (`_stopped`). A worker that dies without having been killed by us, or that was stopped or
starved rather than busy, loses nothing: its request goes to another one, a limited number of times.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from simplerl.types import Verdict
from simplerl.verify.frames import Closed
from simplerl.verify.helper import Helper, Worker
from simplerl.verify.judge import Outcome
from simplerl.verify.normalise import normalise
from simplerl.verify.numbers import number
from simplerl.verify.requests import ABANDONED, Request, Running, not_left_out, verdict_of

#: How often a request is given to another worker after its worker died or stood still.
RETRIES = 4
#: Seconds that a worker may take to start.
START_S = 60.0
_CACHE_ENTRIES, _CACHED_CHARS = 50_000, 300


class Crew:
    """Up to `size` workers, and what waits for them, runs on them and has come back from them."""

    def __init__(self, size: int, timeout_s: float) -> None:
        self.size, self.timeout_s = size, timeout_s
        self._helper: Helper | None = None
        self._selector = selectors.DefaultSelector()
        self._idle: list[Worker] = []
        self._running: dict[Worker, Running] = {}
        self._starting: set[Worker] = set()
        self._waiting: deque[Request] = deque()
        self._finished: deque[tuple[Hashable, Verdict]] = deque()
        self._cache: dict[tuple[str, str], Outcome] = {}
        #: Killed at the deadline, and died by themselves: for metrics.
        self.kills = self.deaths = 0

    def _deliver(self, key: Hashable, verdict: Verdict) -> None:
        if key is not ABANDONED:
            self._finished.append((key, verdict))

    def _remember(self, pair: tuple[str, str], outcome: Outcome) -> None:
        if len(pair[0]) + len(pair[1]) > _CACHED_CHARS or outcome.status in ("timeout", "error"):
            return
        if len(self._cache) >= _CACHE_ENTRIES:
            self._cache.clear()
        self._cache[pair] = outcome

    def _start_missing(self, wanted: int) -> None:
        """Bring the number of workers up to what is wanted, at most `size`; replace a dead helper."""
        if self._helper is None or not self._helper.alive():
            if self._helper is not None:
                for worker in [*self._idle, *self._running, *self._starting]:
                    self._lose(worker)
                self._helper.close()
            self._helper = Helper()
        have = len(self._idle) + len(self._running) + len(self._starting)
        for _ in range(min(wanted, self.size) - have):
            try:
                worker = self._helper.spawn(time.monotonic() + START_S)
            except OSError:
                self._helper.close()
                return
            self._starting.add(worker)
            self._selector.register(worker.sock, selectors.EVENT_READ, worker)

    def _pump(self, wait: float) -> None:
        """Dispatch, read replies, keep deadlines; wait at most that many seconds for something to happen."""
        self._dispatch()
        if self._running or self._starting:
            for key, _ in self._selector.select(self._patience(wait)):
                self._read(key.data)
        now = time.monotonic()
        for worker in [w for w, running in self._running.items() if running.deadline <= now]:
            self._overdue(worker)
        for worker in [w for w in self._starting if w.start_deadline <= now]:
            self._lose(worker)
        self._dispatch()

    def _patience(self, wait: float) -> float:
        if not self._running:
            return wait
        return max(0.0, min(wait, min(r.deadline for r in self._running.values()) - time.monotonic()))

    def _dispatch(self) -> None:
        if self._waiting:
            self._start_missing(len(self._waiting) + len(self._running))
        while self._waiting and self._idle:
            worker, request = self._idle.pop(), self._waiting.popleft()
            request.attempts += 1
            message = {"id": id(request), "answer": request.answer, "gold": request.gold, "seconds": self.timeout_s}
            # Who is asked again was starved of CPU or stopped: on a loaded machine the same time would not do either.
            deadline = time.monotonic() + self.timeout_s * request.attempts
            self._running[worker] = Running(request, deadline, worker.cpu_seconds())
            try:
                worker.send({**message, **request.extra})
            except Closed:
                self._lose(worker)

    def _read(self, worker: Worker) -> None:
        try:
            for message in worker.receive():
                if "ready" in message:
                    worker.pid = message["ready"]
                    self._starting.discard(worker)
                    self._idle.append(worker)
                elif worker in self._running and message["id"] == id(self._running[worker].request):
                    if "patience" in message:
                        running = self._running[worker]
                        running.deadline = time.monotonic() + (START_S if message["patience"] else self.timeout_s)
                        running.cpu_at_start = worker.cpu_seconds()
                        continue
                    request = self._running.pop(worker).request
                    self._idle.append(worker)
                    self._finish(request, message)
        except Closed:
            self._lose(worker)

    def _finish(self, request: Request, message: dict[str, Any]) -> None:
        if request.stopped is not None:
            outcome = not_left_out(request.stopped) if message["equal"] else request.stopped
            self._deliver(request.key, verdict_of(outcome, request.answer))
            return
        if request.extra:
            status = {True: "correct", False: "wrong", None: "error"}[message.get("equal")]
            verdict = Verdict(status=status, extracted=None, rule="math-verify", detail="math-verify's own judgement")
            self._deliver(request.key, verdict)
            return
        outcome = Outcome(
            equal=message["equal"], rule=message["rule"], detail=message["detail"], status=message["status"]
        )
        if outcome.status == "memory":
            self._stopped(request, replace(outcome, status="error"))
            return
        self._remember((request.answer, request.gold), outcome)
        self._deliver(request.key, verdict_of(outcome, request.answer))

    def _stopped(self, request: Request, outcome: Outcome) -> None:
        """An answer ran into the limit of time or memory. It may not choose to be left out of the loss by that: beside
        a gold that stays within the limits by itself it is wrong. A worker is asked about the gold alone."""
        if request.stopped is not None:  # this was about the gold
            outcome = request.stopped
        elif number(normalise(request.gold)) is not None:
            outcome = not_left_out(outcome)
        else:
            about_gold = Request(request.key, request.answer, request.gold, extra={"only": "gold"}, stopped=outcome)
            self._waiting.append(about_gold)
            return
        self._deliver(request.key, verdict_of(outcome, request.answer))

    def _overdue(self, worker: Worker) -> None:
        """Kill a worker at its deadline. One that stood still (stopped, or starved of CPU) did not fail its request."""
        running = self._running[worker]
        busy = worker.cpu_seconds() - running.cpu_at_start
        if busy < 0.5 * self.timeout_s and running.request.attempts <= RETRIES:
            self._lose(worker)
            return
        del self._running[worker]
        self.kills += 1
        self._retire(worker)
        detail = f"stopped after {self.timeout_s:g} s"
        outcome = Outcome(equal=False, rule="limits", detail=detail, status="timeout")
        if busy >= 0.5 * self.timeout_s:
            self._stopped(running.request, outcome)
        else:
            self._deliver(running.request.key, verdict_of(outcome, running.request.answer))

    def _lose(self, worker: Worker) -> None:
        """A worker is gone, or must go, through no fault of its request: give the request to another."""
        self.deaths += 1
        running = self._running.pop(worker, None)
        self._retire(worker)
        if running is None:
            return
        request = running.request
        if request.attempts <= RETRIES:
            self._waiting.appendleft(request)
            return
        detail = f"the worker died {request.attempts} times on this answer"
        outcome = request.stopped or Outcome(equal=False, rule="crash", detail=detail, status="error")
        self._deliver(request.key, verdict_of(outcome, request.answer))

    def _retire(self, worker: Worker) -> None:
        self._starting.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.sock.fileno() >= 0:
            self._selector.unregister(worker.sock)
        worker.kill()
        worker.sock.close()
        if self._helper:
            self._helper.reap(worker)
