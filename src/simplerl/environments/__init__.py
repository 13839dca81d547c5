"""Environments: what a policy acts in, turn by turn. See docs/environments.md.

An environment is a frozen dataclass whose fields are its settings (`base.py`). A new one is a class and a line here;
from outside, `@simplerl.register("environment", "name")`, or `--environment file.py:Class`.
"""

from collections.abc import Mapping
from typing import Any

from simplerl.core.objects import is_object, recall
from simplerl.core.plugins import is_source, load_source
from simplerl.core.registry import Registry

__all__ = ["ENVIRONMENTS", "environment_class", "make_environment"]

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
    """Return the class of a name or `file.py:Class`; a class of TRL's form becomes an environment.

    Raises ConfigError for an unknown name, and for a class that is no environment.
    """
    if not is_object(name) and not is_source(name):
        return ENVIRONMENTS.find(name, hint="A class of yours works too: --environment file.py:Class.")
    from simplerl.environments.factory import adapted

    return adapted(recall(name, "environment") if is_object(name) else load_source(name), name)
