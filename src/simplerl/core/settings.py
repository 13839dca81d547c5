"""Settings: a dataclass whose fields are keys, filled from a table. What a key may not be is an error that names it.

Values may be text, as a command line has them: it is read as TOML or JSON, where a key is not text itself.
"""

import contextlib
import dataclasses
import functools
import json
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import pydantic

from simplerl.core.errors import ConfigError, nearest

CHECKS = pydantic.ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)


def names_of(cls: Any) -> list[str]:
    """Return the names of the settings of a dataclass or an instance of one."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def filled(cls: Any, table: Any, path: str = "", advice: Callable[[str, Sequence[str]], str] | None = None) -> Any:
    """Return an instance of a dataclass with the values of a table; fields that are dataclasses are filled alike.

    Raises ConfigError by the key, below `path`. `advice`: what an unknown one (of these) may mean, else the nearest.
    """
    own, values = names_of(cls), dict[str, Any]()
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path} is a section: give a table of its keys, e.g. {path}.{own[0]}")
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if key not in own:
            raise ConfigError(f"unknown key {name!r}; {advice(name, own) if advice else nearest(key, own)}")
        hint = _hints(cls)[key]
        if dataclasses.is_dataclass(hint):
            values[key] = filled(hint, value, name, advice)
            continue
        try:
            values[key] = _check(cls, key).validate_python(read(hint, value))
        except ValueError as error:
            raise ConfigError(_wrong(name, value, error)) from None
    try:
        return cls(**values)
    except TypeError as error:  # One that must be given is not.
        raise ConfigError(f"{path}: {error}") from error


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def _check(cls: Any, key: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(_hints(cls)[key], config=CHECKS)


def read(hint: Any, value: Any) -> Any:
    """Return a value as a type wants it: no text where there is none in it, and `a,b` as a list."""
    while typing.get_origin(hint) in (Annotated, Union, types.UnionType):
        hint = typing.get_args(hint)[0]
    if value is None or hint is str or typing.get_origin(hint) is Literal:
        return value
    if isinstance(value, str):
        value = _parsed(value)
    if hint in (int, float) and isinstance(value, bool):  # Python takes it for 0 or 1, and `--steps` alone is true.
        raise ValueError("a number is needed")
    if typing.get_origin(hint) is not tuple:
        return value
    if not isinstance(value, list | tuple):
        value = [part for part in value.split(",") if part] if isinstance(value, str) else [value]
    return [read(typing.get_args(hint)[0], part) for part in value]


def _parsed(text: str) -> Any:
    """Return what TOML, or JSON (a study hands its children lists and tables so), reads in a text; else the text."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    with contextlib.suppress(ValueError):
        return json.loads(text) if text.startswith(("[", "{")) else text
    return text


def _wrong(name: str, value: Any, error: ValueError) -> str:
    """Say what is wrong with a setting: the key, its value, and what is allowed."""
    if not isinstance(error, pydantic.ValidationError):
        return f"{name} = {value!r}: {error}"
    wrong: Any = error.errors()[0]
    kind, bounds = wrong["type"], wrong.get("ctx", {})
    if kind in ("greater_than", "greater_than_equal") and 0 in bounds.values():
        return f"{name} must {'be positive' if kind == 'greater_than' else 'not be negative'}, got {wrong['input']}"
    if kind == "literal_error":
        return f"{name} must be one of {bounds['expected'].replace(' or ', ', ').replace(chr(39), '')}; got {value!r}"
    if kind == "finite_number":
        return f"{name} = {value!r}: must be a finite number"
    return f"{name} = {value!r}: {wrong['msg'].removeprefix('Value error, ')}"
