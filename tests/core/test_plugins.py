"""Plug-ins: loaded once, again when they change, and every mistake in one names it with file and line."""

import sys
from pathlib import Path

import pytest

from simplerl.core.errors import PluginError
from simplerl.core.plugins import canonical, is_source, load_plugin, load_source, plugin
from simplerl.core.registry import forget, registry

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
    assert loaded.sha256 == __import__("hashlib").sha256(Path(path).read_bytes()).hexdigest()
    assert load_plugin(path) is loaded, "once"
    assert plugin(path) is loaded


def test_a_file_that_changed_is_imported_again_in_place_of_the_old(write) -> None:
    path = write(GOOD.format(name="first", value=1.0))
    old = load_plugin(path)
    write(GOOD.format(name="second", value=2.0))
    new = load_plugin(path)
    assert new.sha256 != old.sha256
    assert "first" not in registry("reward")
    assert registry("reward")["second"](prompts=[""], completions=[""]) == [2.0]


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
    assert plugin(path) is None
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
    from simplerl.core import plugins

    loaded = load_plugin("some_plugin")
    write("x = 2\n", "some_plugin/inner.py")
    assert plugins._module_digest(loaded.module) != loaded.sha256
