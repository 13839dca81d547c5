"""Registries: lazy, iterable, exact about names; both places are named where one is taken."""

import subprocess
import sys

import pytest
from support import environment

from simplerl.core import registry as module
from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.core.registry import HOMES, Registry, register, registry


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


@pytest.mark.parametrize("kind", HOMES)
def test_every_kind_can_be_registered(kind: str) -> None:
    def entry() -> None:
        """Something."""

    before = list(registry(kind))
    assert before
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
