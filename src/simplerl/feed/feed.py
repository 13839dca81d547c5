"""The feed: a step's groups of responses. What the sampler asks for, sampled, judged, rewarded; in turn or ahead.

Everything is a function of (seed, step, what is recorded): resuming needs no state. Dynamic sampling is DAPO's (arXiv
2503.14476, §3.2): a problem whose rewards are all equal has no advantage; it is dropped and a further problem is drawn
in its place, round by round. Which one is a function of (seed, step, round) and of what was drawn before in the step.

Ahead of training (`Ahead`) a step is sampled while earlier ones are trained, by a policy at most `lag` steps older. By
admission: the requests of step k start when there is a policy of k − 1 − lag updates, and it is that policy that
answers all of them. Steps are sampled and trained in order and nothing is dropped, so that long responses are not
punished. Which policy samples what does not depend on who is fast, so a run repeats bit for bit. What was sampled is
kept until a checkpoint has passed it: a run that was killed reuses the steps that were complete, and samples the others
again by the policies they began with. With weights that are taken in flight (`rollout.refresh`) it is always the newest
policy that samples, and no token is of an older one than without.
"""

import dataclasses
import hashlib
import io
import itertools
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.config.sections import Config
from simplerl.core.errors import DataError
from simplerl.core.seeds import generator
from simplerl.core.types import Completion, Draw, TrajectoryGroup
from simplerl.feed.samplers import Ledger, PromptSampler, chosen, replacements
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.rollout.wire import PREFIX, pack, pack_completion, receive, unpack_completion
from simplerl.runs.directory import checkpoint_steps
from simplerl.runs.files import make_directory, writing


@dataclass(frozen=True, kw_only=True, eq=False)
class StepGroups:
    """What was sampled in a step."""

    kept: list[TrajectoryGroup] = field(default_factory=list)  # The groups to learn from
    dropped: list[TrajectoryGroup] = field(default_factory=list)
    """Groups that a gate, or dynamic sampling, keeps out of the update; recorded all the same."""
    metrics: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0  # At which they were sampled: what the update scores them at
    trained: bool = True
    """False where no group has passed its gates: those that are kept are recorded, and nothing is learned."""

    @property
    def all(self) -> list[TrajectoryGroup]:
        """Every group, those to learn from first."""
        return [*self.kept, *self.dropped]


