"""Rewards: the number trained on, from a problem, a completion and its verdict. See docs/rewards.md.

A reward is a frozen dataclass whose fields are its parameters, or a function of yours (`function.py`). A new one is a
class and a line here; from outside, `@simplerl.register("reward", "name")` or `--reward file.py:function`. A verdict
that says nothing about the answer (`timeout`, `error`, `unjudgeable`) has no reward: the trainer leaves the trajectory
out of the loss and counts it, and so it does where the reward itself fails (`Undecided`).
"""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from simplerl.core.errors import ConfigError, nearest
from simplerl.core.objects import is_object, recall
from simplerl.core.plugins import is_source, load_source
from simplerl.core.registry import Registry
from simplerl.rewards.base import Reward

__all__ = ["REWARDS", "Reward", "make_reward", "reward_class"]

#: Name → class, or a function.
REWARDS: Registry[Any] = Registry(
    "reward",
    {
        "correctness": "simplerl.rewards.builtin:Correctness",
        "simplerl-v0": "simplerl.rewards.builtin:SimplerlV0",
        "independent": "simplerl.rewards.builtin:Independent",
        "r1-tags": "simplerl.rewards.builtin:R1Tags",
        "format": "simplerl.rewards.builtin:Format",
        "length": "simplerl.rewards.builtin:Length",
        "overlong": "simplerl.rewards.builtin:Overlong",
        "rlsp": "simplerl.rewards.shaped:RLSP",
        "tool-star": "simplerl.rewards.shaped:ToolStar",
        "curiosity": "simplerl.rewards.shaped:Curiosity",
        "rlsqm": "simplerl.rewards.shaped:StaticTests",
        "rubric": "simplerl.graders.judged:Rubric",
        "rlmt": "simplerl.graders.judged:RLMT",
        "rlbff": "simplerl.graders.judged:RLBFF",
        "process": "simplerl.prm:Process",
        "knights-and-knaves": "simplerl.environments.knights:LogicPuzzle",
        "mixture": "simplerl.rewards.mixture:Mixture",
    },
)


def reward_class(name: str) -> Any:
    """Return the class or function that a name, `file.py:function` or `module:function` stands for."""
    if is_object(name):
        return recall(name, "reward")
    if is_source(name):
        return load_source(name)
    return REWARDS.find(name, hint="A function of yours works too: --reward file.py:function.")


def make_reward(name: str, params: Mapping[str, Any] | None = None) -> Reward:
    """Return the reward of a name, or of `file.py:function`; a wrong name or parameter is a `ConfigError`."""
    kind = reward_class(name)
    if not (inspect.isclass(kind) and issubclass(kind, Reward)):
        from simplerl.rewards.function import FunctionReward

        if params:
            raise ConfigError(f"the reward {name!r} is a function and has no parameters; leave out {', '.join(params)}")
        return FunctionReward(source=name, function=kind)
    known = [field.name for field in fields(kind) if field.init]
    for key in params or {}:
        if key not in known:
            raise ConfigError(f"unknown parameter {key!r} of the reward {name!r}; {nearest(key, known)}")
    try:
        return kind(**(params or {}))
    except TypeError as error:
        raise ConfigError(f"the reward {name!r} cannot be made: {error}") from error
