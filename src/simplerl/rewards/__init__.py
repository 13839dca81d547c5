"""Rewards: the number trained on, from a problem, a completion and its verdict. See docs/rewards.md.

A reward is a frozen dataclass whose fields are its parameters. Adding one is one file and one line here. A verdict that
says nothing about the answer (`timeout`, `error`, `unjudgeable`) has no reward: the trainer excludes the trajectory
from the loss and counts it, and a reward that depends on the verdict raises `ValueError` rather than inventing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from simplerl.core.errors import ConfigError, nearest
from simplerl.rewards.base import Reward
from simplerl.rewards.correctness import Correctness
from simplerl.rewards.format import Format
from simplerl.rewards.independent import Independent
from simplerl.rewards.length import Length
from simplerl.rewards.mixture import Mixture
from simplerl.rewards.overlong import Overlong
from simplerl.rewards.r1_tags import R1Tags
from simplerl.rewards.simplerl_v0 import SimplerlV0

__all__ = ["REWARDS", "Reward", "make_reward"]

#: Name → class.
REWARDS: dict[str, type[Reward]] = {
    "correctness": Correctness,
    "simplerl-v0": SimplerlV0,
    "independent": Independent,
    "r1-tags": R1Tags,
    "format": Format,
    "length": Length,
    "overlong": Overlong,
    "mixture": Mixture,
}


def make_reward(name: str, params: Mapping[str, Any] | None = None) -> Reward:
    """Return the named reward with these parameters; a wrong name or parameter is a `ConfigError`."""
    if name not in REWARDS:
        raise ConfigError(f"unknown reward {name!r}; {nearest(name, REWARDS)}")
    known = [field.name for field in fields(REWARDS[name]) if field.init]
    for key in params or {}:
        if key not in known:
            raise ConfigError(f"unknown parameter {key!r} of the reward {name!r}; {nearest(key, known)}")
    try:
        return REWARDS[name](**(params or {}))
    except TypeError as error:
        raise ConfigError(f"the reward {name!r} cannot be made: {error}") from error
