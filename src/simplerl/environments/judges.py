"""Problems that bring their own judge: in a mixture each domain is judged by its own environment, the rest as ever.

A problem names it in `Problem.meta["environment"]` (Reasoning Gym, knights and knaves). What the policy acts in is
still the run's environment; where that gives no verdict, the problem's own judge does.
"""

import dataclasses
from functools import lru_cache

from simplerl.core.errors import SimpleRLError, raised_at
from simplerl.core.types import Problem, Verdict
from simplerl.environments import ENVIRONMENTS
from simplerl.environments.base import Environment


def judge_of(problem: Problem, policy: str) -> Environment | None:
    """Return the judge that a problem names; None where the verifier is to judge. Raises ConfigError for no such name.

    `policy` is how the verifier finds a final answer; the judge finds it in the same way.
    """
    name = problem.meta.get("environment")
    return _judge(name, policy) if name else None


def own_verdict(problem: Problem, text: str, policy: str) -> Verdict | None:
    """Return the verdict of the judge that a problem names; None where the verifier is to judge."""
    judge = judge_of(problem, policy)
    try:
        return judge.judge(problem, None, text) if judge else None
    except SimpleRLError:
        raise
    except Exception as error:  # It may be anybody's code.
        detail = f"{type(judge).__name__} raised {raised_at(error)}"
        return Verdict(status="error", extracted=None, rule="environment", detail=detail)


@lru_cache(maxsize=32)
def _judge(name: str, policy: str) -> Environment:
    kind = ENVIRONMENTS.find(name)
    has_policy = any(field.name == "policy" for field in dataclasses.fields(kind))
    return kind(policy=policy) if has_policy else kind()
