"""The pool: judges a stream of responses in parallel, and survives whatever they do to the workers.

What needs no algebra is decided in the calling process; workers start when the first undecided answer arrives. The work
of a judgement is counted where it is done (`numbers.py`); workers are there for what no count foresees.

A thread asks a worker one question at a time and waits until a deadline. A worker that computes longer is killed; one
that died by itself, or was stopped or starved rather than busy, is replaced and the new one asked again. Workers share
nothing. A worker (`main`) reads lines of JSON from a socket and can do nothing but judge: there is no pickle, the
kernel limits its memory, CPU time and files, and an audit hook forbids it to write, to connect and to start programs.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from queue import LifoQueue
from typing import Any

from simplerl.core.children import start_child
from simplerl.core.errors import SimpleRLError, nearest
from simplerl.core.types import Verdict, VerdictStatus
from simplerl.verify import judge
from simplerl.verify.extract import POLICIES, final_part
from simplerl.verify.judge import Outcome, quick
from simplerl.verify.words import TABLES

#: Seconds of computation that one answer may take, and seconds that a worker may take to start.
TIMEOUT_S, START_S = 2.0, 60.0
#: How many workers an answer is given to when they do not start, die or stand still.
ATTEMPTS = 20
#: What Python runs as a worker; tests put a misbehaving one in its place.
COMMAND: tuple[str, ...] = ("-c", "from simplerl.verify.pool import main; main()")
_CACHE_ENTRIES, _CACHED_CHARS, _MAX_REPLY = 50_000, 300, 1 << 20
#: One arena: more would count as memory of the answer.
_ENVIRONMENT = {"MPMATH_NOGMPY": "1", "MALLOC_ARENA_MAX": "1"}
#: Bytes that a judgement may take beyond what the worker has when it is ready, and what a worker may not do.
MEMORY_BYTES, _FORBIDDEN = 256 << 20, tuple(TABLES["forbidden_events"].split())

#: Rules of answers whose value is right and which are not finished: a pool may be lenient about them.
LENIENCIES = ("unfinished", "restates")
_NO_ANSWER = Outcome(False, "no-answer", "no closed, non-empty answer found", "no_answer")


def as_text(value: object) -> str:
    """Return any input as text: bytes are decoded with replacement, None is empty."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)


def extract(response: object, policy: str = "boxed") -> str | None:
    """Return the final answer as written in the response, or None; an unknown policy is a `SimpleRLError`."""
    if policy not in POLICIES:
        raise SimpleRLError(f"unknown extraction policy {policy!r}; {nearest(policy, POLICIES)}")
    return POLICIES[policy](final_part(as_text(response)))


_Case = tuple[str, str, str | None]  # an answer, its gold and its question


