"""What a configuration may name: built in, of a plug-in, or passed from Python. Everything with a name is found here.

    ALGORITHMS = Registry("algorithm", {"grpo": "simplerl.algorithms.grpo:GRPO"})

    @register("algorithm", "mine")
    @dataclass(frozen=True, kw_only=True)
    class Mine(Algorithm): ...

A registry is a mapping from names to what they stand for. Built-in entries are declared as "module:attribute" and
imported when they are looked up, so that listing names imports nothing heavy.

`--plugin FILE_OR_MODULE` loads a plug-in: a file, a module, or an installed package of yours that registers algorithms,
rewards, data and more. Packages with an entry point in the group `simplerl.plugins` are loaded by themselves. A plug-in
is code that you chose to run: it is imported as Python imports any module. Which plug-ins a run uses, with the SHA-256
of their source, stands in its configuration, so that it can be resumed and evaluated.

An object that a user passes from Python has a name too, so that a configuration is always plain.

    remember(short)   →  "<object: short at my_ideas.py:3, sha256 1f0c3a5b9d27>"
    recall(name)      →  the function, in this process; elsewhere a message that says what to pass again
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections import UserDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from simplerl.core.errors import ConfigError, PluginError, SimpleRLError, nearest, raised_at

T = TypeVar("T")
AnyT = TypeVar("AnyT")


def _takes(value: Any, *arguments: Any) -> bool:
    """Return whether something can be called with arguments; of some built-in functions it is not known."""
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


#: What may be registered, as a message says it, and whether something is that.
Shape = tuple[str, Callable[[Any], bool]]
ANYTHING: Shape = ("", lambda value: True)
CALLABLE: Shape = ("a function or a class", callable)
ANSWER: Shape = ("a function of a text that returns an answer or None", lambda value: _takes(value, ""))
BACKEND: Shape = (
    "a class with `exact`, `generate`, `sync` and `close` (simplerl.rollout.backend)",
    lambda value: isinstance(value, type) and all(hasattr(value, n) for n in ("exact", "generate", "sync", "close")),
)
DATACLASS: Shape = ("a dataclass", lambda value: isinstance(value, type) and is_dataclass(value))
TEXT: Shape = ("a text with {input} in it once", lambda value: isinstance(value, str) and value.count("{input}") == 1)
FILE: Shape = ("the path of a TOML file", lambda value: isinstance(value, str | Path) and Path(value).is_file())

#: Kind that a plug-in may register → where its registry is, or the dictionary that serves as one; what is in it.
KINDS: dict[str, tuple[str, Shape]] = {
    "algorithm": ("simplerl.algorithms:ALGORITHMS", DATACLASS),
    "reward": ("simplerl.rewards:REWARDS", ANYTHING),
    "environment": ("simplerl.environments:ENVIRONMENTS", ANYTHING),
    "data": ("simplerl.data:DATASETS", CALLABLE),
    "template": ("simplerl.data.prompts:TEMPLATES", TEXT),
    "sampler": ("simplerl.feed:SAMPLERS", DATACLASS),
    "transform": ("simplerl.feed:TRANSFORMS", DATACLASS),
    "buffer": ("simplerl.feed:BUFFERS", DATACLASS),
    "backend": ("simplerl.rollout:BACKENDS", BACKEND),
    "benchmark": ("simplerl.evaluate.benchmarks:BENCHMARKS", ANYTHING),
    "rule": ("simplerl.doctor.rules:RULES", ANYTHING),
    "policy": ("simplerl.verify:POLICIES", ANSWER),
    "recipe": ("simplerl.config.resolve:RECIPES", FILE),
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

    def check(self, name: str, *, key: str = "", hint: str = "") -> None:
        """Raise ConfigError for what is no entry, naming the nearest; `key` is what was set, `hint` more to say."""
        if name not in self.data:
            more = f" {hint}" if hint else ""
            raise ConfigError(f"unknown {key or self.kind} {name!r}; {nearest(name, self)}{more}")

    def find(self, name: str, *, key: str = "", hint: str = "") -> T:
        """Return an entry, which is loaded. Raises what `check` does."""
        self.check(name, key=key, hint=hint)
        return self[name]

    def lookup(self, name: str) -> T:
        """Return an entry, what `file.py:attribute` or `module:attribute` names, or an object passed from Python."""
        if is_object(name):
            return recall(name, self.kind)
        if is_source(name):
            return load_source(name)
        return self.find(name, hint=f"One of yours works too: --{self.kind} file.py:NAME.")

    def register(self, name: str, value: T) -> None:
        """Add an entry. Raises SimpleRLError, naming both places, where the name is taken."""
        what = f"the {self.kind} {name!r} of {place_of(value)}"
        if not isinstance(name, str) or not name.strip() or set(name) & set("=:/\\"):
            raise SimpleRLError(f"cannot register {what}: a name is text without : = / and \\")
        if name in self.data:
            raise SimpleRLError(f"{what} is registered already, by {self.place(name)}; choose another name")
        _, (wanted, fits) = KINDS.get(self.kind, ("", ANYTHING))
        if not isinstance(value, _Lazy) and not fits(value):
            raise SimpleRLError(f"the {self.kind} {name!r} must be {wanted}; {str(value)[:80]!r} is not")
        self.data[name] = value
        self._places[name] = place_of(value)
        self._plugins[name] = _loading[-1] if _loading else ""

    def name_of(self, value: Any) -> str | None:
        """Return what `lookup` finds a class or object by, without loading others: its name, or its place in a plug-in
        that is loaded; None where it has neither."""
        path = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
        for name, entry in self.data.items():
            if entry is value or (isinstance(entry, _Lazy) and entry == path):
                return name
        held = ((each.name, *item) for each in _LOADED.values() for item in vars(each.module).items())
        return next((f"{source}:{attribute}" for source, attribute, own in held if own is value), None)

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
_loading: list[str] = []


def registry(kind: str) -> Registry[Any]:
    """Return the registry of a kind. Raises ConfigError for an unknown kind."""
    if kind not in _REGISTRIES:
        if kind not in KINDS:
            raise ConfigError(f"unknown kind {kind!r} to register; {nearest(kind, KINDS)}")
        home = load_object(KINDS[kind][0])
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
        home = getattr(target, "__objclass__", target)  # A method of a built-in class does not say its module.
        return f"{home.__module__}:{target.__qualname__}"


# -- plug-ins --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is loaded."""

    name: str  # The absolute path of a file, or the name of a module
    sha256: str  # Of its source: the file, or all Python files of the package
    module: ModuleType


