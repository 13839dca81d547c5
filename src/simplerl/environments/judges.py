"""Problems that bring their own judge: in a mixture each domain is judged by its own environment, the rest as ever.

A problem names its environment in `Problem.meta["environment"]` (Reasoning Gym, knights and knaves). What the policy
acts in is still the run's environment; only the verdict is another's.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simplerl.core.types import Problem, Turn, Verdict
from simplerl.environments import ENVIRONMENTS
from simplerl.environments.base import Environment


@dataclass(frozen=True, kw_only=True)
class Judged(Environment):
    """An environment in which some problems are judged by others."""

    acting: Environment
    judges: Mapping[str, Environment]

    @property
    def stop(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the environment that is acted in."""
        return self.acting.stop

    @property
    def slow(self) -> bool:  # type: ignore[override]
        """Whether any of them is."""
        return any(each.slow for each in (self.acting, *self.judges.values()))

    def problem(self, problem: Problem, rng: np.random.Generator) -> Problem:
        return self.acting.problem(problem, rng)

    def start(self, problem: Problem, rng: np.random.Generator) -> Any:
        return self.acting.start(problem, rng)

    def step(self, problem: Problem, state: Any, text: str, rng: np.random.Generator) -> Turn:
        return self.acting.step(problem, state, text, rng)

    def judge(self, problem: Problem, state: Any, text: str) -> Verdict | None:
        judge = self.judges.get(problem.meta.get("environment", ""), self.acting)
        return judge.judge(problem, state, text)


def with_judges(acting: Environment, problems: Iterable[Problem], *, policy: str) -> Environment:
    """Return the environment for problems: `acting` itself unless some of them name a judge of their own.

    `policy` is how the verifier finds a final answer; the judges find it in the same way.
    """
    names = {str(problem.meta["environment"]) for problem in problems if problem.meta.get("environment")}
    judges = {name: ENVIRONMENTS.find(name)(policy=policy) for name in sorted(names)}
    if not judges:
        return acting
    limits = {each.name: getattr(acting, each.name) for each in dataclasses.fields(Environment)}
    return Judged(**limits, acting=acting, judges=judges)
