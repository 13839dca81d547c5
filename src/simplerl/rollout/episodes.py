"""Episodes: the policy's turns and its environment's answers, in one row of tokens. Every episode goes on by itself.

A further turn is a further request to the engine that is running (`RolloutBackend.generate`), whose prompt is all
tokens so far: nothing is encoded again. Slow environments, and the judges that problems bring, answer in threads
beside generation: what hangs in one of them is a verdict of its episode, and nobody waits for it.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from simplerl.core.errors import SimpleRLError, raised_at
from simplerl.core.seeds import derive, generator
from simplerl.core.types import Call, Completion, Problem, Segment, StopReason, Turn, Verdict, VersionSpan
from simplerl.environments import judge_of
from simplerl.environments.base import Environment, is_single_turn
from simplerl.models.text import decode
from simplerl.rollout.backend import Request, RolloutBackend, Sampling

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
        """Return the response as one: all tokens in a row; none where its environment could not begin."""
        if len(self.parts) == 1:
            return replace(self.parts[0], stop_reason=self.stop_reason)
        starts = itertools.accumulate((len(part.token_ids) for part in self.parts), initial=0)
        spans = tuple(
            VersionSpan(span.version, start + span.start, start + span.end)
            for start, part in zip(starts, self.parts, strict=False)
            for span in part.versions
        )
        entropies: list[Any] = [part.entropies for part in self.parts]
        known = bool(entropies) and all(each is not None for each in entropies)
        return Completion(
            token_ids=np.concatenate([np.zeros(0, np.int32), *(part.token_ids for part in self.parts)]),
            logprobs=np.concatenate([np.zeros(0, np.float32), *(part.logprobs for part in self.parts)]),
            entropies=np.concatenate(entropies) if known else None,
            text="".join(text for _, text in self.texts),
            stop_reason=self.stop_reason,
            versions=spans or (VersionSpan(0, 0, 0),),
        )


#: Method of an environment → what it must return.
RETURNS: dict[str, tuple[type, ...]] = {"step": (Turn,), "cut": (Turn,), "judge": (Verdict, type(None))}
#: What came of a call: (value, error, seconds).
_Outcome = tuple[Any, Exception | None, float]


class _Call(NamedTuple):
    """A method of an environment to be called."""

    who: Environment
    method: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def slow(self) -> bool:
        """Whether it is called in a thread."""
        return self.who.slow and not is_single_turn(self.who)

    def outcome(self) -> _Outcome:
        """Call it. What it must not return is a TypeError."""
        began, name = time.monotonic(), self.method.__name__
        try:
            value, kinds = self.method(*self.arguments), RETURNS.get(name, (object,))
            if not isinstance(value, kinds):
                wrong = f"{type(self.who).__name__}.{name} returned {type(value).__name__}"
                raise TypeError(f"{wrong}, not a {kinds[0].__name__}")
            return value, None, time.monotonic() - began
        except Exception as error:  # Anybody's code: it becomes a verdict, or ends the run where it is our own error.
            return None, error, time.monotonic() - began


class _Fault(Exception):
    """An environment has said nothing of the answer: it raised, or took too long."""

    def __init__(self, who: Environment, error: Exception):
        self.late = isinstance(error, TimeoutError)
        took = f"took longer than the {who.max_seconds:g} s that it may (max_seconds)"
        detail = f"{type(who).__name__} {took if self.late else f'raised {raised_at(error)}'}"
        status: Any = "timeout" if self.late else "error"
        self.verdict = Verdict(status=status, extracted=None, rule="environment", detail=detail)


def _ask(
    who: Environment, method: Callable[..., Any], *arguments: Any, time_of: Episode | None = None
) -> Generator[_Call, _Outcome, Any]:
    """Have a method called, in the time of an episode or in its own, and return what it says.

    Raises _Fault where it raises, or no time is left.
    """
    value, error, seconds = yield _Call(who, method, arguments)
    if time_of:
        seconds = time_of.seconds = time_of.seconds + seconds
    if isinstance(error, SimpleRLError):
        raise error
    if error is None and seconds > who.max_seconds:
        error = TimeoutError()
    if error is not None:
        raise _Fault(who, error)
    return value


@dataclass(kw_only=True, eq=False)
class Episodes:
    """What all episodes of a call share."""

    backend: RolloutBackend
    tokenizer: Any
    """The policy's; only episodes of several turns need it."""
    environment: Environment | None
    sampling: Sampling
    address: tuple[int, str, int]
    """(seed, purpose, step): with problem and sample it addresses every draw of an episode."""
    policy: str = "boxed"
    """How the judge that a problem brings finds the final answer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._env = self.environment or Environment()
        self._has_turns = not is_single_turn(self._env)
        if self._has_turns and self.tokenizer is None:
            raise ValueError("episodes of several turns need the policy's tokenizer")

    def run(self, episodes: Sequence[Episode]) -> Iterator[tuple[int, Episode]]:
        """Yield (index, episode) as they are over, in any order. Every environment that has begun is ended."""
        try:
            yield from self._run(episodes)
        finally:
            calls = _Calls()
            for index, episode in enumerate(episodes):
                if self._give_up(episode):
                    end = _Call(self._env, self._env.end, (episode.problem, episode.state))
                    calls.submit(index, end) if end.slow else end.outcome()
            while calls.busy:  # What an environment says of an episode that nobody waits for is of no use.
                list(calls.answered(block=True))

    def _run(self, episodes: Sequence[Episode]) -> Iterator[tuple[int, Episode]]:
        """Drive all episodes (`_play`): hand their requests to the engine, their calls to the environment."""
        plays, calls = [self._play(episode) for episode in episodes], _Calls()
        owners: list[int] = []
        requests: list[Request] = []

        def go_on(index: int, sent: Any) -> Iterator[tuple[int, Episode]]:
            """Send an episode what it waits for and take what it wants next; yield it where it is over."""
            try:
                wanted = plays[index].send(sent)
                while isinstance(wanted, _Call) and not wanted.slow:
                    wanted = plays[index].send(wanted.outcome())
            except StopIteration:
                yield index, episodes[index]
                return
            if isinstance(wanted, Request):
                owners.append(index)
                requests.append(wanted)
            else:
                calls.submit(index, wanted)

        def settle(*, block: bool) -> Iterator[tuple[int, Episode]]:
            for index, outcome in calls.answered(block):
                yield from go_on(index, outcome)

        for index in range(len(episodes)):
            yield from go_on(index, None)
        end = time.monotonic() + STRAGGLERS_S
        while calls.busy and not (requests and time.monotonic() > end):
            yield from settle(block=True)
        # In the order of the episodes, whichever began first: a fast environment's batches are always the same.
        order = sorted(range(len(owners)), key=owners.__getitem__)
        owners, requests = [owners[i] for i in order], [requests[i] for i in order]
        stop = (*self.sampling.stop, *self._env.stop) if self._has_turns else self.sampling.stop
        sampling = replace(self.sampling, stop=stop)
        while requests:
            batch = requests if self._has_turns else tuple(requests)  # What grows, and what does not.
            for number, completion in self.backend.generate(batch, sampling):
                yield from go_on(owners[number], completion)
                yield from settle(block=False)
            owners, requests = [], []
            while calls.busy and not requests:
                yield from settle(block=True)

    def _play(self, episode: Episode) -> Generator[Request | _Call, Any, None]:
        """Go through an episode: yield a request or a call, be sent the completion or the outcome, to its end."""
        env, problem = self._env, episode.problem
        try:
            yield from self._take_turns(episode)
            asked = problem, episode.state, episode.answer
            episode.verdict = yield from _ask(env, env.judge, *asked, time_of=episode)
        except _Fault as fault:
            episode.verdict = fault.verdict
            if fault.late:
                episode.stop_reason = "seconds"
        if episode.verdict is None and (own := judge_of(problem, self.policy)):
            try:
                episode.verdict = yield from _ask(own, own.judge, problem, None, episode.answer)
            except _Fault as fault:
                episode.verdict = fault.verdict
        if self._give_up(episode):
            try:
                yield from _ask(env, env.end, problem, episode.state)
            except _Fault as fault:
                if episode.verdict is None or episode.verdict.rule != "environment":  # The first one counts.
                    episode.verdict = fault.verdict

    def _take_turns(self, episode: Episode) -> Generator[Request | _Call, Any, None]:
        """Have the policy and the environment speak in turn until the response is complete."""
        env = self._env
        if self._has_turns:
            episode.prompt_ids = yield from _ask(env, self._start, episode, time_of=episode)
        while True:
            completion = yield self._request(episode)
            text, ended = self._text(completion) if self._has_turns else (completion.text, True)
            episode.parts.append(completion)
            episode.texts.append(("policy", text))
            episode.stop_reason = completion.stop_reason
            cut = self._was_cut(episode, completion)
            if ended or (completion.stop_reason == "length" and not cut):
                return
            method, before = env.cut if cut else env.step, episode.seconds
            asked = episode.problem, episode.state, text, self._rng(episode)
            turn = yield from _ask(env, method, *asked, time_of=episode)
            if not self._take_answer(episode, turn, episode.seconds - before):
                return

    def _give_up(self, episode: Episode) -> bool:
        """Wait no longer for an episode's environment; return whether it has begun and must be ended."""
        with self._lock:
            started, episode.started, episode.over = episode.started, False, True
        return started

    def _start(self, episode: Episode) -> np.ndarray:
        """Begin an episode; return its prompt, which the environment may have another text for."""
        state = self._env.start(episode.problem, self._rng(episode))
        with self._lock:
            episode.state, episode.started = state, not episode.over
        if not episode.started:  # It was given up meanwhile; nobody is there to be told what else goes wrong.
            self._env.end(episode.problem, state)
        elif text := self._env.opening(episode.problem, state, self.tokenizer):
            ids = np.array(self.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)
            if not 0 < len(ids) < self._context_length:
                raise ValueError(f"an opening of {len(ids)} tokens leaves no room for an answer")
            return ids
        return episode.prompt_ids

    def _rng(self, episode: Episode) -> np.random.Generator:
        seed, purpose, step = self.address
        return generator(seed, "environment", purpose, step, episode.problem.id, episode.sample, episode.turn)

    def _request(self, episode: Episode) -> Request:
        """Return the request for an episode's next turn."""
        seed, purpose, step = self.address
        turn = [episode.turn] if episode.turn else []
        left = self.sampling.max_new_tokens - episode.tokens
        limit = self._env.turn_limit(episode.turn)
        return Request(
            prompt_ids=np.concatenate([episode.prompt_ids, *(part.token_ids for part in episode.parts)]),
            noise_key=derive(seed, purpose, step, episode.problem.id, episode.sample, *turn),
            max_new_tokens=min(left, limit) if limit > 0 else left,
        )

    def _text(self, completion: Completion) -> tuple[str, bool]:
        """Return a turn's text, and whether one of the user's own stop strings has ended the response.

        A stop string of the environment's is part of the text.
        """
        if completion.stop_reason != "stop":
            return completion.text, False
        after = decode(self.tokenizer, completion.token_ids.tolist())[len(completion.text) :]
        own = [text for text in self._env.stop if after.startswith(text)]
        return (completion.text + own[0], False) if own else (completion.text, True)

    def _was_cut(self, episode: Episode, completion: Completion) -> bool:
        """Return whether a turn ended at the environment's limit, and not at that of the response or the context."""
        limit = self._env.turn_limit(episode.turn)
        return completion.stop_reason == "length" and len(completion.token_ids) == limit and self._room(episode) > 0

    def _take_answer(self, episode: Episode, turn: Turn, seconds: float) -> bool:
        """Take an environment's answer; return whether the policy has a further turn."""
        for call in turn.calls:  # Who does not say how long a call took has it measured.
            episode.calls.append(replace(call, turn=episode.turn, seconds=call.seconds or seconds / len(turn.calls)))
        if turn.done:
            return False
        if episode.turn + 1 >= self._env.max_turns:
            episode.stop_reason = "turns"
            return False
        ids = encode(self.tokenizer, turn.observation, self._env.observation_tokens)
        if len(ids) >= self._room(episode):
            episode.stop_reason = "length"
            return False
        zeros = np.zeros(len(ids), np.float32)
        known: dict[str, Any] = {"text": turn.observation, "stop_reason": "stop", "versions": ()}
        episode.parts.append(Completion(token_ids=ids, logprobs=zeros, entropies=zeros, **known))
        episode.texts.append(("environment", decode(self.tokenizer, ids.tolist())))
        episode.turn += 1
        return True

    @property
    def _context_length(self) -> int:
        return getattr(self.backend, "context_length", 2**31)

    def _room(self, episode: Episode) -> int:
        """Return how many more tokens a response may have."""
        room = self._context_length - len(episode.prompt_ids)
        return min(self.sampling.max_new_tokens, room) - episode.tokens