class _Worker:
    """A worker process that is asked one question at a time. One that ended is replaced at the next question."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s, self.closed = timeout_s, False
        self.process: subprocess.Popen[bytes] | None = None
        self.ended: Counter[str] = Counter()

    def judge(self, answer: str, gold: str, question: str | None) -> Outcome:
        """Judge an answer. One that runs into the limit of time or memory may not choose by that to be left out of the
        loss: beside a gold that stays within the limits by itself it is wrong."""
        message = {"answer": answer, "gold": gold, "question": question}
        outcome = self._ask({**message, "alone": False})
        if outcome.rule == "limits" and outcome.status and self._ask({**message, "alone": True}).equal:
            return replace(outcome, status="", detail=f"{outcome.detail}; the gold alone stays within the limits")
        return outcome

    def _ask(self, message: dict[str, object]) -> Outcome:
        """Ask the process, and another one if it dies or stands still. A busy one that is late is killed."""
        data = json.dumps(message).encode("ascii") + b"\n"
        for attempt in range(1, ATTEMPTS + 1):
            reason = f"died or stood still {attempt} times on this answer"
            if not self.ensure_process():
                reason = "does not start"
                continue
            used = self._cpu_seconds()
            try:
                # Who is asked again was starved of CPU or stopped: on a loaded machine the same time would not do.
                self.socket.settimeout(self.timeout_s * min(attempt, 4))
                self.socket.sendall(data)
                outcome = Outcome(**json.loads(self.replies.readline(_MAX_REPLY)))
                if outcome.rule == "limits" and outcome.status:
                    self.end()  # What is left of its memory is nobody's to use.
                return outcome
            except (OSError, ValueError, TypeError) as error:  # late, dead, or it replied nonsense
                late = isinstance(error, TimeoutError)
            busy = late and (sys.platform != "linux" or self._cpu_seconds() - used >= 0.5 * self.timeout_s)
            self.ended["killed" if busy else "died"] += 1
            self.end()
            if busy:
                return Outcome(False, "limits", f"stopped after {self.timeout_s:g} s", "timeout")
        return Outcome(False, "crash", f"the worker {reason}", "error")

    def ensure_process(self) -> bool:
        """Have a process that is ready; return False when it does not start."""
        if self.process is not None and self.process.poll() is None:
            return True
        self.ended["died"] += self.process is not None
        self.end()
        if self.closed:
            return False
        settings = {"seconds": self.timeout_s}
        # Not all that this process can import: a file in the working directory must not stand in for a module.
        path = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(path), **_ENVIRONMENT}
        self.process, self.socket = start_child(COMMAND, settings, Path(os.devnull), environment)
        self.replies = self.socket.makefile("rb")
        self.socket.settimeout(START_S)
        with contextlib.suppress(OSError, ValueError):
            if self.replies.readline() and not self.closed:
                return True
        self.ended["died"] += 1
        self.end()
        return False

    def end(self) -> None:
        """Kill the process and collect it."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            self.replies.close()
            self.socket.close()

    def _cpu_seconds(self) -> float:
        """CPU time used so far, on Linux; a stopped or starved worker stands still."""
        with contextlib.suppress(OSError):
            return time.clock_gettime(~self.process.pid << 3 | 2) if self.process else 0.0  # clock_getcpuclockid(3)
        return 0.0


class VerifierPool(contextlib.AbstractContextManager["VerifierPool"]):
    """Judges responses in parallel, each exactly once; a context manager. `lenient` names rules that count as right
    although the answer is not finished: `unfinished` (as the literature counts), `restates`; the verdict tells."""

    _closed = True  # until it is complete

    def __init__(
        self, policy: str = "boxed", workers: int = 2, timeout_s: float = TIMEOUT_S, lenient: Collection[str] = ()
    ) -> None:
        extract("", policy)  # so that an unknown policy is an error now
        if workers < 1 or timeout_s <= 0:
            raise SimpleRLError(f"a verifier pool needs workers ≥ 1 and timeout_s > 0, not {workers} and {timeout_s}")
        if unknown := set(lenient) - set(LENIENCIES):
            raise SimpleRLError(f"a verifier pool can be lenient about {', '.join(LENIENCIES)}, not about {unknown}")
        self.policy, self.lenient, self._owner = policy, frozenset(lenient), os.getpid()
        self._workers = [_Worker(timeout_s) for _ in range(workers)]
        self._idle: LifoQueue[_Worker] = LifoQueue()  # the one used last is asked first: the others need not start
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, "verifier")
        self.cache: dict[_Case, Outcome] = {}
        self._closed = False

    @property
    def ended(self) -> Counter[str]:
        """Workers `killed` because they computed too long, and those that `died` by themselves or stood still."""
        return sum((worker.ended for worker in self._workers), Counter[str]())

    def submit(self, response: object, gold: object, question: object = None) -> Future[Verdict]:
        """Accept one response, from any thread; the future is its verdict's, and has it at once where that is easy."""
        return self._accept(extract(response, self.policy), gold, question)

    def verify_many(self, rows: Iterable[tuple[object, ...]]) -> list[Verdict]:
        """Judge (response, gold) or (response, gold, question) rows; the verdicts come in the order of the rows, which
        may still be arriving."""
        return self._judge_all((extract(response, self.policy), *rest) for response, *rest in rows)

    def judge(self, answer: str | None, gold: object, question: object = None) -> Verdict:
        """Judge one answer that is already extracted (None where there is none), and wait for its verdict."""
        return self._judge_all([(answer, gold, question)])[0]

    def close(self) -> None:
        """End the workers; verdicts not yet fetched are dropped."""
        if self._closed or os.getpid() != self._owner:  # a forked copy of this pool: the workers are the parent's
            return
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.closed = True
            worker.end()

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _judge_all(self, rows: Iterable[tuple[Any, ...]]) -> list[Verdict]:
        """Judge (answer or None, gold, maybe question) rows and wait for all verdicts."""
        verdicts: list[Future[Verdict]] = []
        try:
            verdicts.extend(self._accept(*row) for row in rows)
            return [verdict.result() for verdict in verdicts]
        finally:  # when interrupted: what a worker computes now it finishes, for nobody
            for verdict in verdicts:
                verdict.cancel()

    def _accept(self, answer: str | None, gold: object, question: object = None) -> Future[Verdict]:
        """Decide an answer here, or hand it to the workers."""
        if self._closed:
            raise RuntimeError("this verifier pool is closed")
        case = answer or "", as_text(gold), None if question is None else as_text(question)
        outcome = _NO_ANSWER if answer is None else self.cache.get(case)
        if outcome is None:
            # An exception is not the caller's to handle: the worker meets it too, and makes it a verdict `error`.
            with contextlib.suppress(Exception):
                outcome = quick(case[0], case[1], question=case[2])
            if outcome is None:
                return self._threads.submit(self._in_worker, case)
        decided: Future[Verdict] = Future()
        decided.set_result(self._verdict(answer, case, outcome))
        return decided

    def _in_worker(self, case: _Case) -> Verdict:
        worker = self._idle.get()
        try:
            outcome = worker.judge(*case)
        except Exception as error:
            outcome = _fault(error)
        finally:
            self._idle.put(worker)
        return self._verdict(case[0], case, outcome)

    def _verdict(self, answer: str | None, case: _Case, outcome: Outcome) -> Verdict:
        """The verdict of an outcome, which is kept for the next time unless it says nothing about the answer."""
        if outcome.status not in ("no_answer", "timeout", "error") and len(case[0]) + len(case[1]) <= _CACHED_CHARS:
            if len(self.cache) >= _CACHE_ENTRIES:
                self.cache.clear()
            self.cache[case] = outcome
        right = outcome.equal or outcome.rule in self.lenient
        status: VerdictStatus = outcome.status or ("correct" if right else "wrong")  # type: ignore[assignment]
        return Verdict(status=status, extracted=answer, rule=outcome.rule, detail=outcome.detail)


