"""Episodes: the policy's turns and its environment's answers, in one row of tokens. Every episode goes on by itself.

A further turn is a further request to the engine that is running (`RolloutBackend.generate`), whose prompt is all
tokens so far: nothing is encoded again. Slow environments, and the judges that problems bring, answer in threads
beside generation: what hangs in one of them is a verdict of its episode, and nobody waits for it.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from simplerl.core.errors import SimpleRLError, raised_at
from simplerl.core.seeds import derive, generator
from simplerl.core.types import Call, Completion, Problem, Segment, StopReason, Turn, Verdict, VersionSpan
from simplerl.environments.base import Environment, is_single_turn
from simplerl.environments.judges import judge_of
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.text import decode

#: Threads in which slow environments answer.
THREADS = 16
#: Seconds after which generation begins without the episodes whose environment has not begun; they join it later.
STRAGGLERS_S = 2.0
#: Seconds between two looks at what takes too long.
POLL_S = 0.05
#: Stands in the middle of an observation of which tokens are left out.
LEFT_OUT = " … "


@dataclass(kw_only=True, eq=False)
class Episode:
    """A response under way, and when it is over the response."""

    problem: Problem
    sample: int
    prompt_ids: np.ndarray
    state: Any = None
    parts: list[Completion] = field(default_factory=list)
    """The policy's turns, and the observations between them (their log-probabilities are 0)."""
    texts: list[tuple[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    turn: int = 0
    seconds: float = 0.0
    """That the environment has taken."""
    started: bool = False
    """Whether its environment has begun, so that it must be ended."""
    over: bool = False
    """Whether nobody waits for its environment any more."""
    stop_reason: StopReason = "eos"
    verdict: Verdict | None = None
    """The environment's; None: the verifier judges `answer`."""

    @property
    def answer(self) -> str:
        """What the policy wrote: an observation is not its answer."""
        return "\n".join(text for author, text in self.texts if author == "policy")

    @property
    def tokens(self) -> int:
        """Tokens of the response so far."""
        return sum(len(part.token_ids) for part in self.parts)

    def segments(self) -> tuple[Segment, ...]:
        """Return who wrote which tokens."""
        ends = np.cumsum([len(part.token_ids) for part in self.parts]).tolist()
        authors = [author for author, _ in self.texts]
        return tuple(map(Segment, authors, [0, *ends[:-1]], ends))  # type: ignore[arg-type]

    def completion(self) -> Completion:
        """Return the response as one: all tokens in a row."""
        if not self.parts:  # Its environment could not begin.
            ids, versions = np.zeros(0, np.int32), (VersionSpan(0, 0, 0),)
            zeros, reason = np.zeros(0, np.float32), self.stop_reason
            return Completion(token_ids=ids, logprobs=zeros, text="", stop_reason=reason, versions=versions)
        if len(self.parts) == 1:
            return replace(self.parts[0], stop_reason=self.stop_reason)
        spans: list[VersionSpan] = []
        start = 0
        for part in self.parts:
            spans += [VersionSpan(span.version, start + span.start, start + span.end) for span in part.versions]
            start += len(part.token_ids)
        entropies = [part.entropies for part in self.parts]
        return Completion(
            token_ids=np.concatenate([part.token_ids for part in self.parts]),
            logprobs=np.concatenate([part.logprobs for part in self.parts]),
            entropies=None if any(each is None for each in entropies) else np.concatenate(entropies),  # type: ignore
            text="".join(text for _, text in self.texts),
            stop_reason=self.stop_reason,
            versions=tuple(spans),
        )


@dataclass(kw_only=True, eq=False)
class Episodes:
    """What all episodes of a call share."""

    backend: RolloutBackend
    tokenizer: PreTrainedTokenizerBase | None
    environment: Environment | None
    sampling: Sampling
    address: tuple[int, str, int]
    """(seed, purpose, step): with problem and sample it addresses every draw of an episode."""
    policy: str = "boxed"
    """How the judge that a problem brings finds the final answer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, episodes: Sequence[Episode]) -> Iterator[tuple[int, Episode]]:
        """Yield (index, episode) as they are over, in any order. Every environment that has begun is ended."""
        try:
            yield from self._run(episodes)
        finally:
            left = [episode for episode in episodes if self._give_up(episode)]
            with _Workers() as workers:
                for index, episode in enumerate(left):
                    self._submit(workers, index, self._end, episode)
                while workers.busy:  # What an environment says of an episode that nobody waits for is of no use.
                    list(workers.answered(block=True))

    def _give_up(self, episode: Episode) -> bool:
        """Wait no longer for an episode's environment; return whether it has begun and must be ended."""
        with self._lock:
            started, episode.started, episode.over = episode.started, False, True
        return started

    def _end(self, episode: Episode) -> None:
        assert self.environment is not None
        self.environment.end(episode.problem, episode.state)

    def _over(self, workers: "_Workers", index: int, episode: Episode) -> Iterator[tuple[int, Episode]]:
        """Yield an episode that is over, or have its environment ended first."""
        if self._give_up(episode):
            self._submit(workers, index, self._end, episode)
        else:
            yield index, episode

    def _run(self, episodes: Sequence[Episode]) -> Iterator[tuple[int, Episode]]:
        env, tokenizer = self.environment, self.tokenizer
        turns = env is not None and not is_single_turn(env)
        if turns and tokenizer is None:
            raise ValueError("episodes of several turns need the policy's tokenizer")
        sampling = replace(self.sampling, stop=(*self.sampling.stop, *env.stop)) if turns and env else self.sampling
        owners: list[int] = []
        requests: list[Request] = []
        with _Workers() as workers:
            if turns:
                yield from self._begin(workers, episodes, owners, requests)
            else:
                owners += range(len(episodes))
                requests += map(self._request, episodes)
            while True:
                for number, completion in self.backend.generate(requests, sampling):
                    episode = episodes[index := owners[number]]
                    text, ended = self._text(completion) if turns else (completion.text, True)
                    self._take(episode, completion, text)
                    if turns and env and self._was_cut(episode, completion):
                        self._submit(workers, index, self._step, episode, text, env.cut)
                    elif completion.stop_reason == "length" or ended or not env:
                        self._submit(workers, index, self._judge, episode)
                    else:
                        self._submit(workers, index, self._step, episode, text, env.step)
                    yield from self._settle(workers, episodes, owners, requests, block=False)
                owners, requests = [], []
                while workers.busy and not requests:
                    yield from self._settle(workers, episodes, owners, requests, block=True)
                if not requests:
                    return

    def _submit(
        self, workers: "_Workers", index: int, method: Callable[..., Any], episode: Episode, *arguments: Any
    ) -> None:
        """Have a method of the environment called, in a thread where it is slow."""
        env = self.environment or Environment()
        slow = env.slow and not is_single_turn(env)
        workers.submit((index, method.__name__), method, episode, *arguments, slow=slow, seconds=env.max_seconds)

    def _begin(
        self, workers: "_Workers", episodes: Sequence[Episode], owners: list[int], requests: list[Request]
    ) -> Iterator[tuple[int, Episode]]:
        """Begin all episodes; those that take long join the others while these are generated."""
        for index, episode in enumerate(episodes):
            self._submit(workers, index, self._start, episode)
        end = time.monotonic() + STRAGGLERS_S
        while workers.busy and not (requests and time.monotonic() > end):
            yield from self._settle(workers, episodes, owners, requests, block=True)
        # In the order of the episodes, whichever began first: a fast environment's batches are always the same.
        owners.sort()
        requests[:] = [self._request(episodes[index]) for index in owners]

    def _start(self, episode: Episode) -> str:
        """Begin an episode; return the text that it begins with, empty: its problem's prompt."""
        env = self.environment
        assert env is not None
        state = env.start(episode.problem, self._rng(episode))
        with self._lock:
            episode.state, episode.started = state, not episode.over
        if not episode.started:  # It was given up meanwhile; nobody is there to be told what else goes wrong.
            env.end(episode.problem, state)
            return ""
        return env.opening(episode.problem, state, self.tokenizer)

    def _opened(self, text: str) -> np.ndarray:
        """Return the tokens of what an episode begins with. Raises ValueError where it leaves no room for an answer."""
        assert self.tokenizer is not None
        ids = np.array(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)
        if not 0 < len(ids) < getattr(self.backend, "context_length", 2**31):
            raise ValueError(f"an opening of {len(ids)} tokens leaves no room for an answer")
        return ids

    def _rng(self, episode: Episode) -> np.random.Generator:
        seed, purpose, step = self.address
        return generator(seed, "environment", purpose, step, episode.problem.id, episode.sample, episode.turn)

    def _request(self, episode: Episode) -> Request:
        """Return the request for an episode's next turn."""
        seed, purpose, step = self.address
        turn = [episode.turn] if episode.turn else []
        left = self.sampling.max_new_tokens - episode.tokens
        limit = self.environment.turn_limit(episode.turn) if self.environment else 0
        return Request(
            prompt_ids=np.concatenate([episode.prompt_ids, *(part.token_ids for part in episode.parts)]),
            noise_key=derive(seed, purpose, step, episode.problem.id, episode.sample, *turn),
            max_new_tokens=min(left, limit) if limit > 0 else left,
        )

    def _text(self, completion: Completion) -> tuple[str, bool]:
        """Return a turn's text, and whether one of the user's own stop strings has ended the response.

        A stop string of the environment's is part of the text.
        """
        assert self.environment is not None
        assert self.tokenizer is not None
        if completion.stop_reason != "stop":
            return completion.text, False
        after = decode(self.tokenizer, completion.token_ids.tolist())[len(completion.text) :]
        own = [text for text in self.environment.stop if after.startswith(text)]
        return (completion.text + own[0], False) if own else (completion.text, True)

    def _was_cut(self, episode: Episode, completion: Completion) -> bool:
        """Return whether a turn ended at the environment's limit, and not at that of the response or the context."""
        assert self.environment is not None
        limit = self.environment.turn_limit(episode.turn)
        room = min(self.sampling.max_new_tokens, self._room(episode)) - episode.tokens
        return completion.stop_reason == "length" and len(completion.token_ids) == limit and room > 0

    def _take(self, episode: Episode, completion: Completion, text: str) -> None:
        episode.parts.append(completion)
        episode.texts.append(("policy", text))
        episode.stop_reason = completion.stop_reason

    def _step(self, episode: Episode, text: str, answer: Callable[..., Turn]) -> Turn:
        turn = answer(episode.problem, episode.state, text, self._rng(episode))
        if not isinstance(turn, Turn):
            name = f"{type(self.environment).__name__}.{answer.__name__}"
            raise TypeError(f"{name} returned {type(turn).__name__}, not a Turn")
        return turn

    def _judge(self, episode: Episode, own: Environment | None = None) -> Verdict | None:
        """Return what the environment says of an answer, or the judge that the problem brings; None: the verifier."""
        judge = own or self.environment or Environment()
        verdict = judge.judge(episode.problem, None if own else episode.state, episode.answer)
        if not isinstance(verdict, Verdict | None):
            raise TypeError(f"{type(judge).__name__}.judge returned {type(verdict).__name__}, not a Verdict")
        return verdict

    def _settle(
        self,
        workers: "_Workers",
        episodes: Sequence[Episode],
        owners: list[int],
        requests: list[Request],
        *,
        block: bool,
    ) -> Iterator[tuple[int, Episode]]:
        """Go on with the episodes whose environment has answered; yield those that are over."""
        env = self.environment or Environment()
        for (index, what), (value, error, seconds) in workers.answered(block):
            episode = episodes[index]
            if isinstance(error, SimpleRLError):
                raise error
            if what == "own":
                judge = judge_of(episode.problem, self.policy)
                assert judge is not None
                if error is not None or seconds > judge.max_seconds:
                    self._failed(episode, error, judge)
                else:
                    episode.verdict = value
                yield from self._over(workers, index, episode)
                continue
            if what == "_end":
                first = episode.verdict is None or episode.verdict.rule != "environment"
                if first and (error is not None or seconds > env.max_seconds):
                    self._failed(episode, error, env)
                yield index, episode
                continue
            episode.seconds += seconds
            if what == "_start" and error is None:
                try:
                    episode.prompt_ids = self._opened(value) if value else episode.prompt_ids
                except ValueError as too_long:
                    error = too_long
            if error is not None or episode.seconds > env.max_seconds:
                self._failed(episode, error, env)
                if error is None or isinstance(error, TimeoutError):
                    episode.stop_reason = "seconds"
                yield from self._over(workers, index, episode)
            elif what == "_judge":
                episode.verdict = value
                if value is None and (judge := judge_of(episode.problem, self.policy)):
                    limits: dict[str, Any] = {"slow": judge.slow, "seconds": judge.max_seconds}
                    workers.submit((index, "own"), self._judge, episode, judge, **limits)
                else:
                    yield from self._over(workers, index, episode)
            elif what == "_start" or self._answered(episode, value, seconds):
                owners.append(index)
                requests.append(self._request(episode))
            else:
                self._submit(workers, index, self._judge, episode)

    def _failed(self, episode: Episode, error: Exception | None, who: Environment) -> None:
        """Note that an environment has said nothing of the answer: it raised, or took too long (no error)."""
        name, status = type(who).__name__, "error"
        if error is None or isinstance(error, TimeoutError):
            status, detail = "timeout", f"{name} took longer than the {who.max_seconds:g} s that it may (max_seconds)"
        else:
            detail = f"{name} raised {raised_at(error)}"
        episode.verdict = Verdict(status=status, extracted=None, rule="environment", detail=detail)  # type: ignore[arg-type]

    def _answered(self, episode: Episode, turn: Turn, seconds: float) -> bool:
        """Take an environment's answer; return whether the policy has a further turn."""
        assert self.environment is not None
        assert self.tokenizer is not None
        for call in turn.calls:  # Who does not say how long a call took has it measured.
            episode.calls.append(replace(call, turn=episode.turn, seconds=call.seconds or seconds / len(turn.calls)))
        if turn.done:
            return False
        if episode.turn + 1 >= self.environment.max_turns:
            episode.stop_reason = "turns"
            return False
        ids = encode(self.tokenizer, turn.observation, self.environment.observation_tokens)
        room = min(self.sampling.max_new_tokens, self._room(episode)) - episode.tokens
        if len(ids) >= room:
            episode.stop_reason = "length"
            return False
        zeros = np.zeros(len(ids), np.float32)
        episode.parts.append(
            Completion(
                token_ids=ids,
                logprobs=zeros,
                entropies=zeros,
                text=turn.observation,
                stop_reason="stop",
                versions=(),
            )
        )
        episode.texts.append(("environment", decode(self.tokenizer, ids.tolist())))
        episode.turn += 1
        return True

    def _room(self, episode: Episode) -> int:
        return getattr(self.backend, "context_length", 2**31) - len(episode.prompt_ids)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> np.ndarray:
    """Return the tokens of an observation, int32; of more than `most` the first and the last of them remain."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) > most:
        gap = tokenizer.encode(LEFT_OUT, add_special_tokens=False)
        kept = max(most - len(gap), 2)
        ids = [*ids[: kept - kept // 2], *gap, *ids[len(ids) - kept // 2 :]]
    return np.array(ids, dtype=np.int32)


#: What came of a task: (value, error, seconds).
_Outcome = tuple[Any, Exception | None, float]


class _Workers:
    """Runs methods of environments, the slow ones in threads. One that does not return is left behind."""

    def __init__(self) -> None:
        self.busy = 0
        self._tasks: queue.SimpleQueue[tuple[Any, Callable[[], Any], float] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[Any, _Outcome]] = queue.SimpleQueue()
        self._running: dict[threading.Thread, tuple[Any, float, float]] = {}
        self._lock = threading.Lock()
        self._started = 0

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(self._started):
            self._tasks.put(None)

    def submit(self, key: Any, function: Callable[..., Any], *arguments: Any, slow: bool, seconds: float) -> None:
        """Have a function called; what comes of it is in `answered` under the key. Threads give up after `seconds`."""
        self.busy += 1
        if not slow:
            self._outcomes.put((key, _call(lambda: function(*arguments))))
            return
        self._tasks.put((key, lambda: function(*arguments), seconds))
        if self._started < min(THREADS, self.busy):
            self._start()

    def _start(self) -> None:
        self._started += 1
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        thread = threading.current_thread()
        while task := self._tasks.get():
            key, function, seconds = task
            with self._lock:
                self._running[thread] = (key, time.monotonic(), seconds)
            outcome = _call(function)
            with self._lock:
                if self._running.pop(thread, None) is None:
                    return  # It was given up, and another thread has taken its place.
                self._outcomes.put((key, outcome))

    def answered(self, block: bool) -> Iterator[tuple[Any, _Outcome]]:
        """Yield (key, outcome) of what is done, or has taken too long. `block`: wait a moment for one."""
        while self.busy:
            try:
                key, outcome = self._outcomes.get(timeout=POLL_S) if block else self._outcomes.get_nowait()
            except queue.Empty:
                yield from self._late()
                return
            block = False
            self.busy -= 1
            yield key, outcome

    def _late(self) -> list[tuple[Any, _Outcome]]:
        """Give up what takes too long; return it."""
        now = time.monotonic()
        with self._lock:
            late = {
                thread: (key, seconds)
                for thread, (key, began, seconds) in self._running.items()
                if now - began > seconds
            }
            for thread in late:
                del self._running[thread]
        for _ in late:
            self._start()
        self.busy -= len(late)
        return [(key, (None, TimeoutError(), seconds)) for key, seconds in late.values()]


def _call(function: Callable[[], Any]) -> _Outcome:
    began = time.monotonic()
    try:
        return function(), None, time.monotonic() - began
    except Exception as error:  # Anybody's code: it becomes a verdict, or ends the run where it is our own error.
        return None, error, time.monotonic() - began
