"""Settings: a dataclass whose fields are keys, filled from a table. What a key may not be is an error that names it.

Values may be text, as a command line has them: it is read as TOML would read it, where a key is not text itself.
"""

import dataclasses
import functools
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
        hint, check = _check(cls, key)
        if dataclasses.is_dataclass(hint):
            values[key] = filled(hint, value, name, advice)
            continue
        try:
            values[key] = check(_read(hint, value))
        except ValueError as error:
            raise ConfigError(_wrong(name, value, error)) from None
    try:
        return cls(**values)
    except TypeError as error:  # One that must be given is not.
        raise ConfigError(f"{path}: {error}") from error


@functools.cache
def _check(cls: Any, key: str) -> tuple[Any, Callable[[Any], Any]]:
    """Return the type of a field, and what makes a value one of it. That raises ValueError."""
    hint = typing.get_type_hints(cls, include_extras=True)[key]
    plain = dataclasses.is_dataclass(hint)
    return hint, (lambda value: value) if plain else pydantic.TypeAdapter(hint, config=CHECKS).validate_python


def _read(hint: Any, value: Any) -> Any:
    """Return a value as its type wants it: no text where there is none in it, and `a,b` as a list."""
    while typing.get_origin(hint) in (Annotated, Union, types.UnionType):
        hint = typing.get_args(hint)[0]
    if value is None or hint is str or typing.get_origin(hint) is Literal:
        return value
    read = read_text(value)
    if hint in (int, float) and isinstance(read, bool):  # Python takes it for 0 or 1, and `--steps` alone is true.
        raise ValueError("a number is needed")
    if typing.get_origin(hint) is not tuple:
        return read
    if not isinstance(read, list | tuple):
        read = [part for part in read.split(",") if part] if isinstance(read, str) else [read]
    return [_read(typing.get_args(hint)[0], part) for part in read]


def read_text(value: Any) -> Any:
    """Return what TOML reads in a text; the text itself where that is nothing, and other values as they are."""
    try:
        return tomllib.loads(f"value = {value}")["value"] if isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        return value


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
