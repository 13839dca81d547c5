"""The pool: judges a stream of responses in parallel, and survives whatever they do to the workers.

What needs no algebra is decided in the calling process and costs no round trip; workers start when the first undecided
answer arrives. The work of a judgement is counted and bounded where it is done (`numbers.py`); workers are there for
what no count foresees. Every request carries a deadline that is kept on this side: a worker that exceeds it is killed
and replaced. A worker that died by itself, or was stopped or starved rather than busy, loses nothing: its request goes
to another one, a limited number of times. What a killed worker says of the answer, the gold decides (`_stopped`).

No threads, and no library for processes: those that were considered share a queue between workers, which a worker that
is killed at the wrong moment leaves locked. Here each worker has a socket of its own, and JSON on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simplerl.core.errors import SimpleRLError, nearest
from simplerl.core.types import Verdict, VerdictStatus
from simplerl.verify.extract import POLICIES, final_part
from simplerl.verify.judge import Outcome, quick

#: Seconds of computation that one answer may take.
TIMEOUT_S = 2.0
#: How often a request is given to another worker after its worker died or stood still.
RETRIES = 4
#: Seconds that a worker may take to start, and to accept a request.
START_S, SEND_S = 60.0, 5.0
#: What Python runs as a worker; tests put a misbehaving one in its place.
COMMAND: tuple[str, ...] = ("-c", "from simplerl.verify.worker import main; main()")
_CACHE_ENTRIES, _CACHED_CHARS, _MAX_REPLY = 50_000, 300, 1 << 20

#: Rules of answers whose value is right and which are not finished: a pool may be lenient about them.
LENIENCIES = ("unfinished", "restates")
NO_ANSWER = Verdict(status="no_answer", extracted=None, rule="no-answer", detail="no closed, non-empty answer found")


def as_text(value: object) -> str:
    """Return any input as text: bytes are decoded with replacement, None is empty."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


class _Gone(Exception):
    """The worker does not answer any more."""


@dataclass(slots=True, eq=False)
class _Request:
    """One answer to be judged; undecided ones go through the workers."""

    answer: str
    gold: str
    question: str | None
    key: tuple[Hashable] | None = None
    """The caller's key, in a tuple, for what was submitted."""
    verdict: Verdict | None = None
    attempts: int = 0
    stopped: Outcome | None = None
    """How the answer was stopped, when a worker is asked whether the gold alone stays within the limits."""


