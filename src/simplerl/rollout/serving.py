"""An OpenAI-compatible endpoint over a policy: episodes of agents that run elsewhere, recorded as they were sampled.

Who has the server's key opens an episode (`POST /v1/episodes`), gives the key that comes back to any OpenAI client, and
ends the episode by its reward (`POST /v1/reward`). Tokens and log-probabilities are written as a run's responses are.
"""

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveFloat

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.environments.adapters import Agent, Endpoint, Session
from simplerl.rollout.backend import Request, RolloutBackend, Sampling, check_prompts
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.responses import write_trajectories


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Agent):
    """The episodes of agents that somebody else runs."""

    max_seconds: PositiveFloat = 600.0
    """Seconds that an agent may take between its requests, all together; after that the episode is given up."""
    source = "elsewhere"

    def begin(self, problem: Problem) -> Session:
        """Return the episode that was opened."""
        session: Session = problem.meta["session"]
        return session

    def judge(self, problem: Problem, state: Session, text: str) -> Verdict:
        """Return what the episode has earned; one that ended without a reward is not judged."""
        detail = "the episode ended without a reward"
        unknown = Verdict(status="unjudgeable", extracted=None, rule="environment", detail=detail)
        return super().judge(problem, state, text) or unknown


class Shared:
    """A backend that many threads ask at once: one thread has the engine, and what they ask joins its batch.

    What is drawn does not depend on that: a request's own address decides it (`RolloutBackend.exact`).
    """

    def __init__(self, backend: RolloutBackend, sampling: Sampling):
        self.backend, self.sampling = backend, sampling
        self._requests: list[Request] = []
        self._answers: list[Future[Completion]] = []
        self._asked = threading.Condition()
        threading.Thread(target=self._answer, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) in order, as they finish; more may be appended. Raises what the engine raises."""
        if sampling != self.sampling:
            raise ValueError("everybody who shares a backend samples in the same way")
        answers: list[Future[Completion]] = []
        for index in itertools.count():
            if new := requests[len(answers) :]:
                # Here, so that it is no error of the others in the batch.
                check_prompts(new, getattr(self.backend, "context_length", 2**31), "the policy")
                answers += (Future() for _ in new)
                with self._asked:
                    self._answers += answers[-len(new) :]  # First: a completion must find who asked for it.
                    self._requests += new
                    self._asked.notify()
            if index == len(answers):
                return
            yield index, answers[index].result()

    def _answer(self) -> None:
        """Answer whatever is asked, for ever."""
        while True:
            with self._asked:
                self._asked.wait_for(lambda: self._requests)
            requests, answers = self._requests, self._answers
            try:
                for index, completion in self.backend.generate(requests, self.sampling):
                    answers[index].set_result(completion)
            except Exception as error:  # It is theirs who have asked; others may still be answered.
                with self._asked:
                    for answer in answers:
                        if not answer.done():
                            answer.set_exception(error)
            with self._asked:  # What came when the engine had just ended is for the next round.
                late = [index for index, answer in enumerate(answers) if not answer.done()]
                self._requests, self._answers = [requests[i] for i in late], [answers[i] for i in late]


def open_endpoint(
    rollout: Rollout, directory: Path, *, port: int, key: str, seconds: float, say: Callable[[str], None]
) -> Endpoint:
    """Start the server. Every episode that ends is written to `directory`, and said."""
    written = [file.stem.removeprefix("step_") for file in directory.glob("step_*.parquet")]
    numbers = itertools.count(1 + max((int(name) for name in written if name.isdecimal()), default=0))
    environment = Elsewhere(max_seconds=seconds)
    backend: Any = Shared(rollout.backend, rollout.sampling)
    unused = np.zeros(1, np.int32)  # An episode begins with its agent's first request.

    def begin(session: Session) -> Callable[[], None]:
        """Number an episode that was opened; return what goes through it."""
        return functools.partial(go_through, session, next(numbers))

    def go_through(session: Session, number: int) -> None:
        problem = Problem(id=f"episode-{number}", question="", answer="", source="serve", meta={"session": session})
        own = dataclasses.replace(rollout, backend=backend, environment=environment, samples=1)
        try:
            groups = own.sample_groups([Prompted(problem=problem, prompt_ids=unused)], purpose="serve", step=number)
            write_trajectories(directory / f"step_{number:06d}.parquet", number, groups)
        except Exception as error:  # One episode must not end the others.
            say(f"episode {number} is lost: {type(error).__name__}: {error}")
        else:
            (t,) = groups[0].trajectories
            say(f"episode {number}: {len(t.completion.token_ids)} tokens, {t.verdict.status}, {t.verdict.detail}")
        finally:
            session.end()

    return Endpoint(port, key=key, begin=begin)
