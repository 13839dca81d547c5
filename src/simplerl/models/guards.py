"""What surrounds a step: clocks, threads, advice when memory runs out, and a clean stop on Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from simplerl.core.errors import SimpleRLError


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds spent inside to an entry."""
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def free_processors(seconds: float = 0.2) -> int:
    """Return how many of the processors that this process may use are idle, at least 1; all where Linux cannot tell."""

    def ticks() -> tuple[int, int]:
        """Return (idle, all) clock ticks of these processors so far."""
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        rows = [list(map(int, line.split()[1:9])) for line in lines if line.split()[0] in ours]
        return sum(row[3] + row[4] for row in rows), sum(map(sum, rows))

    try:
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        idle, total = ticks()
        time.sleep(seconds)
        later_idle, later_total = ticks()
    except (OSError, AttributeError, ValueError):  # Not Linux.
        return os.cpu_count() or 1
    return max(1, round(len(ours) * (later_idle - idle) / max(1, later_total - total)))


def choose_threads(before: int | None) -> str:
    """Set how many threads compute, where OMP_NUM_THREADS does not; return what to say of it, empty for the usual.

    A run that is resumed keeps its number (`before`), because the last bits depend on it. A new one takes as many as
    processors are free: a thread on a busy one makes all others wait.
    """
    usual = torch.get_num_threads()
    wanted = usual if "OMP_NUM_THREADS" in os.environ else min(usual, before or free_processors())
    if wanted == usual:
        return ""
    torch.set_num_threads(wanted)
    why = "as before" if before else f"of {usual} processors, {wanted} free"
    return f"computing with {wanted} thread{'s' if wanted > 1 else ''} ({why}; OMP_NUM_THREADS sets it)"


@contextmanager
def memory_advice() -> Iterator[None]:
    """Turn running out of memory into a message that names the knobs."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error) or type(error).__name__
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(phrase in text.lower() for phrase in ("out of memory", "can't allocate memory")):
            raise
        raise SimpleRLError(
            f"out of memory: {text.splitlines()[0]}\n"
            "Turn down --learner.tokens-per-microbatch or --rollout.max-rows, or turn on "
            "--learner.gradient-checkpointing, and continue with --resume: none of them changes what is learned"
        ) from error


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C (or SIGTERM) has come; a second one stops at once.

    The handler only takes note: printing from it could break into a print that is under way. Signals reach the main
    thread alone, so in another thread nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