class _Worker:
    """One worker process: its socket, what it computes now, and until when it may."""

    def __init__(self, timeout_s: float) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(SEND_S)
        path = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        with theirs:
            # -P: a file in the working directory must not be able to stand in for a module. A group of its own: Ctrl-C
            # is the trainer's to handle. One arena: more would count as memory of the answer.
            self.process = subprocess.Popen(
                [sys.executable, "-P", *COMMAND, str(os.getpid()), str(timeout_s)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "MPMATH_NOGMPY": "1", "MALLOC_ARENA_MAX": "1"},
            )
        self.ready = False
        self.request: _Request | None = None
        self.deadline = time.monotonic() + START_S
        self.cpu_at_start = 0.0
        self._inbox = b""

    def send(self, request: _Request, timeout_s: float) -> None:
        """Give it a request; raise `_Gone` when it does not take it."""
        self.request, self.cpu_at_start = request, self.cpu_seconds()
        # Who is asked again was starved of CPU or stopped: on a loaded machine the same time would not do either.
        self.deadline = time.monotonic() + timeout_s * request.attempts
        message = {"id": id(request), "answer": request.answer, "gold": request.gold, "question": request.question}
        try:
            self.sock.sendall(json.dumps({**message, "alone": request.stopped is not None}).encode("ascii") + b"\n")
        except OSError as error:
            raise _Gone from error

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; raise `_Gone` at the end of the stream or after nonsense."""
        try:
            data = self.sock.recv(1 << 16)
            *lines, self._inbox = (self._inbox + data).split(b"\n")
            if not data or len(self._inbox) > _MAX_REPLY:
                raise _Gone
            return [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise _Gone from error

    def cpu_seconds(self) -> float:
        """CPU time used so far; a stopped or starved worker stands still. Infinity where the system cannot tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return 0.0 if sys.platform == "linux" else float("inf")

    def end(self) -> None:
        """Kill the process and collect it."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        self.sock.close()


class VerifierPool:
    """Judges responses in parallel; a context manager.

    `submit(key, response, gold, question)` accepts a response, `ready()` gives what is finished without waiting,
    `results()` gives everything that is still to come, in the order in which it finishes. `verify_many(rows)` keeps the
    order of its input. Each submitted response is answered exactly once. `lenient` names rules that count as right
    although the answer is not finished: `unfinished` (as the literature counts), `restates`; the verdict's rule tells.
    """

    def __init__(
        self,
        policy: str = "boxed",
        workers: int = 2,
        timeout_s: float = TIMEOUT_S,
        lenient: Collection[str] = (),
    ) -> None:
        if policy not in POLICIES:
            raise SimpleRLError(f"unknown extraction policy {policy!r}; {nearest(policy, POLICIES)}")
        if workers < 1 or timeout_s <= 0:
            raise SimpleRLError(f"a verifier pool needs workers ≥ 1 and timeout_s > 0, not {workers} and {timeout_s}")
        if unknown := set(lenient) - set(LENIENCIES):
            raise SimpleRLError(f"a verifier pool can be lenient about {', '.join(LENIENCIES)}, not about {unknown}")
        self.policy, self.size, self.timeout_s, self.lenient = policy, workers, timeout_s, frozenset(lenient)
        self.owner = os.getpid()
        #: Workers killed at a deadline, and dead by themselves: for metrics.
        self.kills = self.deaths = 0
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._waiting: deque[_Request] = deque()
        self._finished: deque[tuple[Hashable, Verdict]] = deque()
        self._pending = 0
        self._cache: dict[tuple[str, str, str | None], Outcome] = {}
        self._closed = False

    def submit(self, key: Hashable, response: object, gold: object, question: object = None) -> None:
        """Accept one response under a key of the caller's; its verdict comes from `ready` or `results`."""
        self.submit_answer(key, self._extract(response), gold, question)

    def submit_answer(self, key: Hashable, answer: str | None, gold: object, question: object = None) -> None:
        """Accept an answer that is already extracted; None where there is none."""
        self._accept(answer, gold, question, (key,))

    def ready(self) -> list[tuple[Hashable, Verdict]]:
        """Return the verdicts that are finished now, without waiting."""
        if self._pending:
            self._pump(0)
        finished = list(self._finished)
        self._finished.clear()
        return finished

    def results(self) -> Iterator[tuple[Hashable, Verdict]]:
        """Yield the verdict of everything submitted and not yet returned, as it finishes."""
        while self._finished or self._pending:
            while self._finished:
                yield self._finished.popleft()
            if self._pending:
                self._pump(0.2)

    def verify_many(self, rows: Iterable[tuple[object, ...]]) -> list[Verdict]:
        """Judge (response, gold) or (response, gold, question) rows; the verdicts come in the order of the rows, which
        may still be arriving."""
        return self._judge_all((self._extract(response), *rest) for response, *rest in rows)

    def judge(self, answer: str, gold: object, question: object = None) -> Verdict:
        """Judge one answer that is already extracted, and wait for its verdict."""
        return self._judge_all([(answer, gold, question)])[0]

    def _judge_all(self, rows: Iterable[tuple[Any, ...]]) -> list[Verdict]:
        """Judge (answer or None, gold, maybe question) rows and wait for all verdicts."""
        requests: list[_Request] = []
        try:
            for row in rows:
                requests.append(self._accept(*row))
            for request in requests:
                while request.verdict is None:
                    self._pump(0.2)
        finally:  # when interrupted: what a worker computes now it finishes, for nobody
            unanswered = {id(request) for request in requests if request.verdict is None}
            self._waiting = deque(request for request in self._waiting if id(request) not in unanswered)
        return [request.verdict for request in requests if request.verdict is not None]

    def warm_up(self) -> None:
        """Start the workers now and wait until one is ready, instead of at the first undecided answer."""
        self._start_missing(self.size)
        deadline = time.monotonic() + START_S
        while not any(worker.ready for worker in self._workers) and time.monotonic() < deadline:
            self._pump(0.1)

    def forget(self) -> None:
        """Empty the cache of verdicts, for measurements."""
        self._cache.clear()

    def close(self) -> None:
        """End the workers; verdicts not yet fetched are dropped."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            if os.getpid() == self.owner:
                worker.end()
            else:  # a forked copy of this pool: the workers are the parent's
                worker.sock.close()
        self._selector.close()

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _extract(self, response: object) -> str | None:
        return POLICIES[self.policy](final_part(as_text(response)))

    def _accept(
        self, answer: str | None, gold: object, question: object = None, key: tuple[Hashable] | None = None
    ) -> _Request:
        """Decide an answer here, or hand it to the workers."""
        if self._closed:
            raise RuntimeError("this verifier pool is closed")
        question = None if question is None else as_text(question)
        request = _Request(answer or "", as_text(gold), question, key)
        self._pending += key is not None
        if answer is None:
            self._settle(request, NO_ANSWER)
            return request
        outcome = self._cache.get((answer, request.gold, question))
        if outcome is None:
            # An exception is not the caller's to handle: the worker meets it too, and makes it a verdict `error`.
            with contextlib.suppress(Exception):
                outcome = quick(answer, request.gold, question=question)
        if outcome is None:
            self._waiting.append(request)
            self._pump(0)
        else:
            self._decide(request, outcome)
        return request

    def _decide(self, request: _Request, outcome: Outcome) -> None:
        """Settle a request by an outcome, and keep that for the next time."""
        right = outcome.equal or outcome.rule in self.lenient
        status: VerdictStatus = outcome.status or ("correct" if right else "wrong")  # type: ignore[assignment]
        if outcome.status not in ("timeout", "error") and len(request.answer) + len(request.gold) <= _CACHED_CHARS:
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            self._cache[request.answer, request.gold, request.question] = outcome
        verdict = Verdict(status=status, extracted=request.answer, rule=outcome.rule, detail=outcome.detail)
        self._settle(request, verdict)

    def _settle(self, request: _Request, verdict: Verdict) -> None:
        request.verdict = verdict
        if request.key is not None:
            self._pending -= 1
            self._finished.append((request.key[0], verdict))

    def _start_missing(self, wanted: int) -> None:
        """Bring the number of workers up to what is wanted, at most `size`."""
        while len(self._workers) < min(wanted, self.size):
            worker = _Worker(self.timeout_s)
            self._workers.append(worker)
            self._selector.register(worker.sock, selectors.EVENT_READ, worker)

    def _pump(self, wait: float) -> None:
        """Dispatch, read replies, keep deadlines; wait at most that many seconds for something to happen."""
        self._dispatch()
        if self._workers:
            next_deadline = min(worker.deadline for worker in self._workers) - time.monotonic()
            for key, _ in self._selector.select(max(0.0, min(wait, next_deadline))):
                self._read(key.data)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline <= now]:
            self._overdue(worker)
        self._dispatch()

    def _dispatch(self) -> None:
        if not self._waiting:
            return
        self._start_missing(len(self._waiting) + sum(worker.request is not None for worker in self._workers))
        for worker in [worker for worker in self._workers if worker.ready and worker.request is None]:
            if not self._waiting:
                return
            request = self._waiting.popleft()
            request.attempts += 1
            try:
                worker.send(request, self.timeout_s)
            except _Gone:
                self._lose(worker)

    def _read(self, worker: _Worker) -> None:
        try:
            for message in worker.receive():
                request, worker.deadline = worker.request, float("inf")
                if "ready" in message:
                    worker.ready, self._failed_starts = True, 0
                elif request is not None and message.pop("id") == id(request):
                    worker.request = None
                    self._answered(request, Outcome(**message))
        except _Gone:
            self._lose(worker)

    def _answered(self, request: _Request, outcome: Outcome) -> None:
        """What a worker replied: an outcome, or whether the gold of a stopped answer stays within the limits."""
        if request.stopped is None:
            if outcome.status == "memory":
                self._stopped(request, replace(outcome, status="error"))
            else:
                self._decide(request, outcome)
        elif outcome.equal:  # the answer's own doing
            detail = f"{request.stopped.detail}; the gold alone stays within the limits"
            self._decide(request, replace(request.stopped, status="", detail=detail))
        else:
            self._decide(request, request.stopped)

    def _stopped(self, request: _Request, outcome: Outcome) -> None:
        """An answer ran into the limit of time or memory. It may not choose to be left out of the loss by that: beside
        a gold that stays within the limits by itself it is wrong. A worker is asked about the gold alone."""
        if request.stopped is not None:  # the gold alone ran into it too
            self._decide(request, request.stopped)
        else:
            request.attempts, request.stopped = 0, outcome
            self._waiting.append(request)

    def _overdue(self, worker: _Worker) -> None:
        """Kill a worker at its deadline. One that stood still (stopped, or starved of CPU) did not fail its request."""
        request = worker.request
        busy = worker.cpu_seconds() - worker.cpu_at_start >= 0.5 * self.timeout_s
        if request is None or (not busy and request.attempts <= RETRIES):
            self._lose(worker)
            return
        self.kills += 1
        self._retire(worker)
        detail = f"stopped after {self.timeout_s:g} s"
        outcome = Outcome(equal=False, rule="limits", detail=detail, status="timeout")
        if busy:
            self._stopped(request, outcome)
        else:
            self._decide(request, request.stopped or outcome)

    def _lose(self, worker: _Worker) -> None:
        """A worker is gone, or must go, through no fault of its request: give the request to another."""
        self.deaths += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=0.1)  # how it ended by itself, before it is killed
        self._retire(worker)
        request, problem = worker.request, ""
        if not worker.ready:
            # One that ends by itself cannot start; one that is killed from outside says little until it happens often.
            self._failed_starts += 1 if (worker.process.returncode or 0) < 0 else 10
            if self._failed_starts > 40 and not any(worker.ready for worker in self._workers) and self._waiting:
                self._failed_starts, request = 0, self._waiting.popleft()
                problem = "the worker processes do not start"
        elif request is not None and request.attempts > RETRIES:
            problem = f"the worker died {request.attempts} times on this answer"
        if request is None:
            return
        if problem:
            outcome = Outcome(equal=False, rule="crash", detail=problem, status="error")
            self._decide(request, request.stopped or outcome)
        else:
            self._waiting.appendleft(request)

    def _retire(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.sock)
        worker.end()