def encode(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> np.ndarray:
    """Return the tokens of an observation, int32; of more than `most` the first and the last of them remain."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) > most:
        gap = tokenizer.encode(LEFT_OUT, add_special_tokens=False)
        kept = max(most - len(gap), 2)
        ids = [*ids[: kept - kept // 2], *gap, *ids[len(ids) - kept // 2 :]]
    return np.array(ids, dtype=np.int32)


class _Calls:
    """Makes calls in threads, `THREADS` at a time. One that takes too long is left behind."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, _Call]] = deque()
        self._running: dict[Future[_Outcome], tuple[int, _Call, float]] = {}
        """What will come of a call → key, call, and when it is too late."""

    @property
    def busy(self) -> bool:
        """Whether `answered` has more to yield."""
        return bool(self._running or self._waiting)

    def submit(self, key: int, call: _Call) -> None:
        """Have a call made, once there may be a thread for it; what comes of it is in `answered` under the key."""
        self._waiting.append((key, call))
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < THREADS:
            key, call = self._waiting.popleft()
            future = Future[_Outcome]()
            self._running[future] = key, call, time.monotonic() + call.who.max_seconds
            threading.Thread(target=lambda f=future, c=call: f.set_result(c.outcome()), daemon=True).start()

    def answered(self, block: bool) -> Iterator[tuple[int, _Outcome]]:
        """Yield (key, outcome) of what is done, or has taken too long. `block`: wait a moment for one."""
        wait(self._running, POLL_S if block else 0, FIRST_COMPLETED)
        for future, (key, call, end) in list(self._running.items()):
            if future.done() or time.monotonic() > end:
                del self._running[future]
                self._fill()
                yield key, future.result() if future.done() else (None, TimeoutError(), call.who.max_seconds)