#: Name → what is loaded in this process.
_LOADED: dict[str, Plugin] = {}


def load_plugin(name: str) -> Plugin:
    """Return the plug-in of a file (`my_ideas.py`) or a module (`my_package.ideas`), imported unless it is already.

    A file that has changed since is imported again, in place of what it had registered. Raises PluginError where it is
    missing or raises at import, with file and line.
    """
    name = canonical(name)
    file, loaded = Path(name) if name.endswith(".py") else None, _LOADED.get(name)
    if file and not file.is_file():
        raise PluginError(f"plug-in {name} does not exist; give the path of a .py file, or the name of a module")
    if loaded and (file is None or loaded.sha256 == _digest(file)):
        return loaded
    forget(name)
    _LOADED.pop(name, None)  # Its import may fail, and the file come back as it was.
    _loading.append(name)
    try:
        module = _import_file(name) if file else importlib.import_module(name)
    except (Exception, SystemExit) as error:  # Anybody's code may raise anything.
        forget(name)
        raise PluginError(f"plug-in {name}{_why(name, error)}") from error
    finally:
        _loading.pop()
    return _LOADED.setdefault(name, Plugin(name=name, sha256=_module_digest(module), module=module))


def load_plugins(names: Iterable[str]) -> list[Plugin]:
    """Load plug-ins, those that are installed first."""
    load_installed()
    return [load_plugin(name) for name in names]


def load_recorded(entries: Iterable[Mapping[str, str]], say: Callable[[str], None]) -> None:
    """Load the plug-ins that a run's configuration names, for who reads the run; what is missing or changed is said."""
    load_installed()
    for entry in entries:
        try:
            loaded = load_plugin(entry["name"])
        except PluginError as error:  # It may not matter for reading: what does is an error when it is looked up.
            say(f"a plug-in of the run cannot be loaded: {error}")
            continue
        if loaded.sha256 != entry.get("sha256"):
            say(f"plug-in {loaded.name} has changed since the run was made")


