"""Environments: what a policy acts in, turn by turn. See docs/environments.md.

An environment is a frozen dataclass whose fields are its settings (`base.py`). A new one is a class and a line here;
from outside, `@simplerl.register("environment", "name")`, or `--environment file.py:Class`.

A problem may bring its own judge (`Problem.meta["environment"]`: Reasoning Gym, knights and knaves): in a mixture each
domain is judged by its own. What the policy acts in is still the run's environment; where that gives no verdict, the
problem's own judge does.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simplerl.core.errors import SimpleRLError, raised_at
from simplerl.core.registry import Registry
from simplerl.core.types import Problem, Verdict

if TYPE_CHECKING:
    from simplerl.environments.base import Environment

__all__ = ["ENVIRONMENTS", "environment_class", "judge_of", "make_environment", "own_verdict"]

#: Name → class.
ENVIRONMENTS: Registry[Any] = Registry(
    "environment",
    {
        "single-turn": "simplerl.environments.base:Environment",
        "multiple-choice": "simplerl.environments.multiple_choice:MultipleChoice",
        "knights-and-knaves": "simplerl.environments.knights:KnightsAndKnaves",
        "reasoning-gym": "simplerl.environments.gym:ReasoningGym",
        "stack": "simplerl.environments.stack:Stack",
        "calculator": "simplerl.environments.calculator:Calculator",
        "code": "simplerl.environments.code:Code",
        "python": "simplerl.environments.interpreter:Interpreter",
        "search": "simplerl.environments.search:Search",
        "forced-end": "simplerl.environments.forced_end:ForcedEnd",
        "guided-retry": "simplerl.environments.retry:GuidedRetry",
        "verifiers": "simplerl.environments.adapters:Verifiers",
        "openenv": "simplerl.environments.adapters:OpenEnv",
    },
)


def make_environment(table: Mapping[str, Any]) -> Any:
    """Return the environment of a section of a run's configuration: `name`, and its own keys."""
    settings = dict(table)
    return environment_class(settings.pop("name"))(**settings)


def environment_class(name: str) -> Any:
    """Return the class of a name or `file.py:Class`; an agent or a class of TRL's form becomes an environment.

    Raises ConfigError for an unknown name, and for a class that is no environment.
    """
    if name in ENVIRONMENTS:
        return ENVIRONMENTS[name]
    from simplerl.environments.adapters import adapted

    return adapted(ENVIRONMENTS.lookup(name), name)


def judge_of(problem: Problem, policy: str) -> "Environment | None":
    """Return the judge that a problem names; None where the verifier is to judge. Raises ConfigError for no such name.

    `policy` is how the verifier finds a final answer; the judge finds it in the same way.
    """
    if not (name := problem.meta.get("environment")):
        return None
    kind = ENVIRONMENTS.find(name)
    return kind(policy=policy) if hasattr(kind, "policy") else kind()


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