class Feed:
    """Gives each step its groups."""

    def __init__(
        self,
        config: Config,
        sampler: PromptSampler,
        prompted: Sequence[Prompted],
        rollout: Rollout,
        ledger: Ledger,
        on_response: Callable[[Completion], None] = lambda completion: None,
        room: int = 0,
    ):
        """`prompted` are the problems of the ledger as the model sees them, `on_response` is called for every response
        as it finishes, and `room` is how many tokens a prompt with its prefix may have (0: any number)."""
        self.config, self.sampler, self.rollout, self.ledger = config, sampler, rollout, ledger
        self.prompted, self.on_response, self.room = prompted, on_response, room
        self.by_id = {item.problem.id: item for item in prompted}
        self.responses = config.sampling.prompts_per_step * rollout.samples
        """Responses of a step, unless its sampler wants more or fewer."""

    def take(self, step: int) -> StepGroups:
        """Return the groups of step `step` (the first is 1): sampled, judged and rewarded.

        There are as many groups to learn from as `prompts_per_step` asks for, or fewer where the rounds or the problems
        have run out; where no group passes, the first are kept, so that a step always has something to record.
        """
        # In how many rounds problems are replaced is for the sampler to say, or the algorithm.
        rounds = self.sampler.rounds or self.config.algorithm.refill_rounds
        wanted = self.config.sampling.prompts_per_step
        gates = self.config.sampling.gate or (("signal",) if rounds else ())
        ledger = self.ledger.before(step)
        prepared = self.sampler.prepare(step, ledger, self)
        draws = chosen(self.sampler, step, ledger)
        temperature = draws[0].temperature
        metrics = {"controller/temperature": temperature} if self.sampler.steers_temperature else {}
        metrics |= prepared
        if prefixed := sum(bool(draw.prefix) for draw in draws):
            metrics["groups/prefixed"] = prefixed
        kept: list[TrajectoryGroup] = []
        dropped: list[TrajectoryGroup] = []
        seen: set[str] = set()
        round, stopped = 0, Counter[str]()
        while draws:
            seen |= {draw.problem.id for draw in draws}
            groups = self.sample(draws, temperature, step, ledger, round)
            for group in groups:
                closed = [name for name in gates if not GATES[name](group, self.config.sampling.gate_std)]
                stopped.update(closed)
                (dropped if closed else kept).append(group)
            if round == rounds or len(kept) >= wanted:
                break
            draws = replacements(self.sampler, step, round + 1, wanted - len(kept), seen, ledger)
            round += bool(draws)
        metrics |= {"groups/dropped": len(dropped)} if gates else {}
        metrics |= {"groups/rounds": round} if rounds else {}
        metrics |= {f"gate/{name.replace('-', '_')}": stopped[name] for name in self.config.sampling.gate}
        # Groups without signal have no advantage: to keep them out is left to the algorithm, which may have a KL.
        trained = bool(kept) or set(gates) <= {"signal"}
        if not kept:
            kept, dropped = dropped[:wanted], dropped[wanted:]
        return StepGroups(kept=kept, dropped=dropped, metrics=metrics, temperature=temperature, trained=trained)

    def sample(
        self, draws: Sequence[Draw], temperature: float, step: int, ledger: Ledger, round: int = 0
    ) -> list[TrajectoryGroup]:
        """Return the groups of the draws of a step, or of a further round of it."""
        limit = self.sampler.max_new_tokens(step, ledger)
        groups = at(self.rollout, temperature, max_new_tokens=limit).sample_groups(
            [self._prompted(draw, step) for draw in draws],
            purpose="train",
            step=step,
            samples=[draw.samples for draw in draws],
            on_response=self.on_response,
        )
        seed = self.config.seed
        return shuffle_rewards(groups, seed=seed, step=step, round=round) if self.config.shuffle_rewards else groups

    def _prompted(self, draw: Draw, step: int) -> Prompted:
        """Return a draw as the model sees it: the problem's prompt, and behind it the prefix, if there is one."""
        item = self.by_id[draw.problem.id]
        if not draw.prefix:
            return item
        if self.rollout.tokenizer is None:
            raise DataError(f"step {step}: the prefix of {draw.problem.id!r} cannot be encoded without a tokenizer")
        ids = self.rollout.tokenizer.encode(draw.prefix, add_special_tokens=False)
        prompt_ids = np.concatenate([item.prompt_ids, np.array(ids, dtype=np.int32)])
        if 0 < self.room < len(prompt_ids):
            raise DataError(
                f"step {step}: the prompt of {draw.problem.id!r} and its prefix have {len(item.prompt_ids)} and "
                f"{len(ids)} tokens, more than the {self.room} that sampling.max_new_tokens leaves of the context; "
                "give a smaller --sampling.max-new-tokens, or a sampler with shorter prefixes"
            )
        return dataclasses.replace(item, prompt_ids=prompt_ids, prefix=draw.prefix)


def at(rollout: Rollout, temperature: float, **over: Any) -> Rollout:
    """Return a rollout at another temperature; `over` changes more of its sampling."""
    return dataclasses.replace(rollout, sampling=dataclasses.replace(rollout.sampling, temperature=temperature, **over))


def _rewards(group: TrajectoryGroup) -> list[float]:
    return [t.reward for t in group.trajectories if t.verdict.decided]


#: Name → whether a group passes; the second argument is `sampling.gate_std`.
GATES: dict[str, Callable[[TrajectoryGroup, float], bool]] = {
    "signal": lambda group, least: len(set(_rewards(group))) > 1,
    "std": lambda group, least: float(np.std(_rewards(group) or [0.0])) >= least,
    "some-right": lambda group, least: any(t.verdict.correct for t in group.trajectories),
}


def shuffle_rewards(
    groups: Sequence[TrajectoryGroup], *, seed: int, step: int, round: int = 0
) -> list[TrajectoryGroup]:
    """Return the groups with rewards permuted among their decided responses: the control with nothing to learn.

    Rewards of steps, which would be those of no other response's steps, are left out.
    """
    rewards = np.concatenate([_rewards(group) for group in groups])
    shuffled = iter(generator(seed, "shuffle-rewards", step, *([round] if round else [])).permutation(rewards).tolist())
    return [
        dataclasses.replace(
            group,
            trajectories=tuple(
                dataclasses.replace(t, reward=next(shuffled), step_rewards=()) if t.verdict.decided else t
                for t in group.trajectories
            ),
        )
        for group in groups
    ]


# -- ahead of training -------------------------------------------------------------------------------------------------


#: Bytes of the hash before each response that is written down.
DIGEST = 32


def append(file: Path, record: bytes) -> None:
    """Add to a file. Raises RunError where that cannot be done."""
    with writing(file), file.open("ab") as content:
        content.write(record)


