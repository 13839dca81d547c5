"""Registries: everything that has a name, built in or from a plug-in, is found in one of these.

    ALGORITHMS = Registry("algorithm", {"grpo": "simplerl.algorithms.grpo:GRPO"})

    @register("algorithm", "mine")
    @dataclass(frozen=True, kw_only=True)
    class Mine(Algorithm): ...

A registry is a mapping from names to what they stand for. Built-in entries are declared as "module:attribute" and
imported when they are looked up, so that listing names imports nothing heavy. Plug-ins: `simplerl.core.plugins`.
"""

import importlib
import inspect
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from simplerl.core.errors import ConfigError, PluginError, SimpleRLError, nearest, raised_at

T = TypeVar("T")
AnyT = TypeVar("AnyT")

#: Kind that a plug-in may register → where its registry is, or the dictionary that serves as one.
HOMES: dict[str, str] = {
    "algorithm": "simplerl.algorithms:ALGORITHMS",
    "reward": "simplerl.rewards:REWARDS",
    "environment": "simplerl.environments:ENVIRONMENTS",
    "data": "simplerl.data:DATASETS",
    "template": "simplerl.data.prompts:TEMPLATES",
    "sampler": "simplerl.feed:SAMPLERS",
    "transform": "simplerl.feed:TRANSFORMS",
    "buffer": "simplerl.feed:BUFFERS",
    "backend": "simplerl.rollout:BACKENDS",
    "benchmark": "simplerl.evaluate.benchmarks:BENCHMARKS",
    "rule": "simplerl.doctor.rules:RULES",
    "policy": "simplerl.verify:POLICIES",
    "recipe": "simplerl.config.resolve:RECIPES",
}

_REGISTRIES: dict[str, "Registry[Any]"] = {}


class Registry(UserDict[str, T]):
    """Name → what it stands for. Iteration is in the order of registration, built-in entries first.

    To register something new, use `register`: it refuses a taken name. `in`, `len` and iteration load nothing.
    """

    def __init__(self, kind: str, lazy: Mapping[str, str] | None = None, values: dict[str, Any] | None = None):
        """`lazy` declares entries as "module:attribute"; `values` holds entries that are there, and is shared."""
        self.kind = kind
        self.data: dict[str, Any] = {} if values is None else values
        self.data |= {name: _Lazy(path) for name, path in (lazy or {}).items()}
        self._places: dict[str, str] = dict(lazy or {})
        self._plugins: dict[str, str] = {}
        _REGISTRIES[kind] = self

    def __getitem__(self, name: str) -> T:
        entry = self.data[name]
        if isinstance(entry, _Lazy):
            try:
                entry = self.data[name] = load_object(entry)
            except Exception as error:
                if not self._plugins.get(name):
                    raise
                raise PluginError(f"{self.kind} {name!r} of plug-in {entry}: {raised_at(error)}") from error
        return entry

    def find(self, name: str, *, key: str = "", hint: str = "") -> T:
        """Return an entry. Raises ConfigError that names the nearest; `key` is what was set, `hint` more to say."""
        if name not in self.data:
            more = f" {hint}" if hint else ""
            raise ConfigError(f"unknown {key or self.kind} {name!r}; {nearest(name, self)}{more}")
        return self[name]

    def register(self, name: str, value: T) -> None:
        """Add an entry. Raises SimpleRLError, naming both places, where the name is taken."""
        if not isinstance(name, str) or not name.strip() or set(name) & set("=:/\\"):
            raise SimpleRLError(
                f"cannot register the {self.kind} {name!r} of {place_of(value)}: a name is text without : = / and \\"
            )
        if name in self.data:
            raise SimpleRLError(
                f"the {self.kind} {name!r} of {place_of(value)} is registered already, by {self.place(name)}; choose "
                "another name"
            )
        self.data[name] = value
        self._places[name] = place_of(value)
        self._plugins[name] = loading[-1] if loading else ""

    def name_of(self, value: Any) -> str | None:
        """Return the name of a class or object, without loading the others; None where it is not registered."""
        path = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
        for name, entry in self.data.items():
            if entry is value or (isinstance(entry, _Lazy) and entry == path):
                return name
        return None

    def place(self, name: str) -> str:
        """Return where an entry comes from, without loading it: a module and attribute, or a file and line."""
        return self._places.get(name) or f"simplerl ({self.kind} {name})"

    def plugin(self, name: str) -> str:
        """Return the name of the plug-in that registered an entry; empty for the built-in ones."""
        return self._plugins.get(name, "")

    def forget(self, plugin: str) -> None:
        """Remove the entries of a plug-in: it is loaded again, or its import failed half-way."""
        for name in [name for name, owner in self._plugins.items() if owner == plugin]:
            del self.data[name], self._places[name], self._plugins[name]


class _Lazy(str):
    """A declared entry that is not imported yet: its path."""


def load_object(path: str) -> Any:
    """Return what "module:attribute" names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


#: The plug-ins that are being imported at this moment, innermost last.
loading: list[str] = []


def registry(kind: str) -> Registry[Any]:
    """Return the registry of a kind. Raises ConfigError for an unknown kind."""
    if kind not in _REGISTRIES:
        if kind not in HOMES:
            raise ConfigError(f"unknown kind {kind!r} to register; {nearest(kind, HOMES)}")
        home = load_object(HOMES[kind])
        if not isinstance(home, Registry):
            return Registry(kind, values=home)
    return _REGISTRIES[kind]


def register(kind: str, name: str, *, at: str = "") -> Callable[[AnyT], AnyT]:
    """Return a decorator that registers what it decorates, and returns it unchanged.

    With `at` ("module:attribute") what is there is registered now and imported when it is looked up: for what needs
    torch, so that listing names does not.

    Kinds: algorithm, reward, environment, data, template, sampler, transform, buffer, backend, benchmark, rule, policy,
    recipe.

        @simplerl.register("reward", "short")
        def short(prompts, completions, **columns):
            return [1.0 if len(completion) < 80 else 0.0 for completion in completions]
    """

    if at:
        registry(kind).register(name, _Lazy(at))

    def decorate(value: AnyT) -> AnyT:
        registry(kind).register(name, value)
        return value

    return decorate


def forget(plugin: str) -> None:
    """Remove what a plug-in has registered, of every kind."""
    for each in _REGISTRIES.values():
        each.forget(plugin)


def place_of(value: Any) -> str:
    """Return `file:line` of a function or class, or its type where Python does not know."""
    if isinstance(value, _Lazy):
        return value
    target = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (OSError, TypeError):
        return f"{target.__module__}:{target.__qualname__}"