@functools.cache
def load_installed() -> None:
    """Load every installed package that has an entry point in the group `simplerl.plugins`; once in a process."""
    for entry in entry_points(group="simplerl.plugins"):
        load_plugin(entry.module)


def owner(kind: str, name: str) -> Plugin | None:
    """Return the loaded plug-in that registered, or holds, what a setting of a kind names; None where none does."""
    return _LOADED.get(canonical(name).rpartition(":")[0] if is_source(name) else registry(kind).plugin(name))


def is_source(name: str) -> bool:
    """Return whether a name is `file.py:attribute` or `module:attribute`."""
    return ":" in name and not name.startswith("<")


def canonical(name: str) -> str:
    """Return the name of a plug-in, or of an attribute in one, with the path of a file made absolute."""
    if name.startswith("<"):
        return name
    source, colon, attribute = name.rpartition(":") if is_source(name) else (name, "", "")
    if source.endswith(".py") or "/" in source:
        source = str(Path(source).expanduser().absolute())
    return f"{source}{colon}{attribute}"


def load_source(name: str) -> Any:
    """Return what `file.py:attribute` or `module:attribute` names, its plug-in loaded. Raises PluginError."""
    source, _, attribute = canonical(name).rpartition(":")
    module = load_plugin(source).module
    if not hasattr(module, attribute):
        options = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise PluginError(f"{source} has no {attribute!r}; {nearest(attribute, options) if options else 'it is empty'}")
    return getattr(module, attribute)


def _import_file(path: str) -> ModuleType:
    """Import a file as a module of its own, whatever its name and wherever it is."""
    name = f"simplerl_plugin_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plug-in {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their module up while it is imported.
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def blamed(error: BaseException) -> str:
    """Return what was raised in the code of a plug-in and where; empty where an error did not come through one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for each in _LOADED.values():
            file = getattr(each.module, "__file__", None)
            if file and frame.filename.startswith(file.removesuffix("__init__.py")):
                return f"plug-in {each.name} raised {raised_at(error, within=frame.filename)}"
    return ""


def _why(name: str, error: BaseException) -> str:
    """Return why a plug-in could not be imported, to be read after its name."""
    if isinstance(error, SimpleRLError):  # A taken name, for one.
        return f": {error}"
    raised = f" cannot be imported: {raised_at(error, within=name)}"
    if not isinstance(error, ModuleNotFoundError):
        return raised
    if name.endswith(".py") or error.name is None or not f"{name}.".startswith(f"{error.name}."):
        return f"{raised}; install what it needs"
    file = Path(f"{name.replace('.', '/')}.py")
    advice = f"give the file: {file}" if file.is_file() else "give the path of a .py file, or install it"
    return f": there is no module {error.name!r} to import; {advice}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _module_digest(module: ModuleType) -> str:
    """Return the SHA-256 of a module's file, or over all Python files of a package; empty where there are none."""
    if hasattr(module, "__path__"):
        files = sorted((file, Path(root)) for root in module.__path__ for file in Path(root).rglob("*.py"))
        lines = [f"{file.relative_to(root).as_posix()} {_digest(file)}\n" for file, root in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    file = getattr(module, "__file__", None)
    return _digest(Path(file)) if file else ""


# -- objects passed from Python --------------------------------------------------------------------------------------

_OBJECTS: dict[str, Any] = {}


def remember(value: Any, label: str = "") -> str:
    """Return a name for an object: its `label`; of a function or class `name at file:line, sha256 …` of its source."""
    if not label:
        try:
            digest = f", sha256 {hashlib.sha256(inspect.getsource(value).encode()).hexdigest()[:12]}"
        except (OSError, TypeError):
            digest = ""
        label = f"{getattr(value, '__name__', type(value).__name__)} at {place_of(value)}{digest}"
    name = f"<object: {label}>"
    _OBJECTS[name] = value
    return name


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
