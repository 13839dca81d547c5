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
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
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
_CACHE_ENTRIES, _CACHED_CHARS = 50_000, 300
_MAX_REPLY = 1 << 20

#: Rules of answers whose value is right and which are not finished: a pool may be lenient about them.
LENIENCIES = ("unfinished", "restates")
NO_ANSWER = Verdict(status="no_answer", extracted=None, rule="no-answer", detail="no closed, non-empty answer found")


def as_text(value: object) -> str:
    """Return any input as text: bytes are decoded with replacement, None is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def verdict_of(outcome: Outcome, answer: str, lenient: Collection[str] = ()) -> Verdict:
    """Return the verdict for an outcome; a rule in `lenient` counts as right."""
    right = outcome.equal or outcome.rule in lenient
    status: VerdictStatus = outcome.status or ("correct" if right else "wrong")  # type: ignore[assignment]
    return Verdict(status=status, extracted=answer, rule=outcome.rule, detail=outcome.detail)


class _Gone(Exception):
    """The worker does not answer any more."""


@dataclass(slots=True, eq=False)
class _Request:
    """One undecided pair on its way through the workers."""

    deliver: Callable[[Outcome], None]
    batch: object
    """The call that waits for it; None after `submit`."""
    answer: str
    gold: str
    question: str | None
    attempts: int = 0
    stopped: Outcome | None = None
    """How the answer was stopped, when this asks whether the gold alone stays within the limits."""


class _Worker:
    """One worker process: its socket, what it computes now, and until when it may."""

    def __init__(self, timeout_s: float) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(SEND_S)
        source, path = str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")
        with theirs:
            # -P: a file in the working directory must not be able to stand in for a module. A group of its own: Ctrl-C
            # is the trainer's to handle. One arena: more would count as memory of the answer.
            self.process = subprocess.Popen(
                [sys.executable, "-P", *COMMAND, str(os.getpid()), str(timeout_s)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                process_group=0,
                env={
                    **os.environ,
                    "PYTHONPATH": source if not path else source + os.pathsep + path,
                    "MPMATH_NOGMPY": "1",
                    "MALLOC_ARENA_MAX": "1",
                },
            )
        self.ready = False
        self.request: _Request | None = None
        self.deadline = time.monotonic() + START_S
        self.cpu_at_start = 0.0
        self._inbox = bytearray()

    def send(self, request: _Request, timeout_s: float) -> None:
        """Give it a request; raise `_Gone` when it does not take it."""
        self.request, self.cpu_at_start = request, self.cpu_seconds()
        # Who is asked again was starved of CPU or stopped: on a loaded machine the same time would not do either.
        self.deadline = time.monotonic() + timeout_s * request.attempts
        message = {
            "id": id(request), "answer": request.answer, "gold": request.gold, "question": request.question,
            "alone": request.stopped is not None,
        }  # fmt: skip
        try:
            self.sock.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError as error:
            raise _Gone from error

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived; raise `_Gone` at the end of the stream or after nonsense."""
        try:
            data = self.sock.recv(1 << 16)
        except OSError as error:
            raise _Gone from error
        self._inbox += data
        *lines, rest = self._inbox.split(b"\n")
        if not data or len(rest) > _MAX_REPLY:
            raise _Gone
        self._inbox = bytearray(rest)
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
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
        self._extract = POLICIES[policy]
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
        answer = self._extract(final_part(as_text(response)))
        if answer is None:
            self._check_open()
            self._finished.append((key, NO_ANSWER))
        else:
            self.submit_answer(key, answer, gold, question)

    def submit_answer(self, key: Hashable, answer: str, gold: object, question: object = None) -> None:
        """Accept an answer that is already extracted."""

        def deliver(outcome: Outcome) -> None:
            self._pending -= 1
            self._finished.append((key, verdict_of(outcome, answer, self.lenient)))

        self._check_open()
        self._pending += 1
        self._accept(deliver, None, answer, gold, question)

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
        return self._judge_all((self._extract(final_part(as_text(response))), *rest) for response, *rest in rows)

    def judge(self, answer: str, gold: object, question: object = None) -> Verdict:
        """Judge one answer that is already extracted, and wait for its verdict."""
        return self._judge_all([(answer, gold, question)])[0]

    def _judge_all(self, rows: Iterable[tuple[Any, ...]]) -> list[Verdict]:
        """Judge (answer or None, gold, maybe question) rows and wait for all verdicts."""
        verdicts: list[Verdict] = []
        missing: set[int] = set()

        def deliver_to(index: int, answer: str) -> Callable[[Outcome], None]:
            def deliver(outcome: Outcome) -> None:
                missing.discard(index)
                verdicts[index] = verdict_of(outcome, answer, self.lenient)

            return deliver

        try:
            for answer, *gold_and_question in rows:
                verdicts.append(NO_ANSWER)
                if answer is not None:
                    missing.add(len(verdicts) - 1)
                    self._accept(deliver_to(len(verdicts) - 1, answer), verdicts, answer, *gold_and_question)
            while missing:
                self._pump(0.2)
        finally:  # when interrupted: what a worker computes now it finishes, for nobody
            self._waiting = deque(request for request in self._waiting if request.batch is not verdicts)
        return verdicts

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this verifier pool is closed")

    def _accept(
        self, deliver: Callable[[Outcome], None], batch: object, answer: str, gold: object, question: object = None
    ) -> None:
        """Decide a pair here and deliver its outcome, or hand it to the workers."""
        self._check_open()
        gold, question = as_text(gold), None if question is None else as_text(question)
        key = (answer, gold, question)
        outcome = self._cache.get(key)
        if outcome is None:
            try:
                outcome = quick(answer, gold, question=question)
            except Exception:  # not the caller's to handle: the worker meets it too, and makes it a verdict `error`
                outcome = None
            if outcome is None:
                self._waiting.append(_Request(deliver, batch, answer, gold, question))
                self._pump(0)
                return
            self._remember(key, outcome)
        deliver(outcome)

    def _remember(self, key: tuple[str, str, str | None], outcome: Outcome) -> None:
        if len(key[0]) + len(key[1]) > _CACHED_CHARS or outcome.status in ("timeout", "error"):
            return
        if len(self._cache) >= _CACHE_ENTRIES:
            self._cache.clear()
        self._cache[key] = outcome

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
                request = worker.request
                worker.deadline = float("inf")
                if "ready" in message:
                    worker.ready, self._failed_starts = True, 0
                elif request is not None and message["id"] == id(request):
                    worker.request = None
                    outcome = Outcome(**{name: message[name] for name in ("equal", "rule", "detail", "status")})
                    self._finish(request, outcome)
        except _Gone:
            self._lose(worker)

    def _finish(self, request: _Request, outcome: Outcome) -> None:
        if request.stopped is not None:  # this was about the gold alone
            request.deliver(_not_left_out(request.stopped) if outcome.equal else request.stopped)
        elif outcome.status == "memory":
            self._stopped(request, replace(outcome, status="error"))
        else:
            self._remember((request.answer, request.gold, request.question), outcome)
            request.deliver(outcome)

    def _stopped(self, request: _Request, outcome: Outcome) -> None:
        """An answer ran into the limit of time or memory. It may not choose to be left out of the loss by that: beside
        a gold that stays within the limits by itself it is wrong. A worker is asked about the gold alone."""
        if request.stopped is not None:  # the gold alone ran into it too
            request.deliver(request.stopped)
        else:
            self._waiting.append(replace(request, attempts=0, stopped=outcome))

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
            request.deliver(request.stopped or outcome)

    def _lose(self, worker: _Worker) -> None:
        """A worker is gone, or must go, through no fault of its request: give the request to another."""
        self.deaths += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=0.1)  # how it ended by itself, before it is killed
        self._retire(worker)
        request = worker.request
        if not worker.ready:
            # One that ends by itself cannot start; one that is killed from outside says little until it happens often.
            self._failed_starts += 1 if (worker.process.returncode or 0) < 0 else 10
            if self._failed_starts > 40 and not any(worker.ready for worker in self._workers) and self._waiting:
                self._failed_starts = 0
                self._give_up(self._waiting.popleft(), "the worker processes do not start")
        elif request is not None and request.attempts <= RETRIES:
            self._waiting.appendleft(request)
        elif request is not None:
            self._give_up(request, f"the worker died {request.attempts} times on this answer")

    def _give_up(self, request: _Request, detail: str) -> None:
        request.deliver(request.stopped or Outcome(equal=False, rule="crash", detail=detail, status="error"))

    def _retire(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.sock)
        worker.end()


def _not_left_out(stopped: Outcome) -> Outcome:
    """The outcome of an answer that was stopped through its own doing: wrong."""
    return replace(stopped, status="", detail=stopped.detail + "; the gold alone stays within the limits")
