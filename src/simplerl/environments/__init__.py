"""Environments: what a policy acts in, turn by turn. See docs/environments.md.

An environment is a frozen dataclass whose fields are its settings (`base.py`). A new one is a class and a line here;
from outside, `@simplerl.register("environment", "name")`, or `--environment file.py:Class`.
"""

from typing import Any

from simplerl.core.registry import Registry

__all__ = ["ENVIRONMENTS"]

#: Name → class.
ENVIRONMENTS: Registry[Any] = Registry(
    "environment",
    {
        "single-turn": "simplerl.environments.base:Environment",
    },
)