class Recorded:
    """A backend whose completions are written down as they come; those that are known already are not sampled again.

    Each stands in the file behind its hash. From one that is cut short or damaged on, which is said, nothing counts.
    """

    def __init__(
        self,
        backend: RolloutBackend,
        file: Path,
        say: Callable[[str], None] = lambda message: None,
        write: Callable[[Path, bytes], None] = append,
    ):
        self.backend, self.file, self._write = backend, file, write
        self.known: dict[str, Completion] = {}
        written, good = file.read_bytes() if file.is_file() else b"", 0
        while good < len(written):
            start = good + DIGEST
            end = start + PREFIX + int.from_bytes(written[start : start + PREFIX], "little")
            if hashlib.sha256(written[start:end]).digest() != written[good:start]:
                say(f"WARNING: {file} is damaged: of this step {len(self.known)} responses are known, others are not")
                os.truncate(file, good)
                break
            for header, arrays in receive(io.BytesIO(written[start:end])):
                self.known[header["address"]] = unpack_completion(header, arrays)
            good = end

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
                frame = pack({**header, "address": _address(rest[number])}, arrays)
                self._write(self.file, hashlib.sha256(frame).digest() + frame)
                yield owners[number], completion
                yield from look()
            rest, owners = [], []
            yield from look()


def _address(request: Request) -> str:
    """Return what a completion is found by again: the address of its noise, and its prompt."""
    return f"{request.noise_key:x}-{hashlib.sha256(request.prompt_ids.tobytes()).hexdigest()}"


class Ahead:
    """A feed whose steps are sampled in a thread, up to `lag` steps before they are taken."""

    def __init__(
        self,
        feed: Feed,
        lag: int,
        *,
        start: int,
        steps: int,
        at: Callable[[int], tuple[RolloutBackend, float]],
        path: Path,
        say: Callable[[str], None] = lambda message: None,
    ):
        """`start` is the last step that is done, `at` gives the engines under the policy of a version, with what they
        are off by when asked back; `path` is the run directory, whose newest checkpoint says what need not be kept."""
        self.feed, self.lag, self.start, self.steps, self.at = feed, lag, start, steps, at
        self.path, self.folder, self._say = path, path / "ahead", say
        self.responses = feed.responses
        self._on_response, self.feed.on_response = feed.on_response, self._count
        self._steps = {step: queue.SimpleQueue[Any]() for step in range(start + 1, steps + 1)}
        """What comes of a step: its responses, then its groups, or what was raised instead."""
        self._admitted, self._sampling = threading.Semaphore(0), 0
        self._doing = ("waits", time.time())
        self._writing, self._closed = threading.Lock(), False

    def __enter__(self) -> "Ahead":
        make_directory(self.folder)
        self._prune(self.start, self.start + 1 + self.lag)
        threading.Thread(target=self._sample_all, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._writing:
            self._closed = True
        self._admitted.release()
        self._prune()

    def take(self, step: int) -> StepGroups:
        """Return the groups of a step, waiting for them. By this all before it are trained and recorded."""
        self._admitted.release(1 + self.lag * (step == self.start + 1))  # The first admits those ahead of it too.
        while isinstance(groups := self._steps[step].get(), Completion):
            self._on_response(groups)
        if isinstance(groups, BaseException):
            raise groups
        del self._steps[step]  # What was taken is not held.
        self._prune()
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

    def _prune(self, upto: int = 0, last: int | None = None) -> None:
        """Forget what was sampled for steps up to `upto` or the newest checkpoint's, and beyond `last`."""
        upto = max([upto, *checkpoint_steps(self.path)])
        for file in self.folder.glob("step_*.frames"):
            number = int(file.stem.removeprefix("step_"))
            if number <= upto or (last is not None and number > last):
                file.unlink()

    def _write(self, file: Path, record: bytes) -> None:
        with self._writing:
            if not self._closed:  # Else the run may have begun again in this process: what is there is that one's.
                append(file, record)

    def _count(self, completion: Completion) -> None:
        self._steps[self._sampling].put(completion)

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
                backend = Recorded(engines, self.folder / f"step_{step:06d}.frames", self._say, self._write)
                self.feed.rollout = dataclasses.replace(self.feed.rollout, backend=backend)
                self._doing = ("samples", time.time())
                groups = self.feed.take(step)
                sampling = time.perf_counter() - began
                measured = {"time/ahead_waiting": waited, "time/ahead_sampling": sampling, "policy/sync_gap": gap}
                self._steps[step].put(dataclasses.replace(groups, metrics=groups.metrics | measured))
        except BaseException as error:  # It is raised where a step is taken; of a run that is over nobody asks.
            for step in range(self._sampling, self.steps + 1):
                self._steps[step].put(error)