# --- in the worker --------------------------------------------------------------------------------------------------


def deny(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: a worker reads modules and computes, nothing else. It cannot be removed once set."""
    if event == "open":
        mode, flags = args[1], args[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 0o3):
            raise PermissionError(f"a verifier worker may not write {args[0]!r}")
    elif event.startswith(_FORBIDDEN):
        raise PermissionError(f"a verifier worker may not use {event}")


def _end_with(parent: int) -> None:
    """End this process when its parent has ended: while it computes it does not see its input closed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _fault(error: BaseException) -> Outcome:
    return Outcome(False, "crash", f"{type(error).__name__}: {str(error)[:120]}", "error")


def serve(reply_to: Callable[..., Any], memory: int) -> None:
    """Answer requests over the socket that is this process's input, a line of JSON each, until it closes.

    The process may have so many bytes more than it has now, write no files, and do nothing but compute.
    """
    import resource

    connection = socket.socket(fileno=0)
    requests, replies = connection.makefile(), connection.makefile("w")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(OSError, ValueError):  # systems without /proc, or with a lower limit already
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    sys.addaudithook(deny)
    print('"ready"', file=replies, flush=True)
    for line in requests:
        print(json.dumps(reply_to(**json.loads(line))), file=replies, flush=True)


def _outcome(alone: bool, **request: str) -> Outcome:
    """Judge one request, or whether its gold alone stays within the limits; every failure is an outcome too."""
    try:
        return Outcome(judge.harmless(request["gold"]), "limits", "") if alone else judge.thorough(**request)
    except MemoryError:
        return Outcome(False, "limits", "stopped at the memory limit", "error")
    except Exception as error:
        return _fault(error)


def main() -> None:
    """Be a worker. The argument has the seconds for an answer."""
    import simplerl.verify.points  # noqa: F401  before the limits are set

    seconds = json.loads(sys.argv[1])["seconds"]

    def reply_to(**request: Any) -> dict[str, Any]:
        signal.setitimer(signal.ITIMER_PROF, 3 * seconds + 2)  # the kernel's guard behind the pool's own deadline
        return asdict(_outcome(**request))

    serve(reply_to, MEMORY_BYTES)
