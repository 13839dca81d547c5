"""Registries: lazy, iterable, exact about names; both places are named where one is taken.

Plug-ins: loaded once, again when they change, and every mistake in one names it with file and line.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from simplerl.core import registry as module
from simplerl.core.errors import ConfigError, PluginError, SimpleRLError
from simplerl.core.registry import (
    KINDS,
    Registry,
    canonical,
    forget,
    is_source,
    load_plugin,
    load_source,
    register,
    registry,
)
from simplerl.rollout.fake import FakeBackend


@pytest.fixture
def words():
    """Return a registry of a kind that nothing else has."""
    yield Registry("word", {"ordered": "collections:OrderedDict"}, {"three": 3})
    del module._REGISTRIES["word"]


def test_a_registry_is_a_mapping(words: Registry) -> None:
    assert list(words) == ["three", "ordered"]
    assert len(words) == 2
    assert "ordered" in words
    assert words.place("ordered") == "collections:OrderedDict"
    from collections import OrderedDict

    assert words.name_of(OrderedDict) == "ordered"
    assert words["ordered"] is OrderedDict
    assert dict(words) == {"three": 3, "ordered": OrderedDict}
    assert words.name_of(OrderedDict) == "ordered"
    assert words.name_of(dict) is None
    with pytest.raises(KeyError):
        words["four"]


def test_an_unknown_name_is_an_error_with_the_nearest(words: Registry) -> None:
    with pytest.raises(ConfigError, match=r"unknown word 'thre'; did you mean 'three'\? Or a file\."):
        words.find("thre", hint="Or a file.")
    with pytest.raises(ConfigError, match="unknown --word 'xyz'; known: ordered, three"):
        words.find("xyz", key="--word")
    assert words.find("three") == 3


def test_register_adds_and_a_taken_name_names_both_places(words: Registry) -> None:
    words.register("mine", test_a_registry_is_a_mapping)
    assert words["mine"] is test_a_registry_is_a_mapping
    assert list(words) == ["three", "ordered", "mine"]

    def other() -> None:
        """Another one."""

    with pytest.raises(SimpleRLError, match=rf"'mine' of {__file__}:\d+ is registered already, by {__file__}:\d+"):
        words.register("mine", other)
    with pytest.raises(SimpleRLError, match=r"registered already, by collections:OrderedDict; choose another name"):
        words.register("ordered", other)
    assert words["mine"] is test_a_registry_is_a_mapping


@pytest.mark.parametrize("name", ["", " ", "a=b", "a:b", "a/b", 3])
def test_names_that_could_not_be_typed_are_refused(words: Registry, name: object) -> None:
    with pytest.raises(SimpleRLError, match="a name is text without"):
        words.register(name, print)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_registered(kind: str) -> None:
    own = {"template": "Q: {input}", "recipe": __file__, "policy": str.strip, "backend": FakeBackend}
    entry = own.get(kind, module.Plugin)
    before = list(registry(kind))
    assert before
    if module.KINDS[kind][1] is not module.ANYTHING:
        with pytest.raises(SimpleRLError, match=f"the {kind} 'for-a-test' must be .*; '5' is not"):
            register(kind, "for-a-test")(5)
    assert register(kind, "for-a-test")(entry) is entry
    try:
        assert list(registry(kind)) == [*before, "for-a-test"]
        assert registry(kind)["for-a-test"] is entry
    finally:
        del registry(kind)["for-a-test"]
    assert list(registry(kind)) == before


def test_an_unknown_kind_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown kind 'algoritm' to register; did you mean 'algorithm'"):
        register("algoritm", "x")(print)


def test_listing_names_imports_nothing_heavy() -> None:
    script = """
import sys
from simplerl.core.registry import registry
for kind in ("algorithm", "reward", "data", "template", "backend"):
    assert len(list(registry(kind))) > 1, kind
heavy = sorted({"torch", "transformers", "pyarrow", "pydantic", "sympy"} & set(sys.modules))
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


