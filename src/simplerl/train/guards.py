"""What surrounds a step: clocks, advice when memory runs out, and a clean stop on Ctrl-C."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from simplerl.errors import SimpleRLError


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
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise SimpleRLError(
            f"out of memory: {str(error).splitlines()[0]}\n"
            "Turn down --learner.tokens-per-microbatch or --rollout.max-rows, or turn on "
            "--learner.gradient-checkpointing, and continue with --resume: none of them changes what is learned"
        ) from error


@contextmanager
def stop_on_interrupt(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C (or SIGTERM) has come; a second one stops at once."""
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        say("stopping after this step, with a checkpoint (again: at once, without)")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
