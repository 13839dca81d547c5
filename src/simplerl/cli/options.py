"""Options of a command from a dataclass: a field is an option, its type the type, the text under it the help.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        runs: tuple[Path, ...] = positional()
        '''Run directories.'''
        limit: int = 20
        '''Rows to show.'''
        format: Literal["text", "json"] = "text"
        '''How to show them.'''
        force: bool = False
        '''Write over a file that is there.'''

    add_options(parser, Options)                  # runs [runs ...], --limit N, --format {text,json}, --force
    options = read_options(parsed, Options)       # an instance

`bool` is a switch, `tuple` takes several values, `X | None` has no default to show, a field without default is
required. `field_docs` serves the generated documentation too.
"""

import argparse
import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")


def positional(default: Any = MISSING, *, metavar: str = "") -> Any:
    """Declare a field that is given by its place, without `--`; with a default it may be left out."""
    return dataclasses.field(default=default, metadata={"positional": True, "metavar": metavar})


def option(default: Any = MISSING, *, metavar: str = "", flags: Sequence[str] = ()) -> Any:
    """Declare a field with another placeholder in --help, or with further flags such as `-o`."""
    return dataclasses.field(default=default, metadata={"metavar": metavar, "flags": tuple(flags)})


@functools.cache
def field_docs(cls: type) -> Mapping[str, str]:
    """Return field → the text under it, of a dataclass and its bases; empty where there is none."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for entry, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                text = after.value if isinstance(after, ast.Expr) else None
                own = str(text.value) if isinstance(text, ast.Constant) else ""
                docs[entry.target.id] = own or docs.get(entry.target.id, "")  # Another default may be all that is new.
    return docs


def type_name(annotation: Any) -> str:
    """Return a type as a reader of the documentation would write it; a choice as `a | b`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(each) for each in arguments if each is not type(None))
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def add_options(parser: argparse.ArgumentParser, cls: type) -> None:
    """Declare an option for every field of a dataclass."""
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        keywords = _keywords(field, hints[field.name])
        help_text = " ".join(docs[field.name].split()).replace("%", "%%")
        first, _, rest = help_text.removesuffix(".").partition(" ")
        keywords["help"] = f"{first if first[1:].isupper() else first.lower()} {rest}".strip()  # JSON stays as it is.
        if field.metadata.get("positional"):
            parser.add_argument(field.name, **keywords)
        else:
            parser.add_argument(*field.metadata.get("flags", ()), f"--{field.name.replace('_', '-')}", **keywords)


def _keywords(field: dataclasses.Field, annotation: Any) -> dict[str, Any]:
    """Return what argparse wants to know of a field."""
    default = None if field.default is MISSING else field.default
    is_positional, required = field.metadata.get("positional", False), field.default is MISSING
    if typing.get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in typing.get_args(annotation) if each is not type(None))
    if annotation is bool:
        return {"action": "store_true", "default": False}
    keywords: dict[str, Any] = {"default": default}
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
        keywords["nargs"] = "+" if required else "*"
    elif is_positional and not required:
        keywords["nargs"] = "?"
    if typing.get_origin(annotation) is Literal:
        keywords["choices"] = typing.get_args(annotation)
    else:
        keywords["type"] = annotation
        shown = {int: "N", float: "X", Path: "PATH"}.get(annotation, field.name.rpartition("_")[2].upper())
        if metavar := field.metadata.get("metavar") or ("" if is_positional else shown):
            keywords["metavar"] = metavar
    if required and not is_positional:
        keywords["required"] = True
    return keywords


def read_options(args: argparse.Namespace, cls: type[T]) -> T:
    """Return what was parsed as an instance of the dataclass."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every command that makes a configuration takes, besides any `--section.key VALUE`."""

    recipe: str | None = positional(None)
    """A shipped recipe (simplerl recipes) or a .toml file."""
    model: str | None = option(None, metavar="M")
    """A cub, a model directory, a hub name or a run directory."""
    data: str | None = option(None, metavar="D")
    """A data set, a .jsonl/.json/.parquet file or a hub data set."""
    template: str | None = option(None, metavar="T")
    """Prompt template: plain, simple, qwen-boxed … or a file."""
    seed: str | None = option(None, metavar="N")
    """Seed of everything that is drawn."""


def settings(args: argparse.Namespace, cls: type[RunOptions], *own: str) -> dict[str, Any]:
    """Return the settings of a command line as tables: `--section.key VALUE`, and the options that are keys.

    `own` are options of the command that are not keys of a configuration.
    """
    from simplerl.train.resolve import merge, parse_overrides

    keys = [field.name for field in dataclasses.fields(cls) if field.name not in ("recipe", *own)]
    named = {key: getattr(args, key) for key in keys if getattr(args, key) is not None}
    plugins = {"plugins": args.plugin} if args.plugin else {}
    return merge(merge(parse_overrides(args.overrides), named), plugins)


def names_to_choose() -> str:
    """Return the lines of --help that say what a setting may name, plug-ins included."""
    from simplerl.core.registry import registry

    kinds = (("algorithm.name", "algorithm"), ("reward", "reward"), ("data", "data"), ("template", "template"))
    lines = [f"--{key} {', '.join(registry(kind))}" for key, kind in kinds]
    wrapped = [textwrap.fill(line, 98, initial_indent="  ", subsequent_indent="      ") for line in lines]
    return "names to choose from (a file or module of yours adds to them: --plugin):\n" + "\n".join(wrapped)
