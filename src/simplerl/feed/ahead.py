"""Rollouts ahead of training: a step is sampled while earlier ones are trained, by a policy at most `lag` steps older.

By admission: the requests of step k start when there is a policy of k − 1 − lag updates, and it is that policy that
answers all of them. Steps are sampled and trained in order and nothing is dropped, so that long responses are not
punished. Which policy samples what does not depend on who is fast, so a run repeats bit for bit. What was sampled is
kept until a checkpoint has passed it: a run that was killed reuses the steps that were complete, and samples the others
again by the policies they began with. With weights that are taken in flight (`rollout.refresh`) it is always the newest
policy that samples, and no token is of an older one than without.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Protocol

from simplerl.core.types import Completion
from simplerl.feed.feed import Feed, StepGroups
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.wire import pack, pack_completion, receive, to_frame, unpack_completion
from simplerl.runs.files import write_atomic

#: Seconds after which who waits for a step looks at how many of its responses are done.
LOOK_S = 0.2


#: Engines under a policy, and how far they are off when asked back.
EnginesAt = tuple[RolloutBackend, float]


class Source(Protocol):
    """What gives each step its groups: a feed, or one ahead."""

    responses: int

    def take(self, step: int) -> StepGroups:
        """Return the groups of a step."""


class Recorded:
    """A backend whose completions are written down; those that are known already are not sampled again."""

    def __init__(self, backend: RolloutBackend, file: Path):
        self.backend, self.file = backend, file
        self.known: dict[str, Completion] = {}
        self._frames: list[bytes] = []
        if file.is_file():
            with file.open("rb") as content:
                for header, arrays in receive(content):
                    self.known[header["address"]] = unpack_completion(header, arrays)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion): what is known at once, the rest as it comes."""
        rest: list[Request] = []
        owners: list[int] = []
        seen = 0

        def look() -> Iterator[tuple[int, Completion]]:
            """Part the requests that are new, and yield what is known; more may come meanwhile."""
            nonlocal seen
            while seen < len(requests):
                index, seen = seen, seen + 1
                if completion := self.known.get(_address(requests[index])):
                    yield index, completion
                else:
                    rest.append(requests[index])
                    owners.append(index)

        yield from look()
        while rest:
            for number, completion in self.backend.generate(rest, sampling):
                header, arrays = pack_completion(completion)
                self._frames.append(to_frame(pack({**header, "address": _address(rest[number])}, arrays)))
                yield owners[number], completion
                yield from look()
            rest, owners = [], []
            yield from look()

    def write(self) -> None:
        """Write down that the step is complete, with what was sampled."""
        if self._frames:
            old = self.file.read_bytes() if self.file.is_file() else b""
            write_atomic(self.file, old + b"".join(self._frames))


def _address(request: Request) -> str:
    """Return what a completion is found by again: the address of its noise, and its prompt."""
    return f"{request.noise_key:x}-{hashlib.sha256(request.prompt_ids.tobytes()).hexdigest()}"


