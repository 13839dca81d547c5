"""What every environment is: the policy writes a turn, the environment answers or ends the episode.

    @simplerl.register("environment", "echo")
    @dataclass(frozen=True, kw_only=True)
    class Echo(Environment):
        def step(self, problem, state, text, rng):
            return Turn(observation=f" You said{text}.", done="\\\\boxed" in text)

Tokens are only ever appended: what the policy wrote is never encoded again, and an observation is encoded once. The
random numbers that a method gets are addressed by (seed, purpose, step, problem, sample, turn), so that a run that is
resumed is the same run. What a method raises, and a turn that takes too long, is a verdict that says nothing of the
answer: counted, left out of the update, never reward 0.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from simplerl.core.errors import ConfigError
from simplerl.core.types import Call, Problem, Turn, Verdict


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Base of all environments, and the one of a single turn: the policy answers, the verifier judges."""

    stop: ClassVar[tuple[str, ...]] = ()
    """Strings that end a turn of the policy, besides `sampling.stop`; they stay in the text that `step` sees."""
    slow: ClassVar[bool] = True
    """Whether `step` and `judge` may take long (a tool, a sandbox): they run in threads beside generation."""

    max_turns: PositiveInt = 8
    """Turns of the policy after which an episode is over."""
    max_seconds: PositiveFloat = 60.0
    """Seconds that the environment's answers may take in an episode, all together; after that it is undecided."""
    observation_tokens: PositiveInt = 256
    """Tokens of an observation; of a longer one the middle is left out."""

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        """Return the problem as it is asked, once for all its samples (choices shuffled, tools explained)."""
        return problem

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        """Return the state of an episode. `step` may change it; nobody else sees it."""
        return None

    def opening(self, problem: Problem, state: Any, tokenizer: Any) -> str:
        """Return the text that the policy is shown first, in place of the problem's prompt; empty: the prompt."""
        return ""

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Answer a turn of the policy. A turn that hit the token limit is not shown: the episode is over."""
        return Turn()

    def turn_limit(self, turn: int) -> int:
        """Return how many tokens a turn of the policy may have (the first turn is 0); 0: as many as fit."""
        return 0

    def cut(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        """Answer a turn that has reached `turn_limit`, where the response has room left."""
        return Turn()

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        """Return the verdict on what the policy wrote, its turns joined by line breaks; None: the verifier judges."""
        return None

    def end(self, problem: Problem, state: Any) -> None:
        """Release what an episode holds. Called once when it is over, however it went, if `start` returned."""


#: What an environment may do in its own way.
METHODS = ("problem", "start", "opening", "step", "cut", "judge", "end")


def is_single_turn(environment: Environment | None) -> bool:
    """Return whether responses are what they are without an environment."""
    return environment is None or all(
        getattr(type(environment), name) is getattr(Environment, name) for name in METHODS[1:]
    )


def has_turns(environment: Environment | None) -> bool:
    """Return whether the environment answers the policy; one that only judges, or after one turn, does not."""
    if environment is None or environment.max_turns < 2:
        return False
    return any(getattr(type(environment), name) is not getattr(Environment, name) for name in ("step", "cut"))


def answered(form: str, tool: str, asked: str, result: str, status: Any = "ok", seconds: float = 0.0) -> Turn:
    """Return a tool's result as the observation `<form>…</form>`, after which the policy writes on."""
    call = Call(tool=tool, arguments=asked, result=result, status=status, seconds=seconds)
    return Turn(observation=f"\n<{form}>\n{result}\n</{form}>\n", done=False, calls=(call,))


def require_single_turn(environment: Environment, what: str) -> None:
    """Raise ConfigError where responses have turns of others, which `what` would take for the policy's."""
    if not is_single_turn(environment):
        raise ConfigError(
            f"{what} knows responses of a single turn only, and {type(environment).__name__} has several; leave out "
            "--environment"
        )
