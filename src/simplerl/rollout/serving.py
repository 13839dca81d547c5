"""An OpenAI-compatible endpoint over a policy: episodes of agents that run elsewhere, recorded as they were sampled.

Who has the server's key opens an episode (`POST /v1/episodes`), gives the key that comes back to any OpenAI client, and
ends the episode by its reward (`POST /v1/reward`). Tokens and log-probabilities are written as a run's responses are.
"""

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simplerl.core.types import Completion, Problem, Verdict
from simplerl.environments.agent import Agent, Endpoint, Session
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.groups import Prompted, Rollout
from simplerl.runs.responses import write_trajectories


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Agent):
    """The episodes of agents that somebody else runs."""

    max_seconds: float = 600.0
    """Seconds that an agent may take between its requests, all together; after that the episode is given up."""
    source = "elsewhere"

    def begin(self, problem: Problem) -> Session:
        """Return the episode that was opened."""
        session: Session = problem.meta["session"]
        return session


class Unjudged:
    """In the verifier's place: an episode that ended without a reward is not judged."""

    policy = "boxed"

    def __init__(self) -> None:
        self.keys: list[int] = []

    def submit(self, key: int, response: str, gold: str, question: str) -> None:
        """Note a response."""
        self.keys.append(key)

    def results(self) -> Iterator[tuple[int, Verdict]]:
        """Say of every response that nothing is known of it."""
        detail = "the episode ended without a reward"
        for key in self.keys:
            yield key, Verdict(status="unjudgeable", extracted=None, rule="environment", detail=detail)


@dataclass(frozen=True, eq=False)
class OneAtATime:
    """A backend that several threads may ask, one after the other."""

    backend: RolloutBackend
    lock: threading.Lock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterable[tuple[int, Completion]]:
        """Answer requests, nobody else's in between."""
        with self.lock:
            return list(self.backend.generate(requests, sampling))


def open_endpoint(
    rollout: Rollout, directory: Path, *, port: int, key: str, seconds: float, say: Callable[[str], None]
) -> Endpoint:
    """Start the server. Every episode that ends is written to `directory`, and said."""
    written = [file.stem.removeprefix("step_") for file in directory.glob("step_*.parquet")]
    numbers = itertools.count(1 + max((int(name) for name in written if name.isdecimal()), default=0))
    environment = Elsewhere(max_seconds=seconds)
    backend: Any = OneAtATime(rollout.backend, threading.Lock())
    unused = np.zeros(1, np.int32)  # An episode begins with its agent's first request.

    def begin(session: Session) -> None:
        """Go through an episode that was opened."""
        number = next(numbers)
        problem = Problem(id=f"episode-{number}", question="", answer="", source="serve", meta={"session": session})
        verifier: Any = Unjudged()
        own = dataclasses.replace(rollout, backend=backend, verifier=verifier, environment=environment, samples=1)
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
