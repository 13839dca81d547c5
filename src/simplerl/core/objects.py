"""Objects that a user passes from Python have a name in the configuration, so that a configuration is always plain.

remember(short)   →  "<object: short at my_ideas.py:3, sha256 1f0c3a5b9d27>"
recall(name)      →  the function, in this process; elsewhere a message that says what to pass again
"""

import hashlib
import inspect
from typing import Any

from simplerl.core.errors import SimpleRLError
from simplerl.core.registry import place_of

_OBJECTS: dict[str, Any] = {}


def remember(value: Any, label: str = "") -> str:
    """Return a name for an object. Functions and classes are named by place and source, others by `label`."""
    name = f"<object: {label or describe(value)}>"
    _OBJECTS[name] = value
    return name


def describe(value: Any) -> str:
    """Return `name at file:line, sha256 …` of a function or class."""
    try:
        source = inspect.getsource(value)
    except (OSError, TypeError):
        source = ""
    digest = f", sha256 {hashlib.sha256(source.encode()).hexdigest()[:12]}" if source else ""
    return f"{getattr(value, '__name__', type(value).__name__)} at {place_of(value)}{digest}"


def is_object(name: str) -> bool:
    """Return whether a name stands for an object that was passed from Python."""
    return name.startswith("<object: ")


def recall(name: str, argument: str) -> Any:
    """Return the object of a name. Raises SimpleRLError that says what to pass again as `argument`."""
    if name not in _OBJECTS:
        raise SimpleRLError(
            f"{argument} is {name}: an object that was passed from Python and cannot be made from the configuration. "
            f"Pass it again: simplerl.train(…, resume=True, {argument}=…), or give another --{argument}"
        )
    return _OBJECTS[name]


def short_name(name: str) -> str:
    """Return an object's own name, without place and hash; other names as they are."""
    return name.removeprefix("<object: ").rstrip(">").split(" at ")[0] if is_object(name) else name