GOOD = """
import simplerl.core.registry as registry

@registry.register("reward", "{name}")
def {name}(prompts, completions, **columns):
    return [{value} for _ in completions]
"""


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a plug-in; what it registers is forgotten after the test."""
    written = []

    def _write(text: str, name: str = "ideas.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        written.append(str(path))
        return str(path)

    yield _write
    for path in written:
        forget(path)


def test_a_file_registers_and_says_where(write) -> None:
    path = write(GOOD.format(name="short", value=1.0))
    loaded = load_plugin(path)
    rewards = registry("reward")
    assert "short" in rewards
    assert rewards.plugin("short") == path == loaded.name
    assert rewards.place("short").startswith(f"{path}:")
    assert loaded.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert module._LOADED[path] is loaded, "once"
    assert module._LOADED[path] is loaded


def test_a_file_that_changed_is_imported_again_in_place_of_the_old(write) -> None:
    path = write(GOOD.format(name="first", value=1.0))
    old = load_plugin(path)
    write(GOOD.format(name="second", value=2.0))
    new = load_plugin(path)
    assert new.sha256 != old.sha256
    assert "first" not in registry("reward")
    assert registry("reward")["second"](prompts=[""], completions=[""]) == [2.0]


def test_a_file_that_comes_back_as_it_was_is_imported_again(write) -> None:
    path = write(GOOD.format(name="first", value=1.0))
    load_plugin(path)
    write("raise ValueError")
    with pytest.raises(PluginError):
        load_plugin(path)
    write(GOOD.format(name="first", value=1.0))
    load_plugin(path)
    assert "first" in registry("reward")


def test_paths_are_absolute_and_modules_keep_their_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical("ideas.py") == str(tmp_path / "ideas.py")
    assert canonical("ideas.py:short") == f"{tmp_path}/ideas.py:short"
    assert canonical("package.ideas:short") == "package.ideas:short"
    assert canonical("correctness") == "correctness"
    assert is_source("ideas.py:short")
    assert not is_source("correctness")
    assert not is_source("<object: f at x.py:3>")


def test_an_attribute_of_a_file_or_a_module(write) -> None:
    path = write("def short(problem, completion, verdict):\n    return 1.0\n")
    assert load_source(f"{path}:short")(None, None, None) == 1.0
    assert load_source("json:dumps")({}) == "{}"
    with pytest.raises(PluginError, match=r"ideas\.py has no 'shrt'; did you mean 'short'"):
        load_source(f"{path}:shrt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nonesuch_package\n", r"cannot be imported: ModuleNotFoundError.*ideas\.py:1\); install what it needs"),
        ("x = 1\ny = x / 0\n", r"cannot be imported: ZeroDivisionError: division by zero \(.*ideas\.py:2\)"),
        ("def broken(:\n", r"cannot be imported: SyntaxError.*ideas\.py:1\)"),
        ("import sys\nraise KeyboardInterrupt('no')\n", None),
    ],
)
def test_a_plugin_that_cannot_be_imported(write, text: str, message: str | None) -> None:
    path = write(text)
    with pytest.raises(PluginError if message else KeyboardInterrupt, match=message):
        load_plugin(path)
    assert path not in module._LOADED
    assert not [
        name for name in sys.modules if name.startswith("simplerl_plugin") and sys.modules[name].__file__ == path
    ]


def test_a_plugin_that_is_missing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError, match=r"plug-in .*/nowhere\.py does not exist; give the path of a \.py file"):
        load_plugin("nowhere.py")
    with pytest.raises(PluginError, match="plug-in nonesuch: there is no module 'nonesuch' to import"):
        load_plugin("nonesuch")
    (tmp_path / "ideas.py").write_text("")
    with pytest.raises(PluginError, match=r"give the file: ideas\.py"):
        load_plugin("ideas")


def test_a_taken_name_leaves_nothing_of_the_plugin_behind(write) -> None:
    path = write(GOOD.format(name="mine", value=1.0) + GOOD.format(name="length", value=1.0))
    with pytest.raises(PluginError, match=r"'length' of .*ideas\.py:\d+ is registered already, by .*builtin:Length"):
        load_plugin(path)
    assert "mine" not in registry("reward")
    other = write(GOOD.format(name="mine", value=1.0), "one.py")
    load_plugin(other)
    with pytest.raises(PluginError, match=r"'mine' of .*two\.py:\d+ is registered already, by .*one\.py:\d+"):
        load_plugin(write(GOOD.format(name="mine", value=2.0), "two.py"))
    assert registry("reward").plugin("mine") == other


def test_the_hash_of_a_package_is_over_all_its_files(write, tmp_path: Path, monkeypatch) -> None:
    write("", "some_plugin/__init__.py")
    write("x = 1\n", "some_plugin/inner.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load_plugin("some_plugin")
    write("x = 2\n", "some_plugin/inner.py")
    assert module._module_digest(loaded.module) != loaded.sha256
