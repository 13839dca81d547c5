"""Plug-ins: a file, a module, or an installed package of yours that registers algorithms, rewards, data and more.

`--plugin FILE_OR_MODULE` loads one; packages with an entry point in the group `simplerl.plugins` are loaded by
themselves. A plug-in is code that you chose to run: it is imported as Python imports any module. Which plug-ins a run
uses, with the SHA-256 of their source, stands in its configuration, so that it can be resumed and evaluated.
"""

import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from simplerl.core import registry
from simplerl.core.errors import PluginError, SimpleRLError, nearest, raised_at

GROUP = "simplerl.plugins"


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
    is_file = name.endswith(".py")
    if is_file:
        if not Path(name).is_file():
            raise PluginError(f"plug-in {name} does not exist; give the path of a .py file, or the name of a module")
        digest = _digest(Path(name))
        if name in _LOADED and _LOADED[name].sha256 == digest:
            return _LOADED[name]
    elif name in _LOADED:
        return _LOADED[name]
    registry.forget(name)
    registry.loading.append(name)
    try:
        module = _import_file(name) if is_file else importlib.import_module(name)
    except Exception as error:  # Anybody's code may raise anything.
        registry.forget(name)
        raise PluginError(f"plug-in {name}{_why(name, error)}") from error
    finally:
        registry.loading.pop()
    _LOADED[name] = Plugin(name=name, sha256=digest if is_file else _module_digest(module), module=module)
    return _LOADED[name]


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
    for entry in entry_points(group=GROUP):
        load_plugin(entry.module)


def plugin(name: str) -> Plugin | None:
    """Return a plug-in that is loaded, by the name under which it registers."""
    return _LOADED.get(name)


def owner(kind: str, name: str) -> Plugin | None:
    """Return the loaded plug-in that registered, or holds, what a setting of a kind names; None where none does."""
    return plugin(canonical(name).rpartition(":")[0] if is_source(name) else registry.registry(kind).plugin(name))


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


def _why(name: str, error: Exception) -> str:
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
