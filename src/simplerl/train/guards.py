"""What surrounds a step: clocks, advice when memory runs out, and a clean stop on Ctrl-C."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from simplerl.core.errors import SimpleRLError


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds spent inside to an entry."""
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


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