class Ahead:
    """A feed whose steps are sampled in a thread, up to `lag` steps before they are taken."""

    def __init__(self, feed: Feed, lag: int, *, start: int, steps: int, at: Callable[[int], EnginesAt], path: Path):
        """`start` is the last step that is done, `at` gives the engines under the policy of a version, with what they
        are off by when asked back; `path` is the run directory, whose newest checkpoint says what need not be kept."""
        self.feed, self.lag, self.start, self.steps, self.at = feed, lag, start, steps, at
        self.path, self.folder = path, path / "ahead"
        self.responses = feed.responses
        self._on_response, self.feed.on_response = feed.on_response, self._count
        self._steps = {step: Future[StepGroups]() for step in range(start + 1, steps + 1)}
        self._admitted, self._sampling = threading.Semaphore(0), 0
        self._doing = ("waits", time.time())
        self._answered: dict[int, deque[Completion]] = {}
        self._writing, self._closed = threading.Lock(), False

    def __enter__(self) -> "Ahead":
        self.folder.mkdir(exist_ok=True)
        self._prune(self.start, self.start + 1 + self.lag)
        threading.Thread(target=self._sample_all, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._writing:
            self._closed = True
        self._admitted.release()
        self._prune(self._saved())

    def take(self, step: int) -> StepGroups:
        """Return the groups of a step, waiting for them. By this all before it are trained and recorded."""
        self._admitted.release(1 + self.lag * (step == self.start + 1))  # The first admits those ahead of it too.
        while not wait([self._steps[step]], LOOK_S).done:
            self._show(step)
        self._show(step)
        groups = self._steps[step].result()
        self._steps[step] = Future()  # What was taken is not held.
        self._prune(self._saved())
        sampled = [t.completion.versions for g in groups.all for t in g.trajectories if t.segments]
        tokens: Counter[int] = Counter()  # Of each age.
        for span in itertools.chain.from_iterable(sampled):
            tokens[step - 1 - span.version] += span.end - span.start
        total = tokens.total()
        mean = sum(age * count for age, count in tokens.items()) / total if total else float("nan")
        staleness = {"rollout/staleness_mean": mean, "rollout/staleness_max": max(+tokens, default=0)}
        return dataclasses.replace(groups, metrics=groups.metrics | staleness)

    def doing(self) -> dict[str, Any]:
        """Return what is being sampled, or waited for, and since when."""
        (what, since), step = self._doing, self._sampling
        if what == "waits":
            text = f"waits for policy {max(step - 1 - self.lag, 0)}, by which step {step} is sampled"
        else:
            text = f"samples step {step} by policy {self.feed.rollout.backend.version}"
        return {"doing": text, "since": since}

    def _saved(self) -> int:
        """Return the step of the newest checkpoint, 0 if there is none."""
        checkpoints = (self.path / "checkpoints").glob("step_*")
        return max((int(each.name.removeprefix("step_")) for each in checkpoints), default=0)

    def _prune(self, upto: int, last: int | None = None) -> None:
        """Forget what was sampled for steps up to a checkpoint's, and beyond `last`."""
        for file in self.folder.glob("step_*.frames"):
            number = int(file.stem.removeprefix("step_"))
            if number <= upto or (last is not None and number > last):
                file.unlink()

    def _show(self, step: int) -> None:
        """Tell who waits for a step of the responses that are new, those that were there before among them."""
        answered = self._answered.setdefault(step, deque())
        while answered:
            self._on_response(answered.popleft())

    def _count(self, completion: Completion) -> None:
        self._answered.setdefault(self._sampling, deque()).append(completion)

    def _sample_all(self) -> None:
        """Sample one step after the other, each when it is admitted. Runs in a thread of its own."""
        try:
            for step in range(self.start + 1, self.steps + 1):
                began = time.perf_counter()
                self._sampling, self._doing = step, ("waits", time.time())
                self._admitted.acquire()
                if self._closed:
                    return
                began, waited = time.perf_counter(), time.perf_counter() - began
                engines, gap = self.at(max(step - 1 - self.lag, 0))
                backend = Recorded(engines, self.folder / f"step_{step:06d}.frames")
                self.feed.rollout = dataclasses.replace(self.feed.rollout, backend=backend)
                self._doing = ("samples", time.time())
                groups = self.feed.take(step)
                with self._writing:
                    if self._closed:  # The run may have been begun again in this process: what is there is that one's.
                        return
                    backend.write()
                sampling = time.perf_counter() - began
                measured = {"time/ahead_waiting": waited, "time/ahead_sampling": sampling, "policy/sync_gap": gap}
                self._steps[step].set_result(dataclasses.replace(groups, metrics=groups.metrics | measured))
        except BaseException as error:  # It is raised where a step is taken; of a run that is over nobody asks.
            for future in self._steps.values():
                if not future.done():
                    future.set_exception(error)


def source_of(feed: Feed, lag: int, **settings: Any) -> contextlib.AbstractContextManager[Source]:
    """Return a feed, in a context that ends its sampling: by itself, or ahead where there is a lag (`Ahead`)."""
    return Ahead(feed, lag, **settings) if lag else contextlib.nullcontext(feed)
